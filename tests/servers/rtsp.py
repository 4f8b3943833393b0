"""The RTSP server as a test uses it."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pytest

from .elementary import prepare

PYTHON = "/usr/bin/python3"  # gi comes from Debian and fits only Debian's own interpreter
SCRIPT = Path(__file__).with_name("rtsp_server.py")
CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
START_S = 20.0


@cache
def rtsp_available() -> bool:
    """Whether this machine has GStreamer's RTSP server."""
    if not Path(PYTHON).exists():
        return False
    return subprocess.run([PYTHON, "-W", "ignore", "-c", CHECK], capture_output=True, check=False).returncode == 0


requires_rtsp = pytest.mark.skipif(
    not rtsp_available(),
    reason="no GStreamer RTSP server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good -bad",
)


class RtspServer:
    """Serves files as cameras: ``with RtspServer({"gate": path}) as server: open(server.url("gate"))``.

    Each mount sends its file in real time, again and again (``loop``), from the start when its first client comes.
    ``transports`` is what the server offers; ``auth`` is (user, password, "basic" | "digest"); ``gop_s`` encodes
    the files anew with a key frame that often; ``port`` 0 takes a free one, which `restart` keeps; ``prefix`` comes
    before the server's command, to run it in a network namespace, with an ``address`` of that.
    """

    def __init__(
        self,
        mounts: Mapping[str, Path],
        *,
        auth: tuple[str, str, Literal["basic", "digest"]] | None = None,
        port: int = 0,
        loop: bool = True,
        transports: Sequence[Literal["tcp", "udp"]] = ("tcp", "udp"),
        gop_s: float | None = None,
        address: str = "127.0.0.1",
        prefix: Sequence[str] = (),
    ) -> None:
        self.port = port
        self.address = address
        self._prefix = prefix
        self._auth = auth
        self._folder = tempfile.TemporaryDirectory(prefix="rtsp-server-")
        self._process: subprocess.Popen[str] | None = None
        indexes = {name: str(prepare(path, Path(self._folder.name), name, gop_s)) for name, path in mounts.items()}
        self._settings = {"mounts": indexes, "auth": auth, "loop": loop, "transports": list(transports)}
        self._settings["address"] = address

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The server's process, if one runs."""
        return self._process.pid if self._process else None

    def url(self, name: str, *, user: str | None = None, password: str | None = None, host: str | None = None) -> str:
        """Return a mount's URL, with the server's own credentials and address unless others are given."""
        if self._auth and user is None:
            user, password = self._auth[:2]
        login = f"{user}:{password}@" if user is not None else ""
        return f"rtsp://{login}{host or self.address}:{self.port}/{name}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [
            *self._prefix,
            PYTHON,
            "-W",
            "ignore",
            str(SCRIPT),
            json.dumps({**self._settings, "port": self.port}),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self._await_ready(self._process)

    def kill(self) -> None:
        """End it at once, without a goodbye to its clients (SIGKILL)."""
        process, self._process = self._process, None  # a test may kill from a thread of its own
        if process is not None:
            process.kill()
            process.communicate()

    def restart(self) -> None:
        """Start it again on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it in the middle of what it does; connections stay open and silent (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its files; idempotent."""
        self.kill()
        self._folder.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server is not running")
        self._process.send_signal(number)

    def _await_ready(self, process: subprocess.Popen[str]) -> int:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline() if ready else ""
        if not line.startswith("READY "):
            self.kill()
            raise RuntimeError(f"the RTSP server did not start: {line!r}")
        return int(json.loads(line.removeprefix("READY "))["port"])
