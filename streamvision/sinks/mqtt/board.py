"""What lies retained at the broker: who is there, what goes on, what happened last, and how it is announced.

All of it is rebuilt from the configuration, from what goes on and from the events, so that a broker that has forgotten
everything is told again. The topics that were ever filled are remembered in a file, so that those which nobody needs
any more are emptied, also after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from streamvision.files import write_whole
from streamvision.interfaces import RuleInfo, SinkContext, StoredEvent
from streamvision.sinks.mqtt.discovery import announcements, device_in, device_of
from streamvision.sinks.mqtt.topics import Topics

log = structlog.get_logger()

ONLINE, OFFLINE, ON, OFF = "online", "offline", "ON", "OFF"
_OUTAGE = "outage"

Retained = dict[str, str]
"""Topic -> text; an empty text removes the topic."""


class Board:
    """The retained topics of one daemon; used under one lock.

    Happenings do not survive a restart of the daemon. Events up to position ``born``, where this run began, are
    therefore history: they change no state.
    """

    def __init__(self, topics: Topics, context: SinkContext, discovery: str | None) -> None:
        """``discovery`` is Home Assistant's prefix; None announces nothing."""
        self._topics = topics
        self._context = context
        self._file = context.state_dir / f"mqtt-{context.name}.json"
        self._discovery = discovery
        self._seen_position = 0
        self._streams: Mapping[str, Sequence[RuleInfo]] = {}
        self._elsewhere: Collection[str] = ()
        self._going_on: dict[tuple[str, str], set[str]] = {}
        self._away: set[str] = set()
        self._last: dict[str, str] = {}
        self._shown: Retained = {}
        self._filled: set[str] = set()

    def all(self) -> Retained:
        """Return everything, for a broker that may know nothing; what is there and not wanted is emptied.

        What goes on is asked for anew: this board may be younger than it, and the end of something may have been given
        up while the broker was away. The events that still wait then tell their part of it once more, in order, and
        leave it as it is.
        """
        self._filled |= _read(self._file)  # here, since the sink before this one may have filled more until it ended
        self._take_stock()
        self._shown = self._wanted()
        self._remember()
        return self._stale() | self._shown

    def news(self) -> Retained:
        """Return what a change of the configuration amounts to, for a broker that knows the rest."""
        if (self._context.streams(), self._context.elsewhere()) == (self._streams, self._elsewhere):
            return {}
        before, self._shown = self._shown, self._wanted()
        self._remember()
        return self._stale() | {topic: text for topic, text in self._shown.items() if before.get(topic) != text}

    def emptied(self) -> None:
        """Forget the topics that were emptied: the broker has confirmed it."""
        if stale := self._stale():
            self._filled -= stale.keys()
            self._write()

    def apply(self, stored: StoredEvent, event: Mapping[str, Any], *, published: bool) -> Retained:
        """Take an event; return which topics it changes. One that was taken before changes nothing."""
        if stored.position <= self._seen_position:
            return {}
        self._seen_position = stored.position
        data = event["data"]
        stream, rule = str(data["stream"]), str(data["rule"])
        changes: Retained = {}
        if published:
            self._last[stream] = changes[self._topics.last(stream)] = stored.json
        if stored.position > self._context.born:
            changes |= self._outage(stream, data) if rule == _OUTAGE else self._happening(stream, rule, data)
        if stream not in self._streams:  # gone, or so new that it is not announced yet
            return {}
        changes = {topic: text for topic, text in changes.items() if self._shown.get(topic) != text}
        self._shown |= changes
        if not self._filled.issuperset(changes):
            self._remember()
        return changes

    def _take_stock(self) -> None:
        self._away, self._going_on = set(), {}
        for one in self._context.ongoing():
            if one.rule == _OUTAGE:
                self._away.add(one.stream)
            else:
                self._going_on.setdefault((one.stream, one.rule), set()).add(one.event)

    def _outage(self, stream: str, data: Mapping[str, Any]) -> Retained:
        begins = data["phase"] == "start"
        (self._away.add if begins else self._away.discard)(stream)
        return {self._topics.available(stream): OFFLINE if begins else ONLINE}

    def _happening(self, stream: str, rule: str, data: Mapping[str, Any]) -> Retained:
        going_on = self._going_on.setdefault((stream, rule), set())
        if data["phase"] == "end":
            going_on.discard(data["event"])
        elif data["phase"] in ("start", "update"):
            going_on.add(data["event"])
        topic = self._topics.state(stream, rule)
        # Rules of instants have no such topic, nor have rules that are gone.
        return {topic: ON if going_on else OFF} if topic in self._shown else {}

    def _wanted(self) -> Retained:
        self._streams, self._elsewhere = streams, _ = self._context.streams(), self._context.elsewhere()
        wanted: Retained = {}
        for stream, rules in streams.items():
            wanted[self._topics.available(stream)] = OFFLINE if stream in self._away else ONLINE
            for rule in rules:
                if rule.lasting:
                    on = bool(self._going_on.get((stream, rule.name)))
                    wanted[self._topics.state(stream, rule.name)] = ON if on else OFF
            if stream in self._last:
                wanted[self._topics.last(stream)] = self._last[stream]
        if self._discovery is not None:
            wanted |= announcements(self._discovery, self._topics, streams)
        return wanted | {self._topics.daemon: ONLINE}  # last: then all before it holds

    def _stale(self) -> Retained:
        """Return what empties the topics that were filled from here and that nobody needs any more.

        Not shown from here, and needed, are the last event before this run, and all that another process or sink shows.
        """
        gone = self._filled - self._shown.keys() - {self._topics.last(stream) for stream in self._streams}
        if not gone:
            return {}
        others = tuple(self._topics.of(stream) for stream in self._elsewhere)
        announced = {device_of(self._topics, stream) for stream in self._elsewhere}
        return {topic: "" for topic in gone if not topic.startswith(others) and device_in(topic) not in announced}

    def _remember(self) -> None:
        if not self._filled.issuperset(self._shown):
            self._filled |= self._shown.keys()
            self._write()

    def _write(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps(sorted(self._filled)).encode())
        except OSError as error:  # a full disk: at worst a topic stays at the broker after a restart
            log.warning("retained topics cannot be remembered", file=str(self._file), cause=error.strerror)


def _read(file: Path) -> set[str]:
    try:
        topics = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    return {topic for topic in topics if isinstance(topic, str) and topic} if isinstance(topics, list) else set()
