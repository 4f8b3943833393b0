"""The pipeline beside its own limits on this machine: decoding alone, scaling alone, the engine alone.

Every figure is taken several times, in turn with the others, so that ratios hold on a machine that is busy with
other things too; medians are told. CPU time is that of the whole process.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from streamvision import plugins
from streamvision.clock import Clock, SystemClock
from streamvision.config import Settings
from streamvision.engine.backends.cpus import usable_cpus
from streamvision.engine.build import build_engine
from streamvision.engine.manifest import load
from streamvision.errors import EndOfStream
from streamvision.health import Heartbeats
from streamvision.interfaces import Engine, ScalablePicture, Source
from streamvision.metrics import Metrics
from streamvision.offline import OfflineOptions, open_source
from streamvision.paths import STORE_FILE
from streamvision.pipeline import Pipeline
from streamvision.sinks.store import EventStore
from streamvision.types import Analysis, Batch, ClockSource, Frame, FrameInfo

NEVER = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: how many pictures, in how many seconds of wall and CPU time.

    ``analysed`` is how many of the pictures went through the whole pipeline, where that can be fewer.
    """

    pictures: int
    wall_s: float
    cpu_s: float
    analysed: int | None = None

    @property
    def fps(self) -> float:
        """Pictures per second."""
        return self.pictures / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU per picture."""
        return self.cpu_s / self.pictures * 1e3

    @property
    def analysed_share(self) -> float:
        """The part of the pictures that was analysed; the others were not wanted."""
        return 1.0 if self.analysed is None else self.analysed / self.pictures


def measured(work: Callable[[], int]) -> Sample:
    """Run ``work``, which returns how many pictures it handled."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    pictures = work()
    return Sample(pictures, time.perf_counter() - wall_s, time.process_time() - cpu_s)


