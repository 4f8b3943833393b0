"""What works beside the flow: it sees what is analysed, never holds it up, and is wanted only where settings say so."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import structlog

from streamvision.clock import Clock
from streamvision.config import Settings
from streamvision.engine.manifest import Manifest
from streamvision.errors import UsageError
from streamvision.interfaces import Engine
from streamvision.metrics import EngineStats, Metrics
from streamvision.types import Analysis, Event, Frame

log = structlog.get_logger()

TRY_EVERY_S: Final = 2.0
_HEALING: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""How disks refuse that may be written again: read-only, full, over quota, gone."""


class Aside(Protocol):
    """A thread beside the flow."""

    stage: str
    crashed: BaseException | None

    def start(self) -> None:
        """Begin."""
        ...

    def see(self, frame: Frame, analysis: Analysis, events: list[Event]) -> list[Event]:
        """Look at one analysed picture with its events, on the analysis thread; return the events to be stored."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Finish what cannot wait, and end; False if that took too long."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """A stream as the asides need it: its model's manifest and engine, whether it is live, and whether the engine has
    nothing to do at this moment."""

    manifest: Manifest
    engine: Engine
    live: bool
    idle: Callable[[], bool]


def build(
    settings: Settings, served: Mapping[str, Served], metrics: Metrics, clock: Clock, beat: Callable[[str], None]
) -> list[Aside]:
    """Return what the settings ask for. Raises `UsageError` where that is impossible."""
    found: list[Aside] = []
    if any(rule.explain for stream in settings.streams for rule in stream.rules):
        found.append(_explainer(settings, served, metrics, clock, beat))
    if settings.collect is not None:  # last: it opens files, which must not stay open where the other is refused
        make = partial(_collector, settings, served, metrics, clock, beat)
        try:
            found.insert(0, make())
        except UsageError as error:
            if not _heals(error):
                raise
            log.error("pictures cannot be collected yet", error=str(error))
            found.insert(0, Later("collect", make, beat))
    return found


def _heals(error: UsageError) -> bool:
    """Whether it is the disk that refuses, which may have an end."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _HEALING


class Later:
    """Stands in for an aside whose disk cannot be written at the start: it is made when it can."""

    def __init__(
        self, stage: str, make: Callable[[], Aside], beat: Callable[[str], None], every_s: float = TRY_EVERY_S
    ) -> None:
        self.stage = stage
        self._make = make
        self._beat = beat
        self._every_s = every_s
        self.crashed: BaseException | None = None
        self._made: Aside | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._wait, name=f"{stage}-later", daemon=True)

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    def see(self, frame: Frame, analysis: Analysis, events: list[Event]) -> list[Event]:
        """Pass a picture on, once there is somebody to take it."""
        return events if self._made is None else self._made.see(frame, analysis, events)

    def stop(self, timeout_s: float) -> bool:
        """End; False if that took too long."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        return self._made is None or self._made.stop(timeout_s)

    def _wait(self) -> None:
        while not self._stop.wait(self._every_s) and self.crashed is None:
            if self._made is not None:
                self.crashed = self._made.crashed
            else:
                self._beat(self.stage)
                self._try()

    def _try(self) -> None:
        try:
            made = self._make()
            made.start()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            if not (isinstance(error, UsageError) and _heals(error)):
                self.crashed = error
                log.error("an aside cannot begin", stage=self.stage, error=str(error), exc_info=error)
            return
        self._made = made
        log.info("the disk can be written again", stage=self.stage)


def _explainer(
    settings: Settings, served: Mapping[str, Served], metrics: Metrics, clock: Clock, beat: Callable[[str], None]
) -> Aside:
    from streamvision.explain.asking import require_explainable
    from streamvision.explain.background import Explainer, Subject
    from streamvision.explain.shelf import Shelf

    subjects = {}
    for stream in settings.streams:
        rules = [rule.name for rule in stream.rules if rule.explain]
        if not rules:
            continue
        own, engine_stats = served[stream.id], metrics.engine(stream.model)
        try:
            require_explainable(own.manifest)
        except UsageError as error:
            raise UsageError(
                f"`explain: true`: {error.what}", where=f"stream {stream.id}, rule {rules[0]}", remedy=error.remedy
            ) from error

        def idle(own: Served = own, stats: EngineStats = engine_stats) -> bool:
            # While an engine is built, it may be calibrated with the pictures it is given: none may have holes.
            return stats.state in ("ready", "fallback") and own.idle()

        subjects[stream.id] = Subject(
            stream.model, own.engine, frozenset(rules), metrics.stream(stream.id), idle,
            stream.privacy_masks, stream.zones,
        )  # fmt: skip
    explain = settings.explain
    shelf = Shelf(settings.state_dir, explain.max_mb << 20, explain.max_age)
    return Explainer(explain, shelf, subjects, clock, beat)


def _collector(
    settings: Settings, served: Mapping[str, Served], metrics: Metrics, clock: Clock, beat: Callable[[str], None]
) -> Aside:
    from streamvision.collect.collector import Collector, Observed

    collect = settings.collect
    assert collect is not None
    observed = {
        stream.id: Observed(
            stream.model, served[stream.id].manifest, metrics.stream(stream.id), served[stream.id].live,
            stream.privacy_masks,
        )
        for stream in settings.streams
        if not collect.streams or stream.id in collect.streams
    }  # fmt: skip
    return Collector(collect, settings.state_dir / collect.folder, observed, clock, beat)
