"""The Protocols between the stages. Each has a contract suite in tests/ that runs over every implementation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamvision.geometry import Letterbox
from streamvision.types import (
    Analysis,
    Attribute,
    Batch,
    Detections,
    Event,
    Frame,
    FrameInfo,
    InputSpec,
    Perception,
    Picture,
    Segmentation,
    Tracks,
    UInt8,
)


class ScalablePicture(Picture, Protocol):
    """A picture that scales itself to a network's input at the least cost; see `capture.picture`."""

    def prepare(self, spec: InputSpec) -> tuple[UInt8, Letterbox]:
        """Return the pixels that ``spec`` asks for, and the map between them and the source picture."""
        ...


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """One picture as a source delivers it, before the stream's clock has judged it.

    ``pts_s`` is the presentation time in seconds as the source states it, None if it states none;
    ``received_s`` monotonic; ``sender_utc`` the wall time the sender states for this picture (RTCP), if any;
    ``lost_packets`` how many packets are known to have been lost on the way since the picture delivered before.
    """

    picture: ScalablePicture
    pts_s: float | None
    received_s: float
    sender_utc: datetime | None = None
    corrupt: bool = False
    lost_packets: int = 0


class Source(Protocol):
    """One connection to a camera, file or device. Used by one thread.

    A recording may also have ``started_at: datetime | None``, read after `open`: when its first picture was taken.
    A plug-in may have a static method ``check_url(url, options)``, which raises a `StreamvisionError` for a URL that
    can never be opened; the configuration's check and the offline commands call it before anything runs.
    """

    live: bool
    """Whether pictures come at their own time (drop when late) or can wait (never drop)."""

    def open(self) -> None:
        """Connect. Raises a `CaptureError` within the open deadline."""
        ...

    def read(self) -> Sequence[SourcePicture]:
        """Return the next decoded pictures (possibly none yet).

        Raises `EndOfStream` at the end, `TimedOut` after the read deadline, another `CaptureError` on a fault.
        """
        ...

    def close(self) -> None:
        """Release everything; idempotent."""
        ...


class Backend(Protocol):
    """A compiled network on a device: uint8 pictures in, raw output tensors out."""

    name: str
    in_flight: int
    """How many submissions keep the device busy."""
    max_batch: int
    """The largest batch worth submitting; 1 where requests in parallel are faster than batches."""

    def submit(self, pictures: Sequence[UInt8]) -> Future[list[NDArray[Any]]]:
        """Start inference on 1..max_batch pictures (h,w,3) uint8; the future gives each output (batch, ...).

        The pictures may be reused by the caller only after the future is done. Blocks while all requests are
        taken. A failure is an `EngineError` in the future.
        """
        ...

    def close(self) -> None:
        """Wait for what is running and release the device; idempotent."""
        ...


