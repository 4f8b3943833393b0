"""where: any rule, but only for tracks that second networks say something certain of (``where: {colour: red}``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamvision.interfaces import Rule, Scene
from streamvision.types import Attribute, Event, FrameInfo, Phase

_PATIENCE_S = 30.0
"""How long something that happened in an instant waits for the attribute that decides whether it is told."""


class WhereRule:
    """Wraps a rule; an `interfaces.Rule`.

    What happens to a track whose attribute is not known yet is held, and told with its own time once the attribute
    is known and right. A happening that lasts is told even if the attribute becomes right in its midst; one that has
    been told is told to its end.
    """

    def __init__(self, inner: Rule, where: Mapping[str, Sequence[str]]) -> None:
        """``where``: the values that count, by the attribute's name."""
        self._inner = inner
        self._where = {name: frozenset(values) for name, values in where.items()}
        self._held: dict[str, Event] = {}
        self._told: set[str] = set()

    def update(self, scene: Scene) -> list[Event]:
        """Take one picture's tracks; return what happened to those that count."""
        told = [
            event for given in self._inner.update(scene) if (event := self._judge(given, scene.attributes)) is not None
        ]
        return self._release(scene) + told

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        """End every happening that was told."""
        events = [event for event in self._inner.close(info, reason) if self._judge(event, {}) is not None]
        self._held.clear()
        self._told.clear()
        return events

    def _judge(self, event: Event, attributes: Mapping[int, Mapping[str, Attribute]]) -> Event | None:
        """Return an event that may be told now; hold it or drop it otherwise."""
        if event.phase in (Phase.INSTANT, Phase.START):
            right = self._right(event, attributes)
            if right and event.phase is Phase.START:
                self._told.add(event.happening)
            if right is None or (not right and event.phase is Phase.START):
                self._held[event.happening] = event
            return event if right else None
        told = event.happening in self._told
        if event.phase is Phase.END:
            self._told.discard(event.happening)
            self._held.pop(event.happening, None)
        return event if told else None

    def _right(self, event: Event, attributes: Mapping[int, Mapping[str, Attribute]]) -> bool | None:
        """Return whether an event's track counts; None while that is not known."""
        known = attributes.get(event.track.id, {}) if event.track is not None else {}
        if any(name in known and known[name].value not in values for name, values in self._where.items()):
            return False
        return True if known.keys() >= self._where.keys() else None

    def _release(self, scene: Scene) -> list[Event]:
        """Return what was held and may be told now; forget what will never be."""
        released = []
        for happening, event in list(self._held.items()):
            right = self._right(event, scene.attributes)
            instant = event.phase is Phase.INSTANT
            if right:
                released.append(event)
                if not instant:
                    self._told.add(happening)
            late = scene.info.media_s - event.media_s > _PATIENCE_S
            if right or (instant and (right is False or late)):
                del self._held[happening]
        return released
