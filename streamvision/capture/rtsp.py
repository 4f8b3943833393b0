"""Cameras that speak RTSP (RFC 2326), over TCP, UDP and TLS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

import av.error
from pydantic import BaseModel, ConfigDict

from streamvision.capture.address import check_network_url
from streamvision.capture.allowed import CAMERA
from streamvision.capture.demux import Demuxer, Medium
from streamvision.capture.faults import refuses_transport, tls_options
from streamvision.clock import Clock
from streamvision.errors import CaptureError
from streamvision.interfaces import SourcePicture
from streamvision.units import PositiveSeconds

Transport = Literal["tcp", "udp"]

_LOW_LATENCY: Final = {
    # The session description names the codec and the decoder finds the rest, so nothing is buffered to guess it:
    # the first picture comes 0.1 s after the connect instead of 2.9 s at 10 pictures per second. ("nobuffer" would
    # throw away what was read so far, and that is the first key frame.)
    "probesize": "32",
    "analyzeduration": "0",
    "allowed_media_types": "video",
}
_UDP: Final = {
    # A 1080p key frame is a burst of hundreds of packets: room for all of them in the socket (as far as
    # net.core.rmem_max allows) and in the queue that puts them back into order.
    "buffer_size": str(4 << 20),
    "reorder_queue_size": "2000",
}
_TCP: Final = {
    # Nothing comes out of order here, but a camera whose connection is slow leaves packets out. Only with a queue
    # does FFmpeg look at the numbers; this one is over with the second packet behind a gap.
    "reorder_queue_size": "2",
}


class RtspSource:
    """A live camera. `transport` says which transport is in use once it is open.

    FFmpeg's parser knows that a picture is whole when the next one begins, so ``received_s`` (and the delay) is one
    picture interval after the picture's last packet; the sender's time is that of the picture itself.
    """

    class Options(BaseModel):
        """``auto`` tries TCP, and UDP where the server refuses TCP. Deadlines are in seconds.

        ``tls_verify: false`` accepts a camera (rtsps) that signed its own certificate.
        """

        model_config = ConfigDict(frozen=True, extra="forbid")

        transport: Literal["tcp", "udp", "auto"] = "tcp"
        open_timeout: PositiveSeconds = 10.0
        read_timeout: PositiveSeconds = 5.0
        tls_verify: bool = True

    live: ClassVar[bool] = True

    @staticmethod
    def check_url(url: str, options: Options) -> None:
        """Raise a `UsageError` for an address that can never be reached."""
        check_network_url(url)

    def __init__(self, url: str, options: Options, clock: Clock) -> None:
        self.transport: Transport = "udp" if options.transport == "udp" else "tcp"
        self._url, self._options, self._clock = url, options, clock
        self._demuxer = self._over(self.transport, options.open_timeout)

    @property
    def demuxer(self) -> Demuxer:
        """What reads it, for `probe`."""
        return self._demuxer

    def open(self) -> None:
        """Connect and start the stream. Raises a `CaptureError` within the open deadline."""
        began_s = self._clock.monotonic()
        try:
            self._demuxer.open()
        except CaptureError as error:
            left_s = self._options.open_timeout - (self._clock.monotonic() - began_s)
            if not self._may_try_udp(error) or left_s <= 0:
                raise
            self.transport = "udp"
            self._demuxer = self._over("udp", left_s)
            self._demuxer.open()

    def read(self) -> Sequence[SourcePicture]:
        """Return the next pictures. Raises `TimedOut` after the read deadline, `EndOfStream` when the server ends."""
        return self._demuxer.read()

    def close(self) -> None:
        """Hang up; idempotent."""
        self._demuxer.close()

    def _may_try_udp(self, error: CaptureError) -> bool:
        cause = error.__cause__
        refused = isinstance(cause, av.error.FFmpegError) and refuses_transport(cause)
        return self._options.transport == "auto" and self.transport == "tcp" and refused

    def _over(self, transport: Transport, open_s: float) -> Demuxer:
        queue: Mapping[str, str] = _UDP if transport == "udp" else _TCP
        medium = Medium(
            url=self._url,
            open_s=open_s,
            read_s=self._options.read_timeout,
            live=True,
            format="rtsp",
            numbered=True,
            options={
                "rtsp_transport": transport,
                **CAMERA,
                **_LOW_LATENCY,
                **queue,
                **tls_options(self._options.tls_verify),
            },
        )
        return Demuxer(medium, self._clock)
