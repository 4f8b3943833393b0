"""An engine for work that nobody waits for: one picture at a time, for a share of the time, while it is idle."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from numpy.typing import NDArray

from streamvision.interfaces import Engine
from streamvision.types import Batch, Perception

WAIT_S: Final = 0.05


class Stopped(Exception):  # noqa: N818
    """The work is to end now; it can be done again later."""


class Polite:
    """Implements `interfaces.Engine` over one that others need more; it stays theirs, and is never closed here."""

    max_batch = 1
    in_flight = 1

    def __init__(
        self, engine: Engine, share: float, idle: Callable[[], bool], wait: Callable[[float], bool]
    ) -> None:  # fmt: skip
        """``idle`` says whether the engine has nothing better to do; ``wait`` waits and says whether to stop."""
        self.input, self.labels, self.description = engine.input, engine.labels, engine.description
        self._engine, self._share, self._idle, self._wait = engine, share, idle, wait
        self._began_s = 0.0
        self._rest_s = 0.0

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        """Start on a batch when it is this work's turn. Raises `Stopped`."""
        until_s = time.monotonic() + self._rest_s
        while (left_s := until_s - time.monotonic()) > 0 or not self._idle():
            if self._wait(min(max(left_s, WAIT_S / 10), WAIT_S)):
                raise Stopped
        self._began_s = time.monotonic()
        return self._engine.submit(batch)

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        """Turn raw outputs into one `Perception` per frame."""
        seen = self._engine.decode(batch, outputs)
        self._rest_s = (time.monotonic() - self._began_s) * (1 / self._share - 1)
        return seen

    def forget(self, stream: str) -> None:
        """Do nothing: what is remembered of a stream is not this work's."""

    def close(self) -> None:
        """Do nothing: the engine goes on."""
