"""Live video over HTTP and HTTPS: MJPEG of IP cameras, MPEG-TS, FLV, HLS, and files on a web server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict

from streamvision import __version__
from streamvision.capture.address import check_network_url
from streamvision.capture.allowed import WEB
from streamvision.capture.demux import Demuxer, Medium
from streamvision.capture.faults import tls_options
from streamvision.clock import Clock
from streamvision.interfaces import SourcePicture
from streamvision.units import PositiveSeconds

_TIMELESS: Final = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe"})
"""Formats without times of their own; FFmpeg pretends that they run at 25 pictures per second."""


class HttpSource:
    """A live stream from a web server. A file there simply ends after its last picture."""

    class Options(BaseModel):
        """Deadlines in seconds; ``tls_verify: false`` accepts a camera that signed its own certificate."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        open_timeout: PositiveSeconds = 10.0
        read_timeout: PositiveSeconds = 5.0
        tls_verify: bool = True

    live: ClassVar[bool] = True

    @staticmethod
    def check_url(url: str, options: Options) -> None:
        """Raise a `UsageError` for an address that can never be reached."""
        check_network_url(url)

    def __init__(self, url: str, options: Options, clock: Clock) -> None:
        medium = Medium(
            url=url,
            open_s=options.open_timeout,
            read_s=options.read_timeout,
            live=True,
            options={
                **WEB,
                "user_agent": f"streamvision/{__version__}",
                "fpsprobesize": "0",
                "analyzeduration": "500000",
                **tls_options(options.tls_verify),
            },
        )
        self._demuxer = Demuxer(medium, clock)
        self._timeless = False

    @property
    def demuxer(self) -> Demuxer:
        """What reads it, for `probe`."""
        return self._demuxer

    def open(self) -> None:
        """Connect and read the stream's head. Raises a `CaptureError` within the open deadline."""
        self._demuxer.open()
        self._timeless = self._demuxer.container.format.name in _TIMELESS

    def read(self) -> Sequence[SourcePicture]:
        """Return the next pictures. Raises `TimedOut` after the read deadline, `EndOfStream` when the server ends."""
        pictures = self._demuxer.read()
        return [replace(picture, pts_s=None) for picture in pictures] if self._timeless else pictures

    def close(self) -> None:
        """Hang up; idempotent."""
        self._demuxer.close()
