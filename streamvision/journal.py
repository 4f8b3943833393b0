"""Log records for systemd's journal, with fields and priorities, over its native protocol.

Own code and no library: the well-kept bindings need libsystemd's headers and a compiler at installation, and all that
is needed of them is one datagram. Protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import IO, Any, Final

import structlog

SOCKET: Final = "/run/systemd/journal/socket"

PRIORITIES: Final[Mapping[str, int]] = {
    "debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2,
}  # fmt: skip
"""structlog's level -> syslog's severity."""

_TAKEN = {"MESSAGE", "MESSAGE_ID", "PRIORITY", "ERRNO", "INVOCATION_ID", "USER_INVOCATION_ID", "TID", "UNIT"}
"""Fields that mean something else to the journal, beside those that begin with the prefixes below."""
_TAKEN_PREFIXES = ("CODE_", "SYSLOG_", "COREDUMP_", "OBJECT_", "DOCUMENTATION")
_CALL_SITE: Final[Mapping[str, str]] = {"pathname": "CODE_FILE", "lineno": "CODE_LINE", "func_name": "CODE_FUNC"}

_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


def goes_to_journal(stream: IO[str], env: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is the journal's own: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a closed stream, or none of the operating system's
        return False
    return env.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def field_name(key: str) -> str:
    """Return a key as the journal allows it: capitals, digits and _, at most 64, not beginning with _ or a digit."""
    name = _NOT_IN_NAMES.sub("_", key.upper()).strip("_")
    return (f"N_{name}" if name[:1].isdigit() else name or "FIELD")[:64]


def encode(fields: Mapping[str, str]) -> bytes:
    """Return a record in the native protocol: a line per field, with a length where the value has several lines."""
    return b"".join(_encoded(name, value.encode(errors="backslashreplace")) for name, value in fields.items())


def _encoded(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


class Journal:
    """The line to journald. Safe for any number of threads: a record is one datagram."""

    def __init__(self, address: str = SOCKET) -> None:
        """Raises `OSError` where no journal listens at ``address``."""
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._line.connect(address)
        except OSError:
            self._line.close()
            raise
        self._address = address

    def send(self, fields: Mapping[str, str]) -> None:
        """Send a record. Raises `OSError` when the journal cannot take it."""
        record = encode(fields)
        try:
            self._send(record)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_sealed(record)

    def close(self) -> None:
        """Release the socket; idempotent."""
        self._line.close()

    def _send(self, record: bytes) -> None:
        try:
            self._line.send(record)
        except (ConnectionRefusedError, BrokenPipeError, FileNotFoundError):  # journald was restarted
            self._line.connect(self._address)
            self._line.send(record)

    def _send_sealed(self, record: bytes) -> None:
        """Send what is too large for a datagram as a descriptor of sealed memory."""
        memory = os.memfd_create("journal-record", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(memory, "wb") as file:
            file.write(record)
            file.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
            self._line.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))])


def fields_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return a structlog event as a journal record: MESSAGE for people, and every key as a field of its own.

    A stream's id is STREAM=, a rule's name RULE=, a sink's SINK=, and so on; a key that would mean something else to
    the journal gets the prefix STREAMVISION_.
    """
    rest = dict(event)
    what, level, trace = (str(rest.pop(key, "")) for key in ("event", "level", "exception"))
    site = {field: str(rest.pop(key)) for key, field in _CALL_SITE.items() if key in rest}
    said = " ".join([what, *(f"{key}={value}" for key, value in rest.items())])
    fields = {
        "MESSAGE": f"{said}\n{trace}" if trace else said,
        "PRIORITY": str(PRIORITIES.get(level, 6)),
        "SYSLOG_IDENTIFIER": "streamvision",
        "EVENT": what,
        **site,
    }
    return fields | {_own_name(key): str(value) for key, value in rest.items()}


def _own_name(key: str) -> str:
    name = field_name(key)
    taken = name in _TAKEN or name == "EVENT" or name.startswith(_TAKEN_PREFIXES)
    return f"STREAMVISION_{name}"[:64] if taken else name


def prefixed(fields: Mapping[str, str]) -> str:
    """Return a record as lines with a priority each, which a journal understands without its socket (sd-daemon(3))."""
    return "\n".join(f"<{fields['PRIORITY']}>{line}" for line in fields["MESSAGE"].splitlines())


class JournalLogger:
    """What structlog hands its records to: the journal, or standard error where that cannot be reached."""

    def __init__(self, journal: Journal | None) -> None:
        """``journal`` is None where there is only a stream that leads to one."""
        self._journal = journal

    def msg(self, **fields: str) -> None:
        """Log a record; never raises for a journal that is away."""
        if self._journal is not None:
            try:
                return self._journal.send(fields)
            except OSError:
                pass  # the line below says it instead
        print(prefixed(fields), file=sys.stderr, flush=True)  # noqa: T201 - the log itself
        return None

    debug = info = warning = error = exception = critical = msg


def renderer(_logger: Any, _method: str, event: structlog.typing.EventDict) -> dict[str, str]:
    """Make a record of a structlog event: the last processor in front of a `JournalLogger`."""
    return fields_of(event)
