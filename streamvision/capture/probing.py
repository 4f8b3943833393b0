"""What a source really delivers, measured over a few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from streamvision.capture.demux import Demuxer
from streamvision.capture.picture import DecodedPicture
from streamvision.clock import Clock
from streamvision.errors import CaptureError
from streamvision.interfaces import Source, SourcePicture
from streamvision.types import ClockSource


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. None is unknown; ``ended`` says why it was over before its time.

    ``declared_fps`` is what the stream says of itself, ``real_fps`` what came; ``gop_s`` and ``gop_pictures`` are the
    mean distance of key frames, None if fewer than two came; ``clock`` is the best clock of any picture.
    """

    live: bool
    pictures: int
    corrupt: int
    seconds: float
    open_s: float
    first_picture_s: float
    size_wh: tuple[int, int]
    clock: ClockSource
    transport: str | None = None
    container: str | None = None
    codec: str | None = None
    profile: str | None = None
    pixel_format: str | None = None
    declared_fps: float | None = None
    real_fps: float | None = None
    gop_s: float | None = None
    gop_pictures: float | None = None
    bitrate_bps: float | None = None
    ended: str | None = None


def probe_source(source: Source, clock: Clock, seconds: float) -> Probe:
    """Open a source, watch it for so many seconds (of its own time, if it is a file) and close it.

    Raises the `CaptureError` of a source that cannot be opened or gives no picture at all.
    """
    began_s = clock.monotonic()
    try:
        source.open()
        open_s = clock.monotonic() - began_s
        sightings, ended = _watch(source, clock, seconds)
        return _summary(source, sightings, open_s, sightings[0].delivered_s - began_s, ended)
    finally:
        source.close()


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A picture without its pixels. ``moment_s`` counts the source's own time, or ours where it has none."""

    moment_s: float
    delivered_s: float
    key: bool
    corrupt: bool
    timed_by_sender: bool
    size_wh: tuple[int, int]
    pixel_format: str | None


def _watch(source: Source, clock: Clock, seconds: float) -> tuple[list[_Sighting], str | None]:
    sightings: list[_Sighting] = []
    while not sightings or sightings[-1].moment_s - sightings[0].moment_s < seconds:
        try:
            pictures = source.read()
        except CaptureError as error:
            if not sightings:
                raise
            return sightings, error.what
        now_s = clock.monotonic()
        sightings += [_sighting(picture, now_s, live=source.live) for picture in pictures]
    return sightings, None


def _sighting(found: SourcePicture, now_s: float, *, live: bool) -> _Sighting:
    frame = found.picture.frame if isinstance(found.picture, DecodedPicture) else None
    return _Sighting(
        moment_s=found.received_s if live or found.pts_s is None else found.pts_s,
        delivered_s=now_s,
        key=frame is not None and frame.key_frame,
        corrupt=found.corrupt,
        timed_by_sender=found.sender_utc is not None,
        size_wh=found.picture.size_wh,
        pixel_format=frame.format.name if frame is not None else None,
    )


def _summary(
    source: Source, sightings: Sequence[_Sighting], open_s: float, first_picture_s: float, ended: str | None
) -> Probe:
    last = sightings[-1]
    span_s = last.moment_s - sightings[0].moment_s
    demuxer = _demuxer(source)
    keys = [index for index, sighting in enumerate(sightings) if sighting.key]
    gops = [(sightings[b].moment_s - sightings[a].moment_s, b - a) for a, b in pairwise(keys)]
    timed = any(sighting.timed_by_sender for sighting in sightings)
    return Probe(
        live=source.live,
        pictures=len(sightings),
        corrupt=sum(sighting.corrupt for sighting in sightings),
        seconds=span_s,
        open_s=open_s,
        first_picture_s=first_picture_s,
        size_wh=last.size_wh,
        clock=_clock_source(source.live, timed),
        transport=getattr(source, "transport", None),
        container=demuxer.container.format.name if demuxer else None,
        codec=demuxer.stream.codec_context.name if demuxer else None,
        profile=demuxer.stream.codec_context.profile if demuxer else None,
        pixel_format=last.pixel_format,
        declared_fps=_declared_fps(demuxer) if demuxer else None,
        real_fps=(len(sightings) - 1) / span_s if span_s > 0 else None,
        gop_s=fmean(seconds for seconds, _ in gops) if gops else None,
        gop_pictures=fmean(pictures for _, pictures in gops) if gops else None,
        bitrate_bps=8 * demuxer.received_bytes / span_s if demuxer and span_s > 0 else None,
        ended=ended,
    )


def _clock_source(live: bool, timed_by_sender: bool) -> ClockSource:
    if timed_by_sender:
        return ClockSource.RTCP
    return ClockSource.ARRIVAL if live else ClockSource.FILE


def _declared_fps(demuxer: Demuxer) -> float | None:
    """Return the rate that the container or the codec's headers state."""
    stream = demuxer.stream
    rate = stream.average_rate or stream.codec_context.framerate or stream.guessed_rate
    return float(rate) if rate else None


def _demuxer(source: Source) -> Demuxer | None:
    found = getattr(source, "demuxer", None)
    return found if isinstance(found, Demuxer) else None
