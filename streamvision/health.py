"""Heartbeats: which threads are alive. The watchdog and /healthz ask here."""

from __future__ import annotations

from streamvision.clock import Clock


class Heartbeats:
    """The last sign of life of every stage. Each stage is written by its own thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_s: dict[str, float] = {}
        self._allowance_s: dict[str, float] = {}

    def register(self, stage: str, allowance_s: float) -> None:
        """Expect a sign of life from ``stage`` at least every ``allowance_s`` seconds, from now on."""
        self._allowance_s[stage] = allowance_s
        self._last_s[stage] = self._clock.monotonic()

    def beat(self, stage: str) -> None:
        """Say that a stage is alive; one of which nothing is expected (any more) says so in vain."""
        if stage in self._allowance_s:
            self._last_s[stage] = self._clock.monotonic()

    def retire(self, stage: str) -> None:
        """Expect nothing more from a stage; it has ended in good order."""
        self._allowance_s.pop(stage, None)
        self._last_s.pop(stage, None)

    def ages_s(self) -> dict[str, float]:
        """Return the seconds since each expected stage's last sign of life."""
        now = self._clock.monotonic()
        return {stage: now - self._last_s.get(stage, now) for stage in list(self._allowance_s)}

    def silent(self) -> list[str]:
        """Return the stages whose sign of life is overdue."""
        return [stage for stage, age_s in self.ages_s().items() if age_s > self._allowance_s.get(stage, float("inf"))]
