"""Label maps over a picture: every class in its own translucent colour with a clear border, and a legend.

Everything is worked out at the map's own size; only the finished colours and weights are enlarged, so that the cost at
full size is two enlargements, a product and a sum.
"""

from __future__ import annotations

import colorsys
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
        _blend(canvas, labels, seen)
    return [(names[index], colour) for index, colour in seen.items() if counts[index] >= _MIN_SHARE * labels.size]


def _blend(canvas: UInt8, labels: UInt8, colours: dict[int, RGB]) -> None:
    """Mix colours into a picture. They are weighted before they are enlarged, so that no other colour bleeds in."""
    table, strength = np.zeros((1, 256, 3), np.uint8), np.zeros(256, np.uint8)
    for index, colour in colours.items():
        table[0, index], strength[index] = colour, _BORDER
    weight = cv2.LUT(labels, strength)
    within = cv2.erode(labels, _OFFSETS) == cv2.dilate(labels, _OFFSETS)
    weight[within] = np.minimum(weight[within], _INSIDE)
    weights = cv2.merge([weight, weight, weight])
    tint = cv2.multiply(cv2.LUT(cv2.merge([labels, labels, labels]), table), weights, scale=1 / 255)
    size_wh = (canvas.shape[1], canvas.shape[0])
    rest = cv2.resize(cv2.bitwise_not(weights), size_wh, interpolation=cv2.INTER_LINEAR)
    cv2.multiply(canvas, rest, dst=canvas, scale=1 / 255)
    cv2.add(canvas, cv2.resize(tint, size_wh, interpolation=cv2.INTER_LINEAR), dst=canvas)