def interleaved(
    works: Mapping[str, Callable[[], Sample]], rounds: int, step: Callable[[], None] = lambda: None
) -> dict[str, list[Sample]]:
    """Take a sample of each work per round, in turn, so that drift hits all alike; ``step`` is told of each."""
    samples: dict[str, list[Sample]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            samples[name].append(work())
            step()
    return samples


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


class NoViewer:
    """Nobody watches a benchmark."""

    def wanted(self, stream: str) -> bool:
        """Return False."""
        return False

    def show(self, frame: Frame, analysis: Analysis, min_score: float) -> None:
        """Never called."""

    def tick(self) -> None:
        """Have nothing to look at."""


@contextmanager
def opened(url: str, clock: Clock) -> Iterator[Source]:
    """Open a file as the pipeline would."""
    source = open_source(url, OfflineOptions(), clock)
    source.open()
    try:
        yield source
    finally:
        source.close()


def pictures(url: str) -> Iterator[ScalablePicture]:
    """Yield every decoded picture of a file."""
    with opened(url, SystemClock()) as source:
        while True:
            try:
                found = source.read()
            except EndOfStream:
                return
            yield from (one.picture for one in found)


def decode_all(url: str) -> int:
    """Decode a file and look at nothing."""
    return sum(1 for _ in pictures(url))


def scale_all(kept: Sequence[ScalablePicture], engine: Engine) -> int:
    """Scale decoded pictures to the engine's input."""
    for picture in kept:
        picture.prepare(engine.input)
    return len(kept)


def infer_all(frames: Sequence[Frame], engine: Engine) -> int:
    """Keep the engine as busy as the runner does, and throw away what it says."""
    waiting: deque[Future[list[Any]]] = deque()
    for start in range(0, len(frames), engine.max_batch):
        waiting.append(engine.submit(Batch(tuple(frames[start : start + engine.max_batch]))))
        if len(waiting) > engine.in_flight:
            waiting.popleft().result()
    for future in waiting:
        future.result()
    return len(frames)


def run_pipeline(settings: Settings) -> Sample:
    """Run a whole configuration of finite files to its end; loading the engines is not counted."""
    clock, metrics = SystemClock(), Metrics()
    store = EventStore(settings.state_dir / STORE_FILE, clock)
    pipeline = Pipeline(settings, store, metrics, Heartbeats(clock), NoViewer(), clock)
    try:
        pipeline.load()
        sample = measured(partial(_drive, pipeline, metrics))
    finally:
        pipeline.stop(60)
        store.close()
    return replace(sample, analysed=sum(stats.analysed for stats in metrics.streams.values()))


def _drive(pipeline: Pipeline, metrics: Metrics) -> int:
    """Run to the end of every stream; return how many pictures were decoded."""
    pipeline.start()
    while not pipeline.finished and pipeline.crashed is None:
        pipeline.tick()
        time.sleep(0.05)
    for error in (pipeline.crashed, pipeline.failure):
        if error is not None:
            raise error
    return sum(stats.decoded for stats in metrics.streams.values())


@dataclass(frozen=True, slots=True)
class Limits:
    """Samples of a pipeline and of its parts alone, one of each per round.

    ``decoders`` is how many streams are decoded at the same time; decoding alone is measured on one.
    """

    decode: Sequence[Sample]
    scale: Sequence[Sample]
    engine: Sequence[Sample]
    pipeline: Sequence[Sample]
    decoders: int = 1

    @property
    def cpu_ratio(self) -> float:
        """CPU per decoded picture of the pipeline over the sum of its parts measured alone.

        Scaling and inference count for the share of the pictures that was analysed.
        """
        parts = [
            decode.cpu_ms + whole.analysed_share * (scale.cpu_ms + engine.cpu_ms)
            for decode, scale, engine, whole in zip(self.decode, self.scale, self.engine, self.pipeline, strict=True)
        ]
        return median_ratio([sample.cpu_ms for sample in self.pipeline], parts)

    @property
    def throughput_ratio(self) -> float:
        """Decoded pictures per second of the pipeline over what the slower of decoders and engine does alone."""
        slower = [
            min(decode.fps * self.decoders, engine.fps / max(whole.analysed_share, 1e-9))
            for decode, engine, whole in zip(self.decode, self.engine, self.pipeline, strict=True)
        ]
        return median_ratio([sample.fps for sample in self.pipeline], slower)


@contextmanager
def limit_works(settings: Settings, url: str, *, keep: int = 200) -> Iterator[dict[str, Callable[[], Sample]]]:
    """Prepare the measurements of `Limits`: a configuration whose streams all read the file ``url``, and its parts.

    The engine is that of the first stream; ``keep`` decoded pictures are held in memory for scaling and inference.
    """
    model = settings.models[settings.streams[0].model]
    engine = build_engine(
        load(model.manifest), backend=model.backend, precision=model.precision, backend_options=model.options,
        calibration=Path(model.calibration) if model.calibration else None, max_batch=model.max_batch,
    )  # fmt: skip
    try:
        kept = [picture for picture, _ in zip(pictures(url), range(keep), strict=False)]
        frames = [_frame(number, picture, engine) for number, picture in enumerate(kept)]
        infer_all(frames, engine)  # the first pictures warm caches up
        yield {
            "decode": partial(measured, partial(decode_all, url)),
            "scale": partial(measured, partial(scale_all, kept, engine)),
            "engine": partial(measured, partial(infer_all, frames, engine)),
            "pipeline": partial(run_pipeline, settings),
        }
    finally:
        engine.close()


def limits_of(samples: Mapping[str, Sequence[Sample]], settings: Settings) -> Limits:
    """Return what `interleaved` found for `limit_works`."""
    decoders = min(len(settings.streams), usable_cpus())
    return Limits(samples["decode"], samples["scale"], samples["engine"], samples["pipeline"], decoders)


def measure_limits(settings: Settings, url: str, *, rounds: int, step: Callable[[], None] = lambda: None) -> Limits:
    """Measure a configuration whose streams all read the file ``url``, beside its parts alone."""
    with limit_works(settings, url) as works:
        return limits_of(interleaved(works, rounds, step), settings)


def _frame(number: int, picture: ScalablePicture, engine: Engine) -> Frame:
    pixels, letterbox = picture.prepare(engine.input)
    info = FrameInfo("bench", 0, number, number / 25, 0.0, NEVER, ClockSource.FILE, 0.0, picture.size_wh)
    return Frame(info, picture, pixels, letterbox, 0.0)


def bench_settings(
    folder: Path, url: str, *, manifest: str, streams: int = 1, fps: float | None = None, backend: str = "auto"
) -> str:
    """Return configuration text: ``streams`` streams of one file on one model, state in ``folder``."""
    rate = "" if fps is None else f", fps: {fps}"
    rows = "".join(f"  - {{id: s{number}, url: '{url}', model: m{rate}}}\n" for number in range(streams))
    models = f"models: {{m: {{manifest: '{manifest}', backend: {backend}}}}}"
    return f"state_dir: {folder}\n{models}\nstreams:\n{rows}"


def on_film(settings: Settings, url: str, state_dir: Path) -> Settings:
    """Return a configuration with every stream reading the file ``url`` as fast as it can, and no sinks.

    Rates, masks, trackers and rules stay. Only the streams of the first stream's model remain.
    """
    source = plugins.load("source", "file").Options()
    model = settings.streams[0].model
    streams = tuple(
        stream.model_copy(update={"url": url, "kind": "file", "source": source})
        for stream in settings.streams
        if stream.model == model
    )
    return settings.model_copy(update={"state_dir": state_dir, "streams": streams, "sinks": ()})
