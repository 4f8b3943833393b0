"""Pure functions on boxes, pictures and polygons. numpy only; coordinates are pixels unless a name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Letterbox:
    """An affine map between a source picture and a network's input: model = source * scale + offset.

    ``inner_wh`` is the size of the scaled picture inside the input of ``model_wh``; the rest is padding.
    """

    source_wh: tuple[int, int]
    model_wh: tuple[int, int]
    inner_wh: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    @classmethod
    def fit(cls, source_wh: tuple[int, int], model_wh: tuple[int, int], *, centre: bool = True) -> Letterbox:
        """Keep the aspect ratio; the padding is on both sides, or right and below without ``centre``."""
        scale = min(model_wh[0] / source_wh[0], model_wh[1] / source_wh[1])
        inner = (max(1, round(source_wh[0] * scale)), max(1, round(source_wh[1] * scale)))
        offset = ((model_wh[0] - inner[0]) // 2, (model_wh[1] - inner[1]) // 2) if centre else (0, 0)
        ratio = (inner[0] / source_wh[0], inner[1] / source_wh[1])
        return cls(source_wh, model_wh, inner, ratio, offset)

    @classmethod
    def stretch(cls, source_wh: tuple[int, int], model_wh: tuple[int, int]) -> Letterbox:
        """Fill the whole input, whatever the aspect ratio."""
        scale = (model_wh[0] / source_wh[0], model_wh[1] / source_wh[1])
        return cls(source_wh, model_wh, model_wh, scale, (0, 0))

    def to_source(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (N,4) in model px to source px, clipped to the source picture."""
        offset = np.asarray(self.offset_xy * 2, np.float32)
        scale = np.asarray(self.scale_xy * 2, np.float32)
        limit = np.asarray(self.source_wh * 2, np.float32)
        return np.asarray(np.clip((xyxy - offset) / scale, 0, limit), np.float32)

    def to_model(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (N,4) in source px to model px."""
        offset = np.asarray(self.offset_xy * 2, np.float32)
        scale = np.asarray(self.scale_xy * 2, np.float32)
        return np.asarray(xyxy * scale + offset, np.float32)


def box_areas(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the areas (N,) of boxes (N,4); an inside-out box has area 0."""
    sides = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union (N,M) of boxes (N,4) and (M,4); 0 where both are empty."""
    corner_low = np.maximum(a[:, None, :2], b[None, :, :2])
    corner_high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(corner_high - corner_low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = box_areas(a)[:, None] + box_areas(b)[None, :] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)
