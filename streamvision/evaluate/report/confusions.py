"""What is taken for what: a matrix of the most frequent classes, and the commonest mistakes of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamvision.evaluate.report.blocks import Cell, Section, Table, label, number, text_of
from streamvision.evaluate.study import Study

Int64 = NDArray[np.int64]
_SHOWN = 14
_PAIRS = 10


def confusion_section(study: Study) -> Iterator[Section]:
    """Yield the section of everything that was confused."""
    tables: list[Table] = []
    details, book, whole = study.objects, study.evaluator.objects, study.evaluation.whole
    if details is not None and book is not None:
        names = [*book.matching.names, "nothing"]
        title = f"Objects, at scores from {text_of(details.best.threshold, 2)} on and an overlap of 0.5"
        tables += _tables(details.confusion, names, title)
    for name, one in study.evaluation.maps.items():
        tables += _tables(one.confusion, [*one.names, "other"], f"Pixels of the map {name}")
    if whole is not None:
        tables += _tables(whole.confusion, list(whole.names), "Pictures")
    if tables:
        note = "Rows are what is there, columns what was seen; shades are shares of the row."
        yield Section("confusion", "Confusion", note, tables)


def _tables(confusion: Int64, names: Sequence[str], title: str) -> Iterator[Table]:
    if not confusion.any():
        return
    weight = confusion.sum(0) + confusion.sum(1)
    frequent = np.argsort(-weight, kind="stable")[:_SHOWN]
    chosen = sorted(int(kind) for kind in frequent if weight[kind])
    hidden = int((weight > 0).sum()) - len(chosen)
    part = confusion[np.ix_(chosen, chosen)]
    shares = part / np.maximum(confusion.sum(1)[chosen, None], 1)
    rows = [
        [label(names[kind]), *(_cell(int(count), float(share)) for count, share in zip(*row, strict=True))]
        for kind, row in zip(chosen, zip(part, shares, strict=True), strict=True)
    ]
    note = f"{hidden} rarer classes are left out here." if hidden else ""
    yield Table(("", *(names[kind] for kind in chosen)), rows, title, note, matrix=True)
    pairs = _mistakes(confusion, names)
    if pairs:
        yield Table(("there", "seen", "how often", "share of what is there"), pairs, "The commonest mistakes")


def _cell(count: int, share: float) -> Cell:
    return Cell(_short(count), True, share if count else None)


def _mistakes(confusion: Int64, names: Sequence[str]) -> list[list[Cell]]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong.ravel(), kind="stable")[:_PAIRS]
    totals = confusion.sum(1)
    found = []
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[row, column]:
            share = float(wrong[row, column] / totals[row])
            count = Cell(_short(int(wrong[row, column])), True)
            found.append([label(names[row]), label(names[column]), count, number(share, bar=True)])
    return found


def _short(count: int) -> str:
    """Return a count in few letters: pixels go into the millions."""
    if count < 10_000:
        return str(count) if count else "·"
    return f"{count / 1e6:.1f}M" if count >= 1_000_000 else f"{count / 1e3:.0f}k"
