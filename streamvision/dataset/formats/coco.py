"""COCO JSON (Lin et al., "Microsoft COCO: Common Objects in Context", 2014): boxes, polygons, run lengths, crowds.

Our extension, all of it optional: the file may have ``"label_maps": {map: [class, ...]}``; an entry of ``images`` may
have ``"label_maps": {map: path}`` (label pictures, relative to the JSON file), ``"objects_known": false`` (nobody
looked for objects), ``"group"`` and ``"metadata": {column: text}``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import streamvision.dataset.findings as kinds
from streamvision.dataset.boxes import FAR_PX, sound
from streamvision.dataset.findings import Findings
from streamvision.dataset.formats.files import inside, read_json
from streamvision.dataset.options import DataOptions
from streamvision.dataset.outlines import runs_problem
from streamvision.dataset.values import Dataset, Example, Objects, Outline
from streamvision.errors import UsageError
from streamvision.header import read_header

_START_BYTES = 1 << 16


def recognised(path: Path) -> bool:
    """Tell whether a path is a JSON file with pictures in it, or a folder that holds one."""
    if path.is_dir():
        return bool(_candidates(path, None))
    return path.suffix.lower() == ".json"


def read(options: DataOptions, findings: Findings) -> Dataset:
    """Return the set; what is wrong with the file is noted."""
    file = _file(options)
    document = read_json(file, findings)
    if document is None:
        return Dataset(str(file), (), ())
    if not isinstance(document, dict):
        findings.add(kinds.BROKEN_FILE, file, "it is no JSON object with images, annotations and categories")
        return Dataset(str(file), (), ())
    return _Reading(file, document, options, findings).dataset()


def _file(options: DataOptions) -> Path:
    if options.labels is not None:
        return options.labels
    if not options.path.is_dir():
        return options.path
    found = _candidates(options.path, options.split)
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in _candidates(options.path, None)) or "none"
    raise UsageError(
        "which of the files is meant?" if found else "there is no annotation file of that split",
        where=str(options.path), remedy=f"there are: {names}; give the file itself, or a split as PATH@SPLIT",
    )  # fmt: skip


def _candidates(folder: Path, split: str | None) -> list[Path]:
    """Return the JSON files of a folder, or of its ``annotations``, that look like COCO's and belong to a split."""
    files = sorted((*folder.glob("*.json"), *folder.glob("annotations/*.json")))
    found = [file for file in files if file.is_file() and _starts_like_coco(file)]
    exact = [file for file in found if split in (None, file.stem)]
    return exact or [file for file in found if split is not None and split in file.stem]


def _starts_like_coco(file: Path) -> bool:
    with file.open("rb") as opened:
        start = opened.read(_START_BYTES)
    return any(f'"{key}"'.encode() in start for key in ("images", "annotations", "categories"))


