"""What is counted.

Counting is a plain attribute or dictionary entry with one writing thread per cell, so it costs no lock and no
label look-up; the exposition is rendered from those cells on demand. A reader copies a dictionary (``dict(cells)``
is one step under the GIL) before it walks through it, because its writer may add a key at any moment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from streamvision.types import StreamState

AGE_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ENGINE_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0, 5.0)
BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Histogram:
    """Counts per bucket with inclusive upper bounds, and the sum of what was observed. One writer."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class StreamStats:
    """One stream's books: decoded = analysed + skipped + dropped + in flight, where in flight ends at 0.

    Every decoded picture has exactly one fate. ``decoded`` and decode-stage fates are written by the capture
    thread, queue drops under the queue's lock, batch drops by the batcher, the rest by the analysis thread.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.state = StreamState.STOPPED
        self.cause = ""
        self.decoded = 0
        self.analysed = 0
        self.skipped: dict[str, int] = defaultdict(int)
        self.dropped: dict[tuple[str, str], int] = defaultdict(int)
        self.abandoned = 0
        self.lost_packets = 0
        self.reconnects: dict[str, int] = defaultdict(int)
        self.detections: dict[str, int] = defaultdict(int)
        self.tracks_active: dict[str, int] = {}
        self.events: dict[tuple[str, str], int] = defaultdict(int)
        self.explained: dict[str, int] = defaultdict(int)
        self.unexplained: dict[str, int] = defaultdict(int)
        self.collected: dict[str, int] = defaultdict(int)
        self.uncollected: dict[str, int] = defaultdict(int)
        self.ages: dict[str, Histogram] = {stage: Histogram(AGE_BOUNDS_S) for stage in ("engine", "analysis", "event")}
        self.size_wh = (0, 0)
        self.last_received_s: float | None = None
        self.last_analysed_s: float | None = None
        self.last_age_s: float | None = None
        self.last_media_s = 0.0
        self.since_s = float("-inf")
        """Pictures prepared before are in the books of an earlier stream of this name, which are closed."""

    def skip(self, reason: str) -> None:
        """Count a picture that was not wanted (target rate, no motion)."""
        self.skipped[reason] += 1

    def drop(self, stage: str, reason: str) -> None:
        """Count a picture that was lost."""
        self.dropped[stage, reason] += 1

    def close(self, stage: str, reason: str) -> None:
        """Count every picture as lost whose fate is still open; nobody waits for it any more."""
        if (left := self.in_flight) > 0:
            self.dropped[stage, reason] += left

    @property
    def in_flight(self) -> int:
        """Pictures decoded whose fate is still open; read in that order, it is never negative."""
        settled = self.analysed + sum(dict(self.skipped).values()) + sum(dict(self.dropped).values())
        return self.decoded - settled


class ReloadStats:
    """How often the configuration was read again, by result, and when that last went well (seconds since 1970)."""

    def __init__(self) -> None:
        self.results: dict[str, int] = defaultdict(int)
        self.last_good = True
        self.success_s = 0.0

    def succeeded(self, at_s: float) -> None:
        """What runs is what the file says."""
        self.last_good, self.success_s = True, at_s


class EngineStats:
    """One model's books.

    ``state``: loading, building, verifying, ready, fallback (another backend than the wanted one serves), failed.
    ``description`` is of the engine that serves, empty while there is none; ``detail`` says why, or how far;
    ``build_progress`` 0 to 1.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.state = "loading"
        self.description = ""
        self.detail = ""
        self.build_progress = 0.0
        self.batch_size = Histogram(BATCH_BOUNDS)
        self.seconds: dict[str, Histogram] = {stage: Histogram(ENGINE_BOUNDS_S) for stage in ("infer", "decode")}


class SinkStats:
    """One sink's books; ``pending`` counts stored events that it has not delivered yet.

    ``dead_letters`` counts burials, also of a letter that is refused again; ``letters_kept`` how many lie there now.
    ``given_up`` counts, by reason, events that will never be delivered. All written by the sink's thread, except
    ``given_up``, which is the store's.
    """

    def __init__(self, sink: str) -> None:
        self.sink = sink
        self.delivered = 0
        self.failures: dict[str, int] = defaultdict(int)
        self.pending = 0
        self.lag_s = 0.0
        self.dead_letters = 0
        self.letters_kept = 0
        self.given_up: dict[str, int] = defaultdict(int)


class OutboxStats:
    """The event store's books.

    ``open``: there is a store, else nothing is told. ``waiting``: events in memory that are not on the disk yet;
    ``lost`` by reason: events that never reached it; ``bytes`` in use in the file; ``failing``: whether the disk
    refuses at present.
    """

    def __init__(self) -> None:
        self.open = False
        self.waiting = 0
        self.bytes = 0
        self.failing = False
        self.lost: dict[str, int] = defaultdict(int)
