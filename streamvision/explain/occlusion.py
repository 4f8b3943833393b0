"""Saliency of any engine by hiding parts of the picture: RISE for classes and areas, D-RISE for detections.

Petsiuk et al., arXiv:1806.07421 and arXiv:2006.03204. Their map is the mean of the masks, weighted by the scores. Here
the means of both are taken away first, which leaves what the paper's equation 6 estimates, without the noise of how
often chance has shown each pixel: by how much the score is larger when a pixel is shown than when it is hidden.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.explain.hiding import mixed, random_masks
from streamvision.explain.saliency import Saliency
from streamvision.explain.targets import Object, Target
from streamvision.interfaces import Engine
from streamvision.types import Batch, Float32, Frame, UInt8

CHECK_EVERY = 50
"""Masks between two looks at how settled the map is."""
_LEAST = 200
"""Fewer masks are never enough to say that a map is settled."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is asked.

    ``masks`` at most; ``cells`` along the longer side of the picture, None: 16 for a detection (D-RISE's), else 8
    (RISE's 7, which is for square pictures); ``keep`` is the probability to show a cell. It ends early after
    ``seconds``, or as soon as the map agrees with itself by ``settled``, 1: never. The same ``seed`` gives the same
    map, unless it was time that ended it.
    """

    masks: int = 1000
    cells: int | None = None
    keep: float = 0.5
    seed: int = 0
    seconds: float | None = None
    settled: float = 0.95

    def cells_for(self, target: Target) -> int:
        """Return how many cells there are along the longer side."""
        return self.cells or (16 if isinstance(target, Object) else 8)


class Occlusion:
    """One explanation in the making: iterate to do it, in steps of one mask, and read `saliency` at any time after.

    ``batch`` and ``in_flight`` are how much is asked of the engine at once, by default as much as it likes.
    """

    def __init__(
        self,
        engine: Engine,
        frame: Frame,
        target: Target,
        options: Options = Options(),
        *,
        batch: int | None = None,
        in_flight: int | None = None,
    ) -> None:
        self._engine, self._frame, self._target, self._options = engine, frame, target, options
        self._batch = batch or engine.max_batch
        self._in_flight = in_flight or engine.in_flight
        size_wh = frame.letterbox.inner_wh
        self._halves = (_Half((size_wh[1], size_wh[0])), _Half((size_wh[1], size_wh[0])))
        self._score: float | None = None

    def __iter__(self) -> Iterator[int]:
        """Do it; gives how many masks have been tried. Raises what the engine raises."""
        options, started_s = self._options, time.monotonic()
        rng = np.random.default_rng(options.seed)
        masks = islice(
            random_masks(self._frame.letterbox.inner_wh, options.cells_for(self._target), options.keep, rng),
            options.masks,
        )
        for count, (mask, score) in enumerate(self._scored(masks), 1):
            self._halves[count % 2].add(mask, score)
            yield count
            late = options.seconds is not None and time.monotonic() - started_s >= options.seconds
            if late or (count >= _LEAST and count % CHECK_EVERY == 0 and self._agreement() >= options.settled):
                return

    @property
    def score(self) -> float:
        """How much of the target the network sees in the picture as it is."""
        if self._score is None:
            self._score = next(iter(scores(self._engine, self._frame, [self._frame.pixels], self._target)))
        return self._score

    @property
    def saliency(self) -> Saliency:
        """What is known so far."""
        method = "drise" if isinstance(self._target, Object) else "rise"
        whole = self._halves[0].plus(self._halves[1])
        return Saliency(
            method, whole.map(), self._frame.letterbox, self.score, whole.count,
            round(float(np.clip(self._agreement(), -1, 1)), 4),
        )  # fmt: skip

    def _scored(self, masks: Iterable[Float32]) -> Iterator[tuple[Float32, float]]:
        kept: deque[Float32] = deque()
        blank = np.full_like(self._frame.pixels, self._engine.input.pad)

        def hidden() -> Iterator[UInt8]:
            for mask in masks:
                kept.append(mask)
                yield mixed(self._frame.pixels, blank, self._frame.letterbox, mask)

        for score in scores(self._engine, self._frame, hidden(), self._target, self._batch, self._in_flight):
            yield kept.popleft(), score

    def _agreement(self) -> float:
        """Return the reliability of the whole map by that of its halves (Spearman 1910, Brown 1910)."""
        one, other = (half.map().ravel() for half in self._halves)
        spread = float(one.std() * other.std())
        if spread == 0:
            return 0.0
        alike = float(((one - one.mean()) * (other - other.mean())).mean()) / spread
        return 2 * alike / (1 + alike) if alike > 0 else alike


class _Half:
    """Sums over half of the masks."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.count = 0
        self._scores = 0.0
        self._masks: NDArray[np.float64] = np.zeros(shape)
        self._both: NDArray[np.float64] = np.zeros(shape)

    def add(self, mask: Float32, score: float) -> None:
        self.count += 1
        self._scores += score
        self._masks += mask
        if score:
            self._both += mask * np.float32(score)

    def plus(self, other: _Half) -> _Half:
        whole = _Half(self._masks.shape)
        whole.count, whole._scores = self.count + other.count, self._scores + other._scores
        whole._masks, whole._both = self._masks + other._masks, self._both + other._both
        return whole

    def map(self) -> Float32:
        """Return, for each pixel, the mean score when it is shown less that when it is hidden."""
        shown, hidden = self._masks, self.count - self._masks
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self._both / shown - (self._scores - self._both) / hidden
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


def scores(
    engine: Engine, frame: Frame, pictures: Iterable[UInt8], target: Target, batch: int = 1, in_flight: int = 1
) -> Iterator[float]:
    """Give the target's score in each of many versions of a frame's pixels, in order.

    Whatever was submitted is taken back, also when nobody wants the rest. Raises what the engine raises.
    """
    pending: deque[tuple[Batch, Future[list[NDArray[Any]]]]] = deque()
    source = iter(pictures)
    try:
        while True:
            frames = tuple(replace(frame, pixels=pixels) for pixels in islice(source, batch))
            if frames:
                group = Batch(frames)
                pending.append((group, engine.submit(group)))
            while pending and (not frames or len(pending) >= in_flight):
                group, future = pending.popleft()
                yield from (target.score(seen) for seen in engine.decode(group, future.result()))
            if not frames:
                return
    finally:
        for group, future in pending:
            engine.decode(group, future.result())
