"""Which pictures are wanted, and when a file's picture is due. Pure; all times in seconds."""

from __future__ import annotations

import math


class TargetRate:
    """Choose pictures by media time so that at most ``fps`` per second are taken, evenly spread.

    Each picture taken moves the next due time on by exactly ``1 / fps``, so the mean rate is exact even where the
    source's rate is no multiple of it: at most span * fps + 1.1 are taken since the start, and span * fps + 2.1 over
    any span. A pause is not made up for.
    """

    _EARLY = 0.1
    """Part of ``1 / fps`` by which a picture may be early, so that jitter does not cost a whole picture distance."""

    def __init__(self, fps: float | None) -> None:
        """Without ``fps`` every picture is wanted."""
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"expected a rate above 0, got {fps}")
        self._period_s = None if fps is None else 1 / fps
        self._due_s: float | None = None

    def wants(self, media_s: float) -> bool:
        """Whether to take the next picture; ``media_s`` never goes back."""
        if self._period_s is None:
            return True
        due_s = media_s if self._due_s is None else self._due_s
        if media_s < due_s - self._EARLY * self._period_s:
            return False
        self._due_s = max(due_s, media_s - self._period_s) + self._period_s
        return True


class Pacer:
    """When a file's pictures are due if it is to run like a live camera.

    A reader that was held up by more than ``_PATIENCE_S`` goes on at normal speed instead of hurrying after the clock.
    """

    _PATIENCE_S = 0.5

    def __init__(self) -> None:
        self._zero_s: float | None = None

    def wait_s(self, media_s: float, now_s: float) -> float:
        """Return for how long to hold the picture of ``media_s`` back; 0 if it is due."""
        if self._zero_s is None or now_s - self._zero_s - media_s > self._PATIENCE_S:
            self._zero_s = now_s - media_s
        return max(0.0, self._zero_s + media_s - now_s)
