"""Label maps over a picture: every class in its own translucent colour with a clear border, and a legend.

Everything is worked out at the map's own size; only the finished colours and weights are enlarged, so that the cost at
full size is two enlargements, a product and a sum.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np

from streamvision.draw.palette import PALETTE, RGB, ink_on
from streamvision.draw.text import label_wh, put_label
from streamvision.types import Segmentation, UInt8

_PLAIN = frozenset(
    {"background", "void", "unlabelled", "unlabeled", "ignore", "ignored", "none", "nothing", "other", "unknown"}
)
"""What such classes mark is shown as it is."""
_INSIDE, _BORDER = 100, 215
"""How much of the colour is seen, of 255."""
_GOLDEN = 0.618034
_MIN_SHARE = 0.001
_MAX_ENTRIES = 10
_OFFSETS = np.ones((3, 3), np.uint8)

Entry = tuple[str, RGB]


def draw_label_maps(canvas: UInt8, maps: Sequence[Segmentation]) -> list[Entry]:
    """Tint a picture (h,w,3) in place; return name and colour of each class that is seen, for the legend.

    The same class of the same model always has the same colour. The maps' letterboxes say which part of them is
    picture; the picture may have any size.
    """
    entries: list[Entry] = []
    first = 0
    for found in maps:
        colours = _colours(found.class_names, first)
        first += len(colours)
        labels = picture_part(found)
        if colours:
            entries += _tint(canvas, labels, colours, found.class_names)
    return entries


def put_legend(canvas: UInt8, entries: Sequence[Entry], px: int) -> None:
    """Write the names of classes on their colours along the left edge, from the bottom up."""
    y = canvas.shape[0] - px // 2
    for name, colour in list(entries)[:_MAX_ENTRIES]:
        y -= label_wh(name, px)[1] + max(2, px // 4)
        put_label(canvas, name, (px // 2, y), px, ink=ink_on(colour), fill=colour)


def picture_part(found: Segmentation) -> UInt8:
    """Return the label map without its padding, as a view."""
    (x, y), (width, height) = found.letterbox.offset_xy, found.letterbox.inner_wh
    return found.label_map[y : y + height, x : x + width]


def _colours(names: Sequence[str], first: int) -> dict[int, RGB]:
    """Return the colour of each class that is tinted; ``first`` is how many colours other maps have."""
    tinted = [index for index, name in enumerate(names) if name.strip("_").lower() not in _PLAIN]
    return {index: class_colour(first + number) for number, index in enumerate(tinted)}


def class_colour(number: int) -> RGB:
    """Return the colour of the n-th class: the palette's, and beyond it hues that are never close to the last ones."""
    if number < len(PALETTE):
        return PALETTE[number]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _tint(canvas: UInt8, labels: UInt8, colours: dict[int, RGB], names: Sequence[str]) -> list[Entry]:
    labels = np.ascontiguousarray(labels)
    counts = np.bincount(labels.ravel(), minlength=len(names))
    seen = {index: colour for index, colour in colours.items() if counts[index]}
    if seen:
        part, rows = _rows_of(labels, seen, canvas.shape[0])
        _blend(canvas[rows], labels[part], seen)
    return [(names[index], colour) for index, colour in seen.items() if counts[index] >= _MIN_SHARE * labels.size]


def _rows_of(labels: UInt8, colours: dict[int, RGB], height: int) -> tuple[slice, slice]:
    """Return the rows of a label map that hold all there is to tint, and the same rows of a picture that high.

    Both begin and end on a common border of their pixels, so that the part is enlarged as the whole would be.
    """
    tinted = np.zeros(256, np.uint8)
    tinted[list(colours)] = 1
    alive = np.flatnonzero(cv2.reduce(cv2.LUT(labels, tinted), 1, cv2.REDUCE_MAX))
    common = math.gcd(height, len(labels))
    block = len(labels) // common
    # One row more on each side, for the way from the colour to none.
    low = max(0, int(alive[0]) - 1) // block
    high = min(common, -(-(int(alive[-1]) + 2) // block))
    step = height // common
    return slice(low * block, high * block), slice(low * step, high * step)


def _blend(canvas: UInt8, labels: UInt8, colours: dict[int, RGB]) -> None:
    """Mix colours into a picture. They are weighted before they are enlarged, so that no other colour bleeds in."""
    table, strength = np.zeros((1, 256, 3), np.uint8), np.zeros(256, np.uint8)
    for index, colour in colours.items():
        table[0, index], strength[index] = colour, _BORDER
    border = cv2.compare(cv2.erode(labels, _OFFSETS), cv2.dilate(labels, _OFFSETS), cv2.CMP_NE)
    weight = cv2.min(cv2.LUT(labels, strength), cv2.max(border, _INSIDE))
    weights = cv2.merge([weight, weight, weight])
    tint = cv2.multiply(cv2.LUT(cv2.merge([labels, labels, labels]), table), weights, scale=1 / 255)
    size_wh = (canvas.shape[1], canvas.shape[0])
    rest = cv2.resize(cv2.bitwise_not(weights), size_wh, interpolation=cv2.INTER_LINEAR)
    cv2.multiply(canvas, rest, dst=canvas, scale=1 / 255)
    cv2.add(canvas, cv2.resize(tint, size_wh, interpolation=cv2.INTER_LINEAR), dst=canvas)
