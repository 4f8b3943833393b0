"""Which pictures are wanted, and when a file's picture is due. Pure; all times in seconds."""

from __future__ import annotations

import math


class TargetRate:
    """Choose pictures by media time so that at most ``fps`` per second are taken, evenly spread.

    Time is cut into slots of ``1 / fps``; the first picture of a slot is taken. Over any span the number taken is at
    most span * fps + 1, and exactly fps per second if the source delivers that many.
    """

    _EDGE = 0.25
    """Where in its slot a picture at a multiple of 1 / fps lies, so that jitter does not push it over an edge."""

    def __init__(self, fps: float | None) -> None:
        """Without ``fps`` every picture is wanted."""
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"expected a rate above 0, got {fps}")
        self._fps = fps
        self._last_slot: int | None = None

    def wants(self, media_s: float) -> bool:
        """Whether to take the next picture; ``media_s`` never goes back."""
        if self._fps is None:
            return True
        slot = math.floor(media_s * self._fps + self._EDGE)
        if self._last_slot is not None and slot <= self._last_slot:
            return False
        self._last_slot = slot
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
