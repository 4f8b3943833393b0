"""What the benchmarks share: where the data is, clips cut to measure, one line per measurement."""

from __future__ import annotations

import logging
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import structlog
from av.video.frame import PictureType

from streamvision.benchmark import Sample


def quiet() -> None:
    """Keep the daemon's log out of the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def data() -> Path:
    folder = os.environ.get("STREAMVISION_TEST_DATA")
    if not folder:
        sys.exit("set STREAMVISION_TEST_DATA to the folder of test data")
    os.environ.setdefault("STREAMVISION_MODELS", str(Path(folder) / "models"))
    return Path(folder)


def shipped_network(name: str) -> Path:
    return data() / "models" / name


def describe(what: str, samples: Sequence[Sample]) -> str:
    """Return one line of a table: medians, and the range of the CPU time."""
    cpu_ms = [one.cpu_ms for one in samples]
    fps = statistics.median(one.fps for one in samples)
    return (
        f"  {what:24s} {fps:8.1f} pictures/s  {statistics.median(cpu_ms):8.3f} CPU ms per picture"
        f"  ({min(cpu_ms):.3f} to {max(cpu_ms):.3f})"
    )


def decoded(video: Path, limit: int | None = None) -> list[av.VideoFrame]:
    with av.open(str(video)) as container:
        return [frame for frame, _ in zip(container.decode(video=0), range(limit or 1 << 30), strict=False)]


def write_h264(path: Path, frames: Iterable[av.VideoFrame], fps: int, size_wh: tuple[int, int], gop: int) -> Path:
    """Encode pictures anew, all clips alike, so that clips of different length cost the same per picture."""
    options = {"preset": "veryfast", "crf": "23", "g": str(gop), "sc_threshold": "0", "bf": "0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for number, frame in enumerate(frames):
            scaled = frame.reformat(*size_wh, format="yuv420p")
            scaled.pts, scaled.time_base = number, Fraction(1, fps)
            scaled.pict_type = PictureType.NONE  # else the picture types of the first encoding are kept
            container.mux(stream.encode(scaled))
        container.mux(stream.encode())
    return path
