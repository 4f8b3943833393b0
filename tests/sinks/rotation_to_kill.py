"""A writer that dies at a chosen moment: before its Nth step on the disk, or in the middle of it. Argument: a folder.

A step is a call that changes what is on the disk, in whichever thread. For N = 1, 2, ... a child is forked that
delivers numbered events into files that are rotated and compressed, and kills itself with -9 at its step N; then a
second child goes on as a daemon does after a restart: from a few events before the one that was confirmed last. The
parent compares what the files hold in their order, and prints how many moments it has tried when a child was not
killed any more.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamvision.interfaces import SinkContext
from streamvision.sinks.jsonl import JsonlSink
from tests.sinks.brokers import stored
from tests.sinks.samples import number_of

EVENTS, BATCH, AGAIN = 24, 4, 6
ROTATE = {"max_mb": 4_000 / (1 << 20), "compress": "gzip", "keep": 100}
STEPS = ("open", "write", "rename", "unlink", "ftruncate", "fsync", "fdatasync", "mkdir")


class Fuse:
    """Kills the process at its step number ``at``; a write is begun before."""

    def __init__(self, at: int) -> None:
        self._left = at
        for name in STEPS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        packed = gzip.GzipFile.write
        gzip.GzipFile.write = self._counted("write", packed)  # type: ignore[method-assign]

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if name == "write":
                    call(given[0], given[1][: len(given[1]) * 2 // 5])  # in the midst of a line
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)

        return counted


def write(folder: Path, confirmed: Path, first: int) -> None:
    """Deliver from an event on, remember each batch, and wait until the old files are compressed."""
    sink = JsonlSink(JsonlSink.Options(path="log/events.jsonl", rotate=ROTATE), SinkContext("log", folder))
    with confirmed.open("ab", buffering=0) as file:
        for number in range(first, EVENTS, BATCH):
            sink.deliver(stored(*range(number, min(number + BATCH, EVENTS))))
            file.write(b"x" * (min(number + BATCH, EVENTS) - number))
    if sink._tidier is None:  # everything was there before
        sink.deliver(stored(EVENTS - 1))
    until_s = time.monotonic() + 60
    while any(not path.name.endswith(".gz") for path in old(folder)) and time.monotonic() < until_s:
        time.sleep(0.001)
    sink.close()


def old(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "log").glob("*events.jsonl*") if path.name != "events.jsonl")


def numbers(folder: Path) -> list[int]:
    """Return what the files hold, in their order."""
    texts = [gzip.decompress(one.read_bytes()) if one.suffix == ".gz" else one.read_bytes() for one in old(folder)]
    text = b"".join([*texts, (folder / "log" / "events.jsonl").read_bytes()]).decode()
    assert text.endswith("\n")
    return [number_of(line) for line in text.splitlines()]


def in_a_child(act: Callable[[], None]) -> bool:
    """Return whether the child came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"a child failed: {status}"
    return status == 0


def main(folder: Path) -> None:
    """Try every moment."""
    moment, whole = 0, False
    while not whole:
        moment += 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        confirmed = folder / "confirmed"

        def until_killed(at: int = moment, note: Path = confirmed) -> None:
            Fuse(at)
            write(folder, note, 0)

        def again(note: Path = confirmed) -> None:
            write(folder, note, max(0, (note.stat().st_size if note.exists() else 0) - AGAIN))

        whole = in_a_child(until_killed)
        assert in_a_child(again)
        assert numbers(folder) == list(range(EVENTS)), f"killed at step {moment}: {numbers(folder)}"
        assert all(path.name.endswith("Z.gz") for path in old(folder)), f"killed at step {moment}: {old(folder)}"
    print(moment)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
