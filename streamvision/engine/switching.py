"""An engine that can be exchanged while it runs: at the border between two batches, without losing one.

What the old engine has in flight is finished and decoded by it; then it is closed. When a device is lost, the pictures
that were on it are lost, and those that come next wait for the engine that takes its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

from numpy.typing import NDArray

from streamvision.errors import BatchLost, DeviceLost, EngineError, OutOfDeviceMemory
from streamvision.interfaces import Engine
from streamvision.types import Batch, Perception

WAIT_S: Final = 10.0
"""How long a batch waits for an engine that takes the place of a lost one; less than a stage may be silent."""
IN_FLIGHT: Final = 4
"""Submissions to keep going at the least: the engine that comes may like more than the one that is there."""

Outputs = list[NDArray[Any]]


class _Seat:
    """An engine with the number of batches that it still has to finish. Guarded by the lock of its owner."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.busy = 0
        self.lost = False
        self.retired = False
        self.closed = False


class _Answer(Outputs):
    """The outputs of a batch that may have been cut in parts, and who computed them."""

    def __init__(self, seat: _Seat, parts: Iterable[tuple[Batch, Outputs]]) -> None:
        self.parts = list(parts)
        self.seat = seat
        super().__init__(output for _, outputs in self.parts for output in outputs)


class SwitchingEngine:
    """Implements `interfaces.Engine` over one that `swap` exchanges. Safe for several threads."""

    def __init__(
        self,
        first: Engine,
        *,
        on_lost: Callable[[EngineError], bool] = lambda _: False,
        on_submit: Callable[[Batch], None] = lambda _: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_lost`` is told once of a device that is lost or full, and returns whether another engine will come.

        ``on_submit`` sees every batch; ``on_close`` is called before the engine is closed. All must be short.
        """
        self.input = first.input
        self.labels = first.labels
        self.in_flight = max(first.in_flight, IN_FLIGHT)
        self.max_batch = first.max_batch
        self.description = first.description
        self._seat = _Seat(first)
        self._retired: list[_Seat] = []
        self._on_lost = on_lost
        self._on_submit = on_submit
        self._on_close = on_close
        self._changed = threading.Condition()
        self._closed = False
        self._hopeless: EngineError | None = None

    def swap(self, engine: Engine) -> bool:
        """Let another engine take the next batch; False if this one was closed, and the other is closed then too."""
        with self._changed:
            if self._closed:
                engine.close()
                return False
            old, self._seat = self._seat, _Seat(engine)
            self.max_batch, self.description = engine.max_batch, engine.description
            old.retired = True
            self._retired.append(old)
            self._changed.notify_all()
        self._close_if_done(old)
        return True

    def give_up(self, error: EngineError) -> None:
        """Say that no engine takes the place of a lost one: whoever waits for it gets ``error``."""
        with self._changed:
            self._hopeless = error
            self._changed.notify_all()

    def submit(self, batch: Batch) -> Future[Outputs]:
        """Start on a batch of any size. Raises `BatchLost` where no engine came in time for it."""
        self._on_submit(batch)
        seat = self._take_seat()
        parts = _cut(batch, seat.engine.max_batch)
        try:
            futures = [seat.engine.submit(part) for part in parts]
        except BaseException as error:
            self._fail(seat, error)
            raise
        answer: Future[Outputs] = Future()
        left = [len(futures)]

        def done(_: Future[Outputs]) -> None:
            with self._changed:
                left[0] -= 1
                last = left[0] == 0
            if last:
                self._settle(answer, seat, parts, futures)

        for future in futures:
            future.add_done_callback(done)
        return answer

    def decode(self, batch: Batch, outputs: Outputs) -> list[Perception]:
        """Turn raw outputs into one `Perception` per frame, by the engine that computed them."""
        if not isinstance(outputs, _Answer):
            raise EngineError("these outputs are not of this engine")
        seat = outputs.seat
        try:
            seen = [each for part, raw in outputs.parts for each in seat.engine.decode(part, raw)]
        except BaseException as error:
            self._fail(seat, error)
            raise
        self._release(seat)
        return seen

    def forget(self, stream: str) -> None:
        """Drop what is remembered of a stream."""
        self._seat.engine.forget(stream)

    def close(self) -> None:
        """Release the device; idempotent."""
        self._on_close()
        with self._changed:
            self._closed = True
            seats = [each for each in (*self._retired, self._seat) if not each.closed]
            for seat in seats:
                seat.closed = True
            self._changed.notify_all()
        for seat in seats:
            seat.engine.close()

    def _take_seat(self) -> _Seat:
        with self._changed:
            came = self._changed.wait_for(self._can_go_on, WAIT_S)
            if self._closed:
                raise EngineError("the engine is closed")
            if self._hopeless is not None:
                raise self._hopeless
            if not came:
                raise BatchLost("no engine has taken the place of the lost one yet")
            self._seat.busy += 1
            return self._seat

    def _can_go_on(self) -> bool:
        return not self._seat.lost or self._closed or self._hopeless is not None

    def _settle(self, answer: Future[Outputs], seat: _Seat, parts: list[Batch], futures: list[Future[Outputs]]) -> None:
        """Give the answer of a batch whose parts are all done; runs on the engine's own thread."""
        try:
            outputs = [future.result() for future in futures]
        except BaseException as error:  # noqa: BLE001 - a thread's border: whoever waits for the answer raises it
            try:
                self._fail(seat, error)
            except BatchLost as lost:
                answer.set_exception(lost)
            else:
                answer.set_exception(error)
            return
        answer.set_result(_Answer(seat, zip(parts, outputs, strict=True)))

    def _fail(self, seat: _Seat, error: BaseException) -> None:
        """Count a batch that failed. Raises `BatchLost` if its device was lost and another engine comes for it."""
        self._release(seat)
        if not isinstance(error, DeviceLost | OutOfDeviceMemory):
            return
        with self._changed:
            if seat is self._seat and not seat.lost:
                seat.lost = True
                if not self._on_lost(error):
                    self._hopeless = error
                self._changed.notify_all()
            if self._hopeless is None:
                raise BatchLost(str(error)) from error

    def _release(self, seat: _Seat) -> None:
        with self._changed:
            seat.busy -= 1
        self._close_if_done(seat)

    def _close_if_done(self, seat: _Seat) -> None:
        """Close an engine that is out of use, on another thread than its own, which could not wait for itself."""
        with self._changed:
            if not seat.retired or seat.busy > 0 or seat.closed:
                return
            seat.closed = True
            self._retired.remove(seat)
        threading.Thread(target=seat.engine.close, name="close-engine", daemon=True).start()


def _cut(batch: Batch, size: int) -> list[Batch]:
    """Return a batch in parts that an engine takes."""
    frames = batch.frames
    return [batch] if len(frames) <= size else [Batch(frames[at : at + size]) for at in range(0, len(frames), size)]
