"""sd_notify(3): tells the service manager that we are ready, alive, stopping. Nothing without NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Self

import structlog

log = structlog.get_logger()


class Notifier:
    """The line to the service manager: datagrams of ``KEY=value`` lines to a Unix socket."""

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        """``address`` is a path or an abstract name (leading @); ``watchdog_s`` how often a sign of life is due."""
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as systemd sets them."""
        meant_for_us = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = env.get("WATCHDOG_USEC", "")
        watchdog_s = int(microseconds) / 1e6 if meant_for_us and microseconds.isdigit() else None
        return cls(env.get("NOTIFY_SOCKET") or None, watchdog_s)

    def ready(self) -> None:
        """Say that start-up is over."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.settimeout(1.0)
                line.sendto(message.encode(), self._address)
        except OSError as error:  # a service manager that cannot be told is no reason to stop watching cameras
            log.warning("service manager not reached", error=str(error))
