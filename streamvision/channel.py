"""Channel[T]: the bounded hand-over between two threads.

It drains after it is closed and then ends, tells what it did in a frozen snapshot, and either blocks its
producer (files: nothing may be lost) or drops its oldest item (live: nothing may fall behind). Several channels
can share one condition, so that one consumer can wait for all of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Overflow(StrEnum):
    """What `Channel.put` does when the channel is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


class Doorbell(threading.Condition):
    """What one consumer waits on, for as many channels as it likes; they all share its ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        super().__init__(self.lock)


class Closed(Exception):  # noqa: N818
    """The channel is closed: for a producer at once, for a consumer after the last item."""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What a channel has done so far; put = taken + dropped + waiting."""

    put: int
    taken: int
    dropped: int
    waiting: int
    capacity: int
    closed: bool


class Channel(Generic[T]):
    """A bounded first-in-first-out hand-over; safe for any number of threads."""

    def __init__(
        self,
        capacity: int,
        overflow: Overflow = Overflow.BLOCK,
        *,
        on_drop: Callable[[T], None] | None = None,
        condition: Doorbell | None = None,
    ) -> None:
        """``on_drop`` is told of every item pushed out, under the channel's lock; it must be short.

        ``condition`` is notified of every item put, and when the channel is closed.
        """
        if capacity < 1:
            raise ValueError(f"a channel holds at least one item, got capacity {capacity}")
        self.condition = condition or Doorbell()
        self._room = threading.Condition(self.condition.lock)
        self._blocked = 0
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._overflow = overflow
        self._on_drop = on_drop
        self._closed = False
        self._put = self._taken = self._dropped = 0

    def put(self, item: T, timeout: float | None = None) -> bool:
        """Hand over an item; False if a blocking channel stayed full for ``timeout`` seconds.

        A producer that found the channel full goes on when half of it is free: several items in a row with warm
        caches cost much less than being woken for each. Raises `Closed` if the channel is closed, also while waiting.
        """
        with self.condition:
            if self._overflow is Overflow.BLOCK and (self._blocked or len(self._items) >= self._capacity):
                self._wait_for_room(timeout)
            if self._closed:
                raise Closed
            if len(self._items) >= self._capacity:
                if self._overflow is Overflow.BLOCK:
                    return False
                self._drop(self._items.popleft())
            self._items.append(item)
            self._put += 1
            self.condition.notify_all()
            return True

    def get(self, timeout: float | None = None) -> T:
        """Take the oldest item; raises `Closed` after the last one, `TimeoutError` after ``timeout`` seconds."""
        with self.condition:
            if not self.condition.wait_for(self._can_get, timeout):
                raise TimeoutError
            return self._take()

    def peek(self) -> T | None:
        """Return the oldest item without taking it; None when empty. Hold `condition` to act on the answer."""
        return self._items[0] if self._items else None

    def take_nowait(self) -> T | None:
        """Take the oldest item if there is one."""
        with self.condition:
            return self._take() if self._items else None

    def close(self) -> None:
        """Refuse further items; what is waiting can still be taken."""
        with self.condition:
            self._closed = True
            self.condition.notify_all()
            self._room.notify_all()

    @property
    def closed(self) -> bool:
        """Whether further items are refused."""
        return self._closed

    @property
    def finished(self) -> bool:
        """Whether the channel is closed and nothing is waiting any more."""
        return self._closed and not self._items

    def __len__(self) -> int:
        return len(self._items)

    def statistics(self) -> ChannelStatistics:
        """Return a consistent snapshot."""
        with self.condition:
            return ChannelStatistics(
                self._put, self._taken, self._dropped, len(self._items), self._capacity, self._closed
            )

    def _wait_for_room(self, timeout: float | None) -> None:
        self._blocked += 1
        try:
            self._room.wait_for(self._half_free, timeout)
        finally:
            self._blocked -= 1

    def _half_free(self) -> bool:
        return self._closed or len(self._items) <= self._capacity // 2

    def _can_get(self) -> bool:
        return self._closed or bool(self._items)

    def _take(self) -> T:
        if not self._items:
            raise Closed
        item = self._items.popleft()
        self._taken += 1
        if self._blocked and self._half_free():
            self._room.notify_all()
        return item

    def _drop(self, item: T) -> None:
        self._dropped += 1
        if self._on_drop is not None:
            self._on_drop(item)
