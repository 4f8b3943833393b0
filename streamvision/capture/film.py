"""Drawn pictures -> real H.264: into a file, or live into a pipe that a demuxer reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Protocol

import av
import structlog

from streamvision.clock import Clock
from streamvision.types import UInt8

log = structlog.get_logger()

_WAIT_S = 0.05
"""How long the painter sleeps at most before it looks at the clock again."""
_SPEED = {"preset": "ultrafast", "tune": "zerolatency", "crf": "21"}
_LIVE = {"flush_packets": "1", "live": "1", "cluster_time_limit": "0"}


@dataclass(frozen=True, slots=True)
class FilmSpec:
    """What is filmed: the world of which seed, how large (even sides), how many pictures a second, from when on."""

    seed: int = 1
    size_wh: tuple[int, int] = (960, 540)
    fps: float = 15.0
    start_s: float = 0.0


class Painter(Protocol):
    """Draws a world of one seed and size at any time."""

    def i420(self, t_s: float) -> UInt8:
        """Return the picture at a time as planar YUV 4:2:0 (h*3/2, w)."""
        ...


class H264Writer:
    """Encodes I420 pictures into a container; one key frame a second. A context manager."""

    def __init__(self, target: str | IO[bytes], container: str, spec: FilmSpec, options: dict[str, str]) -> None:
        self._container: Any = av.open(target, "w", format=container, options=options)
        rate = Fraction(spec.fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate, options=_SPEED)
        stream.width, stream.height = spec.size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = max(1, round(spec.fps))
        stream.codec_context.thread_count = 1
        self._stream = stream
        self._time_base = 1 / rate
        self._count = 0

    def write(self, i420: UInt8) -> None:
        """Encode and write the next picture, planar YUV (h*3/2, w)."""
        frame = av.VideoFrame.from_ndarray(i420, format="yuv420p")
        frame.pts, frame.time_base = self._count, self._time_base
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> H264Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def write_film(path: str | Path, painter: Painter, spec: FilmSpec, seconds: float) -> None:
    """Film into an MP4 file as fast as possible."""
    with H264Writer(str(path), "mp4", spec, {}) as writer:
        for number in range(round(seconds * spec.fps)):
            writer.write(painter.i420(spec.start_s + number / spec.fps))


class LiveFilm:
    """A thread that films a world in real time into a pipe; ``reader`` is the file descriptor to read it from.

    ``scene`` names it in threads and logs; ``make`` builds its painter (seed, size), in the thread.
    """

    def __init__(
        self, scene: str, make: Callable[[int, tuple[int, int]], Painter], spec: FilmSpec, clock: Clock
    ) -> None:
        self._scene = scene
        self._make = make
        self._spec = spec
        self._clock = clock
        self._stop = threading.Event()
        self.reader, write_end = os.pipe()
        self._writer: IO[bytes] = os.fdopen(write_end, "wb", buffering=0)
        self._thread = threading.Thread(target=self._run, name=f"{scene}-{spec.seed}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop filming and free both ends of the pipe; returns once the thread has ended. Idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            os.close(self.reader)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._writer:
                self._film()
        except (OSError, av.FFmpegError) as error:
            # A reader that has gone is how a live film is closed; anything else the reader sees as the end.
            if not self._stop.is_set():
                log.error("film_failed", scene=self._scene, seed=self._spec.seed, error=str(error))

    def _film(self) -> None:
        painter = self._make(self._spec.seed, self._spec.size_wh)
        with H264Writer(self._writer, "matroska", self._spec, _LIVE) as writer:
            began_s, number = self._clock.monotonic(), 0
            while self._wait_until(began_s + number / self._spec.fps):
                writer.write(painter.i420(self._spec.start_s + number / self._spec.fps))
                number += 1

    def _wait_until(self, due_s: float) -> bool:
        """Sleep until a time of the clock; False when asked to stop."""
        while (left_s := due_s - self._clock.monotonic()) > 0:
            if self._stop.wait(min(left_s, _WAIT_S)):
                return False
        return not self._stop.is_set()
