"""What lies retained at the broker: who is there, what goes on, what happened last, and how it is announced.

All of it is rebuilt from the configuration and the events, so that a broker that has forgotten everything is told
again. The topics that were ever filled are remembered in a file, so that those which nobody needs any more are emptied,
also after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from streamvision.files import write_whole
from streamvision.interfaces import RuleInfo, StoredEvent
from streamvision.sinks.mqtt.discovery import announcements
from streamvision.sinks.mqtt.topics import Topics

log = structlog.get_logger()

ONLINE, OFFLINE, ON, OFF = "online", "offline", "ON", "OFF"
_OUTAGE = "outage"

Streams = Mapping[str, Sequence[RuleInfo]]
Retained = dict[str, str]
"""Topic -> text; an empty text removes the topic."""


class Board:
    """The retained topics of one daemon; used under one lock.

    Happenings do not survive a restart of the daemon. Events up to position ``born``, where this run began, are
    therefore history: they do not switch anything on.
    """

    def __init__(
        self, topics: Topics, streams: Callable[[], Streams], file: Path, born: int, discovery: str | None
    ) -> None:
        """``discovery`` is Home Assistant's prefix; None announces nothing. ``file`` remembers the topics."""
        self._topics = topics
        self._streams = streams
        self._file = file
        self._born = born
        self._discovery = discovery
        self._seen_position = 0
        self._known: Streams = {}
        self._going_on: dict[tuple[str, str], set[str]] = {}
        self._away: set[str] = set()
        self._last: dict[str, str] = {}
        self._shown: Retained = {}
        self._filled = _read(file)

    def all(self) -> Retained:
        """Return everything, for a broker that may know nothing; what is there and not wanted is emptied."""
        self._shown = self._wanted()
        self._remember()
        return dict.fromkeys(self._filled - self._shown.keys(), "") | self._shown

    def news(self) -> Retained:
        """Return what a change of the configuration amounts to, for a broker that knows the rest."""
        if self._streams() == self._known:
            return {}
        wanted = self._wanted()
        gone = dict.fromkeys(self._shown.keys() - wanted.keys(), "")
        fresh = {topic: text for topic, text in wanted.items() if self._shown.get(topic) != text}
        if gone or fresh:
            self._shown = wanted
            self._remember()
        return gone | fresh

    def emptied(self) -> None:
        """Forget the topics that were emptied: the broker has confirmed it."""
        if self._filled - self._shown.keys():
            self._filled = set(self._shown)
            self._write()

    def apply(self, stored: StoredEvent, event: Mapping[str, Any]) -> Retained:
        """Take an event; return which topics it changes. One that was taken before changes nothing."""
        if stored.position <= self._seen_position:
            return {}
        self._seen_position = stored.position
        data = event["data"]
        stream, rule = str(data["stream"]), str(data["rule"])
        self._last[stream] = stored.json
        changes = {self._topics.last(stream): stored.json}
        if rule == _OUTAGE:
            changes |= self._outage(stored, stream, data)
        else:
            changes |= self._happening(stored, stream, rule, data)
        if stream not in self._known:  # gone, or so new that it is not announced yet
            return {}
        changes = {topic: text for topic, text in changes.items() if self._shown.get(topic) != text}
        self._shown |= changes
        if not self._filled.issuperset(changes):
            self._remember()
        return changes

    def _outage(self, stored: StoredEvent, stream: str, data: Mapping[str, Any]) -> Retained:
        begins = data["phase"] == "start" and self._is_ours(stored)
        (self._away.add if begins else self._away.discard)(stream)
        return {self._topics.available(stream): OFFLINE if begins else ONLINE}

    def _happening(self, stored: StoredEvent, stream: str, rule: str, data: Mapping[str, Any]) -> Retained:
        going_on = self._going_on.setdefault((stream, rule), set())
        if data["phase"] == "end":
            going_on.discard(data["event"])
        elif data["phase"] in ("start", "update") and self._is_ours(stored):
            going_on.add(data["event"])
        topic = self._topics.state(stream, rule)
        # Rules of instants have no such topic, nor have rules that are gone.
        return {topic: ON if going_on else OFF} if topic in self._shown else {}

    def _is_ours(self, stored: StoredEvent) -> bool:
        return stored.position > self._born

    def _wanted(self) -> Retained:
        self._known = streams = self._streams()
        wanted = {self._topics.daemon: ONLINE}
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
        return wanted

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