class _Reading:
    """One reading of one file."""

    def __init__(self, file: Path, document: Mapping[str, Any], options: DataOptions, findings: Findings) -> None:
        self._file, self._document, self._findings = file, document, findings
        self._root = options.images or _picture_root(file, document)
        self._index: dict[object, int] = {}
        self._maps: dict[str, tuple[str, ...]] = {}

    def dataset(self) -> Dataset:
        names = self._categories()
        self._maps = self._map_classes()
        annotations = self._annotations()
        examples, known = [], set()
        for number, entry in self._entries("images"):
            where = f"{self._file}: images[{number}]"
            example = self._example(entry, annotations.get(_key(entry.get("id")), []), where)
            if _key(entry.get("id")) in known:
                self._findings.add(kinds.DUPLICATE_ID, where, f"the id {entry.get('id')!r} is another picture's too")
            known.add(_key(entry.get("id")))
            if example is not None:
                examples.append(example)
        for key in annotations.keys() - known:
            where = f"{self._file}: annotations[{annotations[key][0][0]}]"
            what = f"there is no picture with the id {key!r}"
            self._findings.add(kinds.UNKNOWN_PICTURE, where, what, len(annotations[key]))
        return Dataset(str(self._file), names, tuple(examples), self._maps)

    def _entries(self, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
        entries = self._document.get(key, [])
        if not isinstance(entries, list):
            self._findings.add(kinds.BROKEN_FILE, f"{self._file}: {key}", "this is no list")
            return
        for number, entry in enumerate(entries):
            if isinstance(entry, dict):
                yield number, entry
            else:
                self._wrong(f"{self._file}: {key}[{number}]", "this is no JSON object")

    def _wrong(self, where: str, what: str) -> None:
        self._findings.add(kinds.WRONG_FIELD, where, what)

    def _categories(self) -> tuple[str, ...]:
        names: list[str] = []
        for number, entry in self._entries("categories"):
            where = f"{self._file}: categories[{number}]"
            name = entry.get("name")
            if not isinstance(name, str) or not _is_id(entry.get("id")):
                self._wrong(where, "a category has an id and a name")
            elif entry["id"] in self._index or name in names:
                self._findings.add(kinds.DUPLICATE_CLASS, where, f"{name!r} with id {entry['id']!r} is there already")
            else:
                self._index[entry["id"]] = len(names)
                names.append(name)
        return tuple(names)

    def _map_classes(self) -> dict[str, tuple[str, ...]]:
        maps = self._document.get("label_maps", {})
        if isinstance(maps, dict) and all(_are_names(names) for names in maps.values()):
            return {name: tuple(names) for name, names in maps.items()}
        self._wrong(f"{self._file}: label_maps", "expected a list of class names for each map")
        return {}

    def _annotations(self) -> dict[object, list[tuple[int, dict[str, Any]]]]:
        by_picture: dict[object, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        seen: set[object] = set()
        for number, entry in self._entries("annotations"):
            own = _key(entry.get("id"))
            if own is not None and own in seen:
                where = f"{self._file}: annotations[{number}]"
                self._findings.add(kinds.DUPLICATE_ID, where, f"the id {own!r} is another annotation's too")
            seen.add(own)
            by_picture[_key(entry.get("image_id"))].append((number, entry))
        return by_picture

    def _example(self, entry: dict[str, Any], found: list[tuple[int, dict[str, Any]]], where: str) -> Example | None:
        name = entry.get("file_name")
        if not isinstance(name, str) or not name or not _is_id(entry.get("id")):
            self._wrong(where, "a picture has an id and a file_name")
            return None
        path = inside(self._root, name)
        if path is None:
            self._findings.add(kinds.ESCAPING_PATH, where, f"{name!r} does not lie in {self._root}")
            return None
        size_wh = self._size(entry, path, where)
        if size_wh is None:
            return None
        objects = self._objects(found, size_wh) if entry.get("objects_known", True) else None
        maps = self._label_maps(entry.get("label_maps", {}), where)
        group, metadata = entry.get("group"), entry.get("metadata", {})
        if not isinstance(metadata, dict):
            self._wrong(where, "metadata is an object of columns")
            metadata = {}
        columns = {str(column): str(value) for column, value in metadata.items()}
        return Example(path, size_wh, objects, maps, None, None if group is None else str(group), columns)

    def _size(self, entry: dict[str, Any], path: Path, where: str) -> tuple[int, int] | None:
        width, height = entry.get("width"), entry.get("height")
        if type(width) is int and type(height) is int and width > 0 and height > 0:
            return width, height
        if width is None and height is None:
            header = read_header(path)
            return (1, 1) if header is None else header.size_wh  # the check of pictures says what is wrong with it
        self._wrong(where, f"width and height are {width!r} and {height!r}")
        return None

    def _label_maps(self, given: object, where: str) -> dict[str, Path]:
        if not isinstance(given, dict) or not all(isinstance(name, str) for name in given.values()):
            self._wrong(where, "label_maps names a file for each map")
            return {}
        maps = {}
        for name, file in given.items():
            path = inside(self._file.parent, file)
            if name not in self._maps:
                self._findings.add(kinds.UNKNOWN_CLASS, where, f"nobody says what the classes of the map {name!r} are")
            elif path is None:
                self._findings.add(kinds.ESCAPING_PATH, where, f"{file!r} does not lie in {self._file.parent}")
            else:
                maps[name] = path
        return maps

    def _objects(self, found: list[tuple[int, dict[str, Any]]], size_wh: tuple[int, int]) -> Objects:
        rows = [row for number, entry in found if (row := self._object(number, entry, size_wh)) is not None]
        if not rows:
            return Objects.none()
        boxes, classes, crowds, outlines = zip(*rows, strict=True)
        shapes = tuple(_or_box(shape, box) for shape, box in zip(outlines, boxes, strict=True))
        return Objects(
            np.array(boxes, np.float32), np.array(classes, np.int32), np.array(crowds, np.bool_),
            shapes if any(outlines) else None,
        )  # fmt: skip

    def _object(
        self, number: int, entry: dict[str, Any], size_wh: tuple[int, int]
    ) -> tuple[list[float], int, bool, Outline] | None:
        where = f"{self._file}: annotations[{number}]"
        index = self._index.get(_key(entry.get("category_id")))
        if index is None:
            what = f"there is no category with the id {entry.get('category_id')!r}"
            self._findings.add(kinds.UNKNOWN_CLASS, where, what)
            return None
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(type(one) in (int, float) for one in box):
            self._findings.add(kinds.BAD_NUMBER, where, f"bbox is {box!r}, not x, y, width, height")
            return None
        xyxy = sound([box[0], box[1], box[0] + box[2], box[1] + box[3]], size_wh, where, self._findings)
        outline = self._outline(entry.get("segmentation"), size_wh, where)
        return None if xyxy is None else (xyxy, index, bool(entry.get("iscrowd", 0)), outline)

    def _outline(self, given: object, size_wh: tuple[int, int], where: str) -> Outline | None:
        """Return polygons or run lengths; None where there are none, or none that can be used."""
        if not given:
            return None
        if isinstance(given, dict):
            problem = runs_problem(given, size_wh)
        elif isinstance(given, list):
            problem = next((said for one in given if (said := _polygon_problem(one))), None)
        else:
            problem = "segmentation is neither polygons nor run lengths"
        if problem is not None:
            self._findings.add(kinds.BAD_OUTLINE, where, problem)
            return None
        return given if isinstance(given, dict) else [np.array(one, np.float32).reshape(-1, 2) for one in given]  # type: ignore[attr-defined]


def _picture_root(file: Path, document: Mapping[str, Any]) -> Path:
    """Return the folder below which the first picture lies: beside the file, or where COCO and its heirs put it."""
    images = document.get("images")
    first = images[0].get("file_name") if isinstance(images, list) and images and isinstance(images[0], dict) else None
    split = file.stem.rpartition("_")[2]
    above = file.parent.parent
    usual = [file.parent, file.parent / "images", file.parent / split, above, above / split, above / "images",
             above / "images" / split]  # fmt: skip
    if isinstance(first, str):
        for root in usual:
            path = inside(root, first)
            if path is not None and path.is_file():
                return root
    return file.parent


def _or_box(shape: Outline | None, box: list[float]) -> Outline:
    """Return an object's outline; where only others have one, its box."""
    x1, y1, x2, y2 = box
    return [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)] if shape is None else shape


def _polygon_problem(polygon: object) -> str | None:
    if not isinstance(polygon, list) or not all(type(one) in (int, float) for one in polygon):
        return "a polygon is a list of numbers x1, y1, x2, y2, ..."
    if len(polygon) < 6 or len(polygon) % 2:
        return f"a polygon of {len(polygon) / 2:g} points"
    return None if all(-FAR_PX < one < FAR_PX for one in polygon) else "a polygon whose numbers are not finite"


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _key(value: object) -> object:
    """Return an id as it can be looked up; whatever cannot be one is None."""
    return value if _is_id(value) else None


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and 0 < len(names) <= 255
