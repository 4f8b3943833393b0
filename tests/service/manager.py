"""A daemon with a rule that hangs and breaks on request, and the service manager that it reports to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOUND_S = 120.0

PROGRAM = """
import sys
from streamvision.pipeline import running
running.STAGE_ALLOWANCE_S = 5.0
from streamvision.cli import main
main(sys.argv[1:])
"""
"""The daemon, with a stage counted as hung after seconds instead of a third of a minute."""

PLUGIN = """
import os, time
from pydantic import BaseModel

class Told:
    '''Hangs while a file called hang is there, breaks when there is one called break.'''
    class Options(BaseModel):
        folder: str
    def __init__(self, options, context):
        self.folder = options.folder
    def update(self, scene):
        if os.path.exists(self.folder + "/break"):
            raise RuntimeError("rule fell over")
        while os.path.exists(self.folder + "/hang"):
            time.sleep(0.05)
        return []
    def close(self, info, reason):
        return []
"""

CONFIG = """
state_dir: var
server: {{listen: "127.0.0.1:{port}"}}
models: {{motion: {{manifest: motion}}}}
streams:
  - {{id: street, url: "demo:street", fps: 5, rules: [{{name: told, type: told, folder: {folder}}}]}}
"""


class Manager:
    """A service manager as far as a service can tell: it hears what is said at NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.log: Path | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear_until(self, condition: Callable[[str], bool], bound_s: float = BOUND_S) -> str | None:
        """Listen until a message fits; None if none does in time."""
        until_s = time.monotonic() + bound_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._socket.settimeout(min(left_s, 0.5))
            try:
                message = self._socket.recv(4096).decode()
            except TimeoutError:
                if self.process is not None and self.process.poll() is not None:
                    break
                continue
            self.heard.append(message)
            if condition(message):
                return message
        return None

    def expect(self, beginning: str) -> str:
        """Listen until a message begins so; fail loudly if none does."""
        message = self.hear_until(lambda said: said.startswith(beginning))
        assert message is not None, f"not heard: {beginning}; but {self.heard}; {self._how_it_ended()}"
        return message

    def _how_it_ended(self) -> str:
        """Say what became of the service, and its last words: a crash says so nowhere else."""
        if self.process is None:
            return "no process"
        return (
            f"exit code {self.process.poll()}, its log ends with:\n{self.log.read_text()[-8000:] if self.log else ''}"
        )

    def close(self) -> None:
        self._socket.close()


@contextmanager
def daemon(
    folder: Path, manager: Manager, *arguments: str, config: str = CONFIG, within: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run `streamvision run` with the test's rule installed and a watchdog of 2 s; it is gone after the block.

    ``within`` is a command that becomes the daemon's.
    """
    site = folder / "site"
    info = site / "told-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "told.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamvision.rule]\ntold = told:Told\n")
    (folder / "config.yaml").write_text(config)
    env = os.environ | {
        "PYTHONPATH": f"{site}:{ROOT}", "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000",
    }  # fmt: skip
    run = ["run", str(folder / "config.yaml"), "--log-format", "json", *arguments]
    command = [*within, sys.executable, "-c", PROGRAM, *run]
    manager.log = folder / "log"
    with manager.log.open("w") as log:
        process = subprocess.Popen(command, env=env, stderr=log, text=True)
    manager.process = process
    try:
        yield process
    finally:
        process.kill()
        process.wait(BOUND_S)
