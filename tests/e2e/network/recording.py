"""The real command with a notebook: ``python -m tests.e2e.network.recording NOTEBOOK run CONFIG ...``.

Each analysed picture is a line of the notebook: stream, monotonic time, frame age. The metric has only buckets.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TextIO

from streamvision.cli import main
from streamvision.metrics import AGE_BOUNDS_S, Histogram, StreamStats, exposition


class Notebook(Histogram):
    """A histogram that also writes down what it is given."""

    __slots__ = ("_file", "_stream")

    def __init__(self, stream: str, file: TextIO) -> None:
        super().__init__(AGE_BOUNDS_S)
        self._stream, self._file = stream, file

    def observe(self, value: float) -> None:
        super().observe(value)
        self._file.write(f"{self._stream} {time.monotonic()} {value}\n")


def record(path: Path) -> None:
    """Let every stream's books write into a file from now on."""
    file = path.open("w", buffering=1, encoding="utf-8")

    class Recorded(StreamStats):
        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self.ages["analysis"] = Notebook(stream, file)

    exposition.StreamStats = Recorded  # type: ignore[misc]


def ages(path: Path, streams: set[str], since_s: float, until_s: float) -> list[float]:
    """Return the ages that some streams' pictures had at analysis between two moments, sorted."""
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return sorted(float(age) for stream, at, age in rows if stream in streams and since_s <= float(at) < until_s)


if __name__ == "__main__":
    record(Path(sys.argv.pop(1)))
    main()
