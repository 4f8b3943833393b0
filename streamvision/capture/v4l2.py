"""Cameras of this machine: Video4Linux2 devices."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from streamvision.capture.demux import Demuxer, Medium
from streamvision.clock import Clock
from streamvision.errors import SourceNotFound, UnsupportedMedia
from streamvision.interfaces import SourcePicture
from streamvision.units import PositiveSeconds


class V4l2Source:
    """A webcam or capture card: ``/dev/video0`` or ``v4l2:/dev/video0``."""

    class Options(BaseModel):
        """What to ask of the device; it decides where nothing is asked. Deadlines in seconds.

        ``size`` is width and height; ``frame_rate`` pictures per second; ``pixel_format`` an FFmpeg name such as
        ``yuyv422`` or ``mjpeg``.
        """

        model_config = ConfigDict(frozen=True, extra="forbid")

        size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
        frame_rate: PositiveFloat | None = None
        pixel_format: str | None = None
        open_timeout: PositiveSeconds = 10.0
        read_timeout: PositiveSeconds = 5.0

    live: ClassVar[bool] = True

    def __init__(self, url: str, options: Options, clock: Clock) -> None:
        self.device = Path(url.removeprefix("v4l2:"))
        medium = Medium(
            url=str(self.device),
            open_s=options.open_timeout,
            read_s=options.read_timeout,
            live=True,
            format="v4l2",
            options=device_options(options),
        )
        self._demuxer = Demuxer(medium, clock)

    @property
    def demuxer(self) -> Demuxer:
        """What reads it, for `probe`."""
        return self._demuxer

    def open(self) -> None:
        """Open the device. Raises a `CaptureError`."""
        where = str(self.device)
        if not os.path.exists(self.device):
            raise SourceNotFound("there is no such device", where=where, remedy="list them: ls /dev/video*")
        if not stat.S_ISCHR(self.device.stat().st_mode):
            raise UnsupportedMedia("it is not a device", where=where, remedy="name one like /dev/video0")
        if not os.access(self.device, os.R_OK | os.W_OK):
            remedy = "add the user of this process to the group 'video'"
            raise SourceNotFound("the device may not be opened", where=where, remedy=remedy)
        self._demuxer.open()

    def read(self) -> Sequence[SourcePicture]:
        """Return the next pictures. Raises `TimedOut` after the read deadline, another `CaptureError` on a fault."""
        return self._demuxer.read()

    def close(self) -> None:
        """Close the device; idempotent."""
        self._demuxer.close()


def device_options(options: V4l2Source.Options) -> dict[str, str]:
    """Return FFmpeg's names for what is asked of the device."""
    asked = {
        "video_size": "x".join(map(str, options.size)) if options.size else None,
        "framerate": f"{options.frame_rate:g}" if options.frame_rate else None,
        "input_format": options.pixel_format,
    }
    return {name: value for name, value in asked.items() if value is not None}
