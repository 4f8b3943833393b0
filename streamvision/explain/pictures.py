"""The one picture that is explained: a file, or a moment of a video or stream."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from streamvision.capture.picture import ArrayPicture
from streamvision.clock import Clock
from streamvision.config import local_path, source_kind
from streamvision.errors import BrokenMedia, EndOfStream, UsageError
from streamvision.interfaces import Engine, Source, SourcePicture
from streamvision.offline import OfflineOptions, open_source
from streamvision.redact import redact_url
from streamvision.types import Batch, ClockSource, Frame, FrameInfo, InputSpec, Perception, UInt8
from streamvision.units import parse_seconds


def frame_of(rgb: UInt8, spec: InputSpec, name: str = "picture") -> Frame:
    """Return a picture (h,w,3) as a frame for an engine."""
    picture = ArrayPicture(rgb)
    pixels, letterbox = picture.prepare(spec)
    info = FrameInfo(
        stream=name, epoch=0, seq=0, media_s=0.0, received_s=0.0, captured_at=datetime.now(UTC),
        clock=ClockSource.FILE, uncertainty_s=0.0, size_wh=picture.size_wh,
    )  # fmt: skip
    return Frame(info, picture, pixels, letterbox, 0.0)


def see(engine: Engine, frame: Frame) -> Perception:
    """Return what an engine sees in one frame."""
    batch = Batch((frame,))
    return engine.decode(batch, engine.submit(batch).result())[0]


def parse_moment(text: str) -> tuple[str, float]:
    """Return source and seconds of ``SOURCE[@TIME]``; the beginning without a time. Raises `UsageError`."""
    source, at, moment = text.rpartition("@")
    if not at or Path(local_path(text)).exists() or not moment or "/" in moment:
        return text, 0.0
    try:
        return source, float(moment) if moment.replace(".", "", 1).isdigit() else parse_seconds(moment)
    except ValueError as error:
        if source_kind(text) not in ("file", "images"):  # user@host
            return text, 0.0
        raise UsageError(f"after @: {error}", where=redact_url(text), remedy="for example video.mp4@12.5s") from error


def picture_at(source: str, seconds: float, clock: Clock) -> UInt8:
    """Return the picture (h,w,3) that a source shows after ``seconds`` of it.

    Raises a `CaptureError` for a source that cannot be read, `UsageError` for a moment after its end.
    """
    opened = open_source(source, OfflineOptions(), clock)
    opened.open()
    try:
        return _seek(opened, seconds, redact_url(source))
    finally:
        opened.close()


def _seek(source: Source, seconds: float, where: str) -> UInt8:
    first_s: float | None = None
    last_s = 0.0
    try:
        while True:
            for found in source.read():
                if found.corrupt:
                    continue
                first_s = _time(found) if first_s is None else first_s
                last_s = _time(found) - first_s
                if last_s >= seconds - 1e-6:
                    return found.picture.rgb()
    except EndOfStream as error:
        if first_s is None:
            raise BrokenMedia("not one of its pictures could be used", where=where) from error
        raise UsageError(
            f"it ends before {seconds:g}s", where=where, remedy=f"its last picture is at {last_s:.2f}s"
        ) from error


def _time(found: SourcePicture) -> float:
    return found.received_s if found.pts_s is None else found.pts_s
