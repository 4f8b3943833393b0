"""A `Dataset` -> files of a format. Pictures are copied as they are, as far as the format takes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from streamvision.dataset.outlines import area, runs
from streamvision.dataset.pixels import label_map, rgb
from streamvision.dataset.values import Dataset, Example, Objects
from streamvision.draw.jpeg import to_jpeg
from streamvision.errors import UsageError

_QUALITY = 97
_PLACES = 2
_UNKNOWN = "pictures whose objects nobody knows (they now show none)"


@dataclass(slots=True)
class Written:
    """What was written, and what the format could not take: notes with counts."""

    file: Path
    pictures: int = 0
    objects: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def lose(self, what: str, count: int = 1) -> None:
        """Count something that the format has no place for."""
        if count:
            self.lost[what] = self.lost.get(what, 0) + count


def write(dataset: Dataset, out: Path, form: str, split: str = "train") -> Written:
    """Write a set as one split of a folder ``out``, which may hold other splits already.

    ``form`` is one of `FORMS`. Raises `UsageError` for a set of pictures that are judged as a whole, or a split that is
    there already.
    """
    if any(example.label is not None for example in dataset.examples):
        raise UsageError("folders of classes have no boxes to convert", where=dataset.origin)
    return _WRITERS[form](dataset, out, split)


def to_coco(dataset: Dataset, out: Path, split: str) -> Written:
    """Write ``out/SPLIT.json`` and ``out/SPLIT/``; label maps, groups and metadata as in `formats.coco`."""
    written = Written(_new(out / f"{split}.json"))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (example, name) in enumerate(_named(dataset.examples), 1):
        _copy(example.path, out / split / name)
        entry: dict[str, Any] = {"id": number, "file_name": f"{split}/{name}",
                                 "width": example.size_wh[0], "height": example.size_wh[1]}  # fmt: skip
        images.append(entry | _extension(dataset, example, out, f"{split}/labels", Path(name).stem))
        for one in _annotations(example):
            annotations.append({"id": len(annotations) + 1, "image_id": number} | one)
    categories = [{"id": number, "name": name} for number, name in enumerate(dataset.classes, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    if dataset.maps:
        document["label_maps"] = {name: list(classes) for name, classes in dataset.maps.items()}  # type: ignore[assignment]
    written.file.write_text(json.dumps(document), encoding="utf-8")
    written.pictures, written.objects = len(images), len(annotations)
    return written


def _extension(dataset: Dataset, example: Example, out: Path, folder: str, stem: str) -> dict[str, Any]:
    """Return what COCO itself has no place for, and write the label maps."""
    extra: dict[str, Any] = {}
    for name in example.label_maps:
        file = f"{folder}/{name}/{stem}.png"
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / file), label_map(dataset, example, name))
        extra.setdefault("label_maps", {})[name] = file
    if example.objects is None:
        extra["objects_known"] = False
    if example.group is not None:
        extra["group"] = example.group
    if example.metadata:
        extra["metadata"] = dict(example.metadata)
    return extra


def _annotations(example: Example) -> Iterator[dict[str, Any]]:
    objects = example.objects if example.objects is not None else Objects.none()
    for row in range(len(objects)):
        x1, y1, x2, y2 = (round(side, _PLACES) for side in objects.xyxy[row].tolist())
        one: dict[str, Any] = {
            "category_id": int(objects.class_id[row]) + 1,
            "bbox": [x1, y1, round(x2 - x1, _PLACES), round(y2 - y1, _PLACES)],
            "area": round((x2 - x1) * (y2 - y1), _PLACES),
            "iscrowd": int(objects.ignore[row]),
        }
        if objects.outlines is not None:
            outline = objects.outlines[row]
            one["area"] = area(outline, example.size_wh)
            one["segmentation"] = (
                runs(outline, example.size_wh)  # crowds are run lengths, by COCO's rule
                if objects.ignore[row] or isinstance(outline, dict)
                else [np.round(polygon, _PLACES).ravel().astype(float).tolist() for polygon in outline]
            )
        yield one


def to_voc(dataset: Dataset, out: Path, split: str) -> Written:
    """Write ``Annotations``, ``JPEGImages`` and ``ImageSets/Main/SPLIT.txt``; ignored objects become "difficult"."""
    written = Written(_new(out / "ImageSets" / "Main" / f"{split}.txt"))
    names = []
    for example, name in _named(dataset.examples):
        stem = Path(name).stem
        xml = out / "Annotations" / f"{stem}.xml"
        if xml.exists():
            raise UsageError(f"there is a picture {stem!r} already", where=str(out), remedy="choose another folder")
        _copy(example.path, out / "JPEGImages" / f"{stem}.jpg")
        xml.parent.mkdir(parents=True, exist_ok=True)
        objects = example.objects if example.objects is not None else Objects.none()
        ElementTree.ElementTree(_voc(dataset, example, objects, stem)).write(xml, encoding="unicode")
        written.objects += len(objects)
        written.lose("outlines", 0 if objects.outlines is None else len(objects))
        written.lose("label pictures", len(example.label_maps))
        written.lose(_UNKNOWN, int(example.objects is None))
        names.append(stem)
    written.file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in dataset.classes), encoding="utf-8")
    written.pictures = len(names)
    return written


def _voc(dataset: Dataset, example: Example, objects: Objects, stem: str) -> ElementTree.Element:
    """Return one annotation; pixels are whole, counted from 1, both ends inside."""
    root = ElementTree.Element("annotation")
    _texts(root, {"folder": "JPEGImages", "filename": f"{stem}.jpg"})
    size = ElementTree.SubElement(root, "size")
    _texts(size, {"width": example.size_wh[0], "height": example.size_wh[1], "depth": 3})
    _texts(root, {"segmented": 0})
    for xyxy, class_id, ignore in zip(objects.xyxy, objects.class_id, objects.ignore, strict=True):
        one = ElementTree.SubElement(root, "object")
        _texts(one, {"name": dataset.classes[class_id], "truncated": 0, "difficult": int(ignore)})
        low = np.floor(xyxy[:2] + 0.5).astype(int) + 1
        high = np.maximum(np.floor(xyxy[2:] + 0.5).astype(int), low)
        corners = np.concatenate([low, high]).tolist()
        box = ElementTree.SubElement(one, "bndbox")
        _texts(box, dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)))
    return root


def _texts(parent: ElementTree.Element, values: dict[str, Any]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


def to_yolo(dataset: Dataset, out: Path, split: str) -> Written:
    """Write ``images/SPLIT``, ``labels/SPLIT`` and ``data.yaml``; ignored objects have no place there."""
    images = out / "images" / split
    if images.exists():
        raise UsageError(f"the split {split!r} is there already", where=str(images), remedy="choose another folder")
    written = Written(out / "data.yaml")
    for example, name in _named(dataset.examples):
        _copy(example.path, images / name)
        objects = example.objects
        written.pictures += 1
        written.lose("label pictures", len(example.label_maps))
        if objects is None:
            written.lose(_UNKNOWN)
            continue
        lines = _yolo_lines(objects, example.size_wh)
        written.objects += len(lines)
        written.lose("ignored objects", int(objects.ignore.sum()))
        written.lose("outlines", 0 if objects.outlines is None else len(lines))
        labels = (out / "labels" / split / name).with_suffix(".txt")
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("".join(lines), encoding="utf-8")
    splits = sorted(one.name for one in images.parent.iterdir() if one.is_dir())
    text = [f"{name}: images/{name}" for name in splits]
    text += ["names:", *(f"  {number}: {json.dumps(name)}" for number, name in enumerate(dataset.classes))]
    written.file.write_text("\n".join(text) + "\n", encoding="utf-8")
    return written


def _yolo_lines(objects: Objects, size_wh: tuple[int, int]) -> list[str]:
    kept = ~objects.ignore
    centre = (objects.xyxy[kept, :2] + objects.xyxy[kept, 2:]) / 2 / np.array(size_wh)
    sides = (objects.xyxy[kept, 2:] - objects.xyxy[kept, :2]) / np.array(size_wh)
    rows = zip(objects.class_id[kept].tolist(), np.concatenate([centre, sides], 1).tolist(), strict=True)
    return [f"{number} {' '.join(f'{one:.6f}' for one in row)}\n" for number, row in rows]


def _new(file: Path) -> Path:
    if file.exists():
        raise UsageError("is there already", where=str(file), remedy="choose another split or folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _named(examples: Sequence[Example]) -> Iterator[tuple[Example, str]]:
    """Yield examples with file names of their own: two folders may hold pictures of the same name."""
    taken: set[str] = set()
    for example in examples:
        stem, number = example.path.stem, 1
        while stem in taken:
            number += 1
            stem = f"{example.path.stem}-{number}"
        taken.add(stem)
        yield example, f"{stem}{example.path.suffix}"


def _copy(source: Path, target: Path) -> None:
    """Copy a picture, or write it as a JPEG where only that is allowed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.lower() == target.suffix.lower() or {source.suffix.lower(), target.suffix} == {".jpeg", ".jpg"}:
        shutil.copyfile(source, target)
        return
    target.write_bytes(to_jpeg(rgb(source), _QUALITY))


_WRITERS: dict[str, Callable[[Dataset, Path, str], Written]] = {"coco": to_coco, "voc": to_voc, "yolo": to_yolo}
FORMS = tuple(_WRITERS)
