"""How fast a network is on this machine: the engine alone as busy as it likes, one picture at a time, and the rest."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamvision.capture.picture import ArrayPicture
from streamvision.dataset import Example
from streamvision.evaluate.running import batch_of, rgb_of
from streamvision.interfaces import Engine
from streamvision.types import Batch

_KEPT = 16
"""So many different pictures take turns."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Pictures per second of the engine with as much in flight as it likes; milliseconds of one picture by itself.

    ``engine_ms`` and ``engine_p95_ms``: from the prepared picture to raw answers, median and 95th percentile.
    ``prepare_ms``: scaling to the network's input. ``decode_ms``: reading the answers. Medians.
    """

    pictures_per_s: float
    engine_ms: float
    engine_p95_ms: float
    prepare_ms: float
    decode_ms: float


def speed(
    engine: Engine, examples: Sequence[Example], *, seconds: float = 2.0, clock: Callable[[], float] = time.perf_counter
) -> Speed:
    """Return how fast an engine is on pictures of the set; each of two measurements takes ``seconds``."""
    pixels = [rgb_of(example) for example in examples[:_KEPT]]
    batches = [batch_of(engine, str(number), one) for number, one in enumerate(pixels)]
    for batch in batches[:2]:  # the first pictures warm caches up
        engine.submit(batch).result()
    alone, decode = _one_by_one(engine, batches, seconds, clock)
    prepare = []
    for one in pixels:
        start = clock()
        ArrayPicture(one).prepare(engine.input)
        prepare.append(clock() - start)
    return Speed(
        _throughput(engine, batches, seconds, clock), float(np.median(alone)) * 1e3,
        float(np.quantile(alone, 0.95)) * 1e3, float(np.median(prepare)) * 1e3, float(np.median(decode)) * 1e3,
    )  # fmt: skip


def _one_by_one(
    engine: Engine, batches: Sequence[Batch], seconds: float, clock: Callable[[], float]
) -> tuple[list[float], list[float]]:
    alone: list[float] = []
    decode: list[float] = []
    end = clock() + seconds
    while not alone or clock() < end:
        batch = batches[len(alone) % len(batches)]
        start = clock()
        outputs = engine.submit(batch).result()
        answered = clock()
        engine.decode(batch, outputs)
        alone.append(answered - start)
        decode.append(clock() - answered)
    return alone, decode


def _throughput(engine: Engine, batches: Sequence[Batch], seconds: float, clock: Callable[[], float]) -> float:
    """Return pictures per second in batches as large, and as many in flight, as the engine likes."""
    frames = [batch.frames[0] for batch in batches]
    most = min(engine.max_batch, len(frames))
    waiting: deque[Future[list[Any]]] = deque()
    start, pictures, number = clock(), 0, 0
    while pictures == 0 or clock() < start + seconds:
        turn = [frames[(number + step) % len(frames)] for step in range(most)]
        waiting.append(engine.submit(Batch(tuple(turn))))
        number += most
        if len(waiting) > engine.in_flight:
            waiting.popleft().result()
            pictures += most
    for future in waiting:
        future.result()
    return (pictures + most * len(waiting)) / (clock() - start)
