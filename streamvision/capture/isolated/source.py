"""The daemon's side of an isolated source."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from pydantic import BaseModel

from streamvision import plugins
from streamvision.capture.isolated.memory import MAX_MEMORY, filled, memory_file, taken
from streamvision.capture.isolated.messages import FILES, MAX_MESSAGE, Message, Nonsense, parsed
from streamvision.capture.isolated.wire import MAX_BYTES, packed, read_pictures
from streamvision.clock import Clock
from streamvision.errors import CaptureError, DecoderLost
from streamvision.interfaces import SourcePicture
from streamvision.redact import redact_url

log = structlog.get_logger()

START_S: Final = 30.0
"""How long a child may need to come up, on a machine that is busy."""
MARGIN_S: Final = 5.0
"""By how much a call of the source may exceed its own deadline; then it hangs where nothing interrupts it."""
PATIENCE_S: Final = 30.0
"""The deadline of sources that have none of their own."""
LOOK_S: Final = 0.25
"""How often the child's memory is looked at."""
_REAPED_S: Final = 5.0
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "http_proxy", "https_proxy", "no_proxy")
_PASSED_ON_FAMILIES: Final = ("LC_", "LD_", "PYTHON", "SSL_", "GST_")


class IsolatedSource:
    """An `interfaces.Source` that runs another one in a process of its own."""

    def __init__(self, kind: str, url: str, options: BaseModel, clock: Clock) -> None:
        """``kind`` is the source's name as a plug-in; nothing is started before `open`."""
        self.live = bool(plugins.load("source", kind).live)
        self.started_at: datetime | None = None
        self._kind = kind
        self._url = url
        self._options = options
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._files: list[int] = []
        self._born_s = 0.0
        """When the child was started, on the clock that it shares with this process."""
        self._looked_s = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process, if there is one."""
        return self._child.pid if self._child is not None else None

    def open(self) -> None:
        """Start the child and wait until it has opened its source. Raises a `CaptureError`."""
        self.close()
        line = self._start()
        job = {"kind": self._kind, "url": self._url, "options": self._options.model_dump(mode="json")}
        _send(line, packed(job))
        if not self._receive(START_S).ready:
            raise self._lost("it sent nonsense: it is not ready")
        opened = self._receive(self._deadline_s("open_timeout") + MARGIN_S).opened
        if opened is None:
            raise self._lost("it sent nonsense: it has not opened its source")
        self.started_at = opened.started_at

    def read(self) -> Sequence[SourcePicture]:
        """Return the next decoded pictures; see `Source.read`. Raises `DecoderLost` when the child is gone."""
        message = self._receive(self._deadline_s("read_timeout") + MARGIN_S)
        try:
            pictures = self._pictures(message)
        except Nonsense as error:
            raise self._lost(f"it sent nonsense: {error}") from error
        if message.file >= 0:
            _send(self._connected(), bytes([message.file]))
        return pictures

    def close(self) -> None:
        """Kill and reap the child, free its memory; idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            _reap(child)
        if self._line is not None:
            self._line.close()
            self._line = None
        for fd in self._files:
            os.close(fd)
        self._files = []

    def _start(self) -> socket.socket:
        self._born_s = time.monotonic()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._files.extend(memory_file(MAX_BYTES) for _ in range(FILES))
                inherited = (theirs.fileno(), *self._files)
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "streamvision.capture.isolated.child", *map(str, inherited)],
                    pass_fds=inherited, env=_environment(), cwd="/",
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            except OSError as error:
                self.close()
                raise DecoderLost(f"its process cannot be started: {error.strerror}", where=self._where) from error
        return self._line

    def _pictures(self, message: Message) -> list[SourcePicture]:
        """Return a read's pictures. Raises `Nonsense`."""
        described = message.pictures
        if described is None or (described and message.file < 0):
            raise Nonsense("no pictures")
        if not all(self._born_s <= each.received_s <= time.monotonic() for each in described):
            raise Nonsense("a picture that came before the child, or is to come")
        return read_pictures(self._files[message.file], described)

    def _receive(self, timeout_s: float) -> Message:
        """Wait for the child's next message. Raises the error that it tells of, or `DecoderLost`."""
        datagram = self._heard(timeout_s)
        if not datagram:
            raise self._lost("")
        try:
            message = parsed(datagram)
        except Nonsense as error:
            raise self._lost(f"it sent nonsense: {error}") from error
        if message.error is not None:
            raise message.error.error()
        if message.bug is not None:
            bug = redact_url(message.bug)
            log.error("a source broke in its process", where=self._where, error=bug)
            raise self._lost(f"it broke: {bug}")
        return message

    def _heard(self, timeout_s: float) -> bytes:
        """Wait for the next datagram, with an eye on the child's memory; empty at the end."""
        line, until_s = self._connected(), time.monotonic() + timeout_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._look_at_memory()
            line.settimeout(min(left_s, LOOK_S))
            try:
                return _next_datagram(line)
            except TimeoutError:
                continue
        raise self._lost(f"it did not answer within {timeout_s:g} s", "hangs and was ended")

    def _look_at_memory(self) -> None:
        now_s = time.monotonic()
        if self._child is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        if taken(self._child.pid) + filled(self._files) > MAX_MEMORY:
            raise self._lost(f"it took more than {MAX_MEMORY >> 20} MiB of memory", "was ended")

    def _connected(self) -> socket.socket:
        if self._line is None:
            raise DecoderLost("its process is not running", where=self._where)
        return self._line

    def _lost(self, why: str, what: str = "has crashed") -> CaptureError:
        """End the child; return the error that says what became of it: without a ``why``, how its process ended."""
        code = _reap(self._child, kill_after_s=1.0) if self._child is not None and not why else None
        self.close()
        how = why or (f"signal {-code}" if code is not None and code < 0 else f"exit code {code}")
        return DecoderLost(f"the decoder's process {what}: {how}", where=self._where)

    def _deadline_s(self, name: str) -> float:
        return float(getattr(self._options, name, PATIENCE_S))

    @property
    def _where(self) -> str:
        return redact_url(self._url)


def _next_datagram(line: socket.socket) -> bytes:
    """Return the next message, empty at the end. Raises `TimeoutError`."""
    try:
        return line.recv(MAX_MESSAGE)
    except ConnectionResetError:  # told once, before what a child that died with mail unread has sent last
        return line.recv(MAX_MESSAGE)


def _send(line: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):  # a child that has gone: the next message that does not come tells
        line.send(message)


def _reap(child: subprocess.Popen[bytes], *, kill_after_s: float = _REAPED_S) -> int | None:
    """Wait for the end of a process that is ending, or is ended after a while; return its exit code."""
    try:
        return child.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        child.kill()
    try:
        return child.wait(_REAPED_S)
    except subprocess.TimeoutExpired:  # in the kernel's hands: a driver that does not return
        log.error("a decoder's process does not end", pid=child.pid)
        return None


def _environment() -> dict[str, str]:
    """Return what of the environment a decoder needs; secrets, and the service manager's line, are not among it."""
    return {
        name: value for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_FAMILIES)
    }  # fmt: skip
