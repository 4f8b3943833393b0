"""Two settings -> what differs between them, as a value: what comes, what changes, what goes, and what has to wait.

Pure: nothing runs here. ``Plan.apply(old)`` gives the settings that run afterwards, which are the new ones but for the
keys in ``waiting``: those take effect with the next start, and keep their running value until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from streamvision.config import ModelSettings, RuleSettings, Settings, SinkSettings, StreamSettings
from streamvision.options import tracker_options

T = TypeVar("T")

LIVE: Final = ("models", "streams", "sinks", "outbox", "explain", "collect")
"""The sections that can change while the daemon runs; all others wait for the next start.

Of ``server`` the tokens can, where nothing else of it differs: who may come in fits where it listens.
"""
_JUDGED: Final = frozenset({"id", "model", "models", "rules", "tracker", "min_score", "zones", "lines"})
"""A stream's keys that its capture does not know of; any other one that changes starts its capture anew."""
_SCENE: Final = frozenset({"url", "kind", "source"})
"""A stream's keys that say where its pictures come from: with another one, nothing seen before goes on."""


@dataclass(frozen=True, slots=True)
class Difference(Generic[T]):
    """Between two families of named things: ``order`` names all that are there afterwards."""

    added: Mapping[str, T]
    changed: Mapping[str, T]
    removed: tuple[str, ...]
    order: tuple[str, ...]

    @classmethod
    def of(cls, old: Mapping[str, T], new: Mapping[str, T], also: Set[str] = frozenset()) -> Difference[T]:
        """Compare; ``also`` names those that count as changed though they are equal."""
        added = {name: each for name, each in new.items() if name not in old}
        changed = {
            name: each for name, each in new.items() if name in old and (not _same(old[name], each) or name in also)
        }
        return cls(added, changed, tuple(name for name in old if name not in new), tuple(new))

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of what stays as it is."""
        return tuple(name for name in self.order if name not in self.added and name not in self.changed)

    def apply(self, old: Mapping[str, T]) -> dict[str, T]:
        """Return the new family."""
        known = {**old, **self.added, **self.changed}
        return {name: known[name] for name in self.order}


@dataclass(frozen=True, slots=True)
class StreamChange:
    """What becomes of a stream that stays, with ``new`` settings.

    ``capture``: it is opened anew. ``scene``: from somewhere else, so that no track and no happening goes on.
    ``model``: another engine looks at it. ``tracker``: it is followed in another way, by new tracks. ``rules``: those
    that come, change or go; one whose zone or line moved has changed. ``looks``: attributes of tracks that are learnt
    anew. ``keys``: the settings' own names for all that.
    """

    new: StreamSettings
    keys: tuple[str, ...]
    capture: bool
    scene: bool
    model: bool
    tracker: bool
    rules: Difference[RuleSettings]
    looks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from one configuration to another. ``details`` tells of every stream that stays and changes."""

    models: Difference[ModelSettings]
    streams: Difference[StreamSettings]
    sinks: Difference[SinkSettings]
    sections: Mapping[str, Any]
    """Whole sections with their new values: outbox, explain, collect, server."""
    waiting: tuple[str, ...]
    details: Mapping[str, StreamChange]
    asides: bool
    """Whether what explains events and what collects pictures has to be made anew."""
    secrets: frozenset[str] = field(repr=False)
    elsewhere: frozenset[str] = frozenset()
    """The streams of other shards, which are nothing that changes here."""

    def __bool__(self) -> bool:
        return bool(self.models or self.streams or self.sinks or self.sections or self.details or self.asides)

    def apply(self, old: Settings) -> Settings:
        """Return what runs after the change."""
        settings = old.model_copy(
            update={
                "models": self.models.apply(old.models),
                "streams": tuple(self.streams.apply(_streams(old)).values()),
                "sinks": tuple(self.sinks.apply({sink.name: sink for sink in old.sinks}).values()),
                **self.sections,
            }
        )
        settings._secrets, settings._elsewhere = self.secrets, self.elsewhere
        return settings

    def as_json(self) -> dict[str, Any]:
        """Return what changes by the configuration's own names, for log and API; nothing of it is secret."""
        told = {
            "models": _told(self.models, {}),
            "streams": _told(self.streams, {name: list(change.keys) for name, change in self.details.items()}),
            "sinks": _told(self.sinks, {}),
            "sections": sorted(self.sections),
        }
        return {name: each for name, each in told.items() if each}

    @property
    def kept(self) -> dict[str, list[str]]:
        """Names of what goes on undisturbed."""
        streams = [name for name in self.streams.kept if name not in self.details]
        return {"models": list(self.models.kept), "streams": streams, "sinks": list(self.sinks.kept)}


def _told(difference: Difference[Any], details: Mapping[str, list[str]]) -> dict[str, Any]:
    changed = {
        name: details.get(name, []) for name in difference.order if name in difference.changed or name in details
    }
    told = {"added": list(difference.added), "changed": changed, "removed": list(difference.removed)}
    return {name: each for name, each in told.items() if each}


