"""Annotated pictures -> an H.264 file that plays at the pace of the stream it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error

from streamvision.errors import StreamvisionError, UsageError
from streamvision.types import UInt8

TIME_BASE = Fraction(1, 90_000)


class VideoWriter:
    """Writes RGB pictures with their own times. Use as a context manager: leaving it completes the file."""

    def __init__(self, path: Path, *, crf: int = 20) -> None:
        """The container follows from the suffix; ``crf`` is x264's quality, lower is better. Raises `UsageError`."""
        self._path = path
        self._crf = crf
        self._begun = self._closed = False
        self._last_pts = -1
        try:
            path.open("wb").close()  # the container itself opens the file only with the first picture
            self._container = av.open(str(path), "w")
            self._stream = self._container.add_stream("libx264", rate=30)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no video can be written there: {error}", where=str(path), remedy="name a file like OUT.mp4"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, rgb: UInt8, media_s: float) -> None:
        """Append a picture (h,w,3); one that is not later than the last one is moved behind it.

        The first picture decides the size; an odd last row or column is cut off, because 4:2:0 has none. Raises
        `StreamvisionError` if the picture cannot be encoded or written.
        """
        height, width = (side - side % 2 for side in rgb.shape[:2])
        with self._telling():
            if not self._begun:
                self._begin(width, height)
            frame = av.VideoFrame.from_ndarray(rgb[:height, :width].copy(), format="rgb24")
            frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p", threads=1)
            frame.pts = self._last_pts = max(round(media_s / TIME_BASE), self._last_pts + 1)
            frame.time_base = TIME_BASE
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file; idempotent."""
        if self._closed:
            return
        self._closed = True
        with self._telling():
            if self._begun:
                self._container.mux(self._stream.encode(None))
            self._container.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell what the encoder, the container or the disk says as one of our errors."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            why = error.strerror or str(error)
            raise StreamvisionError(f"the video cannot be written: {why}", where=str(self._path)) from error

    def _begin(self, width: int, height: int) -> None:
        if not (width and height):
            raise UsageError("a picture of a single row or column makes no H.264 video", where=str(self._path))
        stream = self._stream
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.time_base = TIME_BASE
        stream.options = {"crf": str(self._crf), "preset": "veryfast"}
        self._begun = True
