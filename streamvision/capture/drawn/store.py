"""Drawn pictures as a data set on disk: JPEG pictures, PNG label maps, one record each, and all records as COCO JSON.

Everything about picture number n follows from (scene, seed, size, n), so that a run that was broken off goes on where
it was, and two runs write the same files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from streamvision.capture.drawn import CLASSES, Drawn
from streamvision.errors import UsageError
from streamvision.types import UInt8

Sampler = Callable[[int, int, tuple[int, int]], Drawn]
Record = dict[str, Any]

SAMPLERS: Mapping[str, str] = MappingProxyType({
    "street": "streamvision.capture.street.variety.sample:street_sample",
    "drive": "streamvision.capture.drive.sample:drive_sample",
})  # fmt: skip
"""Which function draws a scene: (seed, index, size_wh) -> `Drawn`."""
SCENES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "street": ("street",), "drive": ("drive",), "both": ("street", "drive"),
})  # fmt: skip
MAPS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "drivable": ("background", "drivable"), "lane": ("background", "lane"),
})  # fmt: skip
MIN_VISIBLE, MIN_SIDE_PX = 0.15, 4.0
"""What is seen less of, or is smaller, is marked to be ignored (``iscrowd``): nobody has to find it."""
_SETTINGS, _RECORDS, _ANNOTATIONS = "drawn.json", "records.jsonl", "annotations.json"
_GROUP = 64
"""So many pictures on end may show the same street: they are one group, which no split divides."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is drawn: a name of `SCENES`, a seed, and the pictures' size in px."""

    scene: str
    seed: int
    size_wh: tuple[int, int]

    def settings(self) -> dict[str, Any]:
        """Return the order as JSON has it."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def sampler(name: str) -> Sampler:
    """Return the function that draws a scene of `SAMPLERS`."""
    module, _, attribute = SAMPLERS[name].partition(":")
    found: Sampler = getattr(import_module(module), attribute)
    return found


def open_store(folder: Path, order: Order) -> dict[int, Record]:
    """Make a folder ready for an order; return the records of the pictures that it has already, by number.

    Raises `UsageError` for a folder that holds something else, or pictures of another order.
    """
    settings = folder / _SETTINGS
    if settings.is_file():
        known = _read_json(settings)
        if known != order.settings():
            raise UsageError(
                f"this folder holds pictures of another order: {known}", where=str(folder),
                remedy="give the same --scene, --seed and --size to go on, or another folder",
            )  # fmt: skip
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("this is no empty folder, and nothing was drawn into it", where=str(folder),
                         remedy="give a new folder")  # fmt: skip
    for name in ("pictures", *MAPS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not settings.is_file():
        _write_json(settings, order.settings())
    return {record["number"]: record for record in _records(folder)}


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError("this is no JSON", where=str(path), remedy="draw into a new folder") from error


def _records(folder: Path) -> Iterator[Record]:
    """Yield what is recorded; a last line that a kill has cut is left out, and its picture is drawn again."""
    path = folder / _RECORDS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "number" in record:
            yield record


def append(folder: Path, records: Iterable[Record]) -> Iterator[Record]:
    """Write records down as they come, and give them on."""
    with (folder / _RECORDS).open("a", encoding="utf-8") as file:
        if file.tell():
            file.write("\n")  # ends a line that a kill has cut
        for record in records:
            file.write(json.dumps(record) + "\n")
            file.flush()
            yield record


def draw_picture(folder: Path, order: Order, number: int) -> Record:
    """Draw one picture with its label maps into a folder, and return its record."""
    scenes = SCENES[order.scene]
    scene = scenes[number % len(scenes)]
    drawn = sampler(scene)(order.seed, number // len(scenes), order.size_wh)
    quality = int(np.random.default_rng([order.seed, number, 99]).integers(35, 97))
    files = {"pictures": f"pictures/{number:06d}.jpg"} | {name: f"{name}/{number:06d}.png" for name in MAPS}
    _encode(folder / files["pictures"], drawn.bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    for name in MAPS:
        _encode(folder / files[name], getattr(drawn, name), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return {
        "number": number, "scene": scene, "group": f"{scene}-{order.seed}-{number // len(scenes) // _GROUP}",
        "file": files["pictures"], "maps": {name: files[name] for name in MAPS}, "objects": list(_objects(drawn)),
    }  # fmt: skip


def use_one_thread() -> None:
    """Let OpenCV use one thread in this process: many small steps gain nothing from more."""
    cv2.setNumThreads(1)


def _encode(path: Path, pixels: UInt8, options: list[int]) -> None:
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())


def _objects(drawn: Drawn) -> Iterator[Record]:
    for box, visible, name, identity in zip(drawn.xyxy, drawn.visible, drawn.names, drawn.ids, strict=True):
        x1, y1, x2, y2 = (round(float(side), 2) for side in box)
        small = min(x2 - x1, y2 - y1) < MIN_SIDE_PX
        yield {
            "class": name, "xywh": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)], "id": int(identity),
            "visible": round(float(visible), 3), "ignore": bool(small or visible < MIN_VISIBLE),
        }  # fmt: skip


def write_annotations(folder: Path, order: Order, records: Iterable[Record]) -> Path:
    """Write all records as COCO JSON with label maps, in the order of their numbers; return the file's path."""
    ordered = sorted(records, key=lambda record: int(record["number"]))
    annotations: list[Record] = []
    for record in ordered:
        for one in record["objects"]:
            annotations.append(_annotation(record["number"], one) | {"id": len(annotations) + 1})
    document = {
        "info": {"description": "drawn by streamvision", **order.settings()},
        "categories": [{"id": at, "name": name} for at, name in enumerate(CLASSES, start=1)],
        "label_maps": {name: list(classes) for name, classes in MAPS.items()},
        "images": [_image(record, order) for record in ordered],
        "annotations": annotations,
    }
    _write_json(folder / _ANNOTATIONS, document)
    return folder / _ANNOTATIONS


def _image(record: Record, order: Order) -> Record:
    return {
        "id": record["number"], "file_name": record["file"], "width": order.size_wh[0], "height": order.size_wh[1],
        "label_maps": record["maps"], "group": record["group"], "metadata": {"scene": record["scene"]},
    }  # fmt: skip


def _annotation(number: int, one: Record) -> Record:
    return {
        "image_id": number, "category_id": CLASSES.index(one["class"]) + 1, "bbox": one["xywh"],
        "area": round(one["xywh"][2] * one["xywh"][3], 2), "iscrowd": int(one["ignore"]), "track_id": one["id"],
        "visible": one["visible"],
    }  # fmt: skip


def _write_json(path: Path, document: object) -> None:
    """Write all of it or nothing."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(document), encoding="utf-8")
    os.replace(beside, path)
