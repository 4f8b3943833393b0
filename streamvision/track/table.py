"""The tracks of one stream as a struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from streamvision.track.kalman import POSITION, Float64
from streamvision.types import Float32, Int32, Int64


@dataclass(slots=True, eq=False)
class TrackTable:
    """One row per track, T rows; every array has length T along its first axis.

    state (T,5,4) as in `kalman`; ids, 0 while tentative; hits: in how many pictures it was seen; born_s and seen_s:
    media time of the first and last of them; score of the last; class_id the vote's winner; votes (T,C): the sum of
    scores with which each known class was seen; visible and det_index as in `Tracks`, for the latest picture.
    """

    state: Float64 = field(default_factory=lambda: np.empty((0, 5, 4)))
    ids: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    hits: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    born_s: Float64 = field(default_factory=lambda: np.empty(0))
    seen_s: Float64 = field(default_factory=lambda: np.empty(0))
    score: Float32 = field(default_factory=lambda: np.empty(0, np.float32))
    class_id: Int32 = field(default_factory=lambda: np.empty(0, np.int32))
    votes: Float64 = field(default_factory=lambda: np.empty((0, 0)))
    visible: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    det_index: Int32 = field(default_factory=lambda: np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def xyxy(self) -> Float32:
        """The filtered boxes (T,4) in pixels."""
        return to_xyxy(self.state[:, POSITION])

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop every row that is not in the mask."""
        for column in fields(self):
            setattr(self, column.name, getattr(self, column.name)[rows])

    def extend(self, other: TrackTable) -> None:
        """Append the rows of another table, which must know the same classes."""
        for column in fields(self):
            joined = np.concatenate((getattr(self, column.name), getattr(other, column.name)))
            setattr(self, column.name, joined)


def to_xyxy(cxcywh: Float64) -> Float32:
    """Turn boxes (T,4) from centre and size to corners."""
    half = cxcywh[:, 2:] * 0.5
    boxes = np.empty((len(cxcywh), 4), np.float32)
    np.subtract(cxcywh[:, :2], half, out=boxes[:, :2], casting="same_kind")
    np.add(cxcywh[:, :2], half, out=boxes[:, 2:], casting="same_kind")
    return boxes


def to_cxcywh(xyxy: Float32) -> Float64:
    """Turn boxes (N,4) from corners to centre and size."""
    boxes = np.empty((len(xyxy), 4))
    np.subtract(xyxy[:, 2:], xyxy[:, :2], out=boxes[:, 2:])
    np.add(xyxy[:, :2], boxes[:, 2:] * 0.5, out=boxes[:, :2])
    return boxes
