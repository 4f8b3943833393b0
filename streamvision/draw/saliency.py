"""A saliency map over its picture: warm where a score rests on, untouched where on nothing, with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from streamvision.draw.palette import DARK, WHITE
from streamvision.draw.strokes import fixed, stroke_px
from streamvision.draw.text import label_wh, put_label, text_px
from streamvision.types import Float32, UInt8

_STRONGEST = 0.8
"""How much of the colour is seen where the map is largest."""
_FLOOR, _FULL = 0.12, 0.75
"""Of the largest value: below the first is mostly noise, which is not drawn; from the second on colours are full."""
_FAINT = 0.45
_FIRST_COLOUR = 70
"""The colour scale begins here of 255: its darkest colours look like shadows."""


def draw_saliency(
    rgb: UInt8,
    values: Float32,
    *,
    xyxy: tuple[float, float, float, float] | None = None,
    label: str = "",
    legend: Sequence[str] = (),
    top: str = "",
) -> UInt8:
    """Return a copy of ``rgb`` (h,w,3) with a map (h,w of any size) over it.

    Only what speaks for the score is drawn. ``xyxy``: a box in px of the picture, with its ``label``; ``legend``: lines
    along the bottom; ``top``: what the largest value is, for the colour scale.
    """
    height, width = rgb.shape[:2]
    share = np.maximum(values, 0) / max(float(values.max()), np.finfo(np.float32).tiny)
    share = np.clip(cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colours = _colours(np.rint(share * 255).astype(np.uint8))
    weight = (_STRONGEST * np.clip((share - _FLOOR) / (_FULL - _FLOOR), 0, 1))[..., None]
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    calm = rgb.astype(np.float32) * (1 - _FAINT) + grey.astype(np.float32) * _FAINT  # so that only the map is warm
    canvas = np.ascontiguousarray(np.rint(calm * (1 - weight) + colours * weight).astype(np.uint8))
    px = text_px((width, height))
    if xyxy is not None:
        _box(canvas, xyxy, label, px)
    _legend(canvas, [*([] if xyxy is not None else [label]), *legend], px, top)
    return canvas


def _colours(values: UInt8) -> UInt8:
    scale = np.rint(_FIRST_COLOUR + values.astype(np.float32) * (255 - _FIRST_COLOUR) / 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(scale, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), np.uint8)


def _box(canvas: UInt8, xyxy: tuple[float, float, float, float], label: str, px: int) -> None:
    x1, y1, x2, y2 = xyxy
    corners = [fixed(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32))]
    thick = stroke_px(canvas)
    for colour, width in ((DARK, thick + 2), (WHITE, thick)):  # seen on warm and on dark ground
        cv2.polylines(canvas, corners, True, colour, width, cv2.LINE_AA, 4)
    wide, high = label_wh(label, px)
    x, y = max(0, min(int(x1), canvas.shape[1] - wide)), int(y1) - high - thick
    put_label(canvas, label, (x, y if y >= 0 else int(y1) + thick), px, ink=WHITE, fill=DARK)


def _legend(canvas: UInt8, lines: Sequence[str], px: int, top: str) -> None:
    """Write lines at the bottom left, from the bottom up, and the colour scale under them."""
    pad = max(2, px // 3)
    y = canvas.shape[0] - px // 2
    if top:
        wide, high = min(px * 8, canvas.shape[1] - 2 * pad), max(4, px // 2)
        y -= high
        bar = np.tile(np.linspace(0, 255, wide).astype(np.uint8), (high, 1))
        canvas[y : y + high, pad : pad + wide] = _colours(bar)
        lines = [*lines, f"0 ... {top}"]
    for line in reversed([line for line in lines if line]):
        y -= label_wh(line, px)[1] + pad // 2
        put_label(canvas, line, (pad, y), px, ink=WHITE, fill=DARK)
