"""The bounded hand-over: order, bounds, closing, overflow, and its books."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamvision.channel import Channel, Closed, Overflow


def test_items_come_out_in_the_order_they_went_in():
    channel = Channel[int](3)
    for number in (1, 2, 3):
        channel.put(number)
    assert [channel.get(), channel.get(), channel.get()] == [1, 2, 3]


def test_a_full_blocking_channel_refuses_after_its_timeout():
    channel = Channel[int](1)
    assert channel.put(1)
    assert not channel.put(2, timeout=0)
    assert channel.get() == 1


def test_a_full_live_channel_drops_its_oldest_and_tells():
    dropped: list[int] = []
    channel = Channel[int](2, Overflow.DROP_OLDEST, on_drop=dropped.append)
    for number in range(5):
        assert channel.put(number)
    assert dropped == [0, 1, 2]
    assert [channel.get(), channel.get()] == [3, 4]


def test_a_closed_channel_drains_and_then_ends():
    channel = Channel[int](2)
    channel.put(1)
    channel.close()
    with pytest.raises(Closed):
        channel.put(2)
    assert channel.get() == 1
    assert channel.finished
    with pytest.raises(Closed):
        channel.get()


def test_closing_wakes_a_blocked_producer_and_a_waiting_consumer():
    full, empty = Channel[int](1), Channel[int](1)
    full.put(0)
    ended: list[str] = []

    def produce() -> None:
        with pytest.raises(Closed):
            full.put(1)
        ended.append("producer")

    def consume() -> None:
        with pytest.raises(Closed):
            empty.get()
        ended.append("consumer")

    threads = [threading.Thread(target=work) for work in (produce, consume)]
    for thread in threads:
        thread.start()
    full.close()
    empty.close()
    for thread in threads:
        thread.join(5)
    assert sorted(ended) == ["consumer", "producer"]


def test_an_empty_channel_times_out():
    with pytest.raises(TimeoutError):
        Channel[int](1).get(timeout=0)


def test_a_channel_without_room_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Channel[int](0)


def test_nothing_is_lost_between_threads():
    channel = Channel[int](4)
    taken: list[int] = []

    def consume() -> None:
        try:
            while True:
                taken.append(channel.get(5))
        except Closed:
            pass

    consumer = threading.Thread(target=consume)
    consumer.start()
    for number in range(2000):
        assert channel.put(number, timeout=5)
    channel.close()
    consumer.join(5)
    assert taken == list(range(2000))


class ChannelMachine(RuleBasedStateMachine):
    """Compares a live channel with a plain list that follows the same rules."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[int] = []
        self.channel = Channel[int](3, Overflow.DROP_OLDEST, on_drop=self.dropped.append)
        self.model: list[int] = []
        self.model_dropped: list[int] = []
        self.closed = False

    @rule(item=st.integers())
    def put(self, item: int) -> None:
        if self.closed:
            with pytest.raises(Closed):
                self.channel.put(item)
            return
        self.channel.put(item)
        self.model.append(item)
        if len(self.model) > 3:
            self.model_dropped.append(self.model.pop(0))

    @precondition(lambda self: self.model)
    @rule()
    def get(self) -> None:
        assert self.channel.peek() == self.model[0]
        assert self.channel.get(timeout=0) == self.model.pop(0)

    @precondition(lambda self: not self.model)
    @rule()
    def take_from_empty(self) -> None:
        assert self.channel.take_nowait() is None

    @rule()
    def close(self) -> None:
        self.channel.close()
        self.closed = True

    @invariant()
    def books_balance(self) -> None:
        books = self.channel.statistics()
        assert books.put == books.taken + books.dropped + books.waiting
        assert books.waiting == len(self.model)
        assert self.dropped == self.model_dropped
        assert self.channel.finished == (self.closed and not self.model)


TestChannelMachine = ChannelMachine.TestCase
TestChannelMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
