"""The receiver of the sink ``jsonl``: a folder, whose "server" is the disk under it. Its files are rotated."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.delivery.receivers import Arrival, Fault
from tests.scale import scaled

_HERE, _EXCHANGE = -100, 2


def _exchange(one: Path, other: Path) -> None:
    """Swap two names in one step (renameat2(2)): the sink would make the folder anew in between."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        raise OSError(ctypes.get_errno(), "cannot be swapped", str(one))


class JsonlReceiver:
    """Breaks the folder in which the file lies: it is gone, and a file has its name (kill)."""

    # A disk cannot be stopped or slowed without a device of its own. That it refuses one file is in tests/sinks: a
    # file cannot be swapped from outside in one step, and the sink may begin a new one in between.
    faults: Sequence[Fault] = ("kill",)
    once = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "disk"
        self._away = folder / "disk.away"
        self._path = self._folder / "events.jsonl"
        self._packed: dict[Path, bytes] = {}

    def options(self) -> str:
        return f"type: jsonl, path: {self._path}, rotate: {{max_mb: {scaled(0.05, 1)}, compress: gzip}}"

    def start(self) -> None:
        if self._away.is_dir():
            _exchange(self._folder, self._away)
        self._folder.mkdir(exist_ok=True)

    def stop(self) -> None:
        self.kill()

    def kill(self) -> None:
        self._away.write_text("not a folder")
        _exchange(self._folder, self._away)

    def freeze(self) -> None:
        pass

    def thaw(self) -> None:
        pass

    def slow(self, on: bool) -> None:
        pass

    def reject(self, on: bool) -> None:
        pass

    def received(self) -> list[Arrival]:
        lines = [line for path in self._files() for line in self._content(path).splitlines(keepends=True)]
        events = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [(event["id"], event["data"]["stream"]) for event in events]

    def _files(self) -> list[Path]:
        """Return the files, the oldest first."""
        names = {path.name.removesuffix(".gz") for path in self._folder.glob("events.jsonl.*Z*")}
        return [self._folder / name for name in (*sorted(names), self._path.name)]

    def _content(self, path: Path) -> bytes:
        """Read a file, which may just now be compressed; once it is, it does not change any more."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if path == self._path:
                return b""
        if path not in self._packed:
            self._packed[path] = gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
        return self._packed[path]

    def close(self) -> None:
        pass
