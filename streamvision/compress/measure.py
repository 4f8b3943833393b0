"""Two models side by side on this machine: how well they see, what they cost, how fast they are; and the verdict."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamvision.compress.size import Size, size_of
from streamvision.dataset import Dataset
from streamvision.engine.build import AUTO, Workshop, build_engine
from streamvision.engine.cache import EngineCache
from streamvision.engine.manifest import Manifest
from streamvision.evaluate import MAX_DETECTIONS, MIN_SCORE, Names, measure
from streamvision.evaluate.running import batch_of, perceptions, rgb_of
from streamvision.interfaces import Engine
from streamvision.train.validation import decided
from streamvision.types import Batch

ROUNDS: Final = 9
"""The engines take turns, so that a busy moment of the machine meets both."""
SECONDS: Final = 0.4
"""How long each engine runs in a round."""
_PICTURES: Final = 8
_SAME: Final = 0.02
"""A difference of speed or size below this share is none."""
Bar = Callable[[str, int | None], AbstractContextManager[Callable[[], None]]]
"""Takes a title and a number of pictures, gives what is called for each."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One model. ``metric`` names the figure of ``accuracy`` (all of ``figures``) that decides.

    ``pictures_per_s``: median over the rounds, as many pictures in flight as the engine likes; ``engine``: on what.
    """

    metric: str
    figures: Mapping[str, float]
    size: Size
    pictures_per_s: float
    engine: str

    @property
    def accuracy(self) -> float:
        """The figure that decides."""
        return self.figures[self.metric]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``faster``: how many times as fast the new model is, the median over rounds in which both ran."""

    before: Figures
    after: Figures
    faster: float

    @property
    def smaller(self) -> bool:
        """Whether the files are."""
        return self.after.size.bytes < self.before.size.bytes * (1 - _SAME)

    @property
    def worse_on_both(self) -> bool:
        """Whether it sees less well and is neither faster nor smaller: of no use to anybody."""
        return self.after.accuracy < self.before.accuracy and self.faster < 1 + _SAME and not self.smaller

    def as_json(self) -> dict[str, Any]:
        """Return the numbers for machines."""
        return {
            "before": _json(self.before), "after": _json(self.after), "faster": self.faster,
            "refused": self.worse_on_both,
        }  # fmt: skip


def _json(one: Figures) -> dict[str, Any]:
    size = one.size
    return {
        "metric": one.metric, "accuracy": one.accuracy,
        "figures": {name: value if math.isfinite(value) else None for name, value in one.figures.items()},
        "bytes": size.bytes, "parameters": size.parameters, "macs": size.macs,
        "pictures_per_s": one.pictures_per_s, "engine": one.engine,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """What both are measured with: labelled pictures, the metric that decides, and the backend."""

    dataset: Dataset
    metric: str = AUTO
    backend: str = AUTO
    rounds: int = ROUNDS
    seconds: float = SECONDS


def compare(before: Manifest, after: Manifest, bench: Bench, bar: Bar) -> Comparison:
    """Measure two models.

    Engines are compiled into a cache that is gone afterwards. Raises what building engines and measuring raise.
    """
    with tempfile.TemporaryDirectory(prefix="streamvision-") as folder:
        workshop = Workshop(EngineCache(Path(folder)))
        seen = [_accuracy(one, bench, workshop, bar) for one in (before, after)]
        with _engine(before, bench, workshop) as old, _engine(after, bench, workshop) as new:
            rates = _race([old, new], bench)
            described = old.description, new.description
    medians = np.median(rates, axis=0)
    both = [
        Figures(metric, figures, size_of(one), float(rate), engine)
        for (metric, figures), one, rate, engine in zip(seen, (before, after), medians, described, strict=True)
    ]
    return Comparison(both[0], both[1], float(np.median(rates[:, 1] / rates[:, 0])))


@contextlib.contextmanager
def _engine(manifest: Manifest, bench: Bench, workshop: Workshop, **limits: float) -> Iterator[Engine]:
    engine = build_engine(manifest, backend=bench.backend, decoder_options=limits, workshop=workshop)
    with contextlib.closing(engine):
        yield engine


def _accuracy(manifest: Manifest, bench: Bench, workshop: Workshop, bar: Bar) -> tuple[str, dict[str, float]]:
    """Return the figure that decides, and all figures."""
    finds = manifest.task in ("detection", "instance_segmentation")
    limits = {"min_score": MIN_SCORE, "max_detections": MAX_DETECTIONS} if finds else {}
    names = Names(manifest.labels, manifest.segmentation, whole=manifest.task == "classification")
    title = f"measuring {manifest.name}"
    with _engine(manifest, bench, workshop, **limits) as engine, bar(title, len(bench.dataset)) as advance:
        found = []
        for _, perception in perceptions(engine, bench.dataset.examples):
            found.append(perception)
            advance()
    figures = decided(measure(bench.dataset, found, names).figures, bench.metric)
    return next(iter(figures)), figures


def _race(engines: Sequence[Engine], bench: Bench) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return pictures per second (rounds, engines)."""
    pixels = [rgb_of(example) for example in bench.dataset.examples[:_PICTURES]]
    batches = [[batch_of(engine, str(number), one) for number, one in enumerate(pixels)] for engine in engines]
    for engine, own in zip(engines, batches, strict=True):
        _run(engine, own, time.perf_counter())
    rates = np.empty((bench.rounds, len(engines)))
    for number in range(bench.rounds):
        for place, (engine, own) in enumerate(zip(engines, batches, strict=True)):
            started_s = time.perf_counter()
            done = _run(engine, own, started_s + bench.seconds)
            rates[number, place] = done / (time.perf_counter() - started_s)
    return rates


def _run(engine: Engine, batches: Sequence[Batch], until_s: float) -> int:
    """Keep an engine busy until a time, with every picture decoded; return how many pictures it did."""
    frames = [batch.frames[0] for batch in batches]
    most = min(engine.max_batch, len(frames))
    lots = [Batch(tuple(frames[start : start + most])) for start in range(0, len(frames) - most + 1, most)]
    done, number = 0, 0
    running: deque[tuple[Batch, Any]] = deque()
    while not done or time.perf_counter() < until_s:
        while len(running) < max(1, engine.in_flight):
            lot = lots[number % len(lots)]
            running.append((lot, engine.submit(lot)))
            number += 1
        lot, future = running.popleft()
        engine.decode(lot, future.result())
        done += len(lot)
    for lot, future in running:
        engine.decode(lot, future.result())
        done += len(lot)
    return done
