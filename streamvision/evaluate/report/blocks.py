"""What a report is made of: sections of tables, charts and pictures, before anything is HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: ``share`` in [0,1] draws a bar behind a number, or a shade in a matrix; ``tone``: good or bad."""

    text: str
    number: bool = False
    share: float | None = None
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a ``matrix`` is shaded by the shares of its cells."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    matrix: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing as SVG text, with the names of its series in the order of their colours."""

    svg: str
    title: str
    legend: Sequence[tuple[str, str]] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture as a data URI, with what it shows."""

    uri: str
    caption: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure; ``beside`` is what the second model reaches."""

    name: str
    text: str
    hint: str = ""
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report; ``id`` is what links lead to."""

    id: str
    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    photos: Sequence[Photo] = ()
    key: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """What colours in the photos mean: (name, CSS colour)."""


def text_of(value: float | int | None, digits: int = 3) -> str:
    """Return a figure as it is shown; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def label(text: str) -> Cell:
    """Return a cell of words."""
    return Cell(text)


def number(value: float | int | None, *, bar: bool = False, digits: int = 3) -> Cell:
    """Return a cell of a number; ``bar``: it is a share, and drawn as one."""
    known = value is not None and math.isfinite(value)
    return Cell(text_of(value, digits), True, min(1.0, max(0.0, float(value))) if bar and known and value else None)


def signed(value: float | None, digits: int = 3, *, less_is_better: bool = False) -> Cell:
    """Return a cell of a difference, coloured by what it means where it can be seen in the digits."""
    if value is None or not math.isfinite(value):
        return Cell("–", True)
    text = f"{value:+.{digits}f}"
    tone = "" if float(text) == 0 else "good" if (value > 0) != less_is_better else "bad"
    return Cell(text, True, tone=tone)
