"""Families of networks, known by the names, shapes and metadata that their exporters leave.

Each function looks at what was seen and says what the network is, or None if it is not of its family. What a file
cannot tell becomes a question with the option that answers it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from streamvision.engine.adopt.look import Seen
from streamvision.engine.decoders.yolox import anchor_grid
from streamvision.engine.onnx_tensor import printable
from streamvision.types import Float32

_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64))
_PER_CELL: Final = 3
"""Anchors that v5 and v7 have in each cell; anchor-free networks have one."""
_FOLLOWS: Final = 0.9
"""Correlation from which on boxes are taken to be where their cells are."""
COCO_NUMBERS: Final = 90
"""How many labels a list has that keeps COCO's own numbers, which begin with 1."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What a network seems to be. None is unknown; ``classes`` is how many labels it needs."""

    family: str
    decoder: str
    classes: int | None = None
    labels: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "detection"
    colour: str | None = None
    normalise: str | None = None
    fit: str | None = None
    pad: int = 114
    licence: str = ""
    questions: tuple[str, ...] = ()


def recognise(seen: Seen, labels: Sequence[str], decoder: str | None) -> Guess | None:
    """Return what a network is; ``labels`` and ``decoder`` are what the user stated."""
    for family in (_yunet, _ultralytics, _detr, _counted, _finished, _anchors, _scores):
        guess = family(seen, labels)
        if guess is not None and decoder in (None, guess.decoder):
            return guess
    return None if decoder is None else _stated(seen, decoder)


def _yunet(seen: Seen, labels: Sequence[str]) -> Guess | None:
    if not {"cls_8", "obj_8", "bbox_8", "kps_8"} <= set(seen.names):
        return None
    return Guess(
        "YuNet", "yunet", 1, ("face",), colour="bgr", normalise="none", fit="letterbox_top_left", pad=0
    )  # fmt: skip


def _ultralytics(seen: Seen, labels: Sequence[str]) -> Guess | None:
    """Ultralytics writes what it knows into the file's metadata, as Python literals."""
    names = _names(seen.metadata("names"))
    if not names or "stride" not in seen.facts.metadata:
        return None
    task = seen.facts.metadata.get("task", "detect")
    guess = Guess(
        f"Ultralytics {task}", "yolo", len(names), names, colour="rgb", normalise="unit", fit="letterbox",
        licence=printable(seen.facts.metadata.get("license", "")),
    )  # fmt: skip
    shape = seen.shapes[0]
    if task == "segment":
        return _changed(guess, decoder="yolo_seg", task="instance_segmentation")
    if task == "classify":
        # Its softmax is in the file. It was trained on the middle of pictures; of a crop, everything counts.
        return _changed(
            guess, decoder="classification", task="classification", options={"softmax": False}, fit="stretch"
        )
    if task != "detect":
        what = f"its task is {task!r}, which is not supported: export a detector, a segmenter or a classifier"
        return _changed(guess, questions=(what,))
    is_detr = "rtdetr" in f"{seen.facts.metadata.get('head')} {seen.facts.metadata.get('description')}".lower()
    if is_detr and shape[2:] != (6,):
        return _changed(guess, questions=("how its scores become detections: export it with a newer Ultralytics",))
    if len(shape) == 3 and shape[2] == 6:
        options = {"box": "centre", "normalised": True} if is_detr else {}
        return _changed(guess, decoder="end2end", options=options, fit="stretch" if is_detr else guess.fit)
    return guess


def _names(value: Any) -> tuple[str, ...]:
    """Return class names given as {0: name, ...} or as a list."""
    if isinstance(value, dict) and sorted(map(str, value)) == sorted(map(str, range(len(value)))):
        value = [value[index] for index in range(len(value)) if index in value]
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _detr(seen: Seen, labels: Sequence[str]) -> Guess | None:
    """Logits and boxes of the same queries; the names tell who exported them."""
    names = [name.lower() for name in seen.names]
    boxes = [at for at, shape in enumerate(seen.shapes) if len(shape) == 3 and shape[2] == 4]
    boxes = [at for at in boxes if len(boxes) == 1 or "box" in names[at] or "dets" in names[at]]
    if len(boxes) != 1 or len(seen.names) < 2:
        return None
    logits = [at for at, shape in enumerate(seen.shapes) if at != boxes[0] and len(shape) == 3]
    if len(logits) != 1 or seen.shapes[logits[0]][:2] != seen.shapes[boxes[0]][:2]:
        return None
    columns = seen.shapes[logits[0]][2]
    masked = any(len(shape) == 4 and shape[1] == seen.shapes[boxes[0]][1] for shape in seen.shapes)
    task = "instance_segmentation" if masked else "detection"
    return _school(names, columns, labels, task)


def _school(names: Sequence[str], columns: int, labels: Sequence[str], task: str) -> Guess:
    first = 1 if len(labels) == COCO_NUMBERS and labels[0] == "person" else 0
    spare = columns - first - len(labels)
    guess = Guess("DETR-style", "detr", columns - first, colour="rgb", task=task, options={"first_class": first})
    if {"dets", "labels"} <= set(names):
        rf = _changed(guess, family="RF-DETR", classes=columns - 1, normalise="imagenet", fit="stretch")
        return _with_activation(rf, "sigmoid", len(labels) if labels and spare in (0, 1) else columns - 1)
    official = {"pred_logits", "pred_boxes"} <= set(names)
    if spare == 0:
        sigmoid = _changed(guess, fit="stretch", normalise="unit" if official else None)
        return _with_activation(sigmoid, "sigmoid", len(labels))
    return _changed(
        guess,
        classes=len(labels) if labels and spare == 1 else columns - first,
        questions=(
            f"there are {columns} logits for {len(labels)} labels: softmax with a class for nothing, as DETR, or "
            "sigmoid with an unused one; state --option activation=softmax or --option activation=sigmoid",
        )
        if labels
        else (),
    )


