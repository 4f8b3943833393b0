"""The first batch as the network sees it, augmented and labelled: most mistakes in data and options show here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from streamvision.draw import to_jpeg
from streamvision.draw.label_maps import draw_label_maps
from streamvision.draw.palette import colour_of
from streamvision.draw.strokes import polyline
from streamvision.geometry import Letterbox
from streamvision.train.batches import Batches
from streamvision.train.networks import Target
from streamvision.types import Segmentation, UInt8

FILE = "first-batch.jpg"
_MOST = 16
_STROKE_PX = 2


def write(batches: Batches, folder: Path) -> UInt8:
    """Draw the first batch into ``first-batch.jpg`` and return it (h,w,3)."""
    stream = batches.epoch(0)
    batch = next(iter(stream))
    pictures = batch.pictures[:_MOST].permute(0, 2, 3, 1).numpy()
    sheet = tiled([drawn(rgb, target) for rgb, target in zip(pictures, batch.targets, strict=False)])
    (folder / FILE).write_bytes(to_jpeg(sheet))
    return sheet


def drawn(rgb: UInt8, target: Target) -> UInt8:
    """Return a picture (h,w,3) with its label maps and boxes; boxes that do not count are grey."""
    canvas = np.ascontiguousarray(rgb).copy()
    size_wh = (rgb.shape[1], rgb.shape[0])
    for name, raster in target.label_maps.items():
        labels = raster.numpy()
        names = ("background", *(str(number) for number in range(1, 256)))
        draw_label_maps(canvas, [Segmentation(name, labels % 255, Letterbox.stretch(size_wh, size_wh), names)])
    rows = zip(target.boxes.tolist(), target.labels.tolist(), target.ignore.tolist(), strict=True)
    for (x1, y1, x2, y2), kind, ignored in rows:
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
        polyline(canvas, corners, (160, 160, 160) if ignored else colour_of(kind), _STROKE_PX, closed=True)
    return canvas


def tiled(pictures: list[UInt8]) -> UInt8:
    """Return pictures of one size as one, in rows."""
    columns = math.ceil(math.sqrt(len(pictures)))
    blank = [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    cells = [*pictures, *blank]
    rows = [np.concatenate(cells[start : start + columns], axis=1) for start in range(0, len(cells), columns)]
    return np.concatenate(rows, axis=0)
