"""Which of several engines is the fastest here: a short race with this network on this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from streamvision.engine import samples
from streamvision.interfaces import Engine
from streamvision.types import UInt8

SECONDS: Final = 0.6
"""How long each engine runs in all."""
PICTURES: Final = 4
ROUNDS: Final = 3
"""The engines take turns, so that a busy moment of the machine meets all of them."""


def race(engines: Mapping[str, Engine], pictures: Sequence[UInt8], seconds: float = SECONDS) -> dict[str, float]:
    """Return pictures per second of each engine, as many of them in flight as it likes.

    ``pictures`` are prepared for the network. A round ends after its share of ``seconds``, with one picture at least.
    """
    done = dict.fromkeys(engines, 0)
    spent_s = dict.fromkeys(engines, 0.0)
    for _ in range(ROUNDS):
        if min(spent_s.values()) >= seconds:  # a slow network has said enough
            break
        for name, engine in engines.items():
            started_s = time.perf_counter()
            done[name] += _run(engine, pictures, started_s + seconds / ROUNDS)
            spent_s[name] += time.perf_counter() - started_s
    return {name: done[name] / spent_s[name] for name in engines}


def _run(engine: Engine, pictures: Sequence[UInt8], until_s: float) -> int:
    """Keep an engine busy until a time; return how many pictures it did."""
    batch = samples.batch_of((list(pictures) * engine.max_batch)[: engine.max_batch])
    done = 0
    running = deque(engine.submit(batch) for _ in range(engine.in_flight))
    while running:
        engine.decode(batch, running.popleft().result())
        done += len(batch)
        if time.perf_counter() < until_s:
            running.append(engine.submit(batch))
    return done
