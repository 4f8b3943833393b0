"""Decoders: what a network's raw outputs mean, as boxes in source pixels.

A decoder is built once per engine from its ``Options`` and the network's real shapes, refuses a network that it
cannot read, and from then on only does arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.nms import best_first, nms
from streamvision.errors import ManifestError
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Int32, Masks


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What is known of a compiled network. ``outputs`` are real shapes, the batch first; ``names`` are theirs.

    ``labels`` and ``segmentation`` (class names per label map) are the manifest's.
    """

    model: str
    input_wh: tuple[int, int]
    classes: int
    outputs: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    segmentation: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def index_of(self, name: str) -> int:
        """Return the position of the output called ``name``. Raises `ManifestError` if there is none."""
        if name not in self.names:
            raise self.mismatch(f"there is no output {name!r}; the network has {', '.join(self.names) or 'none'}")
        return self.names.index(name)

    def only_output(self, rank: int) -> tuple[int, ...]:
        """Return the first output's shape. Raises `ManifestError` unless it has ``rank`` dimensions."""
        if not self.outputs or len(self.outputs[0]) != rank:
            found = ", ".join(map(str, self.outputs)) or "none"
            raise self.mismatch(f"this decoder reads one output of {rank} dimensions, but the network has {found}")
        return self.outputs[0]

    def mismatch(self, what: str) -> ManifestError:
        """Return the error for a manifest and a network that contradict each other."""
        return ManifestError(what, where=self.model, remedy="correct the manifest, or take the file that it describes")


class ScoreOptions(BaseModel):
    """What every detector's decoder lets you choose.

    ``min_score`` is low by default because the tracker makes use of faint detections; a stream's own ``min_score``
    decides what it believes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_score: Annotated[float, Field(gt=0, lt=1)] = 0.1
    max_detections: Annotated[int, Field(ge=1)] = 300


class NmsOptions(ScoreOptions):
    """Options of decoders that suppress overlapping boxes; ``candidates`` is how many best boxes may compete."""

    iou: Annotated[float, Field(gt=0, le=1)] = 0.45
    candidates: Annotated[int, Field(ge=1)] = 1000


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of one picture before suppression: centre and size (N,4) in model px, score (N,), class_id (N,)."""

    cxcywh: Float32
    score: Float32
    class_id: Int32


def corners(cxcywh: Float32) -> Float32:
    """Return boxes (N,4) given as centre and size as ``xyxy``."""
    half = cxcywh[:, 2:] * np.float32(0.5)
    return np.concatenate((cxcywh[:, :2] - half, cxcywh[:, :2] + half), axis=1)


def survivors(found: Candidates, options: NmsOptions) -> NDArray[np.intp]:
    """Return which candidates are left after suppression, best first, each class for itself."""
    order = best_first(found.score, options.candidates)
    keep = nms(corners(found.cxcywh[order]), found.class_id[order], options.iou)
    return np.asarray(order[keep[: options.max_detections]], np.intp)


def suppress(found: Candidates, letterbox: Letterbox, options: NmsOptions) -> Detections:
    """Reduce candidates to `Detections`, best first, each class for itself."""
    if not len(found.score):
        return Detections.empty()
    keep = survivors(found, options)
    return to_detections(corners(found.cxcywh[keep]), found.score[keep], found.class_id[keep], letterbox)


def to_detections(
    xyxy: Float32,
    score: Float32,
    class_id: Int32,
    letterbox: Letterbox,
    masks: Masks | None = None,
    keypoints: Float32 | None = None,
) -> Detections:
    """Map boxes from model to source pixels; what lies wholly in the padding is nothing and is dropped.

    Masks and keypoints, where there are any, are in source pixels already.
    """
    source = letterbox.to_source(xyxy)
    score = np.minimum(np.maximum(score, 0), 1)  # np.clip takes several times as long for a handful
    found = Detections(source, score, class_id, masks, keypoints)
    visible = (source[:, 2] > source[:, 0]) & (source[:, 3] > source[:, 1])
    return found if visible.all() else found[visible]
