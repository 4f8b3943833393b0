"""The child: opens one source and reads it until it is told to end, or is killed.

Started as ``python -m streamvision.capture.isolated.child SOCKET FILE FILE``, descriptors that it inherits. What to
open comes over the socket: a URL holds credentials, and everybody may read a process's arguments.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import signal
import socket
import sys
from typing import Any

from streamvision import plugins
from streamvision.capture.isolated.messages import MAX_MESSAGE, described_error, plain
from streamvision.capture.isolated.wire import packed, write_pictures
from streamvision.clock import SystemClock
from streamvision.errors import CaptureError
from streamvision.interfaces import Source

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_FIRST_TO_GO = "700"


def main(socket_fd: int, *files: int) -> None:
    """Serve one parent."""
    _be_a_good_child()
    with socket.socket(fileno=socket_fd) as line:
        if job := line.recv(MAX_MESSAGE):
            try:
                _serve(line, json.loads(job), files)
            except CaptureError as error:
                line.send(packed({"error": described_error(error)}))
            except Exception as error:  # noqa: BLE001  a process's border: the parent logs it
                line.send(packed({"bug": plain(f"{type(error).__name__}: {error}")}))
            while line.recv(MAX_MESSAGE):  # until the parent has read that
                pass


def _serve(line: socket.socket, job: dict[str, Any], files: tuple[int, ...]) -> None:
    line.send(packed({"ready": True}))
    source = _source(job)
    try:
        source.open()
        started_at = getattr(source, "started_at", None)
        line.send(packed({"opened": {"started_at": started_at and started_at.isoformat()}}))
        _read(line, source, files)
    finally:
        source.close()


def _read(line: socket.socket, source: Source, files: tuple[int, ...]) -> None:
    """Read on as long as there is a free file for the next pictures."""
    free = list(range(len(files)))
    while True:
        pictures = source.read()
        while not free:
            given_back = line.recv(MAX_MESSAGE)
            if not given_back:
                return
            free += [int(each) for each in given_back]
        number = free.pop(0) if pictures else -1
        line.send(packed({"pictures": write_pictures(files[number], pictures), "file": number}))


def _source(job: dict[str, Any]) -> Source:
    kind = plugins.load("source", job["kind"])
    source: Source = kind(job["url"], kind.Options.model_validate(job["options"]), SystemClock())
    return source


def _be_a_good_child() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when this ends, and kills it then
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write(_FIRST_TO_GO)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent has gone
        main(*(int(each) for each in sys.argv[1:]))
