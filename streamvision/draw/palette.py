"""Colours that stay apart for colour-blind eyes, bright enough for dark scenes.

Okabe and Ito, "Color Universal Design" (2008), lightened where a thin stroke of it would drown in a night picture,
in an order that keeps neighbours far apart.
"""

from __future__ import annotations

RGB = tuple[int, int, int]

PALETTE: tuple[RGB, ...] = (
    (86, 180, 233),
    (240, 165, 20),
    (20, 190, 140),
    (230, 135, 185),
    (244, 230, 80),
    (245, 110, 40),
    (110, 150, 255),
    (185, 235, 120),
)
ZONE: RGB = (110, 214, 255)
LINE: RGB = (255, 214, 102)
WHITE: RGB = (255, 255, 255)
DARK: RGB = (14, 17, 22)


def colour_of(number: int) -> RGB:
    """Return the colour of a track id or class id; the same number always has the same colour."""
    return PALETTE[number % len(PALETTE)]


def ink_on(fill: RGB) -> RGB:
    """Return the text colour, dark or white, with the higher contrast on a fill (luma of ITU-R BT.601)."""
    luma = (299 * fill[0] + 587 * fill[1] + 114 * fill[2]) / 1000
    return DARK if luma > 110 else WHITE
