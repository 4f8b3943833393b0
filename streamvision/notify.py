"""sd_notify(3): tells the service manager that we are ready, alive, reloading, stopping. Nothing without NOTIFY_SOCKET.

Protocol: https://www.freedesktop.org/software/systemd/man/sd_notify.html
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Self

import structlog

log = structlog.get_logger()


class Notifier:
    """The line to the service manager: datagrams of ``KEY=value`` lines to a Unix socket."""

    def __init__(
        self, address: str | None, watchdog_s: float | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``address`` is a path or an abstract name (leading @); ``watchdog_s`` how often a sign of life is due."""
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._monotonic = monotonic
        self._fed_s: float | None = None
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, env: MutableMapping[str, str] = os.environ) -> Self:
        """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as systemd sets them.

        They are taken out of ``env``: what this process starts is not the service, and must not speak for it.
        """
        meant_for_us = env.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = env.pop("WATCHDOG_USEC", "")
        watchdog_s = int(microseconds) / 1e6 if meant_for_us and _is_positive(microseconds) else None
        return cls(env.pop("NOTIFY_SOCKET", "") or None, watchdog_s)

    def ready(self) -> None:
        """Say that start-up, or a reload, is over, and which process is the service."""
        self._send(f"READY=1\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Say that the configuration is read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(f"STATUS={' '.join(text.split())}")

    def extend(self, seconds: float) -> None:
        """Ask for so much more time, from now on, before a start, reload or stop counts as hung."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> None:
        """Feed the watchdog, if there is one: at most every quarter of its time, however often this is called."""
        if self.watchdog_s is None:
            return
        now_s = self._monotonic()
        if self._fed_s is None or now_s - self._fed_s >= self.watchdog_s / 4:
            self._fed_s = now_s
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


def _is_positive(microseconds: str) -> bool:
    return microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
