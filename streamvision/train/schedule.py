"""How the learning rate goes: up to the full one at first, then down along half a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cosine", "constant"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cosine with warm-up (Loshchilov & Hutter, arXiv:1608.03983, without restarts).

    ``warmup`` steps go up in a straight line; at the end of the training ``final`` of the full rate is left.
    """

    kind: Kind = "cosine"
    warmup: int = 0
    final: float = 0.01

    def factor(self, step: int, progress: float) -> float:
        """Return which share of the full rate a step takes; ``progress`` is how much of the training is done, 0-1."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.kind == "constant":
            return rising
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
        return rising * (self.final + (1 - self.final) * falling)


@dataclass(frozen=True, slots=True)
class Budget:
    """When a training is over: after ``steps`` in all, after ``seconds``, or after what comes first."""

    steps: int | None
    seconds: float | None = None

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return how much of the training is done, 0-1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / max(1, self.steps))
        if self.seconds is not None:
            shares.append(elapsed_s / self.seconds)
        return min(1.0, max(shares))


class Stopwatch:
    """Seconds of training, over all of its parts; ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float], before_s: float = 0.0) -> None:
        self._clock = clock
        self._start_s = clock() - before_s

    @property
    def elapsed_s(self) -> float:
        """Return how long this training has taken until now."""
        return self._clock() - self._start_s
