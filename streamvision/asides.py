"""What works beside the flow: it sees what is analysed, never holds it up, and is wanted only where settings say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from streamvision.clock import Clock
from streamvision.config import Settings
from streamvision.engine.manifest import Manifest
from streamvision.errors import UsageError
from streamvision.interfaces import Engine
from streamvision.metrics import EngineStats, Metrics
from streamvision.types import Analysis, Event, Frame


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
        found.insert(0, _collector(settings, served, metrics, clock, beat))
    return found


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
