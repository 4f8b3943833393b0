"""The immutable values that cross stage borders. numpy only; units are in the names.

Coordinates are source pixels, origin top left, x to the right, y down; a box is ``xyxy`` with x1 <= x2 and
y1 <= y2. Arrays are made read-only when a value is built, because several threads share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamvision.geometry import Letterbox

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]


class ClockSource(StrEnum):
    """By which clock a picture's UTC time is known, best first."""

    RTCP = "rtcp"
    FILE = "file"
    ARRIVAL = "arrival"


class StreamState(StrEnum):
    """What a camera's connection is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    BACKING_OFF = "backing_off"
    AUTH_FAILED = "auth_failed"
    STOPPED = "stopped"


class TrackState(StrEnum):
    """How much a track is believed in."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"


class Phase(StrEnum):
    """Where an event stands in the life of its happening."""

    INSTANT = "instant"
    START = "start"
    UPDATE = "update"
    END = "end"


class Fit(StrEnum):
    """How a picture is fitted to a network's input size."""

    LETTERBOX = "letterbox"
    LETTERBOX_TOP_LEFT = "letterbox_top_left"
    STRETCH = "stretch"


class Colour(StrEnum):
    """Order of a network input's channels; ``gray`` is the luma plane alone."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The picture that an engine wants: uint8, (height, width, 3), or (height, width) for gray."""

    size_wh: tuple[int, int]
    fit: Fit = Fit.LETTERBOX
    colour: Colour = Colour.RGB
    pad: int = 114


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """When, where and what a picture is; ``received_s`` is the monotonic time at which its packet arrived.

    ``media_s`` is stream time in seconds: it starts near 0, never goes back, and goes on across reconnects.
    ``epoch`` grows by one whenever pts start anew (reconnect, loop of a file), ``sleeps`` when the machine has slept.
    """

    stream: str
    epoch: int
    seq: int
    media_s: float
    received_s: float
    captured_at: datetime
    clock: ClockSource
    uncertainty_s: float
    size_wh: tuple[int, int]
    corrupt: bool = False
    sleeps: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A part of a picture, prepared for a network.

    ``letterbox`` maps model px to px of the part, whose top left corner lies at ``origin_xy`` of the picture.
    """

    pixels: UInt8
    letterbox: Letterbox
    origin_xy: tuple[int, int]


class Picture(Protocol):
    """A decoded picture, still in the decoder's own format; converted only when somebody asks."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    def rgb(self, size_wh: tuple[int, int] | None = None) -> UInt8:
        """Return an (height, width, 3) RGB array, scaled to ``size_wh`` if given."""
        ...

    def jpeg(self, quality: int = 85, size_wh: tuple[int, int] | None = None) -> bytes:
        """Return the picture as a JPEG file."""
        ...

    def crop(self, window: tuple[int, int, int, int], spec: InputSpec) -> Crop:
        """Return what ``window`` (xyxy px, inside the picture, not empty) shows, as ``spec`` asks for it.

        The part may be larger than the window by a pixel on each side.
        """
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture on its way to an engine.

    ``pixels`` is what the engine's `InputSpec` asks for, already scaled (uint8); ``letterbox`` maps it to the
    source picture. ``ready_s`` is the monotonic time from which it waits for its turn: later than
    ``info.received_s`` by what the decoder needed, which with B-frames is some pictures.
    """

    info: FrameInfo
    picture: Picture
    pixels: UInt8
    letterbox: Letterbox
    ready_s: float


@dataclass(frozen=True, slots=True)
class Batch:
    """At most one frame per stream, oldest first; never empty."""

    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("a batch holds at least one frame")

    def __len__(self) -> int:
        return len(self.frames)


def _frozen(array: NDArray[Any], dtype: type[np.generic], shape: tuple[int | None, ...], name: str) -> NDArray[Any]:
    """Return ``array`` read-only after checking dtype and shape (None = any length)."""
    fits = array.shape == shape or (  # the quick answer first: this runs a dozen times per picture
        array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Instance masks at the size at which the network made them.

    values (N,h,w) float32: where their bilinear interpolation is positive, there is the object (a logit, or a
    probability minus its threshold). region (N,4) float32: the rectangle, xyxy in source px, whose outer borders are
    those of the raster; the whole picture for networks that make masks of it, a box of its own for each object for
    networks that look at regions. bounds (N,4): where a mask ends whatever its values say, xyxy in source px, for
    networks whose masks are cut to the boxes. `masks` makes bitmaps, polygons and run lengths of them.
    """

    values: Float32
    region: Float32
    bounds: Float32 | None = None

    def __post_init__(self) -> None:
        count = len(self.region)
        object.__setattr__(self, "values", _frozen(self.values, np.float32, (count, None, None), "values"))
        object.__setattr__(self, "region", _frozen(self.region, np.float32, (count, 4), "region"))
        if self.bounds is not None:
            object.__setattr__(self, "bounds", _frozen(self.bounds, np.float32, (count, 4), "bounds"))

    def __len__(self) -> int:
        return len(self.region)

    def __getitem__(self, index: NDArray[Any] | slice) -> Masks:
        """Select rows by a boolean mask, an index array or a slice."""
        return Masks(self.values[index], self.region[index], None if self.bounds is None else self.bounds[index])


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What one picture shows: xyxy (N,4) float32 source px, score (N,) float32 in [0,1], class_id (N,) int32.

    ``masks``: one for each row, or None. ``keypoints`` (N,K,2) float32 source px, for example a face's landmarks.
    """

    xyxy: Float32
    score: Float32
    class_id: Int32
    masks: Masks | None = None
    keypoints: Float32 | None = None

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        object.__setattr__(self, "xyxy", _frozen(self.xyxy, np.float32, (count, 4), "xyxy"))
        object.__setattr__(self, "score", _frozen(self.score, np.float32, (count,), "score"))
        object.__setattr__(self, "class_id", _frozen(self.class_id, np.int32, (count,), "class_id"))
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"masks: expected {count} of them, got {len(self.masks)}")
        if self.keypoints is not None:
            object.__setattr__(self, "keypoints", _frozen(self.keypoints, np.float32, (count, None, 2), "keypoints"))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: NDArray[Any] | slice) -> Detections:
        """Select rows by a boolean mask, an index array or a slice."""
        masks = None if self.masks is None else self.masks[index]
        keypoints = None if self.keypoints is None else self.keypoints[index]
        return Detections(self.xyxy[index], self.score[index], self.class_id[index], masks, keypoints)

    @classmethod
    def empty(cls) -> Detections:
        """Return detections of a picture that shows nothing."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What every part of a picture is: label_map (h,w) uint8, indices into ``class_names``, at the network's size.

    ``name`` tells apart the maps of a network that makes several (``drivable``, ``lane``); ``letterbox`` maps label
    map px to source px.
    """

    name: str
    label_map: UInt8
    letterbox: Letterbox
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_map", _frozen(self.label_map, np.uint8, (None, None), "label_map"))


@dataclass(frozen=True, slots=True, eq=False)
class Perception:
    """What an engine saw in one picture.

    ``classification`` (C,) float32: the probability of each label, for networks that judge a picture as a whole.
    """

    detections: Detections
    segmentation: tuple[Segmentation, ...] = ()
    classification: Float32 | None = None

    @classmethod
    def of_nothing(cls) -> Perception:
        """Return what a network sees that finds nothing."""
        return cls(Detections.empty())


@dataclass(frozen=True, slots=True)
class Attribute:
    """What a second network says of a track, by votes over time: ``share`` of the votes in [0,1] that agree."""

    value: str
    share: float
    votes: int


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """What is being followed at one moment: confirmed and lost tracks, one row each.

    ids (T,) int64, unique per stream for ever; xyxy (T,4) float32 px; velocity (T,2) float32 px/s of the box's
    centre; class_id (T,) int32; score (T,) float32; confirmed (T,) bool; visible (T,) bool: matched to a
    detection of this very picture (a row that is not visible carries the predicted box); age_s (T,) float32
    seconds since first seen; det_index (T,) int32 into this picture's detections, -1 where not visible.
    """

    ids: Int64
    xyxy: Float32
    velocity: Float32
    class_id: Int32
    score: Float32
    confirmed: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    age_s: Float32
    det_index: Int32

    def __post_init__(self) -> None:
        count = len(self.ids)
        for name, dtype, shape in (
            ("ids", np.int64, (count,)), ("xyxy", np.float32, (count, 4)), ("velocity", np.float32, (count, 2)),
            ("class_id", np.int32, (count,)), ("score", np.float32, (count,)), ("confirmed", np.bool_, (count,)),
            ("visible", np.bool_, (count,)), ("age_s", np.float32, (count,)), ("det_index", np.int32, (count,)),
        ):  # fmt: skip
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype, shape, name))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: NDArray[Any] | slice) -> Tracks:
        """Select rows by a boolean mask, an index array or a slice."""
        return Tracks(
            self.ids[index], self.xyxy[index], self.velocity[index], self.class_id[index], self.score[index],
            self.confirmed[index], self.visible[index], self.age_s[index], self.det_index[index],
        )  # fmt: skip

    @classmethod
    def empty(cls) -> Tracks:
        """Return the tracks of an empty scene."""
        return cls(
            np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty((0, 2), np.float32),
            np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.bool_), np.empty(0, np.bool_),
            np.empty(0, np.float32), np.empty(0, np.int32),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything known about one picture, without its pixels.

    ``attributes``: per track id, what second networks say of it, by the attribute's name.
    """

    info: FrameInfo
    detections: Detections
    tracks: Tracks
    class_names: Sequence[str]
    segmentation: tuple[Segmentation, ...] = ()
    attributes: Mapping[int, Mapping[str, Attribute]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackRef:
    """A track as an event quotes it: xyxy in source px, velocity in px/s.

    ``polygon``: the object's outer border as (x, y) in source px, where the network makes masks; ``attributes``: what
    second networks say of it.
    """

    id: int
    class_name: str
    score: float
    xyxy: tuple[float, float, float, float]
    velocity: tuple[float, float]
    polygon: tuple[tuple[float, float], ...] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    ``id`` is a ULID; ``happening`` is the id that start, update and end of one happening share; ``kind`` is the
    rule type (``zone``, ``line``, ``outage`` ...); ``data`` holds what is special to the kind (zone, line,
    direction); ``evidence`` what was measured against which threshold.
    """

    id: str
    kind: str
    phase: Phase
    stream: str
    rule: str
    happening: str
    media_s: float
    time: datetime
    clock: ClockSource
    uncertainty_s: float
    track: TrackRef | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
