"""Labels as they come, taken as they are: a COCO file, or a folder of label pictures, beside a folder of pictures.

`dataset.read` checks more and knows more formats; this one takes whatever can be measured at all.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamvision.capture.images import find_pictures
from streamvision.capture.labels import read_labels
from streamvision.dataset import UNLABELLED, Dataset, Example, Objects
from streamvision.dataset.pixels import header_of
from streamvision.errors import UsageError

Areas = Mapping[Example, Sequence[float]]
"""The objects' areas in px where a file tells them; they decide what is small and what is large."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A data set, and what only COCO's files say of its objects."""

    dataset: Dataset
    areas: Areas = field(default_factory=dict)


def read_objects(images: Path, annotations: Path) -> Labelled:
    """Return what a COCO file says. Raises `UsageError` for one that is none, `CaptureError` for a missing picture."""
    truth = _read_json(annotations)
    try:
        return _labelled(truth, images, str(annotations))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"is no COCO file: an entry lacks or garbles {error}", where=str(annotations),
            remedy="--data tells which entry, and reads the same file",
        ) from error  # fmt: skip


def _labelled(truth: Mapping[str, Any], images: Path, origin: str) -> Labelled:
    index = {category["id"]: number for number, category in enumerate(truth["categories"])}
    rows = defaultdict(list)
    for row in truth["annotations"]:
        if row["category_id"] in index:
            rows[row["image_id"]].append(row)
    examples, areas = [], {}
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        path = _picture_path(images, image["file_name"])
        own = rows[image["id"]]
        metadata = {str(key): str(value) for key, value in image.get("metadata", {}).items()}
        example = Example(
            path, header_of(path).size_wh, _objects(own, index), group=image.get("group"), metadata=metadata
        )
        examples.append(example)
        areas[example] = [row.get("area", row["bbox"][2] * row["bbox"][3]) for row in own]
    classes = tuple(category["name"] for category in truth["categories"])
    return Labelled(Dataset(origin, classes, tuple(examples)), areas)


def read_maps(images: Path, annotations: Path, name: str, classes: Sequence[str], ignored: Collection[int]) -> Labelled:
    """Return pictures with label pictures that have one class index per pixel, as ``classes`` are numbered.

    Raises `UsageError` for label pictures with an index that is neither a class nor ``ignored``.
    """
    found = pairs(images, annotations)
    for _, path in found:
        _check(path, len(classes), ignored)
    table = tuple(UNLABELLED if index in ignored else index for index in range(256))
    examples = (Example(path, header_of(path).size_wh, label_maps={name: label}) for path, label in found)
    return Labelled(Dataset(str(annotations), (), tuple(examples), {name: tuple(classes)}, {name: table}))


def pairs(images: Path, annotations: Path) -> list[tuple[Path, Path]]:
    """Return pictures with their label pictures: ``NAME.png``, or else ``NAME_anything.png``, for a picture ``NAME``.

    Pictures without one are left out. Raises `UsageError` if that leaves none.
    """
    labels = {path.stem: path for path in find_pictures(str(annotations)) if path.suffix.lower() == ".png"}
    found = []
    for picture in find_pictures(str(images)):
        label = _label_of(picture, labels)
        if label is not None:
            found.append((picture, label))
    if not found:
        raise UsageError(
            f"no picture of {images} has a label picture there", where=str(annotations),
            remedy="a label picture is called as its picture, NAME.png or NAME_label.png",
        )  # fmt: skip
    return found


def _label_of(picture: Path, labels: dict[str, Path]) -> Path | None:
    same = labels.get(picture.stem)
    if same is not None and not same.samefile(picture):
        return same
    return next((path for stem, path in labels.items() if stem.startswith(f"{picture.stem}_")), None)


def _check(path: Path, count: int, ignored: Collection[int]) -> None:
    strange = [index for index in np.unique(read_labels(path)).tolist() if index >= count and index not in ignored]
    if strange:
        raise UsageError(
            f"has class {strange[0]}, but the model has {count}", where=str(path),
            remedy=f"give --ignore {strange[0]} if it marks what nobody labelled",
        )  # fmt: skip


def _read_json(annotations: Path) -> dict[str, Any]:
    try:
        truth = json.loads(annotations.read_text(encoding="utf-8"))
        missing = {"images", "annotations", "categories"} - set(truth if isinstance(truth, dict) else ())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read as COCO annotations: {error}", where=str(annotations)) from error
    if missing:
        raise UsageError(f"is no COCO file: it has no {', '.join(sorted(missing))}", where=str(annotations))
    return dict(truth)


def _objects(rows: Sequence[Mapping[str, Any]], index: Mapping[int, int]) -> Objects:
    if not rows:
        return Objects.none()
    boxes = np.array([row["bbox"] for row in rows], np.float32)
    outlines = tuple(_outline(row.get("segmentation")) for row in rows)
    return Objects(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        np.array([index[row["category_id"]] for row in rows], np.int32),
        np.array([bool(row.get("iscrowd", 0)) for row in rows]),
        outlines if all(outlines) else None,
    )


def _outline(given: Any) -> Any:
    if not given or isinstance(given, dict):
        return given
    return [np.asarray(polygon, np.float32).reshape(-1, 2) for polygon in given]


def _picture_path(folder: Path, file_name: str) -> Path:
    """Return where a picture lies; some sets name folders in the file name of which the user gave the last one."""
    path = folder / file_name
    return path if path.exists() else folder / Path(file_name).name
