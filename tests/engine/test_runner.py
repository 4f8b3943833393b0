"""The runner of one engine: order, several in flight, what becomes of frames when something breaks, how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamvision.channel import Channel, Closed
from streamvision.engine.runner import Inferred, Runner
from streamvision.errors import BatchLost, EngineError
from streamvision.geometry import Letterbox
from streamvision.metrics import EngineStats
from streamvision.types import Batch, ClockSource, Frame, FrameInfo, InputSpec, Perception
from tests.fakes import FakeClock, blank_picture

WAIT_S = 10.0


def batch(*numbers: int) -> Batch:
    utc = datetime(2026, 1, 1, tzinfo=UTC)
    infos = [FrameInfo(f"s{one}", 0, one, 0.0, 0.0, utc, ClockSource.FILE, 0.0, (8, 8)) for one in numbers]
    pixels, letterbox = np.zeros((8, 8, 3), np.uint8), Letterbox.fit((8, 8), (8, 8))
    return Batch(tuple(Frame(info, blank_picture(8, 8), pixels, letterbox, 0.0) for info in infos))


class Device:
    """An engine whose answers the test gives, in the order that it likes."""

    input = InputSpec((8, 8))
    labels = ("thing",)
    max_batch = 4
    in_flight = 3
    description = "a device by hand"

    def __init__(self) -> None:
        self.submitted = Channel[tuple[Batch, Future[list[NDArray[Any]]]]](100)
        self.broken: Exception | None = None

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        if self.broken is not None:
            raise self.broken
        future: Future[list[NDArray[Any]]] = Future()
        self.submitted.put((batch, future))
        return future

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        if not outputs:
            raise ValueError("nothing to decode")
        return [Perception.of_nothing() for _ in batch.frames]

    def forget(self, stream: str) -> None:
        pass

    def close(self) -> None:
        pass

    def next(self) -> Future[list[NDArray[Any]]]:
        return self.submitted.get(WAIT_S)[1]


class Rig:
    """A runner with its surroundings."""

    def __init__(self, deliver: Callable[[Sequence[Inferred]], None] | None = None) -> None:
        self.device = Device()
        self.waiting = Channel[Batch](100)
        self.delivered = Channel[list[int]](100)
        self.lost: list[tuple[int, str]] = []
        self.stats = EngineStats("m")
        self.beats: set[str] = set()
        self.runner = Runner(
            "m", self.device, self._collect, deliver or self._deliver, self._lose, self.stats, FakeClock(),
            self.beats.add,
        )  # fmt: skip

    def _collect(self, timeout_s: float) -> Batch | None:
        try:
            return self.waiting.get(timeout_s)
        except TimeoutError:
            return None

    def _deliver(self, inferred: Sequence[Inferred]) -> None:
        self.delivered.put([one.frame.info.seq for one in inferred])

    def _lose(self, frame: Frame, reason: str) -> None:
        self.lost.append((frame.info.seq, reason))

    def feed(self, *batches: Batch) -> list[Future[list[NDArray[Any]]]]:
        """Hand in batches; return the device's open answers to them."""
        for one in batches:
            self.waiting.put(one)
        return [self.device.next() for _ in batches]

    def ended(self) -> bool:
        """Say that nothing more will come and wait for the end of both threads."""
        self.waiting.close()
        for thread in threading.enumerate():
            if thread.name in self.runner.stages:
                thread.join(WAIT_S)
        return self.runner.join(0)


@contextmanager
def running(rig: Rig) -> Iterator[Rig]:
    rig.runner.start()
    try:
        yield rig
    finally:
        assert rig.ended()


ANSWER = [np.zeros(1)]


def test_answers_are_handed_on_in_the_order_of_the_questions():
    with running(Rig()) as rig:
        answers = rig.feed(batch(1), batch(2, 3), batch(4))
        for answer in reversed(answers):
            answer.set_result(ANSWER)
        assert [rig.delivered.get(WAIT_S) for _ in range(3)] == [[1], [2, 3], [4]]
    assert rig.runner.crashed is None
    assert rig.lost == []


