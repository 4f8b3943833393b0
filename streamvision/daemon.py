"""The life of the service on one page: start, supervise, drain. Signals, readiness, watchdog."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import structlog

from streamvision.notify import Notifier

log = structlog.get_logger()

TICK_S = 0.25
TOGETHER_S = 1.0
"""Signals that come within so many seconds of the first ask for the same."""
DRAIN_S = 15.0
"""How long an orderly end may take."""
END_S = DRAIN_S + 30.0
"""What an end may take at the very most: the drain, then the store's last commit and the server's last answers."""


class Service(Protocol):
    """What the daemon keeps alive; the pipeline."""

    def start(self) -> None:
        """Begin to work; raises a `StreamvisionError` when that is impossible."""
        ...

    def tick(self) -> None:
        """Look after the stages; called a few times per second."""
        ...

    def stop(self, deadline_s: float) -> bool:
        """Drain and end; True if everything was drained in time."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do (every source was finite and is done)."""
        ...

    @property
    def crashed(self) -> BaseException | None:
        """The exception that ended a stage before its time."""
        ...

    @property
    def silent(self) -> list[str]:
        """Stages whose sign of life is overdue."""
        ...

    @property
    def summary(self) -> str:
        """One line on how things are."""
        ...


class Insistence:
    """Tells a signal that insists on an end from one that only came twice.

    Who ends a process often signals its whole group as well, as timeout(1) does: two that come together are one.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._asked_s: float | None = None

    def again(self) -> bool:
        """Take one more signal; return whether it insists."""
        now_s = self._monotonic()
        if self._asked_s is None:
            self._asked_s = now_s
        return now_s - self._asked_s > TOGETHER_S


class Signals:
    """What the operator has asked for: the first SIGTERM or SIGINT asks, one that insists ends at once."""

    def __init__(
        self, force: Callable[[int], None] = os._exit, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.stop = threading.Event()
        self.reload = threading.Event()
        self._force = force
        self._insistence = Insistence(monotonic)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal; runs in the main thread between two instructions, so it only sets flags."""
        if number == signal.SIGHUP:
            self.reload.set()
        elif self._insistence.again():
            self._force(128 + number)
        else:
            self.stop.set()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals within the block and restore their former handlers after it."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        former = {number: signal.signal(number, self.handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def serve(
    service: Service,
    notifier: Notifier,
    signals: Signals,
    on_reload: Callable[[], object],
    goes_on: Callable[[], bool] = lambda: False,
) -> int:
    """Run a service until it is finished, asked to stop, or broken; return the exit code (0 or 1).

    Where ``goes_on`` the process serves once more afterwards, and the service manager hears of no end.
    """
    with signals.caught():
        service.start()
        notifier.ready()
        _supervise(service, notifier, signals, on_reload, goes_on)
        if not goes_on():
            notifier.extend(END_S)  # where a unit file of somebody else's is less patient
            notifier.stopping()
        drained = service.stop(DRAIN_S)
    if service.crashed is not None:
        log.error("a stage broke; ending so that the service manager starts anew", error=str(service.crashed))
        return 1
    if not drained:
        log.error("not everything was drained in time", deadline_s=DRAIN_S)
        return 1
    return 0


def _supervise(
    service: Service,
    notifier: Notifier,
    signals: Signals,
    on_reload: Callable[[], object],
    goes_on: Callable[[], bool],
) -> None:
    tick_s = min(TICK_S, notifier.watchdog_s / 4) if notifier.watchdog_s else TICK_S
    mentioned: list[str] = []
    status = ""
    while not (signals.stop.wait(tick_s) or service.finished or service.crashed or goes_on()):
        service.tick()
        if signals.reload.is_set():
            signals.reload.clear()
            on_reload()
        silent = service.silent
        if not silent:
            notifier.alive()
        elif silent != mentioned:
            log.error("no sign of life; the watchdog is not fed", stages=silent)
        mentioned = silent
        summary = _status(service.summary, silent)
        if summary != status:
            status = summary
            notifier.status(status)


def _status(summary: str, silent: list[str]) -> str:
    return f"{summary}; no sign of life from {', '.join(silent)}" if silent else summary
