from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from streamvision.clock import SystemClock
from streamvision.errors import SinkError
from streamvision.metrics import SinkStats
from streamvision.sinks import delivery as module
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.letters import DeadLetters
from streamvision.sinks.store import EventStore
from streamvision.sinks.wanted import Wanted
from tests.harness import wait_until
from tests.sinks.samples import ScriptedSink, event, number_of

WAIT_S = 20.0


@pytest.fixture
def store(tmp_path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events.db", SystemClock())
    yield opened
    opened.close()


def deliver(store: EventStore, sink: ScriptedSink, name: str = "log", **given) -> tuple[Delivery, SinkStats]:
    """Return a delivery that does not wait between attempts."""
    stats = SinkStats(name)
    given.setdefault("random_unit", lambda: 0.0)
    return Delivery(name, sink, store, stats, SystemClock(), lambda stage: None, **given), stats


def run_dry(delivery: Delivery, deadline_s: float = WAIT_S) -> None:
    delivery.start()
    delivery.stop(deadline_s)
    assert delivery.join(WAIT_S)
    assert delivery.crashed is None


def append(store: EventStore, *numbers: int) -> None:
    store.append([event(number) for number in numbers])
    store.flush()


def test_everything_stored_is_delivered_in_order_and_in_batches(store):
    sink = ScriptedSink()
    delivery, stats = deliver(store, sink, batch=4)
    append(store, *range(10))
    run_dry(delivery)
    assert sink.taken == list(range(10))
    assert sink.batches == [4, 4, 2]
    assert sink.closed
    assert (stats.delivered, stats.pending, stats.lag_s, stats.dead_letters) == (10, 0, 0.0, 0)


def test_news_are_delivered_as_they_come(store):
    arrived = threading.Event()

    class Waking(ScriptedSink):
        def deliver(self, events):
            super().deliver(events)
            arrived.set()

    sink = Waking()
    delivery, _ = deliver(store, sink)
    delivery.start()
    append(store, 1)
    assert arrived.wait(WAIT_S)
    delivery.stop(WAIT_S)
    assert delivery.join(WAIT_S)


def test_a_new_sink_is_not_flooded_and_a_known_one_goes_on(store):
    append(store, 1, 2)
    first = ScriptedSink()
    delivery, _ = deliver(store, first)
    append(store, 3)
    run_dry(delivery)
    assert first.taken == [3]
    append(store, 4)
    second = ScriptedSink()
    run_dry(deliver(store, second)[0])
    assert second.taken == [4]


def test_a_failing_sink_gets_the_same_events_again(store):
    sink = ScriptedSink(
        [SinkError("away", reason="connect"), SinkError("away", reason="connect"), SinkError("slow", reason="timeout")]
    )
    delivery, stats = deliver(store, sink)
    append(store, 1, 2)
    run_dry(delivery)
    assert sink.taken == [1, 2]
    assert dict(stats.failures) == {"connect": 2, "timeout": 1}
    assert store.register("log") == 2


def test_refused_for_good_goes_to_the_dead_letters_and_the_neighbours_arrive(store, tmp_path):
    bad = SinkError("too large", reason="refused", permanent=True)
    sink = ScriptedSink([bad, None, bad, bad, None])  # all three; 1; 2 and 3; 2; 3
    delivery, stats = deliver(store, sink)
    append(store, 1, 2, 3)
    run_dry(delivery)
    assert sink.taken == [1, 3]
    assert (stats.delivered, stats.dead_letters, dict(stats.failures)) == (2, 1, {"refused": 1})
    rows = store._log._rows("SELECT sink, position, id, reason, what FROM dead_letters", ())
    assert rows == [("log", 2, event(2).id, "refused", "too large")]


def test_a_fault_in_the_middle_of_single_deliveries_repeats_nothing(store):
    bad, away = SinkError("no", permanent=True), SinkError("away")
    sink = ScriptedSink([bad, None, away, None])
    delivery, stats = deliver(store, sink)
    append(store, 1, 2, 3)
    run_dry(delivery)
    assert sink.taken == [1, 2, 3]
    assert stats.delivered == 3


def test_the_end_comes_at_the_deadline_and_the_rest_waits_for_the_next_start(store):
    sink = ScriptedSink([SinkError("away")] * 10_000)
    delivery, stats = deliver(store, sink, random_unit=lambda: 0.01)
    append(store, 1, 2)
    run_dry(delivery, 0.05)
    assert stats.pending == 2
    assert stats.lag_s > 0
    later = ScriptedSink()
    run_dry(deliver(store, later)[0])
    assert later.taken == [1, 2]


def test_a_bug_in_a_sink_is_told(store):
    sink = ScriptedSink([ValueError("bug")])
    delivery, _ = deliver(store, sink)
    append(store, 1)
    delivery.start()
    assert delivery.join(WAIT_S)
    assert isinstance(delivery.crashed, ValueError)
    assert sink.closed


def test_a_waiting_sink_shows_signs_of_life(store):
    beats: list[str] = []
    seen = threading.Event()

    def beat(stage: str) -> None:
        beats.append(stage)
        if len(beats) >= 3:
            seen.set()

    sink = ScriptedSink([SinkError("away")] * 10_000)
    delivery = Delivery("log", sink, store, SinkStats("log"), SystemClock(), beat)
    append(store, 1)
    delivery.start()
    assert seen.wait(WAIT_S)
    delivery.stop(0.0)
    assert delivery.join(WAIT_S)
    assert set(beats) == {"sink.log"}


def test_a_sink_gets_only_what_it_asked_for_and_its_cursor_passes_the_rest(store):
    sink = ScriptedSink()
    delivery, stats = deliver(store, sink, wanted=Wanted(["gate"], ["zone", "line.start"]))
    store.append([event(1), event(2, stream="yard"), event(3, kind="line"), event(4, kind="speed"), event(5)])
    store.append([event(6, kind="zones"), event(7, stream="yard")])
    store.flush()
    run_dry(delivery)
    assert sink.taken == [1, 3, 5]
    assert (stats.delivered, stats.pending) == (3, 0)
    assert store.register("log") == 7


def test_the_programs_own_events_pass_a_choice_of_streams():
    assert Wanted(["gate"]).takes("streamvision", "streamvision.outbox.instant")
    assert not Wanted(["gate"], ["zone"]).takes("streamvision", "streamvision.outbox.instant")


def test_of_a_large_batch_the_guilty_are_found_by_halving(store):
    bad = {13, 200}

    class Choosy(ScriptedSink):
        calls = 0

        def deliver(self, events):
            self.calls += 1
            if any(number_of(one.json) in bad for one in events):
                raise SinkError("no", reason="refused", permanent=True)
            super().deliver(events)

    sink = Choosy()
    delivery, stats = deliver(store, sink)
    append(store, *range(256))
    run_dry(delivery)
    assert sink.taken == [number for number in range(256) if number not in bad]
    assert (stats.delivered, stats.dead_letters) == (254, 2)
    assert sink.calls < 40


def test_the_receiver_says_when_it_wants_to_be_asked_again(store):
    sink = ScriptedSink([SinkError("busy", reason="busy", retry_after_s=0.4)])
    delivery, _ = deliver(store, sink)
    times: list[float] = []
    take = sink.deliver

    def timed(events):
        times.append(time.monotonic())
        take(events)

    sink.deliver = timed
    append(store, 1)
    delivery.start()
    wait_until(lambda: sink.taken == [1], WAIT_S)
    delivery.stop(WAIT_S)
    assert delivery.join(WAIT_S)
    assert times[1] - times[0] >= 0.4


class Frozen(ScriptedSink):
    """Takes one event, and then nothing until it is thawed."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.thawed = threading.Event(), threading.Event()

    def deliver(self, events) -> None:
        if self.taken:
            self.held.set()
            assert self.thawed.wait(WAIT_S * 3)
        super().deliver(events)


def test_an_attempt_that_does_not_come_back_is_left_behind_at_the_end_and_nothing_is_lost(store):
    sink = Frozen()
    delivery, _ = deliver(store, sink, batch=1)
    append(store, 1, 2, 3)
    delivery.start()
    assert sink.held.wait(WAIT_S)
    delivery.stop(WAIT_S)
    try:
        assert delivery.see_off(WAIT_S * 3)
        assert delivery.left_behind
        store.flush()
        assert store.register("log") == 1
    finally:
        sink.thawed.set()
    assert delivery.join(WAIT_S)


def test_a_sink_that_goes_on_taking_is_given_its_time_at_the_end(store, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_AT_END_S", 1.0)

    class Slow(ScriptedSink):
        def deliver(self, events):
            time.sleep(0.4)
            super().deliver(events)

    sink = Slow()
    delivery, _ = deliver(store, sink, batch=1)
    append(store, *range(6))
    delivery.start()
    delivery.stop(WAIT_S)
    assert delivery.see_off(WAIT_S)
    assert not delivery.left_behind
    assert sink.taken == list(range(6))


class Stumbling(ScriptedSink):
    """Refuses one number for good, and later, when it comes as a dead letter, only for the moment."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__()
        self.attempts = 0
        self._retry_after_s = retry_after_s

    def deliver(self, events):
        if any(number_of(one.json) == 1 for one in events):
            self.attempts += 1
            later = self.attempts > 1
            raise SinkError("that one", permanent=not later, retry_after_s=self._retry_after_s if later else None)
        super().deliver(events)


@pytest.mark.parametrize("retry_after_s", [None, 0.2])
def test_a_dead_letter_that_fails_again_holds_up_nothing(store, tmp_path, retry_after_s):
    sink = Stumbling(retry_after_s)
    delivery, stats = deliver(store, sink)
    append(store, 1)
    delivery.start()
    wait_until(lambda: stats.dead_letters == 1, WAIT_S)
    assert DeadLetters(tmp_path / "events.db").retry() == 1
    wait_until(lambda: sink.attempts > 1, WAIT_S)
    append(store, *range(2, 12))
    wait_until(lambda: delivery.pending == 0, WAIT_S)
    before = sink.attempts
    wait_until(lambda: sink.attempts > before, WAIT_S)
    delivery.stop(WAIT_S)
    assert delivery.join(WAIT_S)
    assert sink.taken == list(range(2, 12))
    assert DeadLetters(tmp_path / "events.db").choose()[0].retry, "it is still asked for"


class Following(ScriptedSink):
    """Sees everything and takes what is chosen for it."""

    def __init__(self, script=()) -> None:
        super().__init__(script)
        self.seen: list[int] = []

    def follow(self, events, wanted) -> None:
        self.seen += [number_of(one.json) for one in events]
        self.deliver([one for one in events if wanted(one)])


def test_a_sink_that_follows_sees_everything_and_only_its_share_counts_as_delivered(store):
    sink = Following()
    delivery, stats = deliver(store, sink, wanted=Wanted(types=["zone"]))
    store.append([event(1), event(2, kind="line"), event(3), event(4, kind="line")])
    store.flush()
    run_dry(delivery)
    assert (sink.seen, sink.taken) == ([1, 2, 3, 4], [1, 3])
    assert (stats.delivered, stats.pending) == (2, 0)
    assert store.register("log") == 4


def test_a_sink_that_follows_is_not_shown_its_dead_letters_again(store, tmp_path):
    sink = Following([SinkError("too large", reason="refused", permanent=True)])
    delivery, stats = deliver(store, sink, wanted=Wanted(types=["zone"]))
    append(store, 1)
    delivery.start()
    wait_until(lambda: stats.dead_letters == 1, WAIT_S)
    store.flush()
    letters = DeadLetters(tmp_path / "events.db")
    assert letters.retry("log") == 1
    wait_until(lambda: sink.taken == [1], WAIT_S)
    delivery.stop(WAIT_S)
    assert delivery.join(WAIT_S)
    assert sink.seen == [1]
