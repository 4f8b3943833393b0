"""One source through one engine, in order, without a daemon: the same capture, batcher and runner, read by a loop."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from streamvision import plugins
from streamvision.batch import Batcher, BatchPolicy
from streamvision.capture.stream import CaptureOptions, StateChange, StreamCapture
from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.config import source_kind
from streamvision.engine.runner import Inferred, Runner
from streamvision.errors import EndOfStream, UsageError
from streamvision.interfaces import Engine, Source
from streamvision.metrics import EngineStats, StreamStats
from streamvision.redact import redact_url
from streamvision.types import Frame, StreamState

_END_S = 3.0
"""How long the capture is given to end."""

_ENGINE_END_S = 30.0
"""How long the runner is given to finish what is in flight: a large network may take seconds for a picture."""


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """How a source is read: ``fps`` pictures analysed per second of media time at most; ``transport`` for RTSP;
    ``seconds`` of media time after which it is enough."""

    fps: float | None = None
    transport: str | None = None
    seconds: float | None = None


def open_source(url: str, options: OfflineOptions, clock: Clock) -> Source:
    """Return the (closed) source of a URL or path."""
    kind = source_kind(url)
    plugin = plugins.load("source", kind)
    if options.transport is not None and kind != "rtsp":
        raise UsageError("only RTSP has a choice of transport", where=redact_url(url))
    chosen = {} if options.transport is None else {"transport": options.transport}
    settings = plugin.Options(**chosen)
    if hasattr(plugin, "check_url"):
        plugin.check_url(url, settings)
    source: Source = plugin(url, settings, clock)
    return source


class OfflineRun:
    """Iterate to get one `Inferred` per analysed picture, in order. ``stats`` are its books."""

    def __init__(self, url: str, engine: Engine, options: OfflineOptions, clock: Clock) -> None:
        name = PurePath(redact_url(url).partition("?")[0]).name or "source"
        self.stats = StreamStats(name)
        self.engine_stats = EngineStats("model")
        self._ended = threading.Event()
        self._results = Channel[Sequence[Inferred]](4)
        self._open = partial(open_source, url, options, clock)
        self._enough_s = float("inf") if options.seconds is None else options.seconds
        source = self._open()
        batcher = Batcher(BatchPolicy(max_batch=1), clock, lambda _: self.stats.drop("batch", "max_age"))
        self._inlet = channel = batcher.add(
            name, live=source.live, on_overflow=lambda _: self.stats.drop("queue", "overflow")
        )
        batcher.close()
        self._runner = Runner(
            "model", engine, batcher.collect, self._hand_over, self._lost, self.engine_stats, clock, lambda _: None
        )
        capture = CaptureOptions(stream=name, input=engine.input, fps=options.fps)
        self._capture = StreamCapture(
            capture, self._open, channel, self.stats, clock,
            rng=random.Random(), on_state=self._on_state, beat=lambda: None,
        )  # fmt: skip

    def check(self) -> None:
        """Open a live source once, so that a wrong URL is an error at once; the daemon's capture would try for ever.

        Raises `CaptureError`.
        """
        source = self._open()
        if source.live:
            try:
                source.open()
            finally:
                source.close()

    def stop(self) -> None:
        """End the iteration after the picture that is under way; a signal handler may call this."""
        self._ended.set()

    def __iter__(self) -> Iterator[Inferred]:
        """Run to the end of the source, or until `stop`; raises what stopped it early."""
        self._capture.start()
        self._runner.start()
        try:
            while (batch := self._next()) is not None:
                for inferred in batch:
                    self.stats.analysed += 1
                    yield inferred
                if batch[-1].frame.info.media_s >= self._enough_s:
                    return
        finally:
            self._stop()
        for error in (self._capture.crashed, self._runner.crashed, self._capture.failed):
            if error is not None:
                raise error

    def _next(self) -> Sequence[Inferred] | None:
        while not self._ended.is_set():
            try:
                return self._results.get(0.1)
            except TimeoutError:
                if self._runner.join(0) and not len(self._results):
                    break
        return None

    def _hand_over(self, batch: Sequence[Inferred]) -> None:
        try:
            self._results.put(batch)
        except Closed:
            for inferred in batch:
                self._lost(inferred.frame, "stopped")

    def _lost(self, frame: Frame, reason: str) -> None:
        self.stats.drop("engine", reason)

    def _stop(self) -> None:
        self._capture.stop()
        self._results.close()
        if not self._capture.join(_END_S):
            self._inlet.close()  # it waits for a silent camera and is left behind; it holds no picture
        self._runner.join(_ENGINE_END_S)

    def _on_state(self, change: StateChange) -> None:
        """A live source that came to its end is done here; the daemon would call it again."""
        if change.old is StreamState.LIVE and change.reason == EndOfStream.reason:
            self._capture.stop()
