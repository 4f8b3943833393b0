"""Whether a map can be believed: measured on the network itself.

Insertion and deletion: RISE's own metric (arXiv:1806.07421, section 4.3): pixels are hidden, or shown, the most
important first; a map is right if the score falls fast, or rises fast. Energy in the box: Wang et al., Score-CAM,
arXiv:1910.01279, section 4.3; pointing game: Zhang et al., arXiv:1608.00507.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from streamvision.explain.hiding import mixed
from streamvision.explain.occlusion import scores
from streamvision.explain.saliency import Saliency
from streamvision.explain.targets import Target
from streamvision.interfaces import Engine
from streamvision.types import Float32, Frame, UInt8

STEPS = 20
_BLUR = 0.04
"""The blur from which insertion starts, as a share of the longer side: what is left says little of any object."""
_CLEARLY = 0.05
"""By how much the score has to fall faster when what matters is hidden first."""
_AGREEMENT = 0.5
"""A map that agrees less with itself is mostly noise."""


@dataclass(frozen=True, slots=True)
class Curves:
    """The score, as a share of the whole picture's, with 0, 1/n, 2/n ... 1 of the picture hidden, or shown.

    ``control``: the deletion with the least important pixels first, which has to be slower.
    """

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    control: tuple[float, ...]

    @property
    def deletion_area(self) -> float:
        """The area under the curve; the smaller the better."""
        return _area(self.deletion)

    @property
    def control_area(self) -> float:
        """The area under the curve; the larger the better."""
        return _area(self.control)

    @property
    def insertion_area(self) -> float:
        """The area under the curve; the larger the better."""
        return _area(self.insertion)


@dataclass(frozen=True, slots=True)
class Pointing:
    """How the map lies to a box: ``energy``, the share of its positive values inside; ``even``, what a map without any
    opinion would have there, which is the box's share of the picture; ``hit``: its largest value lies inside."""

    energy: float
    even: float
    hit: bool


def curves(engine: Engine, frame: Frame, target: Target, saliency: Saliency, steps: int = STEPS) -> Curves:
    """Hide and show the picture piece by piece in the map's order; takes 3 x (``steps`` + 1) inferences."""
    blank = np.full_like(frame.pixels, engine.input.pad)
    sigma = max(frame.letterbox.inner_wh) * _BLUR
    blurred = np.asarray(cv2.GaussianBlur(frame.pixels, (0, 0), sigma), np.uint8)
    whole = saliency.score or 1.0

    def stages(values: Float32, base: UInt8, *, hide: bool) -> Iterator[UInt8]:
        for first in _first(values, steps):
            yield mixed(frame.pixels, base, frame.letterbox, 1 - first if hide else first)

    def read(pictures: Iterator[UInt8]) -> tuple[float, ...]:
        found = scores(engine, frame, pictures, target, engine.max_batch, engine.in_flight)
        return tuple(score / whole for score in found)

    values = saliency.values
    return Curves(
        read(stages(values, blank, hide=True)), read(stages(values, blurred, hide=False)),
        read(stages(-values, blank, hide=True)),
    )  # fmt: skip


def pointing(saliency: Saliency, xyxy: tuple[float, float, float, float]) -> Pointing:
    """Compare a map with a box in source px."""
    height, width = saliency.values.shape
    scale = np.divide((width, height) * 2, saliency.letterbox.source_wh * 2)
    x1, y1, x2, y2 = (np.asarray(xyxy) * scale).round().astype(int).tolist()
    box = np.s_[max(0, y1) : max(y1 + 1, y2), max(0, x1) : max(x1 + 1, x2)]
    positive = np.maximum(saliency.values, 0)
    total = float(positive.sum())
    row, column = divmod(int(saliency.values.argmax()), width)
    hit = total > 0 and y1 <= row < max(y1 + 1, y2) and x1 <= column < max(x1 + 1, x2)
    energy = float(positive[box].sum()) / total if total else 0.0
    return Pointing(energy, positive[box].size / positive.size, bool(hit))


def doubts(saliency: Saliency, measured: Curves) -> list[str]:
    """Return why a map should not be believed, in words; empty if nothing speaks against it."""
    found = []
    if saliency.agreement is not None and saliency.agreement < _AGREEMENT:
        found.append(f"it is mostly noise (agreement {saliency.agreement:.2f}): take more masks")
    if measured.control_area - measured.deletion_area < _CLEARLY:
        found.append("what it marks does not matter more to the network than what it does not")
    return found


def as_json(measured: Curves, placed: Pointing | None) -> dict[str, Any]:
    """Return the measurements as JSON-ready values."""
    found: dict[str, Any] = {
        "deletion": round(measured.deletion_area, 4), "insertion": round(measured.insertion_area, 4),
        "deletion_backwards": round(measured.control_area, 4),
        "deletion_curve": [round(value, 4) for value in measured.deletion],
        "insertion_curve": [round(value, 4) for value in measured.insertion],
    }  # fmt: skip
    if placed is not None:
        found |= {
            "energy_in_box": round(placed.energy, 4), "box_share": round(placed.even, 4), "peak_in_box": placed.hit,
        }  # fmt: skip
    return found


def _first(values: Float32, steps: int) -> Iterator[Float32]:
    """Give, for growing shares of the picture, 1 on the most important pixels and 0 on the others (h,w)."""
    order = np.argsort(-values, axis=None, kind="stable")
    for step in range(steps + 1):
        chosen = np.zeros(values.size, np.float32)
        chosen[order[: round(values.size * step / steps)]] = 1
        yield chosen.reshape(values.shape)


def _area(curve: tuple[float, ...]) -> float:
    return float(np.trapezoid(curve) / (len(curve) - 1))
