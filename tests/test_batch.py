"""Cross-stream scheduling: who is next, when a batch closes, who is too old, how it ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from streamvision.batch import FILE_CAPACITY, LIVE_CAPACITY, Batcher, BatchPolicy
from streamvision.channel import Channel, Closed
from streamvision.geometry import Letterbox
from streamvision.types import ClockSource, Frame, FrameInfo
from tests.fakes import FakeClock, blank_picture


def frame(stream: str, ready_s: float, seq: int = 0, *, received_s: float | None = None) -> Frame:
    received_s = ready_s if received_s is None else received_s
    info = FrameInfo(
        stream, 0, seq, received_s, received_s, datetime(2026, 1, 1, tzinfo=UTC), ClockSource.ARRIVAL, 0.0, (8, 8)
    )
    return Frame(info, blank_picture(8, 8), np.zeros((8, 8, 3), np.uint8), Letterbox.fit((8, 8), (8, 8)), ready_s)


class Bench:
    """A batcher with its books."""

    def __init__(self, **policy: float) -> None:
        self.clock = FakeClock()
        self.expired: list[Frame] = []
        self.overflowed: list[Frame] = []
        self.batcher = Batcher(BatchPolicy(**{"max_wait_s": 0.0} | policy), self.clock, self.expired.append)  # type: ignore[arg-type]

    def add(self, stream: str, *, live: bool = True) -> Channel[Frame]:
        return self.batcher.add(stream, live=live, on_overflow=self.overflowed.append)

    def collected(self) -> list[tuple[str, int]] | None:
        batch = self.batcher.collect(0)
        return None if batch is None else [(one.info.stream, one.info.seq) for one in batch.frames]


def test_the_longest_waiting_stream_comes_first():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    a.put(frame("a", bench.clock.monotonic() - 0.1))
    b.put(frame("b", bench.clock.monotonic() - 0.2))
    assert bench.collected() == [("b", 0), ("a", 0)]


def test_a_batch_takes_at_most_one_frame_per_stream():
    bench = Bench()
    a = bench.add("a")
    a.put(frame("a", bench.clock.monotonic(), 0))
    a.put(frame("a", bench.clock.monotonic(), 1))
    assert bench.collected() == [("a", 0)]
    assert bench.collected() == [("a", 1)]


def test_what_is_left_in_a_closed_row_comes_before_the_next_row_of_that_stream():
    bench = Bench()
    first, other = bench.add("a", live=False), bench.add("b")
    for seq in range(2):
        first.put(frame("a", bench.clock.monotonic(), seq))
    assert bench.batcher.open_channel("a") is first
    with pytest.raises(ValueError, match="a row already"):
        bench.add("a")
    first.close()
    assert bench.batcher.open_channel("a") is None
    second = bench.add("a", live=False)
    assert bench.batcher.open_channel("a") is second
    second.put(frame("a", bench.clock.monotonic(), 2))
    other.put(frame("b", bench.clock.monotonic()))
    assert sorted(bench.collected() or ()) == [("a", 0), ("b", 0)]
    assert [bench.collected() for _ in range(3)] == [[("a", 1)], [("a", 2)], None]


def test_a_batch_holds_at_most_max_batch_frames():
    bench = Bench(max_batch=2)
    for name in "abc":
        bench.add(name).put(frame(name, bench.clock.monotonic()))
    assert [len(bench.collected() or ()), len(bench.collected() or ())] == [2, 1]


def test_batches_grow_when_an_engine_comes_that_likes_larger_ones():
    bench = Bench(max_batch=1)
    for name in "abc":
        bench.add(name).put(frame(name, bench.clock.monotonic()))
    assert len(bench.collected() or ()) == 1
    bench.batcher.resize(4)
    assert len(bench.collected() or ()) == 2


def test_streams_take_turns_whatever_their_rates():
    bench = Bench(max_batch=1)
    channels = {name: bench.add(name, live=False) for name in "ab"}
    order = []
    for seq in range(8):
        for name, channel in channels.items():
            while len(channel) < FILE_CAPACITY:
                channel.put(frame(name, 0.0, seq))
        bench.clock.advance(0.01)
        order += bench.collected() or []
    assert [name for name, _ in order] == list("abababab")


def test_a_file_cannot_starve_a_camera():
    bench = Bench(max_batch=1)
    file, camera = bench.add("file", live=False), bench.add("camera")
    served = []
    for seq in range(6):
        while len(file) < FILE_CAPACITY:
            file.put(frame("file", 0.0, seq))
        camera.put(frame("camera", bench.clock.monotonic(), seq))
        bench.clock.advance(0.02)
        served += bench.collected() or []
    assert [name for name, _ in served].count("camera") >= 2


def test_live_frames_grow_too_old_and_are_counted():
    bench = Bench(max_age_s=0.5)
    camera = bench.add("camera")
    camera.put(frame("camera", bench.clock.monotonic(), 0))
    bench.clock.advance(1.0)
    camera.put(frame("camera", bench.clock.monotonic(), 1))
    assert bench.collected() == [("camera", 1)]
    assert [one.info.seq for one in bench.expired] == [0]


def test_what_the_decoder_held_back_does_not_count_as_waiting():
    bench = Bench(max_age_s=0.5)
    bench.add("camera").put(frame("camera", bench.clock.monotonic(), received_s=bench.clock.monotonic() - 2.0))
    assert bench.collected() == [("camera", 0)]
    assert bench.expired == []


def test_a_files_frames_never_grow_too_old():
    bench = Bench(max_age_s=0.5)
    bench.add("file", live=False).put(frame("file", bench.clock.monotonic()))
    bench.clock.advance(60.0)
    assert bench.collected() == [("file", 0)]
    assert bench.expired == []


def test_a_camera_that_is_too_fast_loses_its_oldest_frames_only():
    bench = Bench()
    camera = bench.add("camera")
    for seq in range(LIVE_CAPACITY + 3):
        camera.put(frame("camera", bench.clock.monotonic(), seq))
    assert [one.info.seq for one in bench.overflowed] == [0, 1, 2]


def test_nothing_within_the_timeout_is_none():
    bench = Bench()
    bench.add("a")
    assert bench.collected() is None


def test_it_ends_when_closed_and_every_stream_is_drained():
    bench = Bench()
    a = bench.add("a")
    a.put(frame("a", bench.clock.monotonic()))
    a.close()
    bench.batcher.close()
    assert bench.collected() == [("a", 0)]
    with pytest.raises(Closed):
        bench.batcher.collect(0)


def test_a_stream_may_join_late_and_leave():
    bench = Bench()
    bench.add("a").close()
    assert bench.collected() is None
    bench.add("a").put(frame("a", bench.clock.monotonic(), 7))
    assert bench.collected() == [("a", 7)]


def test_rows_that_are_done_do_not_pile_up_while_others_are_busy():
    bench = Bench()
    busy = bench.add("busy", live=False)
    for seq in range(30):
        busy.put(frame("busy", bench.clock.monotonic(), seq))
        bench.add("a").close()
        busy.put(frame("busy", bench.clock.monotonic(), seq))
        assert bench.collected() == bench.collected() == [("busy", seq)]
        assert len(bench.batcher._rows) <= 2


def test_a_stream_has_one_row():
    bench = Bench()
    bench.add("a")
    with pytest.raises(ValueError, match="row already"):
        bench.add("a")


def test_a_frame_wakes_a_waiting_runner():
    bench = Bench()
    channel = bench.add("a")
    taken: list[object] = []
    runner = threading.Thread(target=lambda: taken.append(bench.batcher.collect(10)))
    runner.start()
    channel.put(frame("a", bench.clock.monotonic()))
    runner.join(10)
    assert len(taken) == 1
    assert taken[0] is not None


class Script(FakeClock):
    """Cameras that deliver at their times, on a clock that only waiting moves: from one delivery to the next."""

    def __init__(self, cameras: Mapping[str, Sequence[float]]) -> None:
        super().__init__(0.0)
        self.batcher = Batcher(BatchPolicy(max_wait_s=0.02), self, lambda _: None)
        self.channels = {name: self.batcher.add(name, live=True, on_overflow=lambda _: None) for name in cameras}
        self._due = sorted((at_s, name) for name, times_s in cameras.items() for at_s in times_s)
        for channel in self.channels.values():
            channel.condition.wait = self.wait  # type: ignore[method-assign]

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        until_s = self.monotonic() + timeout
        if not self._due or self._due[0][0] > until_s:
            self.advance(timeout)
            return False
        due_s, name = self._due.pop(0)
        self.advance(max(0.0, due_s - self.monotonic()))
        self.channels[name].put(frame(name, self.monotonic()))
        return True


@dataclass
class Taken:
    """A batch: when it closed, of whom it is, and how long its first frame had waited."""

    at_s: float
    names: tuple[str, ...]
    waited_s: float


def batches(cameras: Mapping[str, Sequence[float]], until_s: float = 2.0) -> list[Taken]:
    """Return the batches that an engine takes whose own work takes no time."""
    script, found = Script(cameras), list[Taken]()
    while script.monotonic() < until_s:
        if (batch := script.batcher.collect(0)) is None:
            script.wait(1.0)
            continue
        now_s = script.monotonic()
        names = tuple(sorted(each.info.stream for each in batch.frames))
        found.append(Taken(now_s, names, now_s - min(each.ready_s for each in batch.frames)))
    return found


def every(interval_s: float, *, first_s: float = 0.0, until_s: float = 2.0) -> list[float]:
    return [first_s + number * interval_s for number in range(round((until_s - first_s) / interval_s))]


@pytest.mark.parametrize("last_s", [0.0, 0.5], ids=["it never came", "it died"])
def test_nobody_waits_for_a_dead_camera(last_s: float):
    found = batches({"alive": every(0.04, first_s=0.003), "dead": every(0.04, until_s=last_s)})
    later = [each for each in found if each.at_s > last_s + 0.1]
    assert len(later) > 20
    assert max(each.waited_s for each in later) == 0


def test_a_death_costs_one_wait_in_all():
    found = batches({"alive": every(0.04, first_s=0.003), "dead": every(0.04, until_s=0.5)})
    assert sum(each.waited_s > 0.01 for each in found) == 1


def test_cameras_of_one_rate_come_together():
    found = batches({"a": every(0.04), "b": every(0.04, first_s=0.012)})
    assert sum(each.names == ("a", "b") for each in found) > 0.9 * len(found)


def test_a_frame_does_not_wait_for_the_next_of_a_stream_that_has_just_had_its_turn():
    found = batches({"a": every(0.1), "b": every(0.1, first_s=0.05)})
    assert {each.names for each in found[4:]} == {("a",), ("b",)}
    assert max(each.waited_s for each in found[4:]) == 0


def test_a_slow_camera_holds_up_only_the_batch_that_it_is_due_in():
    found = batches({"fast": every(0.04), "slow": every(0.2, first_s=0.012)})[10:]
    together = [each for each in found if each.names == ("fast", "slow")]
    assert len(together) >= 6
    assert max(each.waited_s for each in found if each not in together) == 0


def test_a_camera_that_comes_back_is_waited_for_again():
    away = [at_s for at_s in every(0.04, first_s=0.012, until_s=4.0) if not 0.5 < at_s < 1.5]
    found = batches({"a": every(0.04, until_s=4.0), "b": away}, until_s=4.0)
    assert all(each.names == ("a", "b") for each in found if 3.0 < each.at_s < 3.9)


def test_a_stream_that_has_ended_is_not_waited_for():
    script = Script({"a": every(0.04), "b": every(0.04)})
    for _ in range(6):
        script.wait(1.0)
        script.batcher.collect(0)
    script.channels["b"].close()
    script.channels["a"].put(frame("a", began_s := script.monotonic()))
    assert script.batcher.collect(0) is not None
    assert script.monotonic() == began_s
