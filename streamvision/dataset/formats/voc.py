"""PASCAL VOC XML (Everingham et al., 2010): boxes of whole pixels from 1 on, both ends inside; "difficult" objects.

A folder as VOC and torchvision lay it: ``Annotations``, ``JPEGImages`` and ``ImageSets/Main/SPLIT.txt``; also the
folder above it (``VOCdevkit/VOC2007`` in it). Without ``ImageSets`` every annotation counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

import streamvision.dataset.findings as kinds
from streamvision.dataset.boxes import sound
from streamvision.dataset.findings import Findings
from streamvision.dataset.formats.files import PICTURES, inside, read_text
from streamvision.dataset.formats.known_labels import KNOWN
from streamvision.dataset.options import DataOptions
from streamvision.dataset.values import Dataset, Example, Objects
from streamvision.errors import UsageError
from streamvision.header import read_header

CLASSES = KNOWN["voc"].names[1:]
"""The twenty of PASCAL VOC, in its order."""

_HOSTILE = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_DEFAULT_SPLIT = "trainval"

_Row = tuple[str, list[float], bool]


def recognised(path: Path) -> bool:
    """Tell whether a folder is laid out like VOC, or holds one that is."""
    return _root(path) is not None


def read(options: DataOptions, findings: Findings) -> Dataset:
    """Return the set. Raises `UsageError` for a folder of another layout."""
    root = _root(options.path)
    if root is None:
        raise UsageError(
            "there is no folder Annotations", where=str(options.path), remedy="VOC keeps its XML files there"
        )
    annotations, images = options.labels or root / "Annotations", options.images or root / "JPEGImages"
    found = []
    for name, where in _names(root, annotations, options.split, findings):
        file = inside(annotations, f"{name}.xml")
        if file is None:
            findings.add(kinds.ESCAPING_PATH, where, f"{name!r} does not lie in {annotations}")
            continue
        read_one = _read_one(file, images, findings)
        if read_one is not None:
            found.append((file, *read_one))
    classes = _classes(options, annotations, {row[0] for *_, rows in found for row in rows}, findings)
    index = {name: number for number, name in enumerate(classes)}
    examples = [
        Example(picture, size_wh, _objects(file, rows, index, findings)) for file, picture, size_wh, rows in found
    ]
    return Dataset(str(options.path), classes, tuple(examples))


def _root(path: Path) -> Path | None:
    candidates = (path, *sorted(path.glob("VOCdevkit/VOC20*")), *sorted(path.glob("VOC20*"))) if path.is_dir() else ()
    fitting = [one for one in candidates if (one / "Annotations").is_dir() and (one / "JPEGImages").is_dir()]
    return fitting[0] if fitting else None


def _names(root: Path, annotations: Path, split: str | None, findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield the names of a split's pictures, and where each is listed."""
    lists = root / "ImageSets" / "Main"
    if not lists.is_dir() and split is None:
        yield from ((file.stem, str(file)) for file in sorted(annotations.glob("*.xml")))
        return
    chosen = lists / f"{split or _DEFAULT_SPLIT}.txt"
    if not chosen.is_file():
        there = sorted(one.stem for one in lists.glob("*.txt") if "_" not in one.stem)
        findings.add(kinds.MISSING_SPLIT, chosen, f"there are: {', '.join(there) or 'none'}")
        return
    for number, line in enumerate((read_text(chosen, findings) or "").splitlines(), 1):
        if line.strip():
            yield line.split()[0], f"{chosen}:{number}"


def _read_one(file: Path, images: Path, findings: Findings) -> tuple[Path, tuple[int, int], list[_Row]] | None:
    """Return picture, size and objects of one XML file; None, and a finding, where it cannot be read."""
    text = read_text(file, findings)
    if text is None:
        return None
    if _HOSTILE.search(text):
        findings.add(kinds.HOSTILE_FILE, file, "it declares a document type or entities, which no annotation needs")
        return None
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        line = getattr(error, "position", (1, 0))[0]
        findings.add(kinds.BROKEN_FILE, f"{file}:{line}", f"this is not XML: {error}")
        return None
    picture = _picture(file, root.findtext("filename"), images, findings)
    if picture is None:
        return None
    size_wh = _size(root, picture, file, findings)
    if size_wh is None:
        return None
    rows = (
        _row(one, f"{file}: object {number}", size_wh, findings) for number, one in enumerate(root.iter("object"), 1)
    )
    return picture, size_wh, [row for row in rows if row is not None]


