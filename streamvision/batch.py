"""Many streams -> one `Batch`: at most one frame of each, and each its fair share of an engine that is too slow.

A batch closes when it is full, when its first frame has waited `BatchPolicy.max_wait_s`, or as soon as no other frame
is to be expected within that time, whichever is first. A stream's next frame is expected one usual interval after its
last one, and given up when it is later than that by `BatchPolicy.max_wait_s`: nobody waits for a camera that is dead,
that is slow and not due yet, or whose frame has just gone with the batch before.

Who comes next is start-time fair queueing (Goyal, Vin & Cheng, "Start-time Fair Queueing", IEEE/ACM Transactions on
Networking 5(5), 1997), with pictures for packets: a stream's next picture starts, in virtual time, where its last one
ended, and each lasts 1/weight. So every stream that wants more than its share gets the same number of pictures per
weight, whatever its own rate; one that wants less gets all it wants; nobody starves, and an absence earns nothing.
Among equals the one that waits longest comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from types import MappingProxyType
from typing import Final

from streamvision.channel import Channel, Closed, Doorbell, Overflow
from streamvision.clock import Clock
from streamvision.types import Batch, Frame


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits of one model's batches; ``max_age_s`` is how long a live frame may wait for its turn."""

    max_batch: int = 16
    max_wait_s: float = 0.02
    max_age_s: float = 0.5


WEIGHTS: Final = MappingProxyType({"low": 1.0, "normal": 2.0, "high": 4.0})
"""What a stream's priority is worth when there is not enough for all."""

_LEARNT: Final = 0.25
"""How much a stream's last interval counts in its average."""


@dataclass(slots=True, eq=False)
class _Row:
    stream: str
    channel: Channel[Frame]
    live: bool
    weight: float
    served_s: float = float("-inf")
    ended: float = 0.0
    """Where its last picture ended in virtual time."""
    last_s: float = 0.0
    """Since when its last frame was ready."""
    number: int = 0
    """How many frames came up to that one; those that were dropped count."""
    interval_s: float = float("inf")
    """How far apart its frames come, averaged; infinity until that is known."""

    def take(self) -> Frame | None:
        """Take the oldest frame, and learn from it how often one comes."""
        if (frame := self.channel.take_nowait()) is None:
            return None
        so_far = self.channel.statistics()
        number = so_far.taken + so_far.dropped
        if self.number:
            interval_s = max(0.0, frame.ready_s - self.last_s) / (number - self.number)
            known = isfinite(self.interval_s)
            self.interval_s = self.interval_s + _LEARNT * (interval_s - self.interval_s) if known else interval_s
        self.number, self.last_s = number, frame.ready_s
        return frame

    def due_s(self) -> float:
        """Return when its next frame is to be expected; infinity if nobody can tell."""
        return self.last_s + self.interval_s

    def waiting_since(self) -> float:
        """Return since when this stream waits for its turn; infinity if it has no frame.

        A file's frames lie ready long before their turn, so their own age says nothing: the turn before counts.
        """
        head = self.channel.peek()
        return float("inf") if head is None else max(head.ready_s, self.served_s)


LIVE_CAPACITY = 2
"""Live pictures waiting per stream: one to be taken next, and the newest; deeper queues only add latency."""

FILE_CAPACITY = 4


