"""What a stream's settings mean to the parts that follow it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from pydantic import BaseModel

from streamvision import plugins
from streamvision.attributes import SecondOptions
from streamvision.config import SecondSettings, Settings, SinkSettings, StreamSettings
from streamvision.engine.manifest import Manifest
from streamvision.interfaces import Ongoing, RuleInfo, SinkContext


def look(second: SecondSettings) -> SecondOptions:
    """Return how a second network looks at tracks."""
    return SecondOptions(
        name=second.attribute, classes=frozenset(second.classes), every_s=second.every, grow=second.grow,
        min_side=second.min_side, margin=second.margin, min_score=second.min_score,
    )  # fmt: skip


def tracker_options(stream: StreamSettings) -> BaseModel:
    """Return the tracker's options, with the stream's ``min_score`` as the score from which it believes."""
    options = stream.tracker.options
    fields = type(options).model_fields
    if stream.min_score is None or "high_score" not in fields or "high_score" in options.model_fields_set:
        return options
    low_score = min(float(getattr(options, "low_score", 0.0)), stream.min_score)
    return options.model_copy(update={"high_score": stream.min_score, "low_score": low_score})


def wants_gate(stream: StreamSettings, manifest: Manifest, *, live: bool) -> bool:
    """A gate saves inference; background subtraction needs every picture, and a file's every picture is wanted."""
    if stream.motion_gate != "auto":
        return stream.motion_gate == "on"
    return live and manifest.kind != "motion" and manifest.options.get("regions") != "motion"


def sink_context(
    sink: SinkSettings,
    settings: Callable[[], Settings],
    beat: Callable[[str], None],
    born: int = 0,
    ongoing: Callable[[], Collection[Ongoing]] = tuple,
) -> SinkContext:
    """Return what a sink is told; it asks for the streams anew, since a reload may change them."""

    known: tuple[Settings, dict[str, tuple[RuleInfo, ...]], frozenset[str]] | None = None

    def told() -> tuple[Settings, dict[str, tuple[RuleInfo, ...]], frozenset[str]]:
        nonlocal known
        now = settings()
        if known is None or known[0] is not now:  # settings are never changed, only replaced
            own = {stream.id: rules_of(stream) for stream in now.streams if _chooses(sink, stream.id)}
            known = now, own, _shown_by_others(sink, now)
        return known

    return SinkContext(
        sink.name, settings().state_dir, lambda: told()[1], partial(beat, f"sink.{sink.name}"), born,
        lambda: told()[2], ongoing,
    )  # fmt: skip


def _chooses(sink: SinkSettings, stream: str) -> bool:
    return not sink.streams or stream in sink.streams


def _shown_by_others(sink: SinkSettings, now: Settings) -> frozenset[str]:
    """Return the streams that other processes, or other sinks in the same place, show and this sink does not.

    This sink's own entry counts with them: it may be newer than the sink, or show streams of other processes there.
    """
    shares = getattr(sink.options, "shares", lambda other: other is sink.options)
    fill = [one for one in (sink, *now.sinks) if one.type == sink.type and shares(one.options)]
    here = {stream.id for stream in now.streams}
    own = {stream for stream in here if _chooses(sink, stream)} if shares(sink.options) else set()
    return frozenset(stream for stream in (here | now.elsewhere) - own if any(_chooses(one, stream) for one in fill))


def rules_of(stream: StreamSettings) -> tuple[RuleInfo, ...]:
    """Return a stream's rules as sinks announce them."""
    return tuple(
        RuleInfo(rule.name, rule.type, bool(getattr(plugins.load("rule", rule.type), "lasting", True)))
        for rule in stream.rules
    )
