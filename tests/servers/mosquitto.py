"""Mosquitto in a process of its own, and a subscriber that writes down what arrives."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import signal
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from streamvision.sinks.mqtt.wire import TidySocket
from tests.harness import free_port, wait_until
from tests.servers.authority import Authority

WAIT_S = 60.0
USER, PASSWORD = "camera", "let-me-in-please"
READER = "reader"
EVENTS = "streamvision/#"


def binary() -> str:
    """Return where Mosquitto is; skip the test without it."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("mosquitto is not installed")
    return found


class Mosquitto:
    """The broker; with ``persistence`` it keeps sessions from `save` on, also when it is killed."""

    def __init__(
        self, folder: Path, *, tls: bool = True, clients: bool = False, persistence: bool = False, more: str = ""
    ) -> None:
        """``clients``: they must show certificates; ``more``: further lines of the configuration."""
        self._binary = binary()
        self.folder = folder / "mosquitto"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder / "authority")
        self.tls = tls
        self.port = free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://localhost:{self.port}"
        self._users = self.folder / "users"
        self.admit(USER, READER)
        self._config = self.folder / "mosquitto.conf"
        self._config.write_text(self._text(clients, persistence) + more)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    def admit(self, *users: str) -> None:
        """Let only these users in; `reload` applies it, also to those who are connected."""
        self._users.write_text("")
        self._users.chmod(0o600)
        for user in users:
            subprocess.run(["mosquitto_passwd", "-b", self._users, user, PASSWORD], check=True, capture_output=True)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._log_begins = log.tell()
            process = self._process = subprocess.Popen([self._binary, "-c", self._config], stdout=log, stderr=log)
        wait_until(lambda: process.poll() is not None or self._listens(), WAIT_S)
        assert process.poll() is None, (self.folder / "log").read_text()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.send(number)
            self.send(signal.SIGCONT)
            self._process.wait(WAIT_S)

    def save(self) -> None:
        """Write sessions to the disk now."""
        saved = self.folder / "mosquitto.db"
        saved.unlink(missing_ok=True)
        self.send(signal.SIGUSR1)
        wait_until(saved.exists, WAIT_S)

    def _listens(self) -> bool:
        # Its own words: a connection to try it would be one more client.
        return b" running\n" in (self.folder / "log").read_bytes()[self._log_begins :]

    def _text(self, clients: bool, persistence: bool) -> str:
        lines = [
            "user root", f"listener {self.port} 127.0.0.1", f"password_file {self._users}", "allow_anonymous false",
            "max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true", "log_type all",
        ]  # fmt: skip
        if self.tls:
            certificate, key = self.authority.issue("server")
            lines += [f"certfile {certificate}", f"keyfile {key}", f"cafile {self.authority.ca}"]
        if clients:
            lines.append("require_certificate true")
        if persistence:
            lines += ["persistence true", f"persistence_location {self.folder}/", "autosave_interval 0"]
        return "\n".join(lines) + "\n"


class Subscriber:
    """Writes down everything under some topics, across restarts of the broker."""

    def __init__(self, broker: Mosquitto, *topics: str, name: str = "subscriber", lasting: bool = False) -> None:
        """Connect and subscribe; ``lasting`` keeps the session at the broker while nobody is connected."""
        self.messages: list[mqtt.MQTTMessage] = []
        self._topics = [(topic, SubscribeOptions(qos=1, retainAsPublished=True)) for topic in topics]
        self._marks = itertools.count()
        self._seen: set[bytes] = set()
        self._subscribed = threading.Event()
        self._mark = f"marks/{name}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(READER, PASSWORD)
        if broker.tls:
            context = ssl.create_default_context(cafile=str(broker.authority.ca))
            with contextlib.suppress(FileNotFoundError):  # where it must show one
                context.load_cert_chain(broker.authority.folder / "reader.pem", broker.authority.folder / "reader.key")
            context.sslsocket_class = TidySocket
            self._client.tls_set_context(context)
        self._client.reconnect_delay_set(0.1, 0.2)
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if lasting else 0
        properties.ReceiveMaximum = 65535
        self._client.connect("localhost", broker.port, clean_start=not lasting, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def settle(self) -> None:
        """Wait until all that the broker has confirmed to anybody so far has arrived here."""
        wait_until(self._client.is_connected, WAIT_S)
        mark = str(next(self._marks)).encode()
        self._client.publish(self._mark, mark, 1)
        wait_until(lambda: mark in self._seen, WAIT_S)

    def texts(self, topic: str) -> list[str]:
        """What was published to a topic."""
        return [one.payload.decode() for one in list(self.messages) if one.topic == topic]

    def resubscribed(self) -> None:
        """Wait until a broker that has started anew knows the topics."""
        assert self._subscribed.wait(WAIT_S)

    def forget(self) -> None:
        """Await a new subscription: the broker is about to go."""
        self._subscribed.clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        if (sock := self._client.socket()) is not None:
            sock.close()

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([*self._topics, (self._mark, SubscribeOptions(qos=1))])

    def _on_message(self, _: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._mark:
            self._seen.add(message.payload)
        else:
            self.messages.append(message)


class MqttReceiver:
    """A broker with TLS and a subscriber; a `tests.e2e.delivery.receivers.Receiver`."""

    faults = ("kill", "freeze", "slow", "reject")
    once = False

    def __init__(self, folder: Path) -> None:
        self._broker = Mosquitto(folder, persistence=True)
        self._subscriber: Subscriber | None = None
        self._received: list[tuple[str, str]] = []
        self._pulse: threading.Thread | None = None
        self._even = threading.Event()

    def options(self) -> str:
        return (
            f"type: mqtt, url: '{self._broker.url}', tls: {{ca: '{self._broker.authority.ca}'}}, username: {USER},"
            f" password: {PASSWORD}, topic: 'events/{{stream}}', connect_timeout: 1s, timeout: 1s"
        )

    def start(self) -> None:
        self._broker.start()
        if self._subscriber is None:
            self._subscriber = Subscriber(self._broker, "events/#", lasting=True)
            self._broker.save()  # from now on the session outlives the process

    def stop(self) -> None:
        self._broker.end()

    def kill(self) -> None:
        self._broker.end(signal.SIGKILL)

    def freeze(self) -> None:
        self._broker.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._broker.send(signal.SIGCONT)

    def slow(self, on: bool) -> None:
        """Mosquitto answers at once or not at all: it is stopped for most of the time."""
        self._even.set()
        if self._pulse is not None:
            self._pulse.join()
        self._even.clear()
        self._pulse = threading.Thread(target=self._limp) if on else None
        if self._pulse is not None:
            self._pulse.start()

    def _limp(self) -> None:
        while not self._even.is_set():
            self.freeze()
            self._even.wait(0.2)
            self.thaw()
            self._even.wait(0.02)

    def reject(self, on: bool) -> None:
        self._broker.admit(*([READER] if on else [USER, READER]))
        self._broker.send(signal.SIGHUP)

    def received(self) -> list[tuple[str, str]]:
        assert self._subscriber is not None
        self._subscriber.settle()
        for one in self._subscriber.messages[len(self._received) :]:
            event = json.loads(one.payload)
            self._received.append((event["id"], event["data"]["stream"]))
        return list(self._received)

    def close(self) -> None:
        self.slow(False)
        self._broker.end(signal.SIGKILL)
        if self._subscriber is not None:
            self._subscriber.close()