class Batcher:
    """The meeting point of one model's streams. Captures put, one runner collects."""

    def __init__(self, policy: BatchPolicy, clock: Clock, on_expired: Callable[[Frame], None]) -> None:
        """``on_expired`` is told of every live frame that grew too old, under the lock; it must be short."""
        self._policy = policy
        self._clock = clock
        self._on_expired = on_expired
        self._condition = Doorbell()
        self._rows: list[_Row] = []
        self._now = 0.0
        """Virtual time: where the latest picture that was taken started."""
        self._closed = False

    def add(
        self, stream: str, *, live: bool, on_overflow: Callable[[Frame], None], weight: float = WEIGHTS["normal"]
    ) -> Channel[Frame]:
        """Give a stream its row and return the channel that its capture fills.

        What is left in an earlier one, which must be closed, comes first. Raises `ValueError` if it is not.
        """
        channel = Channel[Frame](
            LIVE_CAPACITY if live else FILE_CAPACITY,
            Overflow.DROP_OLDEST if live else Overflow.BLOCK,
            on_drop=on_overflow,
            condition=self._condition,
        )
        with self._condition:
            if self.open_channel(stream) is not None:
                raise ValueError(f"stream {stream!r} has a row already")
            self._forget_finished()  # `collect` gets round to it only when nothing waits
            self._rows.append(_Row(stream, channel, live, weight))
        return channel

    def open_channel(self, stream: str) -> Channel[Frame] | None:
        """Return the channel that a stream's capture may fill; None if it has none here."""
        with self._condition:
            found = (row.channel for row in self._rows if row.stream == stream and not row.channel.closed)
            return next(found, None)

    def resize(self, max_batch: int) -> None:
        """Make batches of at most ``max_batch`` from now on."""
        with self._condition:
            self._policy = replace(self._policy, max_batch=max_batch)

    def close(self) -> None:
        """Expect no further streams: once every channel is closed and drained, `collect` raises `Closed`."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def collect(self, timeout_s: float) -> Batch | None:
        """Return the next batch, or None if no frame came within ``timeout_s``.

        Raises `Closed` when nothing will come any more.
        """
        with self._condition:
            if not self._condition.wait_for(self._something_to_do, timeout_s):
                return None
            self._expire()
            if not self._pending():
                self._end_if_over()
                return None
            self._fill(self._clock.monotonic() + self._policy.max_wait_s)
            return self._take()

    def _something_to_do(self) -> bool:
        return bool(self._pending()) or self._over()

    def _over(self) -> bool:
        self._forget_finished()
        return self._closed and not self._rows

    def _forget_finished(self) -> None:
        self._rows = [row for row in self._rows if not row.channel.finished]

    def _end_if_over(self) -> None:
        if self._over():
            raise Closed

    def _pending(self) -> list[_Row]:
        firsts: dict[str, _Row] = {}
        for row in self._rows:
            if len(row.channel):
                firsts.setdefault(row.stream, row)
        return list(firsts.values())

    def _expire(self) -> None:
        oldest_s = self._clock.monotonic() - self._policy.max_age_s
        for row in self._rows:
            while row.live and (head := row.channel.peek()) is not None and head.ready_s < oldest_s:
                row.take()
                self._on_expired(head)

    def _fill(self, until_s: float) -> None:
        """Wait until the batch cannot grow any more or its time is over."""
        while len(self._pending()) < self._policy.max_batch:
            left_s = min(until_s, self._promised_until_s(until_s)) - self._clock.monotonic()
            if left_s <= 0:
                return
            self._condition.wait(left_s)

    def _promised_until_s(self, until_s: float) -> float:
        """Return when the last frame that is to be expected until then is given up; minus infinity if there is none."""
        dues = [row.due_s() for row in self._rows if not len(row.channel) and not row.channel.closed]
        return max((due_s + self._policy.max_wait_s for due_s in dues if due_s <= until_s), default=float("-inf"))

    def _take(self) -> Batch | None:
        rows = self._next_rows()
        now_s = self._clock.monotonic()
        for row in rows:
            start = self._start(row)
            row.served_s, row.ended = now_s, start + 1 / row.weight
            self._now = max(self._now, start)
        frames = [frame for row in rows if (frame := row.take()) is not None]
        return Batch(tuple(frames)) if frames else None

    def _next_rows(self) -> list[_Row]:
        """Return whose turn it is, at most ``max_batch`` rows.

        A batch has room for a stream that had its share already, but each picture in it costs time. So such a stream
        is left out while one of more weight, which is entitled to more turns, waits too; to be ahead by no more than
        one turn of the heaviest is not to have had one's share.
        """
        pending = self._pending()
        if not pending:
            return []
        starts = {id(row): self._start(row) for row in pending}
        horizon = min(starts.values()) + 1 / max(row.weight for row in pending)
        entitled = [row for row in pending if starts[id(row)] <= horizon]
        entitled.sort(key=lambda row: (starts[id(row)], row.waiting_since()))
        return entitled[: self._policy.max_batch]

    def _start(self, row: _Row) -> float:
        """Return where a row's next picture starts in virtual time."""
        return max(row.ended, self._now)
