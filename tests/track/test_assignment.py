"""The shortcut for pairs without a choice gives what the full search gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from streamvision.track.assignment import assign

matrices = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7),
    elements=st.sampled_from([0.0, 0.1, 0.3, 0.35, 0.5, 0.75, 0.9]),
)


@given(matrices, st.sampled_from([0.0, 0.2, 0.5]))
def test_the_sum_is_the_greatest_possible(similarity: np.ndarray, least: float) -> None:
    rows, columns = assign(similarity, least)
    allowed = np.where(similarity > least, similarity, 0.0)
    best = allowed[linear_sum_assignment(allowed, maximize=True)].sum()
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist())) == len(columns)
    assert (similarity[rows, columns] > least).all()
    assert similarity[rows, columns].sum() == pytest.approx(best)


def test_greed_does_not_win() -> None:
    rows, columns = assign(np.array([[0.9, 0.8], [0.85, 0.0]]), 0.2)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
