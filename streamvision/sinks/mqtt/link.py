"""Keeps a connection to the broker, also while nothing happens: somebody waits for the streams' availability there."""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack
from pathlib import Path

import structlog

from streamvision.errors import SinkError
from streamvision.sinks.encryption import usable_context
from streamvision.sinks.mqtt.board import OFFLINE, Board, Retained
from streamvision.sinks.mqtt.options import MqttOptions
from streamvision.sinks.mqtt.topics import Topics
from streamvision.sinks.mqtt.wire import Message, Wire
from streamvision.sinks.tls import TlsOptions

log = structlog.get_logger()

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOOK_S = 0.5
"""How often the configuration is looked at for streams that have come or gone."""


def retained(topics: Retained) -> list[Message]:
    """Return the messages that fill, or empty, retained topics."""
    return [Message(topic, text.encode(), retain=True) for topic, text in topics.items()]


class Link:
    """A thread that connects, announces what is retained, and connects again when the connection is lost.

    By itself it tries with exponential back-off and full jitter; whoever wants to deliver makes it try at once, so
    that the delivery's own back-off counts. ``turn`` belongs to whoever publishes.
    """

    def __init__(self, options: MqttOptions, name: str, client_id: str, topics: Topics, board: Board, folder: Path):
        """Start the thread; ``folder`` is where relative paths lie."""
        self.turn = threading.RLock()
        self._options = options
        self._name = name
        self._client_id = client_id
        self._board = board
        self._folder = folder
        self._where = f"{options.host}:{options.port}"
        self._longest_s = 2 * options.connect_timeout + 5.0
        self._will = Message(topics.daemon, OFFLINE.encode(), retain=True)
        self._changed = threading.Condition()
        self._wire: Wire | None = None
        self._trouble: Exception | None = None
        self._attempts = 0
        self._asked = False
        self._closing = False
        self._failing = False
        self._unwanted: dict[str, float] = {}
        self._pause_s = FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._guarded, name=f"mqtt.{name}", daemon=True)
        self._thread.start()

    def wire(self) -> Wire:
        """Return the connection; without one, try once. Raises `SinkError`."""
        with self._changed:
            if (standing := self._standing()) is not None:
                return standing
            before, self._asked = self._attempts, True
            self._changed.notify_all()
            # An attempt looks names up, which nothing bounds; the thread that delivers is not held by that.
            self._changed.wait_for(lambda: self._standing() is not None or self._attempts > before, self._longest_s)
            standing = self._standing()
            if standing is None:
                raise self._trouble or SinkError("there is no connection yet", where=self._where, reason="timeout")
            return standing

    def close(self) -> None:
        """Say that the daemon goes, and end the thread; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(self._longest_s)

    def _standing(self) -> Wire | None:
        return None if self._wire is None or self._wire.lost.is_set() else self._wire

    def _guarded(self) -> None:
        try:
            while not self._closing:
                self._live_once()
        except Exception as error:  # a thread's border: the next delivery raises it
            log.error("the link to the broker stopped", sink=self._name, error=str(error), exc_info=error)
            self._tell(None, error)

    def _live_once(self) -> None:
        """Connect, stay as long as the connection does, and rest."""
        try:
            wire = self._connected()
        except SinkError as error:
            if not self._failing:
                log.warning("no connection to the broker", sink=self._name, error=str(error))
            self._failing = True
            self._tell(None, error)
            self._rest()
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return
        self._pause_s, self._failing = FIRST_PAUSE_S, False
        log.info("connected to the broker", sink=self._name, broker=self._where)
        self._tell(wire, None)
        try:
            self._watch(wire)
        finally:
            self._tell(None, None)
            wire.drop()
        if not self._closing:
            log.warning("the connection to the broker is lost", sink=self._name)
            self._rest()

    def _connected(self) -> Wire:
        self._asked = False
        tls = (self._options.tls or TlsOptions()) if self._options.encrypted else None
        context = None if tls is None else usable_context(tls, self._folder, self._where)
        if tls is not None and not tls.verify:
            log.warning("the broker's certificate is not checked", sink=self._name, broker=self._where)
        wire = Wire(self._options, self._client_id, context, self._will, self._unwanted)
        with ExitStack() as undo:
            undo.callback(wire.drop)
            with self.turn:
                wire.publish(retained(self._board.all()), _unheard)
                self._board.emptied()
            undo.pop_all()
        return wire

    def _watch(self, wire: Wire) -> None:
        """Look at the configuration now and then, until the connection is lost or the daemon goes."""
        while not self._over(wire):
            with self.turn:
                if not (news := self._board.news()):
                    continue
                try:
                    wire.publish(retained(news), _unheard)
                    self._board.emptied()
                except SinkError:
                    return

    def _over(self, wire: Wire) -> bool:
        """Wait a little; return whether the connection is lost, or has been ended because the daemon goes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or wire.lost.is_set(), LOOK_S)
        if self._closing:
            wire.end(self._will)
        return wire.lost.is_set()

    def _tell(self, wire: Wire | None, trouble: Exception | None) -> None:
        with self._changed:
            self._wire = wire
            if wire is not None or trouble is not None:
                self._attempts += 1
                self._trouble = trouble
            self._changed.notify_all()

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._asked or self._closing, self._pause_s * random.random())


def _unheard(_: Message) -> None:
    """Nobody counts what is retained."""
