from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.train.data.order import cut, epoch_order, picture_rng


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_shows_every_picture_once(count: int, seed: int, epoch: int):
    assert sorted(epoch_order(np.ones(count), seed, epoch).tolist()) == list(range(count))


def test_the_order_is_another_one_in_every_epoch_and_for_every_seed():
    orders = {tuple(epoch_order(np.ones(30), seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    np.testing.assert_array_equal(epoch_order(np.ones(30), 1, 2), epoch_order(np.ones(30), 1, 2))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 4), min_size=1, max_size=40), st.integers(0, 99))
def test_a_picture_appears_as_often_as_asked_give_or_take_one(shown: list[float], epoch: int):
    weights = np.array(shown)
    counts = np.bincount(epoch_order(weights, 0, epoch), minlength=len(shown))
    assert counts.sum() == max(1, round(weights.sum()))
    stretched = weights * counts.sum() / weights.sum()
    assert (counts >= np.floor(stretched - 1e-9)).all()
    assert (counts <= np.ceil(stretched + 1e-9)).all()


def test_half_a_time_is_every_second_epoch():
    counts = sum(np.bincount(epoch_order(np.full(10, 0.5), 3, epoch), minlength=10) for epoch in range(400))
    np.testing.assert_allclose(counts, 200, atol=45)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 100), st.integers(1, 9), st.integers(1, 5))
def test_evaluation_takes_every_picture_exactly_once(count: int, batch: int, world: int):
    taken = [p for rank in range(world) for positions in cut(count, batch, rank, world, wrap=False) for p in positions]
    assert sorted(taken) == list(range(count))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 100), st.integers(1, 9), st.integers(1, 5))
def test_training_gives_every_process_as_many_full_batches(count: int, batch: int, world: int):
    parts = [cut(count, batch, rank, world, wrap=True) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert all(len(positions) == batch for part in parts for positions in part)
    taken = [p for part in parts for positions in part for p in positions]
    assert len(set(taken)) == len(taken)  # a picture that comes again has a position of its own
    assert {p % count for p in taken} == set(range(count))


def test_every_position_has_numbers_of_its_own():
    drawn = {picture_rng(seed, epoch, place).random() for seed in (0, 1) for epoch in (0, 1) for place in range(50)}
    assert len(drawn) == 200