def plan(old: Settings, new: Settings, renewed: Set[str] = frozenset()) -> Plan:
    """Compare two settings. ``renewed`` names models whose manifest is another one under the same name."""
    models = Difference.of(old.models, new.models, renewed)
    streams = Difference.of(_streams(old), _streams(new))
    sinks = Difference.of({sink.name: sink for sink in old.sinks}, {sink.name: sink for sink in new.sinks})
    before = _streams(old)
    details = {
        stream.id: change
        for stream in new.streams
        if stream.id in before and (change := stream_change(before[stream.id], stream, frozenset(models.changed)))
    }
    whole = ("outbox", "explain", "collect")
    sections = {name: getattr(new, name) for name in whole if getattr(old, name) != getattr(new, name)}
    if old.server != new.server and old.server.model_copy(update={"tokens": new.server.tokens}) == new.server:
        sections["server"] = new.server
    waiting = tuple(key for key in _waiting(old, new) if key.partition(".")[0] not in sections)
    secrets = new._secrets if not waiting else new._secrets | old._secrets
    asides = _asides(old, frozenset()) != _asides(new, frozenset(models.changed))
    return Plan(models, streams, sinks, sections, waiting, details, asides, secrets, new.elsewhere)


def stream_change(old: StreamSettings, new: StreamSettings, models: Set[str]) -> StreamChange | None:
    """Return what becomes of a stream, None if nothing does; ``models`` are those that have changed."""
    keys = {key for key in type(new).model_fields if not _same(getattr(old, key), getattr(new, key))}
    scene, model = bool(keys & _SCENE), old.model != new.model or new.model in models
    tracker = scene or old.tracker.type != new.tracker.type or not _same(tracker_options(old), tracker_options(new))
    looks = _other_looks(old, new, models)
    if not (keys or model or looks):
        return None
    moved = _moved(old, new)
    affected = {rule.name for rule in new.rules if tracker or moved & set(_texts(rule.options.model_dump()))}
    rules = Difference.of(_unexplained(old), _unexplained(new), affected)
    told = tuple(key for key in type(new).model_fields if key in keys or (key == "model" and model))
    return StreamChange(new, told, bool(keys - _JUDGED), scene, model, tracker, rules, looks)


def _unexplained(stream: StreamSettings) -> dict[str, RuleSettings]:
    """Return a stream's rules as they judge: whether they are explained makes no difference to them."""
    return {rule.name: rule.model_copy(update={"explain": False}) for rule in stream.rules}


def _same(old: Any, new: Any) -> bool:
    """Compare values; an option that was written down is another one than the same value by default."""
    if isinstance(old, BaseModel) and isinstance(new, BaseModel):
        return old == new and _written(old) == _written(new)
    return bool(old == new)


def _written(model: BaseModel) -> dict[str, Any]:
    """Return which fields of a section's options were given, where that has a meaning: trackers look at it."""
    options = getattr(getattr(model, "tracker", model), "options", None)
    return {"options": options.model_fields_set} if isinstance(options, BaseModel) else {}


def _streams(settings: Settings) -> dict[str, StreamSettings]:
    return {stream.id: stream for stream in settings.streams}


def _other_looks(old: StreamSettings, new: StreamSettings, models: Set[str]) -> tuple[str, ...]:
    """Return the attributes that come, change or go."""
    before, after = ({one.attribute: one for one in each.models} for each in (old, new))
    same = {name for name, one in after.items() if before.get(name) == one and one.model not in models}
    return tuple(name for name in {**before, **after} if name not in same)


def _moved(old: StreamSettings, new: StreamSettings) -> set[str]:
    """Return the names of zones and lines that are other ones now."""
    before, after = {**old.zones, **old.lines}, {**new.zones, **new.lines}
    both_kinds = {*old.zones, *new.zones} & {*old.lines, *new.lines}
    moved = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    return moved | {name for name in both_kinds if old.zones.get(name) != new.zones.get(name)}


def _texts(value: Any) -> Iterable[str]:
    """Return every text in the options of a rule: among them the names of its zones and lines."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _texts(each)


def _waiting(old: Settings, new: Settings) -> Iterable[str]:
    """Return the keys that differ and take effect with the next start only."""
    for key in type(new).model_fields:
        before, after = getattr(old, key), getattr(new, key)
        if key in LIVE or before == after:
            continue
        if isinstance(before, BaseModel) and type(before) is type(after):
            yield from (
                f"{key}.{part}" for part in type(after).model_fields if _part(before, part) != _part(after, part)
            )
        else:
            yield key


def _part(section: BaseModel, name: str) -> Any:
    return getattr(section, name)


def _asides(settings: Settings, renewed: Set[str]) -> Any:
    """Return all that explaining and collecting depend on."""
    explained = {
        stream.id: tuple(rule.name for rule in stream.rules if rule.explain)
        for stream in settings.streams
        if any(rule.explain for rule in stream.rules)
    }
    collect = settings.collect
    collected = (
        () if collect is None else [s.id for s in settings.streams if not collect.streams or s.id in collect.streams]
    )
    concerned = {
        stream.id: (
            stream.kind, stream.model, settings.models.get(stream.model), stream.model in renewed, stream.privacy_masks,
            stream.zones if stream.id in explained else {},
        )
        for stream in settings.streams
        if stream.id in explained or stream.id in collected
    }  # fmt: skip
    return settings.explain if explained else None, explained, collect, concerned
