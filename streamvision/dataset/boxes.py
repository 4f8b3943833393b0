"""Boxes as files give them -> arrays, with what is wrong with them noted."""

from __future__ import annotations

from collections.abc import Sequence

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Findings

SLACK_PX = 1.5
"""So far a box may reach over the border: tools round. It is clipped."""
TINY_PX = 2.0
FAR_PX = 1e9
"""Where no picture reaches; a number beyond it, infinite ones and those that are none, is a slip."""


def sound(xyxy: Sequence[object], size_wh: tuple[int, int], where: object, findings: Findings) -> list[float] | None:
    """Return a box clipped to its picture; None, and a finding, for one that cannot be used."""
    given = [one for one in xyxy if isinstance(one, int | float) and not isinstance(one, bool)]
    numbers = [float(one) for one in given if -FAR_PX < one < FAR_PX]
    if len(numbers) != 4:
        findings.add(kinds.BAD_NUMBER, where, f"the box is {list(xyxy)}")
        return None
    x1, y1, x2, y2 = numbers
    shown = f"the box is {x1:g}, {y1:g} to {x2:g}, {y2:g}"
    width, height = size_wh
    if x2 < x1 or y2 < y1:
        findings.add(kinds.INVERTED_BOX, where, shown)
    elif x2 == x1 or y2 == y1:
        findings.add(kinds.EMPTY_BOX, where, shown)
    elif (
        min(x1, y1) < -SLACK_PX
        or x2 > width + SLACK_PX
        or y2 > height + SLACK_PX
        or x1 >= width
        or y1 >= height
        or min(x2, y2) <= 0
    ):
        findings.add(kinds.OUTSIDE_BOX, where, f"{shown}, the picture is {width}x{height}")
    else:
        if min(x2 - x1, y2 - y1) < TINY_PX:
            findings.add(kinds.TINY_BOX, where, shown)
        return [max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)]
    return None