def _with_activation(guess: Guess, activation: str, classes: int) -> Guess:
    return _changed(guess, classes=classes, options={**guess.options, "activation": activation})


def _counted(seen: Seen, labels: Sequence[str]) -> Guess | None:
    names = [name.lower() for name in seen.names]
    if len(names) != 4 or not all(any(part in name for name in names) for part in ("num", "box", "score")):
        return None
    return Guess("detections that the network has suppressed itself", "efficient_nms")


def _finished(seen: Seen, labels: Sequence[str]) -> Guess | None:
    shape = seen.shapes[0]
    if (len(shape) == 3 and shape[2] == 6 and shape[1] <= 1000) or (len(shape) == 2 and shape[1] == 7 != len(labels)):
        known = {"colour": "rgb", "normalise": "unit", "fit": "letterbox"} if _yolo_names(seen) else {}
        return Guess("end-to-end detections", "end2end", **known)  # type: ignore[arg-type]
    return None


def _yolo_names(seen: Seen) -> bool:
    """Tell whether input and output are called as everybody's YOLO exports call them."""
    return seen.facts.inputs[0].name == "images" and seen.names[0] == "output0"


def _anchors(seen: Seen, labels: Sequence[str]) -> Guess | None:
    """One row, or one column, for each anchor: YOLO in one of its layouts."""
    shape = seen.shapes[0]
    if len(shape) != 3:
        return None
    cells = [math.prod(shape[1:]) % each == 0 and each in shape[1:] for each in _anchor_counts(seen.size_wh, 1)]
    anchored = any(each in shape[1:] for each in _anchor_counts(seen.size_wh, _PER_CELL))
    if not any(cells) and not anchored:
        return None
    width = min(shape[1:])
    if any(cells) and shape[2] == width and _objectness(width, labels):
        return _one_per_cell(seen, width, labels)
    known = {"colour": "rgb", "normalise": "unit", "fit": "letterbox"} if _yolo_names(seen) or anchored else {}
    classes = width - 5 if anchored or width == len(labels) + 5 else width - 4
    return Guess("YOLO", "yolo", classes, **known)  # type: ignore[arg-type]


def _objectness(width: int, labels: Sequence[str]) -> bool:
    """Tell whether rows of one anchor per cell have an objectness: v8-style networks put anchors last."""
    return not labels or width != len(labels) + 4


def _anchor_counts(size_wh: tuple[int, int], per_cell: int) -> list[int]:
    return [per_cell * sum((size_wh[0] // s) * (size_wh[1] // s) for s in strides) for strides in _STRIDES]


def _one_per_cell(seen: Seen, width: int, labels: Sequence[str]) -> Guess:
    """YOLOX, whose boxes are raw or decoded, or YOLOv6; which, the boxes of a sample picture tell."""
    anchors = seen.shapes[0][1]
    strides = next((s for s, n in zip(_STRIDES, _anchor_counts(seen.size_wh, 1), strict=True) if n == anchors), None)
    guess = Guess("YOLOX", "yolox", width - 5, fit="letterbox_top_left", colour="bgr", normalise="none")
    if strides is None:
        return guess
    options: dict[str, Any] = {} if strides == _STRIDES[0] else {"strides": list(strides)}
    if boxes_are_raw(np.asarray(seen.values[0][0], np.float32), seen.size_wh, strides):
        return _changed(guess, options=options)
    return _changed(
        guess, decoder="yolox", options={**options, "decoded": True}, fit=None, colour=None, normalise=None,
        family="YOLOX with decoded boxes, or YOLOv6",
    )  # fmt: skip


def boxes_are_raw(rows: Float32, size_wh: tuple[int, int], strides: Sequence[int]) -> bool:
    """Tell whether centres (N,2) know nothing of their cells, as offsets do, or follow them, as pixels do."""
    grid, stride = anchor_grid(size_wh, strides)
    cells = ((grid + 0.5) * stride).astype(np.float64)
    centres = rows[:, :2].astype(np.float64)
    cells, centres = cells - cells.mean(axis=0), centres - centres.mean(axis=0)
    spread = np.sqrt((cells**2).sum(axis=0) * (centres**2).sum(axis=0))
    return not bool(((cells * centres).sum(axis=0) > _FOLLOWS * spread).all() and spread.all())


def _scores(seen: Seen, labels: Sequence[str]) -> Guess | None:
    """Scores for the whole picture, or for every part of it."""
    shape = seen.shapes[0]
    if len(shape) == 2:
        return Guess("a classifier", "classification", shape[1], task="classification")
    if len(seen.shapes) == 1 and len(shape) == 4:
        classes = shape[1] if shape[1] > 1 else None
        return Guess("a segmenter", "semantic", classes, task="semantic_segmentation")
    return None


def _stated(seen: Seen, decoder: str) -> Guess:
    tasks = {"semantic": "semantic_segmentation", "classification": "classification"}
    masks = {"yolo_seg": "instance_segmentation"}
    return Guess(f"what you say ({decoder})", decoder, task=(tasks | masks).get(decoder, "detection"))


def _changed(guess: Guess, **changes: Any) -> Guess:
    return replace(guess, **changes)
