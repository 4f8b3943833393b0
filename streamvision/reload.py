"""The configuration is read again, compared with what runs, and what differs is applied, or nothing is.

One thread does it, so that reloads never overlap and whoever supervises is never held up by an engine that loads.
Whoever asks while one is under way shares the next one, which reads the file after the question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol

import structlog

from streamvision.changes import Plan
from streamvision.clock import Clock
from streamvision.config import Settings
from streamvision.errors import ConfigError, StreamvisionError
from streamvision.metrics import ReloadStats
from streamvision.notify import Notifier
from streamvision.pipeline import Abandoned, Broken
from streamvision.web import ReloadProblem, ReloadReport

log = structlog.get_logger()

PATIENCE_S: Final = 600.0
"""How long the service manager is asked to wait for a reload: an engine may have to be compiled."""


class Changeable(Protocol):
    """What runs, and can go over to other settings while it does."""

    settings: Settings
    """Those that run."""
    started: threading.Event
    """Set once everything runs; nothing changes before."""

    def change(self, new: Settings) -> Plan:
        """Go over; see `pipeline.Pipeline.change`."""
        ...


class Reloader:
    """Serves everybody who asks for a reload. ``crashed`` says that what runs is neither the old nor the new."""

    def __init__(
        self,
        read: Callable[[], Settings],
        service: Changeable,
        told: Callable[[Settings], None],
        stats: ReloadStats,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        """``read`` reads and validates the file; ``told`` hears of the settings that run after a change."""
        self.crashed: BaseException | None = None
        self._read = read
        self._service = service
        self._told = told
        self._stats = stats
        self._notifier = notifier
        self._clock = clock
        self._asked: list[Future[ReloadReport]] = []
        self._by: list[str] = []
        self._answering: list[Future[ReloadReport]] = []
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._guarded, name="reload", daemon=True)

    def start(self) -> None:
        """Start the thread; the file that was read for the start counts as the first success."""
        self._stats.succeeded(self._clock.utcnow().timestamp())
        self._thread.start()

    def ask(self, by: str) -> Future[ReloadReport]:
        """Ask for a reload; the future tells what came of it, and never raises. ``by`` goes into the log."""
        answer: Future[ReloadReport] = Future()
        with self._changed:
            if self._stopping or self.crashed is not None:
                answer.set_result(_stopping() if self.crashed is None else _broken(self.crashed))
                return answer
            self._asked.append(answer)
            self._by.append(by)
            self._changed.notify_all()
        return answer

    def stop(self, timeout_s: float) -> bool:
        """Take no more questions and answer those that wait; False if a reload under way takes longer."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:  # a thread's border: the supervisor ends the daemon, and nobody waits in vain
            log.error("reloading stopped", error=str(error), exc_info=error)
            with self._changed:
                self.crashed = error
                self._answering += self._asked
                self._asked = []
            self._answer(_broken(error))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._stopping)
                self._answering, self._asked = self._asked, []
                by, self._by = self._by, []
                stopping = self._stopping
            self._answer(_stopping() if stopping or not self._started() else self._reload(by))
            if stopping:
                return

    def _answer(self, report: ReloadReport) -> None:
        while self._answering:
            answer = self._answering.pop()
            if answer.set_running_or_notify_cancel():  # False: who asked has gone
                answer.set_result(report)

    def _started(self) -> bool:
        """Wait until everything runs; False if it never will."""
        while not self._service.started.wait(0.1):
            if self._stopping:
                return False
        return True

    def _reload(self, by: list[str]) -> ReloadReport:
        self._notifier.reloading()
        self._notifier.extend(PATIENCE_S)
        started_s = self._clock.monotonic()
        report = self._attempt()
        report = report.lasting(self._clock.monotonic() - started_s)
        self._stats.results[report.result] += 1
        if report.good:
            self._stats.succeeded(self._clock.utcnow().timestamp())
        else:
            self._stats.last_good = False
        tell = log.info if report.good else log.error
        tell("reload", by=sorted(set(by)), **report.as_json())
        if report.result != "stopping":  # the end has been told of meanwhile, and is the last word
            self._notifier.ready()
        return report

    def _attempt(self) -> ReloadReport:
        try:
            plan = self._service.change(self._read())
        except ConfigError as error:
            problems = [ReloadProblem(p.file, p.line, p.column, p.message, p.remedy) for p in error.problems]
            return ReloadReport("refused", problems=problems, error="the configuration on disk has mistakes")
        except Abandoned:
            return _stopping()
        except Broken as error:
            self.crashed = error
            return ReloadReport("broken", error=str(error))
        except StreamvisionError as error:
            return ReloadReport("failed", error=str(error))
        except Exception as error:  # a thread's border: what runs is what ran before
            log.error("a reload failed for no known reason", error=str(error), exc_info=error)
            return ReloadReport("failed", error=f"internal error: {type(error).__name__}")
        self._told(self._service.settings)
        return ReloadReport(
            "applied" if plan else "unchanged", changed=plan.as_json(), kept=plan.kept, needs_restart=plan.waiting
        )


def _broken(error: BaseException) -> ReloadReport:
    return ReloadReport("broken", error=f"reloading stopped: {type(error).__name__}; the daemon starts anew")


def _stopping() -> ReloadReport:
    return ReloadReport("stopping", error="the daemon is going down; nothing was changed")
