"""What a network saw in a picture, as the annotations of a data set: pre-labels for a person to correct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from streamvision.draw.label_maps import picture_part
from streamvision.masks import polygon
from streamvision.types import Analysis, Segmentation

_LEAST_PX = 1.0


def objects_of(analysis: Analysis, model: str, min_score: float) -> list[dict[str, Any]]:
    """Return the detections from ``min_score`` on as COCO annotations without ids, the class's name as ``category``."""
    found, tracks = analysis.detections, analysis.tracks
    seen = tracks.visible
    ids = dict(zip(tracks.det_index[seen].tolist(), tracks.ids[seen].tolist(), strict=True))
    objects = []
    for row in np.flatnonzero(found.score >= min_score).tolist():
        x1, y1, x2, y2 = found.xyxy[row].tolist()
        if x2 - x1 < _LEAST_PX or y2 - y1 < _LEAST_PX:
            continue
        box = [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]
        objects.append({
            "category": analysis.class_names[int(found.class_id[row])], "bbox": box, "area": round(box[2] * box[3], 2),
            "iscrowd": 0, "segmentation": _outline(analysis, row), "score": round(float(found.score[row]), 4),
            "model": model, **({"track_id": ids[row]} if row in ids else {}),
        })  # fmt: skip
    return objects


def maps_of(segmentation: Sequence[Segmentation], size_wh: tuple[int, int]) -> dict[str, bytes]:
    """Return each label map as a grey PNG file of class indices, as large as the picture."""
    return {found.name: _png(found, size_wh) for found in segmentation}


def _outline(analysis: Analysis, row: int) -> list[list[float]]:
    masks = analysis.detections.masks
    border = None if masks is None else polygon(masks, row, analysis.info.size_wh)
    return [] if border is None or len(border) < 3 else [np.round(border, 1).ravel().tolist()]


def _png(found: Segmentation, size_wh: tuple[int, int]) -> bytes:
    labels = cv2.resize(np.ascontiguousarray(picture_part(found)), size_wh, interpolation=cv2.INTER_NEAREST)
    done, data = cv2.imencode(".png", labels)
    if not done:  # the arguments are ours, so this is a bug and not a misfortune
        raise RuntimeError(f"a label map of {labels.shape} cannot be encoded")
    return bytes(data)
