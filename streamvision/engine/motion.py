"""The engine that needs no network: whatever moves in front of a fixed camera, one box each, label ``object``."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from streamvision.engine.background import Background, Foreground, MotionOptions
from streamvision.engine.manifest import Manifest
from streamvision.errors import ManifestError
from streamvision.types import Batch, Detections, Float32, Frame, Perception, UInt8

_HOLE_AFTER_S = 1.5
"""A thing that has not moved for so long may be the hole that something left."""
_MAX_BATCH = 8
_MARGIN = 2
"""Pixels around a blob in which its outline is looked for."""
_SPECK = np.ones((2, 2), np.uint8)
_PIECE = 0.4
"""A box with less than this share of its neighbour's area may be a piece of the same object."""


class Movers:
    """What moves in each stream: one background per stream. Used by one thread."""

    def __init__(self, options: MotionOptions) -> None:
        self._options = options
        self._backgrounds: dict[str, Background] = {}

    def find(self, frame: Frame) -> Float32:
        """Return (n,5) xyxy in input px and score of what moves in a frame, the padding left out."""
        (left, top), (width, height) = frame.letterbox.offset_xy, frame.letterbox.inner_wh
        inner = frame.pixels[top : top + height, left : left + width]
        background = self._backgrounds.get(frame.info.stream)
        if background is None or background.shape != inner.shape:
            background = Background(inner, frame.info.media_s, self._options)
            self._backgrounds[frame.info.stream] = background
        boxes = find_objects(background, background.update(inner, frame.info.media_s), self._options)
        return boxes + np.array([left, top, left, top, 0], np.float32)

    def forget(self, stream: str) -> None:
        """Forget a stream's background."""
        self._backgrounds.pop(stream, None)

    def clear(self) -> None:
        """Forget every background."""
        self._backgrounds.clear()


class MotionEngine:
    """Implements `interfaces.Engine`; one background per stream; runs on the caller's thread."""

    Options = MotionOptions

    def __init__(self, manifest: Manifest) -> None:
        try:
            self._options = MotionOptions.model_validate(manifest.options)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ManifestError(f"options.{key}: {first['msg']}", where=str(manifest.path or manifest.name)) from error
        if manifest.input.channels != 3 or len(manifest.labels) != 1:
            raise ManifestError(
                "motion sees colour pictures and has one label", where=str(manifest.path or manifest.name)
            )
        self.input = manifest.input.spec()
        self.labels: tuple[str, ...] = manifest.labels
        self.in_flight = 1
        self.max_batch = _MAX_BATCH
        self.description = f"{manifest.name} by background subtraction (CPU)"
        self._movers = Movers(self._options)

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        """Find what moves; the future is done already and holds (n,5) per frame: xyxy in input px, score."""
        future: Future[list[NDArray[Any]]] = Future()
        future.set_result([self._movers.find(frame) for frame in batch.frames])
        return future

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        """Return one `Perception` per frame, in source pixels, best score first."""
        return [Perception(_detections(frame, found)) for frame, found in zip(batch.frames, outputs, strict=True)]

    def forget(self, stream: str) -> None:
        """Forget a stream's background."""
        self._movers.forget(stream)

    def close(self) -> None:
        """Forget every background; idempotent."""
        self._movers.clear()


def _detections(frame: Frame, found: NDArray[Any]) -> Detections:
    order = np.argsort(-found[:, 4], kind="stable")
    xyxy = frame.letterbox.to_source(np.ascontiguousarray(found[order, :4]))
    return Detections(xyxy, np.ascontiguousarray(found[order, 4]), np.zeros(len(found), np.int32))


def find_objects(background: Background, seen: Foreground, options: MotionOptions) -> Float32:
    """Return (n,5) xyxy in px of the picture and score of everything that moved or stands where it had not."""
    unit = max(1, round(seen.mask.shape[1] / 320))
    solid = _tidied(seen.solid, unit)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = [row for blob in contours if (row := _object(background, seen, blob, options)) is not None]
    return _joined(np.asarray(found, np.float32).reshape(-1, 5), unit)


def _tidied(mask: UInt8, unit: int) -> UInt8:
    """Drop specks, close gaps; people are taller than wide, and so are the gaps in them."""
    gap = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * unit - 1, 2 * unit + 1))
    return np.asarray(cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_OPEN, _SPECK), cv2.MORPH_CLOSE, gap), np.uint8)


def _object(
    background: Background, seen: Foreground, blob: NDArray[np.int32], options: MotionOptions
) -> tuple[float, ...] | None:
    """Judge one connected blob; None for what is too small, a hole, or has stood there for very long."""
    x, y, width, height = cv2.boundingRect(blob)
    if cv2.contourArea(blob) < options.min_area * seen.mask.size:
        return None
    left, top = max(0, x - _MARGIN), max(0, y - _MARGIN)
    part = slice(top, y + height + _MARGIN), slice(left, x + width + _MARGIN)
    own = np.zeros(seen.mask[part].shape, np.uint8)
    cv2.drawContours(own, [blob], 0, (255,), cv2.FILLED, offset=(-left, -top))
    standing_s = background.standing_s(part, own)
    if standing_s > options.absorb or (standing_s > _HOLE_AFTER_S and background.is_hole(part, own)):
        background.absorb(part, cv2.dilate(own, np.ones((5, 5), np.uint8)))
        return None
    contrast = cv2.mean(seen.contrast[part], own)[0] / options.min_contrast
    score = 0.3 + 0.65 * (1 - np.exp(-contrast))
    return x, y, x + width, y + height, float(score)


def _joined(found: Float32, unit: int) -> Float32:
    """Join the pieces of one object: boxes that lie above each other and almost touch, or within each other."""
    boxes = [row.copy() for row in found[np.argsort(-_areas(found))]]
    index = 0
    while index < len(boxes):
        mates = [other for other in range(index + 1, len(boxes)) if _belongs(boxes[index], boxes[other], unit)]
        for other in mates:
            boxes[index] = _union(boxes[index], boxes[other])
        boxes = [box for place, box in enumerate(boxes) if place not in mates]
        index = 0 if mates else index + 1
    return np.asarray(boxes, np.float32).reshape(-1, 5)


def _areas(found: Float32) -> Float32:
    return np.asarray((found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]), np.float32)


def _belongs(large: Float32, small: Float32, unit: int) -> bool:
    """Whether a box is a piece of a larger one: much smaller, mostly in its columns, and at most a gap above or below.

    Two boxes of like size are two people, one of whom stands behind the other.
    """
    shared_x = min(large[2], small[2]) - max(large[0], small[0])
    gap_y = max(large[1], small[1]) - min(large[3], small[3])
    alike = _areas(small[None])[0] > _PIECE * _areas(large[None])[0]
    return bool(not alike and shared_x >= 0.6 * (small[2] - small[0]) and gap_y <= 3 * unit)


def _union(one: Float32, other: Float32) -> Float32:
    low, high = np.minimum(one[:2], other[:2]), np.maximum(one[2:4], other[2:4])
    return np.concatenate([low, high, [max(one[4], other[4])]]).astype(np.float32)
