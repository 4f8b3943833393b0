"""A server's process as a test treats it: started on a free port, killed, frozen, thawed; and its certificates."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

START_S = 60.0


def program(name: str, *, package: str, folders: Sequence[Path] = ()) -> str:
    """Return a program's path, or skip the test and say what to install."""
    path = os.pathsep.join([*(str(folder) for folder in folders), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"no {name}: apt install {package}")
    return found


def listening(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class ServerProcess:
    """One server with its children; `kill`, `freeze` and `thaw` reach all of them, by their ids."""

    def __init__(self, command: Sequence[str], log: Path, ready: Callable[[], bool], user: str | None = None) -> None:
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._user = user if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves."""
        extra = {} if self._user is None else {"user": self._user, "group": self._user, "extra_groups": []}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **extra
            )  # type: ignore[call-overload]
        until_s = time.monotonic() + START_S
        while not self._ready():
            said = self._log.read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"{self._command[0]} ended:\n{said}"
            assert time.monotonic() < until_s, f"{self._command[0]} is not ready within {START_S} s:\n{said}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it in an orderly way."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_S)
            self._process = None

    def kill(self) -> None:
        """SIGKILL, to its children too."""
        if self._process is not None:
            tree = self._tree()
            _signal(tree, signal.SIGKILL)
            self._process.wait(START_S)
            psutil.wait_procs(tree, timeout=START_S)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nobody answers."""
        freeze(self._tree())

    def thaw(self) -> None:
        """SIGCONT."""
        _signal(self._tree(), signal.SIGCONT)

    def _tree(self) -> list[psutil.Process]:
        if not self.running:
            return []
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]


def freeze(tree: Sequence[psutil.Process]) -> None:
    """Send SIGSTOP and wait until it is obeyed, which takes a moment on a busy machine."""
    _signal(tree, signal.SIGSTOP)
    until_s = time.monotonic() + START_S
    while not all(_stopped(thread.id) for process in tree for thread in process.threads()):
        assert time.monotonic() < until_s, "SIGSTOP is not obeyed"
        time.sleep(0.005)


def _stopped(thread: int) -> bool:
    try:
        state = Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "TtZX"


def _signal(tree: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in tree:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


@dataclass(frozen=True)
class Certificates:
    """Files of a small authority: what to believe, and what the server of 127.0.0.1 shows."""

    ca: Path
    certificate: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """Make an authority and a certificate of it for 127.0.0.1; skips where openssl is missing."""
    tool = program("openssl", package="openssl")
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")

    def run(*arguments: object) -> None:
        subprocess.run([tool, *map(str, arguments)], check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *new, "-days", 2, "-subj", "/CN=authority", "-keyout", folder / "ca.key", "-out", made.ca)
    run("req", *new, "-subj", "/CN=127.0.0.1", "-keyout", made.key, "-out", folder / "request")
    run("x509", "-req", "-in", folder / "request", "-CA", made.ca, "-CAkey", folder / "ca.key", "-CAcreateserial",
        "-days", 2, "-extfile", extensions, "-out", made.certificate)  # fmt: skip
    return made
