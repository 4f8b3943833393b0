"""Ids grow and are never given twice, restarts included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.track.ids import ReservedIds, counting_ids


class Store:
    """Remembers reservations like the event store does."""

    def __init__(self) -> None:
        self.next = 1
        self.calls = 0

    def reserve(self, count: int) -> int:
        first, self.next = self.next, self.next + count
        self.calls += 1
        return first


def test_counting_starts_where_told() -> None:
    source = counting_ids(5)
    assert source(2).tolist() == [5, 6]
    assert source(0).tolist() == []
    assert source(1).tolist() == [7]


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=5), st.integers(1, 16))
def test_no_id_is_given_twice_over_restarts(lives: list[list[int]], block: int) -> None:
    store, seen = Store(), []
    for life in lives:
        source = ReservedIds(store.reserve, block)
        for count in life:
            given_out = source(count).tolist()
            assert len(given_out) == count
            seen += given_out
    assert seen == sorted(set(seen))
    assert all(one < store.next for one in seen)


def test_the_store_is_asked_once_per_block() -> None:
    store = Store()
    source = ReservedIds(store.reserve, 64)
    assert [int(source(1)[0]) for _ in range(64)] == list(range(1, 65))
    assert store.calls == 1


def test_a_block_without_ids_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ReservedIds(Store().reserve, 0)
