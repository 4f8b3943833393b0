"""The life of a camera's connection as a typed state machine, and how long to wait before the next attempt.

    stopped -> connecting -> live -> stalled -> backing_off -> connecting ...
                   |          `----------------^     ^
                   |---------------------------------'
                   `-> auth_failed -> connecting ...           any -> stopped

Waiting is exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015), so that a hundred cameras do not come back in the same instant. Its cap grows with the time that the camera
has been away: short while somebody may be waiting for it, long once it is probably gone for the day. For ever.
After the machine has slept it begins anew, with a first wait of at most half a second.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from streamvision.errors import AuthFailed, CaptureError, DecoderLost, MachineSlept, TimedOut
from streamvision.types import StreamState


@dataclass(frozen=True, slots=True)
class StateChange:
    """One step of a stream's connection; ``cause`` is a sentence without credentials, ``at_s`` monotonic.

    ``ago_s``: for how long that has been so already, because the machine slept.
    """

    stream: str
    old: StreamState
    new: StreamState
    reason: str
    cause: str
    at_s: float
    ago_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts, in seconds.

    For ``patience_s`` after the loss no wait exceeds ``cap_s``; then the cap grows by ``cap_growth`` per second of
    absence up to ``late_cap_s``. Refused credentials wait longer from the start: many cameras lock the account.
    """

    base_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 1.5
    patience_s: float = 120.0
    cap_growth: float = 0.05
    late_cap_s: float = 30.0
    least_s: float = 0.05
    auth_base_s: float = 10.0
    auth_cap_s: float = 300.0
    healthy_s: float = 10.0

    def wait_s(self, attempt: int, away_s: float, rng: random.Random) -> float:
        """Return the wait before attempt 0, 1, 2 ... of a camera that has been away for so long."""
        cap_s = min(self.late_cap_s, self.cap_s + max(0.0, away_s - self.patience_s) * self.cap_growth)
        ceiling_s = min(cap_s, self.base_s * self.factor ** min(attempt, 32))
        return max(self.least_s, rng.uniform(0, ceiling_s))

    def auth_wait_s(self, attempt: int, rng: random.Random) -> float:
        """Return the wait after the credentials were refused for the first, second ... time: never a quick one."""
        ceiling_s = min(self.auth_cap_s, self.auth_base_s * self.factor ** min(attempt, 32))
        return rng.uniform(ceiling_s / 2, ceiling_s)


class Connection:
    """Where one stream's connection stands. One thread; times are monotonic seconds, given by the caller."""

    def __init__(
        self,
        stream: str,
        on_change: Callable[[StateChange], None],
        rng: random.Random,
        backoff: Backoff | None = None,
    ) -> None:
        self.stream = stream
        self.state = StreamState.STOPPED
        self._on_change = on_change
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._attempt = 0
        self._auth_attempt = 0
        self._lost_s: float | None = None
        self._live_since_s: float | None = None

    def connecting(self, now_s: float) -> None:
        """An attempt begins."""
        self._go(StreamState.CONNECTING, "connect", "connecting", now_s)

    def live(self, now_s: float) -> None:
        """A picture has come."""
        if self.state is not StreamState.LIVE:
            self._live_since_s = now_s
            self._go(StreamState.LIVE, "picture", "pictures are coming", now_s)

    def failed(self, error: CaptureError, now_s: float) -> float:
        """The attempt or the connection has failed; return for how many seconds to wait before the next attempt."""
        lost_s = self._lost_since(now_s)
        if isinstance(error, MachineSlept):
            self._attempt, self._lost_s = 0, now_s
            self._go(StreamState.BACKING_OFF, error.reason, str(error), now_s, error.slept_s)
            return self._backoff.wait_s(0, 0.0, self._rng)
        if isinstance(error, AuthFailed):
            self._go(StreamState.AUTH_FAILED, error.reason, str(error), now_s)
            self._auth_attempt += 1
            return self._backoff.auth_wait_s(self._auth_attempt - 1, self._rng)
        # A camera that fell silent shows as stalled until the next attempt; failing again, it is backed off from.
        stalled = self.state is StreamState.LIVE and isinstance(error, TimedOut)
        self._go(StreamState.STALLED if stalled else StreamState.BACKING_OFF, error.reason, str(error), now_s)
        self._attempt += 1
        if self._attempt == 1 and isinstance(error, DecoderLost):  # the camera is there: only our own process was lost
            return self._backoff.least_s
        return self._backoff.wait_s(self._attempt - 1, now_s - lost_s, self._rng)

    def stopped(self, reason: str, cause: str, now_s: float) -> None:
        """The stream ends for good."""
        self._go(StreamState.STOPPED, reason, cause, now_s)

    def _lost_since(self, now_s: float) -> float:
        """Return since when the camera is away; after a healthy while all counting starts anew."""
        if self._live_since_s is not None:
            self._auth_attempt = 0
            if now_s - self._live_since_s >= self._backoff.healthy_s:
                self._attempt, self._lost_s = 0, None
            self._live_since_s = None
        if self._lost_s is None:
            self._lost_s = now_s
        return self._lost_s

    def _go(self, new: StreamState, reason: str, cause: str, now_s: float, ago_s: float = 0.0) -> None:
        old, self.state = self.state, new
        if old is not new:
            self._on_change(StateChange(self.stream, old, new, reason, cause, now_s, ago_s))
