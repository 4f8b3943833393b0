from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.dataset import Dataset, Example, split
from streamvision.errors import UsageError


def of_groups(groups: list[str | None]) -> Dataset:
    return Dataset("test", (), tuple(Example(Path(f"{n}.jpg"), (1, 1), group=one) for n, one in enumerate(groups)))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), min_size=12, max_size=60), st.integers(0, 99))
def test_no_group_lies_in_two_splits_and_nothing_is_lost(groups: list[str | None], seed: int):
    dataset = of_groups([*groups, "x", "y"])
    first, second = split(dataset, 0.3, seed)
    assert {one.path for one in first.examples} | {one.path for one in second.examples} == {
        one.path for one in dataset.examples
    }
    assert len(first) + len(second) == len(dataset)
    own = [{one.group for one in part.examples} - {None} for part in (first, second)]
    assert not own[0] & own[1]


def test_the_share_is_met_where_pictures_have_no_groups():
    first, second = split(of_groups([None] * 200), 0.25, seed=5)
    assert (len(first), len(second)) == (150, 50)


def test_the_seed_decides():
    dataset = of_groups([None] * 50)
    chosen = [tuple(one.path for one in split(dataset, 0.2, seed)[1].examples) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize(("groups", "share"), [(["a"] * 9, 0.5), (["a", "b"], 0.0), (["a", "b"], 1.0), ([], 0.5)])
def test_a_split_with_nothing_on_one_side_is_refused(groups: list[str | None], share: float):
    with pytest.raises(UsageError, match="nothing on one side"):
        split(of_groups(groups), share)
