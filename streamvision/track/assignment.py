"""Which track is which detection: similarity matrices in, one-to-one pairs out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Row indices and column indices of the same length."""


def assign(similarity: NDArray[Any], least: float) -> Pairs:
    """Pair rows with columns one to one so that the sum of the similarities (R, C) > ``least`` is greatest.

    A pair that is the only choice of its row and of its column needs no search, and in most pictures most are;
    the rest goes to the Hungarian algorithm (Jonker-Volgenant, by SciPy). Pairs come in no special order.
    """
    possible = similarity > least
    rows, columns = possible.nonzero()
    if not len(rows):
        return rows, columns
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows, columns
    contested_rows, contested_columns = _search(similarity, possible, rows[~alone], columns[~alone])
    return np.concatenate((rows[alone], contested_rows)), np.concatenate((columns[alone], contested_columns))


def _search(
    similarity: NDArray[Any], possible: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> Pairs:
    """Solve the assignment among the rows and columns that have a choice."""
    rows, columns = np.unique(rows), np.unique(columns)
    block = np.ix_(rows, columns)
    allowed = possible[block]
    chosen = linear_sum_assignment(np.where(allowed, similarity[block], 0.0), maximize=True)
    real = allowed[chosen]
    return rows[chosen[0][real]], columns[chosen[1][real]]
