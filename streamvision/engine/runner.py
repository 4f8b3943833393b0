"""The runner of one engine: collects batches, keeps the device busy, hands results on in order.

Two threads share the work, so that the device never waits for Python: one feeds (collect, submit), one finishes
(wait for the oldest submission, decode, hand on). The hand-over between them is as deep as the engine likes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from numpy.typing import NDArray

from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.errors import BatchLost
from streamvision.interfaces import Engine
from streamvision.metrics import EngineStats
from streamvision.types import Batch, Frame, Perception

log = structlog.get_logger()

IDLE_S = 0.5
"""How long a thread waits for work before it shows that it is alive."""


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """One frame with what the engine saw in it, and the names of its classes."""

    frame: Frame
    perception: Perception
    labels: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Submission:
    batch: Batch
    future: Future[list[NDArray[Any]]]
    started_s: float


class Runner:
    """Drives one engine until its input is over. ``crashed`` holds the exception that stopped it early."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        collect: Callable[[float], Batch | None],
        deliver: Callable[[Sequence[Inferred]], None],
        lost: Callable[[Frame, str], None],
        stats: EngineStats,
        clock: Clock,
        beat: Callable[[str], None],
    ) -> None:
        """``collect`` gives batches and raises `Closed` at the end; ``lost`` is told of frames that failed."""
        self.name = name
        self.engine = engine
        self.crashed: BaseException | None = None
        self._begun = self._ended = 0
        self._collect = collect
        self._deliver = deliver
        self._lost = lost
        self._stats = stats
        self._clock = clock
        self._beat = beat
        self._submitted = Channel[_Submission](max(1, engine.in_flight))
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"{role}-{name}", daemon=True)
            for role, work in (("feed", self._feed), ("finish", self._finish))
        ]

    @property
    def stages(self) -> tuple[str, ...]:
        """Names under which this runner's threads show that they are alive."""
        return tuple(thread.name for thread in self._threads)

    @property
    def busy(self) -> bool:
        """Whether a batch is under way at this moment."""
        return self._begun > self._ended

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until everything collected has been handed on; False if that took too long."""
        until_s = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = self.crashed or error
            log.error("engine stopped", model=self.name, error=str(error), exc_info=error)
        finally:
            self._submitted.close()
            if work == self._finish:
                self._lose_rest()

    def _feed(self) -> None:
        stage = threading.current_thread().name
        while True:
            self._beat(stage)
            try:
                batch = self._collect(IDLE_S)
            except Closed:
                return
            if batch is not None and not self._submit(batch, stage):
                return

    def _submit(self, batch: Batch, stage: str) -> bool:
        """Start a batch and queue it; False when the finishing thread has gone."""
        self._begun += 1
        submission = self._started(batch)
        if submission is None:
            self._begun -= 1
            return True
        try:
            while not self._submitted.put(submission, IDLE_S):
                self._beat(stage)
        except Closed:
            self._lose(batch, "stopped")
            return False
        self._stats.batch_size.observe(len(batch))
        return True

    def _started(self, batch: Batch) -> _Submission | None:
        """Start a batch; None if it is lost and the engine goes on."""
        try:
            return _Submission(batch, self.engine.submit(batch), self._clock.monotonic())
        except BatchLost as error:
            self._lose_softly(batch, error)
            return None
        except Exception:
            self._lose(batch, "error")
            raise

    def _finish(self) -> None:
        stage = threading.current_thread().name
        while True:
            self._beat(stage)
            try:
                submission = self._submitted.get(IDLE_S)
            except TimeoutError:
                continue
            except Closed:
                return
            results = self._result(submission)
            self._ended += 1
            if results:
                self._deliver(results)

    def _result(self, submission: _Submission) -> list[Inferred]:
        """Return what a batch shows; nothing if it is lost and the engine goes on."""
        try:
            return self._decoded(submission, submission.future.result())
        except BatchLost as error:
            self._lose_softly(submission.batch, error)
            return []
        except Exception:
            self._lose(submission.batch, "error")
            raise

    def _decoded(self, submission: _Submission, outputs: list[NDArray[Any]]) -> list[Inferred]:
        inferred_s = self._clock.monotonic()
        self._stats.seconds["infer"].observe(inferred_s - submission.started_s)
        perceptions = self.engine.decode(submission.batch, outputs)
        self._stats.seconds["decode"].observe(self._clock.monotonic() - inferred_s)
        labels = self.engine.labels
        return [Inferred(frame, seen, labels) for frame, seen in zip(submission.batch.frames, perceptions, strict=True)]

    def _lose_rest(self) -> None:
        while (submission := self._submitted.take_nowait()) is not None:
            self._lose(submission.batch, "stopped")

    def _lose_softly(self, batch: Batch, error: BatchLost) -> None:
        log.warning("batch lost", model=self.name, pictures=len(batch), error=str(error))
        self._lose(batch, "lost")

    def _lose(self, batch: Batch, reason: str) -> None:
        for frame in batch.frames:
            self._lost(frame, reason)
