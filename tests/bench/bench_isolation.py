"""What a process of its own costs: the same film read in a thread and in a process, turn and turn about.

    python -m tests.bench.bench_isolation [FILM] [--rounds N]

Prints pictures per second, CPU seconds per thousand pictures (the child included), their ratios, what opening takes.
Each picture is prepared for a 416x416 network, as in the daemon.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import psutil

from streamvision.capture.file import FileSource
from streamvision.capture.isolated import IsolatedSource
from streamvision.clock import SystemClock
from streamvision.errors import EndOfStream
from streamvision.interfaces import Source
from streamvision.types import InputSpec
from tests.capture.media import encode

INPUT = InputSpec((416, 416))


@dataclass(frozen=True)
class Run:
    fps: float
    cpu_s: float
    open_s: float


def cpu_s() -> float:
    """CPU seconds of this process and of its children, running and reaped."""
    me = psutil.Process()
    own = me.cpu_times()
    running = [child.cpu_times() for child in me.children()]
    return own.user + own.system + own.children_user + own.children_system + sum(t.user + t.system for t in running)


def read(source: Source) -> Run:
    """Read a film to its end."""
    began_s = time.monotonic()
    source.open()
    opened_s, pictures = time.monotonic(), 0
    starting = cpu_s()
    try:
        while True:
            for each in source.read():
                each.picture.prepare(INPUT)
                pictures += 1
    except EndOfStream:
        seconds = time.monotonic() - opened_s
        source.close()
    spent = cpu_s() - starting
    assert pictures
    return Run(pictures / seconds, 1000 * spent / pictures, opened_s - began_s)


def film(folder: Path) -> Path:
    av.logging.set_level(None)
    return encode(folder / "film.mp4", [(1920, 1080)] * 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, options, clock = str(arguments.film or film(Path(folder))), FileSource.Options(), SystemClock()
        ways: dict[str, Callable[[], Source]] = {
            "thread": lambda: FileSource(path, options, clock),
            "process": lambda: IsolatedSource("file", path, options, clock),
        }
        runs = {name: list[Run]() for name in ways}
        for _ in range(arguments.rounds):
            for name, make in ways.items():
                runs[name].append(read(make()))
    middle = {
        name: [statistics.median(getattr(run, fact) for run in found) for fact in ("fps", "cpu_s", "open_s")]
        for name, found in runs.items()
    }
    for name, (fps, cpu, opening) in middle.items():
        print(f"{name:8} {fps:7.1f} pictures/s  {cpu:6.2f} CPU s per 1000 pictures  opened in {opening:.3f} s")
    fps, cpu = (middle["process"][at] / middle["thread"][at] for at in (0, 1))
    print(f"process / thread: {fps:.2f} of the rate, {cpu:.2f} of the CPU")


if __name__ == "__main__":
    main()
