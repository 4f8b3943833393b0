"""Augmentation: where a picture goes (one affine map, or four in a mosaic), then what happens to its light.

Mosaic: Bochkovskiy et al., "YOLOv4", 2020. Mixup: Zhang et al., 2018, for detection as in Zhang et al., "Bag of
Freebies for Training Object Detection Neural Networks", 2019. Copies: Kisantal et al., "Augmentation for small object
detection", 2019. Erasing: Zhong et al., 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import streamvision.train.data.light as light
from streamvision.train.augmentation import Augmentation
from streamvision.train.data.sample import Matrix, Sample, Stored, affine, blank, mirrored, paint
from streamvision.types import Fit

Random = np.random.Generator

_CENTRE = (0.3, 0.7)
_ON_OBJECT = 0.7
"""How many zoomed pictures are placed so that one of their objects stays in sight."""
_PAD_VARIES = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What every picture of a set is brought to."""

    size_wh: tuple[int, int]
    fit: Fit
    pad: int
    maps: tuple[str, ...]
    masks: bool


def augmented(
    index: int, load: Callable[[int], Stored], count: int, plan: Plan, options: Augmentation, rng: Random, *, calm: bool
) -> Sample:
    """Return example ``index`` of ``count``, varied as ``rng`` decides; other examples may appear beside it."""
    stored = load(index)
    whole = stored.label is not None  # a picture that is judged as a whole is not cut together from others
    if not calm and not whole and rng.random() < options.mosaic:
        sample = _mosaic(stored, _others(stored, load, count, rng, 3), plan, options, rng)
    else:
        sample = _single(stored, plan, options, rng)
    if not calm and not whole and rng.random() < options.mixup:
        (other,) = _others(stored, load, count, rng, 1)
        _mix(sample, _single(other, plan, options, rng), rng)
    if rng.random() < options.copies:
        light.copy_small(sample, rng)
    light.vary(sample, options, rng)
    sample.index = index
    return sample


def _others(stored: Stored, load: Callable[[int], Stored], count: int, rng: Random, number: int) -> list[Stored]:
    """Return examples that may appear beside one: not those whose objects nobody knows beside those that are known."""
    found = [load(index) for index in rng.integers(0, count, number).tolist()]
    known = stored.objects is not None
    return [one if (one.objects is not None) == known and one.label is None else stored for one in found]


def _single(stored: Stored, plan: Plan, options: Augmentation, rng: Random) -> Sample:
    width, height = plan.size_wh
    sample = blank(plan.size_wh, _pad(plan, options, rng), plan.maps, masks=plan.masks)
    sample.known, sample.label = stored.objects is not None, stored.label
    scale = _scale(stored, plan, options, rng, options.scale)
    matrix = _placed(stored, plan, options, rng, scale)
    if rng.random() < options.flip:
        matrix = mirrored(matrix, width)
    paint(sample, stored, matrix, (0, 0, width, height), options.keep)
    return sample


def _mosaic(stored: Stored, others: list[Stored], plan: Plan, options: Augmentation, rng: Random) -> Sample:
    width, height = plan.size_wh
    sample = blank(plan.size_wh, plan.pad, plan.maps, masks=plan.masks)
    sample.known = stored.objects is not None
    across, down = (round(side * rng.uniform(*_CENTRE)) for side in plan.size_wh)
    windows = [(0, 0, across, down), (across, 0, width, down), (0, down, across, height), (across, down, width, height)]
    sizes = (0.5 * options.scale[0], max(0.5 * options.scale[1], 0.5))
    for each, window in zip([stored, *others], windows, strict=True):
        scale = _scale(each, plan, options, rng, sizes)
        offset = [_slide(each.source_wh[axis] * scale[axis], window[axis], window[axis + 2], rng) for axis in (0, 1)]
        matrix = affine(scale, (offset[0], offset[1]))
        if rng.random() < options.flip:  # mirrored about the middle of its own window
            matrix = mirrored(matrix, window[0] + window[2])
        paint(sample, each, matrix, window, options.keep)
    return sample


def _slide(side: float, low: int, high: int, rng: Random) -> float:
    """Return where something begins that lies inside a span, or covers it."""
    room = high - low - side
    return low + rng.uniform(min(0.0, room), max(0.0, room))


def _scale(
    stored: Stored, plan: Plan, options: Augmentation, rng: Random, between: tuple[float, float]
) -> tuple[float, float]:
    """Return how much wider and higher a picture gets."""
    fill = [model / source for model, source in zip(plan.size_wh, stored.source_wh, strict=True)]
    if plan.fit is not Fit.STRETCH:
        fill = [min(fill)] * 2
    size = math.exp(rng.uniform(math.log(between[0]), math.log(between[1])))
    wider = math.exp(rng.uniform(-1, 1) * math.log1p(options.aspect) / 2)
    return fill[0] * size * wider, fill[1] * size / wider


def _placed(stored: Stored, plan: Plan, options: Augmentation, rng: Random, scale: tuple[float, float]) -> Matrix:
    """Return where a picture goes: inside the input, or covering it, and up to ``translate`` beyond that."""
    beyond = [rng.uniform(-1, 1) * options.translate * side for side in plan.size_wh]
    moves = options.translate > 0 or options.scale[0] < options.scale[1]
    seen = _point_in_sight(stored, rng) if moves else None
    offsets = []
    for axis, side in enumerate(plan.size_wh):
        room = side - stored.source_wh[axis] * scale[axis]
        share = rng.random() if moves else 0.0 if plan.fit is Fit.LETTERBOX_TOP_LEFT else 0.5
        offset = room * share + beyond[axis]
        if seen is not None and room < 0:  # zoomed: keep the chosen object in the picture
            offset = min(max(offset, side * 0.1 - seen[axis] * scale[axis]), side * 0.9 - seen[axis] * scale[axis])
        offsets.append(offset)
    return affine(scale, (offsets[0], offsets[1]))


def _point_in_sight(stored: Stored, rng: Random) -> tuple[float, float] | None:
    """Return the centre (source px) of an object that should stay in sight, for most pictures."""
    objects = stored.objects
    if objects is None or not len(objects) or rng.random() > _ON_OBJECT:
        return None
    x1, y1, x2, y2 = objects.xyxy[rng.integers(len(objects))].tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2


def _pad(plan: Plan, options: Augmentation, rng: Random) -> int:
    """Return the grey around a picture; in a zoomed-out one it varies, so that nothing is learnt from it."""
    return plan.pad if options.scale[0] >= 1 or rng.random() > _PAD_VARIES else int(rng.integers(0, 256))


def _mix(sample: Sample, other: Sample, rng: Random) -> None:
    """Blend another picture into one; the objects of both count. Label maps stay those of the first."""
    share = float(rng.beta(8, 8))
    mixed = sample.rgb * np.float32(share) + other.rgb * np.float32(1 - share)
    sample.rgb = mixed.astype(np.uint8)
    sample.xyxy = np.concatenate([sample.xyxy, other.xyxy])
    sample.labels = np.concatenate([sample.labels, other.labels])
    sample.ignore = np.concatenate([sample.ignore, other.ignore])
    if sample.masks is not None and other.masks is not None:
        sample.masks = np.concatenate([sample.masks, other.masks])
