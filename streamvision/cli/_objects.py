"""Detections as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvision.types import Detections


def described(
    found: Detections, index: int, labels: Sequence[str], size_wh: tuple[int, int], *, with_rle: bool
) -> dict[str, object]:
    """Return one detection ready for JSON: box, score, class; polygon and keypoints where the network makes them.

    ``with_rle`` adds the mask itself, as COCO's compressed run lengths in a picture of ``size_wh``.
    """
    one: dict[str, object] = {
        "xyxy": [round(side, 2) for side in found.xyxy[index].tolist()],
        "score": round(float(found.score[index]), 4),
        "class": labels[found.class_id[index]],
    }
    if found.keypoints is not None:
        one["keypoints"] = _points(found.keypoints[index].tolist())
    if found.masks is not None:
        from streamvision.masks import patch, polygon, rle

        border = polygon(found.masks, index, size_wh)
        one["polygon"] = [] if border is None else _points(border.tolist())
        if with_rle:
            one["rle"] = rle(patch(found.masks, index, size_wh))
    return one


def _points(places: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[round(x, 1), round(y, 1)] for x, y in places]
