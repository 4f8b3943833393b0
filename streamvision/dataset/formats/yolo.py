"""YOLO text: a line ``class x y width height`` per object, or ``class x1 y1 x2 y2 ...`` for an outline, from 0 to 1.

A ``data.yaml`` (``path``, ``train``, ``val``, ``names``), or a folder with it, or with ``images``, ``labels`` and a
``classes.txt``. The labels of ``images/a/b.jpg`` lie in ``labels/a/b.txt``; a picture without shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import streamvision.dataset.findings as kinds
from streamvision.config.document import MAX_BYTES, read_document
from streamvision.dataset.boxes import sound
from streamvision.dataset.findings import Findings
from streamvision.dataset.formats.files import inside, pictures_in, read_bytes, read_text
from streamvision.dataset.options import DataOptions
from streamvision.dataset.values import Dataset, Example, Objects, Outline
from streamvision.errors import UsageError
from streamvision.header import read_header
from streamvision.types import Float32

_YAML = (".yaml", ".yml")
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")
_SPLITS = ("train", "val", "test")
_MIN_POINTS = 3

_Row = tuple[int, list[float], Outline | None]


def recognised(path: Path) -> bool:
    """Tell whether a path is a data.yaml, a folder with one, or ``images`` beside ``labels`` of text."""
    if path.is_file():
        return path.suffix.lower() in _YAML
    labels = path / "labels"
    return _yaml_in(path) is not None or (
        (path / "images").is_dir() and labels.is_dir() and next(labels.rglob("*.txt"), None) is not None
    )


def read(options: DataOptions, findings: Findings) -> Dataset:
    """Return the set. Raises `UsageError` where nobody says what the classes are called."""
    file = options.path if options.path.is_file() else _yaml_in(options.path)
    described = {} if file is None else _described(file, findings)
    root = _root(options.path, file, described)
    names = options.names or _names(file, described, root, findings)
    if names is None:
        raise UsageError(
            "nobody says what the classes are called", where=str(options.path),
            remedy="give names, or put a classes.txt or a data.yaml with names there",
        )  # fmt: skip
    examples = []
    for picture in _pictures(options, root, described, findings):
        header = read_header(picture)
        size_wh = (1, 1) if header is None else header.size_wh
        labels = _labels_of(picture, options)
        objects = _objects(labels, size_wh, len(names), findings) if labels.is_file() else Objects.none()
        examples.append(Example(picture, size_wh, objects))
    return Dataset(str(options.path), names, tuple(examples))


def _yaml_in(folder: Path) -> Path | None:
    known = [folder / f"{name}{suffix}" for name in ("data", "dataset") for suffix in _YAML]
    return next((file for file in known if file.is_file()), None)


def _described(file: Path, findings: Findings) -> dict[str, Any]:
    raw = read_bytes(file, findings, MAX_BYTES)
    if raw is None:
        return {}
    document = read_document(str(file), raw)
    for problem in document.problems:
        findings.add(kinds.BROKEN_FILE, f"{file}:{problem.line}:{problem.column}", problem.message)
    return document.data if isinstance(document.data, dict) else {}


def _root(path: Path, file: Path | None, described: dict[str, Any]) -> Path:
    """Return the folder that the file's paths begin in: as it says, if that is there, or its own."""
    folder = path if file is None else file.parent
    given = described.get("path")
    said = folder / given if isinstance(given, str) else folder
    return said if said.is_dir() else folder


def _names(file: Path | None, described: dict[str, Any], root: Path, findings: Findings) -> tuple[str, ...] | None:
    names = described.get("names")
    if isinstance(names, dict):  # {0: person, 1: car}
        numbered = {str(key): str(name) for key, name in names.items()}
        if set(numbered) == {str(number) for number in range(len(numbered))}:
            return tuple(numbered[str(number)] for number in range(len(numbered)))
        findings.add(kinds.WRONG_FIELD, file, "names are numbered from 0 on, without gaps")
    elif isinstance(names, list):
        count = described.get("nc", len(names))
        if count != len(names):
            findings.add(kinds.WRONG_FIELD, file, f"there are {len(names)} names, and nc is {count}")
        return tuple(map(str, names))
    for place in _NAME_FILES:
        if (root / place).is_file():
            lines = (read_text(root / place, findings) or "").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return () if file is not None and not described else None  # a broken file has been told of


