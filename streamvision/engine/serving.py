"""The engine that serves, while a better one is built in the background, and after a device was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from streamvision.engine.build import AUTO, Builder, Order, Step, Workshop
from streamvision.engine.compile import CALIBRATION_PICTURES, Calibration, NotCachedError
from streamvision.engine.manifest import Manifest
from streamvision.engine.switching import SwitchingEngine
from streamvision.errors import EngineError, StreamvisionError
from streamvision.interfaces import Engine
from streamvision.metrics import EngineStats
from streamvision.types import Batch, InputSpec, UInt8

FROM_STREAM: Final = "stream"
"""The name of the calibration set that the streams themselves give."""
APART_S: Final = 1.0
"""Seconds of media time between two pictures of a stream that int8 is calibrated with: neighbours are all alike."""
CALIBRATION_BYTES: Final = 200_000_000
"""What the pictures may take up while they are collected."""
_CLOSE_S: Final = 2.0

_log = structlog.get_logger(__name__)


class StreamPictures:
    """Collects pictures as they go to the engine; ``pictures`` waits until there are enough."""

    def __init__(
        self,
        spec: InputSpec,
        count: int = CALIBRATION_PICTURES,
        told: Callable[[int, int], None] = lambda taken, wanted: None,
    ) -> None:
        """``told`` hears how many there are of how many."""
        self._told = told
        one = spec.size_wh[0] * spec.size_wh[1] * 3
        self.wanted = max(8, min(count, CALIBRATION_BYTES // one))
        self._taken: list[UInt8] = []
        self._last_s: dict[tuple[str, int], float] = {}
        self._changed = threading.Condition()
        self._closed = False

    def see(self, batch: Batch) -> None:
        """Take copies of the pictures that are far enough from those before."""
        if len(self._taken) >= self.wanted:
            return
        with self._changed:
            for frame in batch.frames:
                stream = (frame.info.stream, frame.info.epoch)
                if frame.info.media_s - self._last_s.get(stream, float("-inf")) >= APART_S:
                    self._last_s[stream] = frame.info.media_s
                    self._taken.append(frame.pixels.copy())
            self._told(min(len(self._taken), self.wanted), self.wanted)
            self._changed.notify_all()

    def pictures(self, _: InputSpec) -> Sequence[UInt8]:
        """Return the pictures as soon as there are enough. Raises `EngineError` when the engine is closed before."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._taken) >= self.wanted)
            if self._closed:
                raise EngineError("the engine was closed before there were enough pictures to calibrate with")
            return self._taken[: self.wanted]

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Serving:
    """Opens the engine of one model, keeps one serving, and writes down how things are.

    A build that takes long runs on a thread of its own while the best backend that is ready serves. With ``backend:
    auto`` a device that is lost is replaced in the same way. ``stats`` always tell the state.
    """

    def __init__(self, manifest: Manifest, order: Order, workshop: Workshop, stats: EngineStats) -> None:
        self._manifest = manifest
        self._workshop = workshop
        self._stats = stats
        self._changing = threading.Lock()
        self._follower: Callable[[Engine], None] = lambda _: None
        self._pictures: StreamPictures | None = None
        if order.numbers == "int8" and order.calibration is None and not manifest.quantised:
            self._pictures = StreamPictures(manifest.input.spec(), told=self._collected)
            order = replace(order, calibration=Calibration(FROM_STREAM, self._pictures.pictures))
        self._order = order
        self._engine: SwitchingEngine | None = None
        self._thread: threading.Thread | None = None
        self._backend = ""
        self._logged: tuple[str, str, int] = ("", "", 0)

    def open(self) -> Engine:
        """Return the engine, ready. Raises as `build.build_engine` does."""
        try:
            return self._open()
        except StreamvisionError as error:
            self._stats.state, self._stats.detail = "failed", str(error)
            raise

    def follow(self, told: Callable[[Engine], None]) -> None:
        """Tell of the engine that serves now, if one can take another's place, and of each that does so later."""
        with self._changing:
            self._follower = told
            if self._engine is not None:
                told(self._engine)

    def join(self, timeout_s: float) -> bool:
        """Wait for what is built in the background; False if that took too long."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _open(self) -> Engine:
        builder = Builder(self._manifest, self._order, self._workshop, self._report, patient=False)
        try:
            engine = builder.build()
        except NotCachedError as missing:
            return self._meanwhile(missing.backend)
        self._serves(engine, builder.backend, builder.fallback)
        if self._order.backend != AUTO or builder.backend not in self._workshop.on_gpu:
            return engine
        return self._switching(engine)

    def _meanwhile(self, wanted: str) -> Engine:
        """Return an engine that is ready soon, and start to build the one that is wanted."""
        quick = replace(self._order, backend=AUTO, precision=AUTO, options={}, force=False)
        builder = Builder(self._manifest, quick, replace(self._workshop, on_gpu=()), self._report)
        switching = self._switching(builder.build())
        self._stats.description = switching.description
        self._report(Step("building", wanted))
        self._start(lambda: self._build_wanted(wanted))
        return switching

    def _switching(self, engine: Engine) -> SwitchingEngine:
        see = self._pictures.see if self._pictures is not None else lambda _: None
        self._engine = SwitchingEngine(engine, on_lost=self._lost, on_submit=see, on_close=self._close)
        return self._engine

    def _build_wanted(self, wanted: str) -> None:
        builder = Builder(self._manifest, self._order, self._workshop, self._report)
        try:
            engine = builder.open(wanted) if wanted in self._workshop.slow else builder.build()
        except Exception as error:  # noqa: BLE001 - a thread's border: what serves goes on serving
            self._stays(wanted, error)
            return
        self._take(engine, builder.backend, builder.fallback)

    def _lost(self, error: EngineError) -> bool:
        """Start to build an engine elsewhere, if that is allowed; return whether."""
        if self._order.backend != AUTO or self._backend not in self._workshop.on_gpu:
            return False
        self._stats.state, self._stats.description, self._stats.detail = "loading", "", str(error)
        _log.error("device_lost", model=self._manifest.name, backend=self._backend, error=str(error))
        lost = self._backend
        self._start(lambda: self._replace(lost, error))
        return True

    def _replace(self, lost: str, why: EngineError) -> None:
        builder = Builder(self._manifest, self._order, self._workshop, self._report)
        try:
            engine = builder.build(without=(lost,))
        except Exception as error:  # noqa: BLE001 - a thread's border: told to whoever waits for an engine
            self._stats.state, self._stats.detail = "failed", str(error)
            if self._engine is not None:
                self._engine.give_up(EngineError(f"no engine takes the place of the lost one: {error}"))
            return
        self._take(engine, builder.backend, f"{lost}: {why}")

    def _take(self, engine: Engine, backend: str, fallback: str) -> None:
        with self._changing:
            if self._engine is not None and self._engine.swap(engine):
                self._serves(engine, backend, fallback)
                self._follower(engine)

    def _serves(self, engine: Engine, backend: str, fallback: str) -> None:
        self._backend = backend
        stats = self._stats
        stats.state = "fallback" if fallback else "ready"
        stats.description, stats.detail, stats.build_progress = engine.description, fallback, 1.0
        _log.info("engine ready", model=stats.model, engine=engine.description, fallback=fallback)

    def _stays(self, wanted: str, error: Exception) -> None:
        """Go on with what serves, and say why."""
        self._stats.state, self._stats.detail = "fallback", f"{wanted}: {error}"
        _log.error(
            "engine_fallback", model=self._stats.model, wanted=wanted, serving=self._stats.description,
            error=str(error), exc_info=None if isinstance(error, StreamvisionError) else error,
        )  # fmt: skip

    def _report(self, step: Step) -> None:
        stats = self._stats
        # What is loaded beside an engine that serves is on its way to be built.
        state = "building" if step.state == "loading" and stats.description else step.state
        stats.state, stats.build_progress = state, step.done
        what = f"{state} {step.backend}"
        if state == "building":
            what += f", {step.done:.0%}"
        self._detail(what)
        logged = (state, step.backend, int(step.done * 4))
        if logged != self._logged and state != "loading":
            self._logged = logged
            _log.info("engine", model=stats.model, state=state, backend=step.backend, done=round(step.done, 2))

    def _collected(self, taken: int, wanted: int) -> None:
        if self._stats.state == "building":
            self._detail(f"collecting pictures to calibrate with, {taken} of {wanted}")

    def _detail(self, what: str) -> None:
        meanwhile = f"; {self._stats.description} serves meanwhile" if self._stats.description else ""
        self._stats.detail = what + meanwhile

    def _start(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name=f"build-{self._stats.model}", daemon=True)
        self._thread.start()

    def _close(self) -> None:
        """Wait a little for what is built; compilers cannot be interrupted, and the result is closed when it comes."""
        if self._pictures is not None:
            self._pictures.close()
        if self._thread is not threading.current_thread():
            self.join(_CLOSE_S)
