from __future__ import annotations

import numpy as np

from streamvision.cli._maps import shares
from streamvision.geometry import Letterbox
from streamvision.types import Segmentation


def found() -> Segmentation:
    """A label map of 8x8 whose picture is its middle 8x4 rows: a quarter road, the rest background; padding is sky."""
    labels = np.full((8, 8), 2, np.uint8)
    labels[2:6] = 0
    labels[2:6, :2] = 1
    return Segmentation("scene", labels, Letterbox.fit((80, 40), (8, 8)), ("background", "road", "sky"))


def test_shares_are_of_the_picture_without_padding():
    assert shares(found(), with_rle=False) == {
        "name": "scene", "size": [8, 4], "classes": {"background": 0.75, "road": 0.25},
    }  # fmt: skip


def test_run_lengths_say_where_each_class_is():
    rle = shares(found(), with_rle=True)["rle"]
    assert rle == {"background": {"size": [4, 8], "counts": "8h0"}, "road": {"size": [4, 8], "counts": "08h0"}}
