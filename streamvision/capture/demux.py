"""One opened container: packets in, decoded pictures out, every wait with a deadline, every fault typed.

FFmpeg decodes on the calling thread alone: frame threads hold a picture back each and double a decoder's memory.
(Measured at 1080p H.264: 10 MB and no delay with one thread, 18 MB and one picture of delay with two, 23 MB and two
pictures with three, for the same CPU time per picture.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import av
import av.error
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamvision.capture.allowed import MAX_PIXELS
from streamvision.capture.faults import capture_error, hide_credentials, opening_error, reading_error, timed_out
from streamvision.capture.losses import listening, missed
from streamvision.capture.picture import DecodedPicture
from streamvision.clock import Clock, in_our_time
from streamvision.errors import BrokenMedia, CaptureError, EndOfStream, UnsupportedMedia
from streamvision.interfaces import SourcePicture
from streamvision.redact import redact_url

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PRODUCER_TIME: Final = struct.Struct("=q")
"""The first field of libavutil's AVProducerReferenceTime: microseconds since 1970, UTC."""
_UNDECODABLE: Final = (av.error.InvalidDataError, av.error.ArgumentError, av.error.PermissionError)
"""How decoders refuse a packet; several say "invalid argument" or "not permitted" of data that is damaged."""
_BROKEN_IN_A_ROW: Final = 100
_PICTURELESS_S: Final = 60.0
"""A live stream that sends packets and no picture for this long will not start to: the longest GOPs seen are 20 s."""
_HEAL_S: Final = 20.0
_NO_LISTS: Final = "a list that refers to other files or addresses (HLS, concat, SDP) is not followed from a file"


@dataclass(frozen=True, slots=True)
class Medium:
    """What to open and how: an FFmpeg URL, the demuxer to force, its options, and the deadlines in seconds.

    A stall of a file is none: ``live`` says whether a read that took too long counts as silence of the camera.
    ``numbered``: its packets have sequence numbers, whose gaps FFmpeg tells.
    """

    url: str
    open_s: float
    read_s: float
    live: bool
    format: str | None = None
    numbered: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a packet came, and the wall time that its sender states for its picture."""

    received_s: float
    sender_utc: datetime | None


class Damage:
    """Whether pictures can be believed after a loss: not before the next key frame that is clean.

    Streams that refresh bit by bit have no key frames; they are believed again after 20 s without a further loss.
    """

    def __init__(self) -> None:
        self._hurt = False
        self._pts_s: float | None = None
        self._received_s = 0.0

    def hurt(self, pts_s: float | None, received_s: float) -> None:
        """Note that the packet or picture of that time is damaged."""
        self._hurt, self._pts_s, self._received_s = True, pts_s, received_s

    def judge(self, frame: VideoFrame, received_s: float) -> bool:
        """Return whether a picture is to be taken as corrupt."""
        if frame.is_corrupt:
            self.hurt(frame.time, received_s)
        elif self._hurt:
            since_s = self._since_s(frame.time, received_s)
            # A picture that is shown later can be damaged before a key frame comes out of the decoder.
            # The key frame itself may be what was hurt.
            self._hurt = not (since_s > _HEAL_S or (frame.key_frame and since_s > 0))
        return self._hurt

    def _since_s(self, pts_s: float | None, received_s: float) -> float:
        if pts_s is not None and self._pts_s is not None:
            return pts_s - self._pts_s
        return received_s - self._received_s


@dataclass(slots=True)
class _Progress:
    """What is known of one opening. ``over`` is why nothing more will come, and FFmpeg's own word for it."""

    picture_s: float = 0.0
    damage: Damage = field(default_factory=Damage)
    broken: int = 0
    lost: int = 0
    delivered: bool = False
    timed_by_sender: bool = False
    over: tuple[CaptureError, Exception | None] | None = None