class Decoder(Protocol):
    """Raw output tensors -> what they say of the picture, in source pixels."""

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture of the batch; detections best score first, after NMS."""
        ...


class Engine(Protocol):
    """What a runner drives: frames in, perceptions out. A network (backend + decoder) or a classic algorithm."""

    input: InputSpec
    labels: tuple[str, ...]
    in_flight: int
    max_batch: int
    description: str
    """For logs and /readyz, for example ``yolox-nano on openvino (CPU, 2 requests)``."""

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        """Start on a batch; see `Backend.submit`."""
        ...

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        """Turn raw outputs into one `Perception` per frame."""
        ...

    def forget(self, stream: str) -> None:
        """Drop what is remembered of a stream."""
        ...

    def close(self) -> None:
        """Release the device; idempotent."""
        ...


class Tracker(Protocol):
    """Detections -> tracks for one stream; all spans are seconds of media time."""

    def update(self, detections: Detections, media_s: float) -> Tracks:
        """Take one picture's detections; return confirmed and tentative tracks that are alive (lost ones too).

        ``media_s`` never goes back; equal times are allowed.
        """
        ...

    def reset(self) -> None:
        """Forget every track; ids go on and are never used twice."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What a rule sees of one picture. ``detections`` are what ``tracks.det_index`` points into."""

    info: FrameInfo
    tracks: Tracks
    class_names: Sequence[str]
    detections: Detections = field(default_factory=Detections.empty)
    segmentation: tuple[Segmentation, ...] = ()
    attributes: Mapping[int, Mapping[str, Attribute]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule is given besides its options when it is built: ``Cls(options, context)``.

    Zones and lines are the stream's own, by name, in fractions of the picture (0-1, origin top left);
    ``new_id`` gives ULIDs.
    """

    stream: str
    rule: str
    zones: Mapping[str, Sequence[Sequence[float]]]
    lines: Mapping[str, Sequence[Sequence[float]]]
    new_id: Callable[[], str]


class Rule(Protocol):
    """Tracks -> events for one rule on one stream.

    A class whose events are all instants says so with ``lasting: ClassVar[bool] = False``.
    """

    def update(self, scene: Scene) -> list[Event]:
        """Take one picture's tracks; return what happened, in order."""
        ...

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        """End every open happening (stream over, shutdown, tracker reset); ``reason`` goes into ``data``."""
        ...


MAX_POSITION: Final = 2**63 - 1
"""No event's position in the store is larger."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the store holds it: its sequence number, and the CloudEvents JSON text (one line, no newline)."""

    position: int
    id: str
    stream: str
    type: str
    time: datetime
    json: str


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """A configured rule, for sinks that announce it; ``lasting``: its happenings have a start and an end."""

    name: str
    type: str
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Ongoing:
    """A happening that has begun in this run of the daemon and has not ended; ``event`` is its own id."""

    stream: str
    rule: str
    event: str


def _no_streams() -> Mapping[str, Sequence[RuleInfo]]:
    return {}


def _nothing() -> Collection[Any]:
    return ()


def _no_sign() -> None:
    pass


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink is told besides its options; ``state_dir`` is where its relative paths lie.

    ``streams`` tells the streams that are configured, and chosen for this sink, at this moment, with their rules;
    ``elsewhere`` the ids of those that are shown in the same place by others alone: by other processes, and by other
    sinks of this type for whose options ``shares(options)`` of this sink's options is true. A sink whose `deliver`
    makes several slow steps calls ``beat`` between them, so that it does not count as hung. Events up to position
    ``born`` were stored by earlier runs of the daemon. ``ongoing`` tells what has begun and not ended, outages too:
    also what the sink was not there for.
    """

    name: str
    state_dir: Path
    streams: Callable[[], Mapping[str, Sequence[RuleInfo]]] = _no_streams
    beat: Callable[[], None] = _no_sign
    born: int = 0
    elsewhere: Callable[[], Collection[str]] = _nothing
    ongoing: Callable[[], Collection[Ongoing]] = _nothing


class Sink(Protocol):
    """The way out of the machine, built as ``Class(options, SinkContext)``. Runs in a thread of its own.

    A class that needs a library beyond the core names it in ``requires: ClassVar[tuple[str, ...]]`` and imports it
    only when it is built, so that its options are known, and checked, on every machine. One that wants to be connected
    before there is an event has a method ``open()``, which is called in its thread before the first delivery. One that
    also tells how things are has a method ``follow(events, wanted)``, which is called instead of `deliver` with every
    event, in order: it delivers those for which ``wanted`` is true. `deliver` is left for dead letters then.
    """

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Deliver in order; returning means that they are safe there. Raises `SinkError`."""
        ...

    def close(self) -> None:
        """Flush and release; idempotent."""
        ...


def full_event_type(text: str) -> str:
    """Return the CloudEvents type, or the beginning of one, that a person means: ``zone`` is ``streamvision.zone``."""
    return text if not text or text.startswith("streamvision") else f"streamvision.{text}"


class EventReader(Protocol):
    """Reading side of the local event store, for the API and the page."""

    def latest(self, limit: int, *, stream: str | None = None, type_prefix: str | None = None) -> list[StoredEvent]:
        """Return the newest events, newest first."""
        ...

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        """Return events after a position, which may be any number, oldest first."""
        ...


IdSource = Callable[[int], NDArray[np.int64]]
"""Gives that many new track ids of one stream; none is ever given twice, not even after a restart."""


class Viewer(Protocol):
    """Whoever looks at analysed pictures: asked for every picture, shown one only when it wants it."""

    def wanted(self, stream: str) -> bool:
        """Return whether a picture of a stream would be looked at now."""
        ...

    def show(self, frame: Frame, analysis: Analysis, min_score: float) -> None:
        """Take a picture; must return at once."""
        ...

    def tick(self) -> None:
        """Look at the books; called a few times per second."""
        ...