def test_the_device_has_several_batches_before_it_has_answered_one():
    with running(Rig()) as rig:
        answers = rig.feed(*(batch(number) for number in range(Device.in_flight)))
        assert not any(answer.done() for answer in answers)
        for answer in answers:
            answer.set_result(ANSWER)


def test_the_books_hold_batch_sizes_and_times():
    with running(Rig()) as rig:
        for answer in rig.feed(batch(1, 2), batch(3)):
            answer.set_result(ANSWER)
    assert rig.stats.batch_size.total == 3
    assert [sum(rig.stats.seconds[stage].counts) for stage in ("infer", "decode")] == [2, 2]


def test_both_threads_show_that_they_are_alive():
    with running(Rig()) as rig:
        rig.feed(batch(1))[0].set_result(ANSWER)
    assert rig.beats == set(rig.runner.stages)


def test_the_end_drains_what_is_in_flight():
    rig = Rig()
    rig.runner.start()
    answers = rig.feed(batch(1), batch(2))
    rig.waiting.close()
    assert not rig.runner.join(0)
    for answer in answers:
        answer.set_result(ANSWER)
    assert rig.ended()
    assert [rig.delivered.get(0), rig.delivered.get(0)] == [[1], [2]]
    assert rig.lost == []


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (lambda answer: answer.set_exception(EngineError("the device is gone")), EngineError),
        (lambda answer: answer.set_result([]), ValueError),
    ],
    ids=["inference", "decoding"],
)
def test_after_a_failure_every_frame_is_accounted_for(fail: Callable[[Any], None], kind: type[Exception]):
    with running(Rig()) as rig:
        first, second, _ = rig.feed(batch(1), batch(2, 3), batch(4))
        first.set_result(ANSWER)
        fail(second)
    assert isinstance(rig.runner.crashed, kind)
    assert rig.delivered.get(0) == [1]
    assert sorted(rig.lost) == [(2, "error"), (3, "error"), (4, "stopped")]


def test_a_device_that_refuses_a_batch_loses_that_batch_only():
    with running(Rig()) as rig:
        answer = rig.feed(batch(1))[0]
        rig.device.broken = EngineError("the engine is closed")
        rig.waiting.put(batch(2))
        answer.set_result(ANSWER)
    assert isinstance(rig.runner.crashed, EngineError)
    assert rig.delivered.get(0) == [1]
    assert rig.lost == [(2, "error")]


def test_a_failing_hand_over_ends_the_feeding_thread_too():
    def refuse(inferred: Sequence[Inferred]) -> None:
        raise RuntimeError("nobody takes it")

    rig = Rig(refuse)
    rig.runner.start()
    rig.feed(batch(1))[0].set_result(ANSWER)
    rig.waiting.put(batch(2))
    assert rig.ended()
    assert isinstance(rig.runner.crashed, RuntimeError)
    assert rig.lost == [(2, "stopped")]


def test_nothing_to_do_ends_at_once():
    rig = Rig()
    rig.runner.start()
    rig.waiting.close()
    assert rig.ended()
    with pytest.raises(Closed):
        rig.waiting.get(0)


def test_a_batch_that_is_lost_costs_its_frames_and_nothing_else():
    with running(Rig()) as rig:
        first, second = rig.feed(batch(1, 2), batch(3))
        first.set_exception(BatchLost("the device is lost"))
        second.set_result(ANSWER)
    assert rig.delivered.get(0) == [3]
    assert rig.lost == [(1, "lost"), (2, "lost")]
    assert rig.runner.crashed is None


def test_a_batch_for_which_there_is_no_engine_costs_its_frames_and_nothing_else():
    with running(Rig()) as rig:
        rig.device.broken = BatchLost("no engine has taken the place of the lost one yet")
        rig.waiting.put(batch(1))
    assert rig.lost == [(1, "lost")]
    assert rig.runner.crashed is None
