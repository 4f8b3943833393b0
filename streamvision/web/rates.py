"""Rates from counters, over the last seconds, without a thread."""

from __future__ import annotations

import threading
from collections import deque

from streamvision.clock import Clock


class RateMeter:
    """How fast a counter grows over the last ``window_s`` seconds; sampled whenever somebody asks.

    Asked seldom, the rate is the mean since the last time it was asked; so a supervisor should ask every second or
    so. Safe from any thread.
    """

    def __init__(self, clock: Clock, window_s: float = 5.0) -> None:
        self._clock = clock
        self._window_s = window_s
        self._least_s = window_s / 20
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def sample(self, count: int) -> float:
        """Take the counter's present value and return its growth per second; 0 at the first call."""
        now_s = self._clock.monotonic()
        with self._lock:
            samples = self._samples
            if samples and count < samples[-1][1]:
                samples.clear()  # the counter began anew
            if not samples or now_s - samples[-1][0] >= self._least_s:
                samples.append((now_s, count))
            while len(samples) > 2 and now_s - samples[1][0] >= self._window_s:
                samples.popleft()
            then_s, before = samples[0]
        return (count - before) / (now_s - then_s) if now_s > then_s else 0.0