def _pictures(options: DataOptions, root: Path, described: dict[str, Any], findings: Findings) -> list[Path]:
    if options.images is not None:
        return pictures_in(options.images)
    split = options.split
    if split is None and any(name in described for name in _SPLITS):
        split = "train"
    given = described.get(split) if split is not None else None
    if given is None and split is not None:
        folder = root / "images" / split
        if not folder.is_dir():
            findings.add(kinds.MISSING_SPLIT, options.path, f"nobody says where {split!r} lies")
            return []
        return pictures_in(folder)
    if given is None:
        return pictures_in(root / "images")
    places = given if isinstance(given, list) else [given]
    return [picture for place in places for picture in _listed(root, str(place), findings)]


def _listed(root: Path, place: str, findings: Findings) -> Iterator[Path]:
    """Yield the pictures of a folder, or those that a text file lists."""
    path = root / place
    if path.is_dir():
        yield from pictures_in(path)
        return
    for number, line in enumerate((read_text(path, findings) or "").splitlines(), 1):
        name = line.strip().removeprefix("./")
        if not name:
            continue
        picture = _below(root, name)
        if picture is None:
            findings.add(kinds.ESCAPING_PATH, f"{path}:{number}", f"{name!r} does not lie in {root}")
        else:
            yield picture


def _below(root: Path, name: str) -> Path | None:
    absolute = Path(name)
    if absolute.is_absolute() and absolute.is_relative_to(root.absolute()):
        return inside(root, str(absolute.relative_to(root.absolute())))
    return inside(root, name)


def _labels_of(picture: Path, options: DataOptions) -> Path:
    if options.labels is not None:
        below = picture.relative_to(options.images) if options.images is not None else Path(picture.name)
        return (options.labels / below).with_suffix(".txt")
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _objects(file: Path, size_wh: tuple[int, int], classes: int, findings: Findings) -> Objects:
    text = read_text(file, findings)
    lines = enumerate((text or "").splitlines(), 1)
    found = [_row(line, f"{file}:{number}", size_wh, classes, findings) for number, line in lines if line.strip()]
    rows = [row for row in found if row is not None]
    if not rows:
        return Objects.none()
    numbers, boxes, outlines = zip(*rows, strict=True)
    shaped = any(one is not None for one in outlines)
    shapes = tuple(one or _corners(box) for one, box in zip(outlines, boxes, strict=True)) if shaped else None
    return Objects(np.array(boxes, np.float32), np.array(numbers, np.int32), np.zeros(len(rows), np.bool_), shapes)


def _row(line: str, where: str, size_wh: tuple[int, int], classes: int, findings: Findings) -> _Row | None:
    words = line.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        findings.add(kinds.WRONG_FIELD, where, f"{line.strip()[:60]!r} is no line of numbers")
        return None
    if len(numbers) != 5 and (len(numbers) < 1 + 2 * _MIN_POINTS or len(numbers) % 2 == 0):
        findings.add(kinds.WRONG_FIELD, where, f"{len(numbers)} numbers are neither a box nor an outline")
        return None
    if not np.isfinite(numbers).all():
        findings.add(kinds.BAD_NUMBER, where, f"the line is {line.strip()[:60]!r}")
        return None
    if numbers[0] != int(numbers[0]) or not 0 <= numbers[0] < classes:
        findings.add(kinds.UNKNOWN_CLASS, where, f"there is no class {words[0]}, only 0 to {classes - 1}")
        return None
    xyxy = sound(_box(numbers[1:], size_wh), size_wh, where, findings)
    if xyxy is None:  # before the outline is made of numbers that may be beyond float32
        return None
    return int(numbers[0]), xyxy, _outline(numbers[1:], size_wh) if len(numbers) != 5 else None


def _box(numbers: Sequence[float], size_wh: tuple[int, int]) -> list[float]:
    width, height = size_wh
    if len(numbers) == 4:
        x, y, w, h = numbers
        return [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
    xs, ys = numbers[0::2], numbers[1::2]
    return [min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height]


def _outline(numbers: Sequence[float], size_wh: tuple[int, int]) -> list[Float32]:
    points = np.array(numbers, np.float32).reshape(-1, 2) * np.array(size_wh, np.float32)
    return [points.astype(np.float32)]


def _corners(box: Sequence[float]) -> list[Float32]:
    x1, y1, x2, y2 = box
    return [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)]
