"""What a two-stage network's heads say, as detections: torchvision's postprocessing, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from streamvision.engine.background import MotionOptions
from streamvision.engine.decoders import ScoreOptions
from streamvision.engine.proposals import ProposalOptions, Window, clip, large_enough, nms_within, refine
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Int32, Masks, Perception

_MIN_SIDE = 1e-2
"""Input px; smaller detections are dropped."""
_BORDER = 1
"""Empty cells around a mask, so that it ends within its raster."""


class TwoStageOptions(ScoreOptions):
    """The ``options`` of a manifest of kind ``two_stage``; thresholds as in torchvision.

    ``regions``: whether the second stage looks at what the network itself proposes (``rpn``), or at what moves in front
    of a fixed camera (``motion``), with ``margin`` of its size around it.
    """

    max_detections: Annotated[int, Field(ge=1)] = 100
    iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    regions: Literal["rpn", "motion"] = "rpn"
    proposals: ProposalOptions = ProposalOptions()
    motion: MotionOptions = MotionOptions()
    margin: Annotated[float, Field(ge=0, le=2)] = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Detections of one picture in input px, best first: xyxy (N,4), score (N,), class_id (N,)."""

    xyxy: Float32
    score: Float32
    class_id: Int32

    @classmethod
    def nothing(cls) -> Found:
        """Return what a picture without any region shows."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


def window_of(letterbox: Letterbox) -> Window:
    """Return the part of a network's input that shows the picture, in input px."""
    (left, top), (width, height) = letterbox.offset_xy, letterbox.inner_wh
    return left, top, left + width, top + height


def select(scores: Float32, deltas: Float32, regions: Float32, window: Window, options: TwoStageOptions) -> Found:
    """Return what the regions (R,4) of one picture show.

    ``scores`` (R, classes) and ``deltas`` (R, classes, 4) have the background first; every class of a region above the
    threshold is a detection with a box of its own.
    """
    row, class_id = np.nonzero(scores[:, 1:] > np.float32(options.min_score))
    score = scores[row, class_id + 1]
    xyxy = clip(refine(regions[row], deltas[row, class_id + 1]), window)
    good = large_enough(xyxy, _MIN_SIDE)
    xyxy, score, class_id = xyxy[good], score[good], class_id[good]
    best = nms_within(class_id, xyxy, score, options.iou)[: options.max_detections]
    return Found(xyxy[best], score[best], class_id[best].astype(np.int32))


def to_perception(
    letterbox: Letterbox, xyxy: Float32, score: Float32, class_id: Int32, masks: Float32 | None = None
) -> Perception:
    """Return detections in source px; ``masks`` (N,m,m) are probabilities within the boxes."""
    source = letterbox.to_source(xyxy)
    return Perception(Detections(source, score, class_id, None if masks is None else boxed_masks(masks, source)))


def boxed_masks(masks: Float32, xyxy: Float32) -> Masks:
    """Return probabilities (N,m,m) within boxes (N,4) in source px as masks.

    The rasters get an empty border, and their regions grow to whole pixels, as torchvision pastes them
    (``paste_masks_in_image``): rounded towards zero, with the last pixel included.
    """
    side = masks.shape[-1]
    bordered = np.pad(masks, ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER)))
    centre = (xyxy[:, :2] + xyxy[:, 2:]) * np.float32(0.5)
    half = (xyxy[:, 2:] - xyxy[:, :2]) * np.float32(0.5 * (side + 2 * _BORDER) / side)
    low, high = np.trunc(centre - half), np.trunc(centre + half) + 1
    return Masks(bordered - np.float32(0.5), np.concatenate([low, high], axis=1).astype(np.float32))