class Demuxer:
    """Reads one video stream of one container. For one thread. ``received_bytes`` counts compressed video."""

    def __init__(self, medium: Medium, clock: Clock) -> None:
        self.medium = medium
        self._clock = clock
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self.received_bytes = 0
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._progress = _Progress()

    @property
    def container(self) -> InputContainer:
        """The opened container; raises `RuntimeError` before `open` and after `close`."""
        if self._container is None:
            raise RuntimeError("the container is not open")
        return self._container

    @property
    def stream(self) -> VideoStream:
        """The chosen video stream; raises `RuntimeError` before `open` and after `close`."""
        if self._stream is None:
            raise RuntimeError("the container is not open")
        return self._stream

    def open(self) -> None:
        """Open, choose the video and prepare its decoder; again after `close`.

        Raises a `CaptureError` within the open deadline.
        """
        self._progress = _Progress(picture_s=self._clock.monotonic())
        self._container = self._opened()
        try:
            self._stream = _best_video(self._container, redact_url(self.medium.url))
        except CaptureError:
            self.close()
            raise
        self._prepare(self._stream)
        self._packets = self._container.demux(self._stream)

    def read(self) -> Sequence[SourcePicture]:
        """Return what the next packet gives, often one picture, sometimes none; see `Source.read`."""
        pictures: list[SourcePicture] = []
        if self._progress.over is None:
            packet, arrival = self._next_packet()
            pictures = self._decode(packet, arrival) if packet is not None else []
            self._watch(bool(pictures), arrival.received_s)
        if self._progress.over is not None and not pictures:
            error, cause = self._progress.over
            raise error from cause
        return pictures

    def close(self) -> None:
        """Release container and decoder; idempotent."""
        self._packets = iter(())
        self._stream = None
        self._progress = _Progress()  # its error's traceback leads back here
        if self._container is not None:
            self._container.close()
            self._container = None

    def _opened(self) -> InputContainer:
        began_s = self._clock.monotonic()
        try:
            return av.open(
                self.medium.url,
                format=self.medium.format,
                options=dict(self.medium.options),
                timeout=(self.medium.open_s, self.medium.read_s),
                metadata_errors="replace",
            )
        except av.error.FFmpegError as error:
            elapsed_s = self._clock.monotonic() - began_s
            verify = self.medium.options.get("tls_verify") != "0"
            found = opening_error(error, self.medium.url, elapsed_s, self.medium.open_s, tls_verify=verify)
            if isinstance(error, av.error.ArgumentError) and "format_whitelist" in self.medium.options:
                found = self._fault(UnsupportedMedia, "its format is not read here", _NO_LISTS)
            if isinstance(found, EndOfStream) and not self.medium.live:  # a file that is over is one that was read
                found = self._fault(BrokenMedia, "it is empty, or ends before its first picture")
            raise found from error

    def _prepare(self, stream: VideoStream) -> None:
        for other in self.container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        stream.codec_context.thread_count = 1
        stream.codec_context.copy_opaque = True
        if self.medium.numbered:
            # Else HEVC leaves out what refers to lost pictures without a word, and nobody counts it.
            stream.codec_context.flags |= Flags.output_corrupt
        stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MAX_PIXELS)}

    def _next_packet(self) -> tuple[Packet[VideoStream] | None, Arrival]:
        """Wait for a packet; None where it is broken, or where the stream is over."""
        began_s = self._clock.monotonic()
        packet, cause, lost = self._heard()
        now_s = self._clock.monotonic()
        if lost:
            self._progress.lost += lost
            self._progress.damage.hurt(None if packet is None else _pts_s(packet), now_s)
        if self.medium.live and now_s - began_s >= self.medium.read_s:
            # FFmpeg's parser answers an interrupted read with what it holds back, and would then wait as long again.
            self._end(timed_out(self.medium.url, self.medium.read_s), cause)
        elif isinstance(cause, av.error.InvalidDataError):
            self._skip(cause, None, now_s)
        elif cause is not None:
            elapsed_s = now_s - began_s
            error = reading_error(cause, self.medium.url, elapsed_s, self.medium.read_s, live=self.medium.live)
            self._end(error, cause)
        elif packet is None:
            self._end(self._exhausted())
        return packet, Arrival(now_s, self._sender_time(packet))

    def _heard(self) -> tuple[Packet[VideoStream] | None, av.error.FFmpegError | None, int]:
        """Wait for a packet; return also how many were lost before it or out of its midst."""
        if not self.medium.numbered:
            return *self._demuxed(), 0
        with listening() as lines:
            packet, error = self._demuxed()
        return packet, error, missed(lines)

    def _demuxed(self) -> tuple[Packet[VideoStream] | None, av.error.FFmpegError | None]:
        try:
            return next(self._packets, None), None
        except av.error.FFmpegError as error:  # this ends PyAV's iterator; a new one goes on behind the fault
            self._packets = self.container.demux(self.stream)
            return None, error

    def _decode(self, packet: Packet[VideoStream], arrival: Arrival) -> list[SourcePicture]:
        packet.opaque = arrival
        self.received_bytes += packet.size
        if packet.is_corrupt:
            self._progress.damage.hurt(_pts_s(packet), arrival.received_s)
        if packet.has_sidedata("encryption_info"):
            self._end(self._fault(UnsupportedMedia, "the video is encrypted"))
            return []
        try:
            frames = packet.decode()
        except _UNDECODABLE as error:
            self._skip(error, _pts_s(packet), arrival.received_s)
            return []
        except av.error.EOFError:  # it was drained before
            return []
        except av.error.FFmpegError as error:
            self._end(capture_error(error, self.medium.url, 0.0, self.medium.read_s), error)
            return []
        pictures = [self._picture(frame, arrival) for frame in frames]
        if pictures and self._progress.lost:
            pictures[0] = replace(pictures[0], lost_packets=self._progress.lost)
            self._progress.lost = 0
        return pictures

    def _picture(self, frame: VideoFrame, arrival: Arrival) -> SourcePicture:
        own = frame.opaque if isinstance(frame.opaque, Arrival) else arrival
        return SourcePicture(
            picture=DecodedPicture(frame),
            pts_s=frame.time,
            received_s=own.received_s,
            sender_utc=own.sender_utc,
            corrupt=self._progress.damage.judge(frame, own.received_s),
        )

    def _sender_time(self, packet: Packet[VideoStream] | None) -> datetime | None:
        """Return the wall time that RTCP sender reports give to a packet's picture, None before the first report.

        The first one is left out: the parser hands it to the picture before, too. So is every time that is not ours:
        a camera whose clock was never set reports from NTP's year 1900, and FFmpeg counts back from there.
        """
        if packet is None or not packet.has_sidedata("prft"):
            return None
        first, self._progress.timed_by_sender = not self._progress.timed_by_sender, True
        (micros,) = _PRODUCER_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
        return None if first else _stated_time(micros)

    def _skip(self, error: av.error.FFmpegError, pts_s: float | None, now_s: float) -> None:
        """Go on behind a broken packet, unless there were too many in a row."""
        self._progress.damage.hurt(pts_s, now_s)
        self._progress.broken += 1
        if self._progress.broken >= _BROKEN_IN_A_ROW:
            what = f"{self._progress.broken} packets in a row could not be decoded"
            self._end(self._undecodable(what, "the video is damaged or encrypted"), error)

    def _watch(self, delivered: bool, now_s: float) -> None:
        if delivered:
            self._progress.broken, self._progress.delivered, self._progress.picture_s = 0, True, now_s
        elif self.medium.live and now_s - self._progress.picture_s > _PICTURELESS_S:
            self._end(self._fault(BrokenMedia, f"data comes, but no picture for {_PICTURELESS_S:g} s"))

    def _exhausted(self) -> CaptureError:
        if self.medium.live:
            return self._fault(EndOfStream, "the server ended the stream")
        if self._progress.delivered:
            return self._fault(EndOfStream, "the file is done")
        return self._undecodable("it ends without a single picture")

    def _undecodable(self, what: str, remedy: str | None = None) -> CaptureError:
        if self.stream.codec_context.width:
            return self._fault(BrokenMedia, what, remedy)
        # FFmpeg forgets a size that is above the limit, so one that was never stated looks the same.
        why = f"its pictures state no size, or one above {MAX_PIXELS / 1e6:.0f} million pixels"
        return self._fault(UnsupportedMedia, why, "scale it down where it comes from")

    def _fault(self, kind: type[CaptureError], what: str, remedy: str | None = None) -> CaptureError:
        return kind(what, where=redact_url(self.medium.url), remedy=remedy)

    def _end(self, error: CaptureError, cause: Exception | None = None) -> None:
        if isinstance(cause, av.error.FFmpegError):
            hide_credentials(cause)
        self._progress.over = self._progress.over or (error, cause)


def _pts_s(packet: Packet[VideoStream]) -> float | None:
    return None if packet.pts is None else float(packet.pts * packet.time_base)


def _stated_time(micros: int) -> datetime | None:
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None
    return moment if in_our_time(moment) else None


def _best_video(container: InputContainer, where: str) -> VideoStream:
    """Return the largest video that can be decoded and is no cover picture."""
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UnsupportedMedia(f"there is no video in it, only {kinds}", where=where)
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise UnsupportedMedia("FFmpeg does not know this video's codec", where=where)
    return max(known, key=lambda stream: (stream.codec_context.width * stream.codec_context.height, -stream.index))