def _picture(file: Path, named: str | None, images: Path, findings: Findings) -> Path | None:
    """Return the picture of an annotation: VOC's is called like it; other tools name it in the file."""
    usual = images / f"{file.stem}.jpg"
    if usual.is_file() or not named:
        return usual
    path = inside(images, named.strip())
    if path is None:
        findings.add(kinds.ESCAPING_PATH, file, f"{named!r} does not lie in {images}")
        return None
    same = (images / f"{file.stem}{suffix}" for suffix in sorted(PICTURES))
    return path if path.is_file() else next((one for one in same if one.is_file()), path)


def _size(root: ElementTree.Element, picture: Path, file: Path, findings: Findings) -> tuple[int, int] | None:
    given = [root.findtext(f"size/{side}") for side in ("width", "height")]
    sides = [_number(one) for one in given]
    if sides[0] and sides[1] and min(sides[0], sides[1]) >= 1:  # some tools write 0 for: see the picture
        return int(sides[0]), int(sides[1])
    header = read_header(picture)
    if header is None and given != [None, None]:
        findings.add(kinds.WRONG_FIELD, file, f"size is {given[0]!r} x {given[1]!r}")
        return None
    return (1, 1) if header is None else header.size_wh


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None and len(text) < 40 else None
    except ValueError:
        return None


def _row(node: ElementTree.Element, where: str, size_wh: tuple[int, int], findings: Findings) -> _Row | None:
    name = (node.findtext("name") or "").strip()
    corners = [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    numbers = [_number(one) for one in corners]
    if not name:
        findings.add(kinds.WRONG_FIELD, where, "the object has no name")
        return None
    if any(one is None for one in numbers):
        findings.add(kinds.BAD_NUMBER, where, f"bndbox is {corners}")
        return None
    x1, y1, x2, y2 = (float(one) for one in numbers if one is not None)
    inverted = x2 < x1 or y2 < y1  # before 1 is taken off: 10 to 9 would become an empty box
    first = [x1 - 1, y1 - 1] if not inverted else [x1, y1]
    xyxy = sound([*first, x2, y2], size_wh, where, findings)
    return None if xyxy is None else (name, xyxy, (node.findtext("difficult") or "0").strip() not in ("", "0"))


def _classes(options: DataOptions, annotations: Path, seen: set[str], findings: Findings) -> tuple[str, ...]:
    """Return the names that were given or lie there, VOC's own where they are enough, or all that appear."""
    if options.names is not None:
        return options.names
    listed = annotations.parent / "classes.txt"
    if listed.is_file():
        return tuple(line.strip() for line in (read_text(listed, findings) or "").splitlines() if line.strip())
    if seen <= set(CLASSES):
        return CLASSES
    for file in sorted(annotations.glob("*.xml")):  # of every split, so that all have the same classes
        text = read_text(file, findings) or ""
        if _HOSTILE.search(text):
            continue
        seen |= {name.strip() for name in re.findall(r"<object>\s*<name>([^<]*)</name>", text)}
    return tuple(sorted(seen))


def _objects(file: Path, rows: list[_Row], index: dict[str, int], findings: Findings) -> Objects:
    known = [row for row in rows if row[0] in index]
    for row in rows:
        if row[0] not in index:
            findings.add(kinds.UNKNOWN_CLASS, file, f"there is no class {row[0]!r}")
    if not known:
        return Objects.none()
    names, boxes, difficult = zip(*known, strict=True)
    return Objects(
        np.array(boxes, np.float32), np.array([index[name] for name in names], np.int32), np.array(difficult, np.bool_)
    )
