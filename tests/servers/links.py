"""Two network namespaces with faulty links between them, as a test uses them."""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pytest

SCRIPT = Path(__file__).with_name("link_emulator.py")
START_S = 60.0
CLONE_NEWNET = 0x40000000

Side = Literal["host", "camera"]


@cache
def missing() -> str | None:
    """What this machine lacks for links between namespaces; None if nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")):
        if shutil.which(tool) is None:
            return f"no {tool}: apt install {package}"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    try:
        with Network(["probe"]) as network:
            subprocess.run([*network.prefix("host", {"/etc/hosts": "/etc/hosts"}), "true"], check=True)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return f"no namespaces here: {error}"
    return None


def need_links() -> None:
    """Skip the test, with the reason, where there can be no links."""
    if reason := missing():
        pytest.skip(reason)


class Network:
    """Two namespaces, ``host`` and ``camera``, and links between them, which are clean at first.

    Link number N joins 10.77.N.1 (host) and 10.77.N.2 (camera). All of it ends with the emulator's process.
    """

    def __init__(self, links: Sequence[str], seed: int = 1) -> None:
        self._numbers = {name: number for number, name in enumerate(links)}
        self._seed = seed
        self._paths: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        settings = json.dumps({"seed": self._seed, "links": list(self._numbers)})
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self._line()
        if not line.startswith("READY "):
            self.close()
            raise RuntimeError(f"the link emulator did not start: {line!r}")
        self._paths = json.loads(line.removeprefix("READY "))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the links and the namespaces; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def address(self, link: str, side: Side = "camera", last: int | None = None) -> str:
        """Return an end's address; ``last`` is another last number, to be had with `move`."""
        return f"10.77.{self._numbers[link]}.{last or (1 if side == 'host' else 2)}"

    def set(self, link: str, *, to: Side = "host", **fault: float | bool) -> None:
        """Set a direction's fault, by default that of the camera's pictures; see `link_emulator.Fault`."""
        self._order({"link": link, "to": to, **(fault or {"loss": 0.0})})

    def cut(self, link: str) -> None:
        """Lose everything in both directions."""
        self.set(link, down=True)
        self.set(link, to="camera", down=True)

    def heal(self, link: str) -> None:
        """End all faults of a link."""
        self.set(link)
        self.set(link, to="camera")

    def counts(self, link: str, to: Side = "host") -> dict[str, int]:
        """Return what has happened to packets in a direction so far."""
        return self._order({"link": link, "to": to})

    def move(self, link: str, side: Side, last: int) -> None:
        """Give an end another address and take its own away, as a new lease does."""
        device = f"tun{self._numbers[link]}"
        for arguments in (("flush",), ("add", f"{self.address(link, side, last)}/24")):
            command = [*self.prefix(side), "ip", "addr", arguments[0], *arguments[1:], "dev", device]
            subprocess.run(command, check=True)

    def prefix(self, side: Side, files: Mapping[str, str | Path] | None = None) -> list[str]:
        """Return what to put before a command so that it runs on a side.

        ``files``: which file it shall see in whose place, for example another /etc/hosts.
        """
        enter = ["nsenter", f"--net={self._paths[side]}"]
        if not files:
            return enter
        mounts = " && ".join(f"mount --bind '{own}' '{place}'" for place, own in files.items())
        return [*enter, "unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]

    @contextmanager
    def inside(self, side: Side) -> Iterator[None]:
        """Let the calling thread make its sockets on a side."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(self._paths[side])
            yield
        finally:
            _enter(f"/proc/self/fd/{before}")
            os.close(before)

    def _order(self, order: Mapping[str, object]) -> dict[str, int]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        counts: dict[str, int] = json.loads(self._line())
        return counts

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        return self._process.stdout.readline() if ready else ""


def _enter(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(descriptor)
