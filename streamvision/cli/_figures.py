"""The figures of an evaluation on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from streamvision.evaluate.study import Study

_ROWS = 20
"""Tables by class that are longer are for files."""


def show(studies: Sequence[Study]) -> None:
    """Print the figures of one model, or of two and how far they are apart."""
    from streamvision.evaluate.summary import as_json, difference

    first = as_json(studies[0])
    rows = {name: [value] for name, value in first.items() if not isinstance(value, dict | list)}
    rows |= {name: [value] for name, value in (first.get("classes") or {}).items()}
    if studies[0].speed is not None:
        rows |= {name: [value] for name, value in first["speed"].items() if name != "engine"}
    if len(studies) > 1:
        second = as_json(studies[1])
        second |= (second.get("classes") or {}) | (second.get("speed") or {})
        apart: dict[str, Any] = {"model": "difference", **difference(*studies)}
        rows = {name: [*row, second.get(name), apart.get(name)] for name, row in rows.items()}
    wide = max(10, *map(len, rows))
    for name, row in rows.items():
        alone = len(row) == 1
        typer.echo(f"{name:<{wide}} " + (_text(row[0]) if alone else "  ".join(f"{_text(one):>12}" for one in row)))
    _show_classes(studies[0])
    _show_groups(studies[0])
    _show_robustness(studies[0])


def _show_classes(study: Study) -> None:
    from streamvision.evaluate.summary import class_rows

    rows = [row for row in class_rows(study) if row["objects"]]
    if len(rows) <= _ROWS:
        _table(rows)


def _show_groups(study: Study) -> None:
    figures = [gap.figure for gap in study.gaps]
    _table([
        {"group": one.name, "pictures": one.pictures, **{name: one.figures[name] for name in figures}}
        for one in study.groups
    ])  # fmt: skip
    for gap in study.gaps:
        typer.echo(f"{gap.figure}: {gap.best} is {gap.size:.4f} better than {gap.worst}")


def _show_robustness(study: Study) -> None:
    if study.robustness is None:
        return
    for figure in study.robustness.clean:
        left = study.robustness.left(figure)
        _table([
            {f"{figure} in": kind, **{str(at): row[figure] for at, row in enumerate(rows, 1)}, "left": left[kind]}
            for kind, rows in study.robustness.spoilt.items()
        ])  # fmt: skip


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys, the first column to the left."""
    if not rows:
        return
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    typer.echo()
    for first, *rest in lines:
        typer.echo("  ".join([f"{first:<{wide[0]}}", *(f"{one:>{w}}" for one, w in zip(rest, wide[1:], strict=True))]))


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
