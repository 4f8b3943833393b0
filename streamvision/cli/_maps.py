"""Label maps as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamvision.types import Segmentation


def shares(found: Segmentation, *, with_rle: bool) -> dict[str, object]:
    """Return a label map ready for JSON: its name, its size without padding, and each class's share of the picture.

    Classes that are not seen are left out. ``with_rle`` adds where each class is, as COCO's compressed run lengths in a
    picture of that size.
    """
    import numpy as np

    from streamvision.draw.label_maps import picture_part
    from streamvision.masks import Patch, rle

    labels = picture_part(found)
    counts = np.bincount(labels.ravel(), minlength=len(found.class_names)).tolist()
    seen = [(index, name) for index, name in enumerate(found.class_names) if counts[index]]
    size_wh = (labels.shape[1], labels.shape[0])
    one: dict[str, object] = {
        "name": found.name,
        "size": list(size_wh),
        "classes": {name: round(counts[index] / labels.size, 5) for index, name in seen},
    }
    if with_rle:
        one["rle"] = {name: rle(Patch(labels == index, (0, 0), size_wh)) for index, name in seen}
    return one
