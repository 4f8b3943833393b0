"""Charts as SVG text, coloured by the page's own style (classes s0, s1, ...) so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from streamvision.evaluate.calibration import Calibration

COLOURS = 8
"""How many series have a colour of their own."""
_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40


@dataclass(frozen=True, slots=True)
class Series:
    """A line: points whose y is NaN are left out. ``style`` is a class of the page's style sheet."""

    name: str
    style: str
    xs: Sequence[float]
    ys: Sequence[float]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """The axes: from 0 to ``x_max`` and 0 to ``y_max``, with a line at each of the ticks."""

    x_label: str
    y_label: str
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]

    def x(self, value: float) -> float:
        """Return where a value lies, in units of the drawing."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self.x_ticks[-1]

    def y(self, value: float) -> float:
        """Return where a value lies, in units of the drawing."""
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.y_ticks[-1]


def shares(x_label: str, y_label: str) -> Frame:
    """Return axes from 0 to 1."""
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    return Frame(x_label, y_label, ticks, ticks)


def nice_ticks(highest: float) -> list[float]:
    """Return ticks from 0 to at least ``highest``, in steps that people count in."""
    raw = max(highest, 1e-6) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    return [step * count for count in range(math.ceil(highest / step - 1e-9) + 1)] if highest > 0 else [0, 1]


def lines(frame: Frame, series: Sequence[Series], title: str) -> str:
    """Return a chart of lines."""
    return _drawing(frame, (part for one in series for part in _line(frame, one)), title)


def reliability(one: Calibration, title: str) -> str:
    """Return how often answers were right, by how sure they were: a bar for each bin beside the diagonal."""
    frame = shares("confidence", "share that is right")
    return _drawing(frame, _reliability(frame, one), title)


def _reliability(frame: Frame, one: Calibration) -> Iterator[str]:
    bins, most = len(one.count), max(1, int(one.count.max()))
    for index, (count, right) in enumerate(zip(one.count.tolist(), one.right.tolist(), strict=True)):
        if not count:
            continue
        low, high = frame.x(index / bins) + 1, frame.x((index + 1) / bins) - 1
        top, floor = frame.y(right), frame.y(0)
        opacity, height = 0.35 + 0.65 * math.sqrt(count / most), max(0.5, floor - top)
        yield (
            f'<rect class="bar" x="{low:.1f}" y="{top:.1f}" width="{high - low:.1f}" height="{height:.1f}"'
            f' opacity="{opacity:.2f}"><title>{index / bins:.1f} to {(index + 1) / bins:.1f}: {count} answers, '
            f"{right:.2f} right</title></rect>"
        )
    yield (
        f'<line class="ideal" x1="{frame.x(0):.1f}" y1="{frame.y(0):.1f}" x2="{frame.x(1):.1f}" y2="{frame.y(1):.1f}"/>'
    )


def _line(frame: Frame, one: Series) -> Iterator[str]:
    points = [(frame.x(x), frame.y(y), y) for x, y in zip(one.xs, one.ys, strict=True) if math.isfinite(y)]
    if not points:
        return
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline class="line {one.style}" points="{path}"><title>{escape(one.name)}</title></polyline>'
    if one.dots:
        for x, y, value in points:
            yield (
                f'<circle class="dot {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
                f"<title>{escape(one.name)}: {value:.3f}</title></circle>"
            )


def _drawing(frame: Frame, parts: Iterator[str], title: str) -> str:
    inner = "".join([*_axes(frame), *parts])
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"'
        f' xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
    )


def _axes(frame: Frame) -> Iterator[str]:
    left, right, floor = frame.x(0), frame.x(frame.x_ticks[-1]), frame.y(0)
    for tick in frame.y_ticks:
        y = frame.y(tick)
        style = "axis" if tick == 0 else "grid"
        yield f'<line class="{style}" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for tick in frame.x_ticks:
        yield f'<text class="tick" x="{frame.x(tick):.1f}" y="{floor + 16:.1f}" text-anchor="middle">{tick:g}</text>'
    middle = (left + right) / 2
    yield f'<text class="name" x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(frame.x_label)}</text>'
    across = (frame.y(frame.y_ticks[-1]) + floor) / 2
    yield (
        f'<text class="name" transform="translate(12 {across:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(frame.y_label)}</text>"
    )
