"""area: how much of a zone a class of a label map covers, such as snow on a track or water on a road.

One happening lasts from when enough of the zone is covered until it is not any more. Between the two thresholds
nothing changes, and what flickers for less than a span is not told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamvision.geometry import Letterbox, points_in_polygon
from streamvision.interfaces import Scene
from streamvision.masks import polygons
from streamvision.rules.base import Float64, Reporter, RuleContext, corners_of
from streamvision.types import Event, FrameInfo, Masks, Phase, Segmentation, UInt8
from streamvision.units import PositiveSeconds, Seconds

_ROUNDING = 1e-6
_HYSTERESIS = 0.8
_MAX_POLYGONS = 8
_PIXELS_AT_ONCE = 1 << 16
"""How many pixels are compared with a zone's sides at once, to bound the memory that it takes."""

Share = Annotated[float, Field(ge=0, le=1)]


class AreaRule:
    """Reports that classes of a label map cover a share of a zone; an `interfaces.Rule`.

    ``start``: the share has been at least ``min_share`` for ``min_duration``. ``update``: it still is, every
    ``update_every``. ``end``: it has been at most ``max_share_end`` for ``leave_after`` (``reason`` in the data:
    ``cleared``, or why the stream was closed). An event's time is when it happened, interpolated between pictures.
    The data of start and update hold the outer borders of what was counted (source px), the largest first.
    """

    reads_label_maps: ClassVar[bool] = True

    class Options(BaseModel):
        """Spans are seconds of media time; shares are parts of the zone, 0-1."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        zone: str
        """Name of one of the stream's zones."""
        classes: Annotated[tuple[str, ...], Field(min_length=1)]
        """Which classes of the label map count, together."""
        map: str = ""
        """Which of the model's label maps; empty: the first that has the classes."""
        min_share: Annotated[Share, Field(gt=0)] = 0.1
        """How much of the zone has to be covered."""
        max_share_end: Share | None = None
        """How little of the zone may be covered for it to be over; by default four fifths of ``min_share``."""
        min_duration: Seconds = 2.0
        """How long that much has to be covered without a break before it starts; 0: at once."""
        leave_after: Seconds = 2.0
        """How long that little has to be covered before it ends; more in between continues it."""
        update_every: Seconds = 60.0
        """How often it is reported again while it lasts; 0: never."""
        max_gap: PositiveSeconds = 5.0
        """Over a longer time without pictures, nothing is believed to have lasted; what has started goes on."""

        @model_validator(mode="after")
        def _ends_below_its_start(self) -> Self:
            if self.max_share_end is not None and self.max_share_end > self.min_share:
                raise ValueError(
                    f"max_share_end ({self.max_share_end:g}) is above min_share ({self.min_share:g}): it would end "
                    "while it starts; choose a smaller one"
                )
            return self

        @property
        def end_share(self) -> float:
            """The share at or below which it is over."""
            return round(self.min_share * _HYSTERESIS, 6) if self.max_share_end is None else self.max_share_end

    def __init__(self, options: Options, context: RuleContext) -> None:
        """Raise `UsageError` if the stream has no such zone."""
        corners = corners_of("zone", options.zone, context.zones, context)
        self._options = options
        self._new_id = context.new_id
        self._reporter = Reporter(context, "area")
        self._corners = corners
        self._footprint: _Footprint | None = None
        self._last: _Sight | None = None
        self._above_s: float | None = None
        self._below_s: float | None = None
        self._happening: _Happening | None = None

    def update(self, scene: Scene) -> list[Event]:
        """Take one picture's label maps; return what happened."""
        sight = self._look(scene)
        if sight is None:
            return []
        self._follow(sight)
        self._last = sight
        if self._happening is None:
            return self._start(sight, scene.info)
        self._happening.largest = max(self._happening.largest, sight.share)
        return self._end(sight, scene.info) or self._update(sight, scene.info)

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        """End what is going on, when it was last seen or, if it was about to end, when it was over."""
        events = []
        if self._happening is not None and self._last is not None:
            over_s = self._last.media_s if self._below_s is None else self._below_s
            events = [self._over(self._last, info, over_s, reason)]
        self._last = self._above_s = self._below_s = None
        return events

    def _look(self, scene: Scene) -> _Sight | None:
        """Count; None where the picture comes without the map."""
        found = self._map_of(scene)
        if found is None:
            return None
        if self._footprint is None or self._footprint.letterbox != found.letterbox:
            self._footprint = _footprint(self._corners, found.letterbox)
        return _Sight.count(found, self._options.classes, self._footprint, scene.info.media_s)

    def _map_of(self, scene: Scene) -> Segmentation | None:
        name, classes = self._options.map, self._options.classes
        for found in scene.segmentation:
            if found.name == name or (not name and set(classes) <= set(found.class_names)):
                return found
        return None

    def _follow(self, sight: _Sight) -> None:
        """Note since when enough is covered, and since when so little that it is over."""
        last, options = self._last, self._options
        if last is not None and sight.media_s - last.media_s > options.max_gap:
            last = self._above_s = self._below_s = None
        if sight.share < options.min_share:
            self._above_s = None
        elif self._above_s is None:
            self._above_s = _reached_s(last, sight, options.min_share)
        if sight.share > options.end_share or sight.share >= options.min_share:
            self._below_s = None
        elif self._below_s is None:
            self._below_s = _reached_s(last, sight, options.end_share)

    def _start(self, sight: _Sight, info: FrameInfo) -> list[Event]:
        options = self._options
        if self._above_s is None or info.media_s - self._above_s < options.min_duration - _ROUNDING:
            return []
        self._happening = _Happening(self._new_id(), self._above_s, info.media_s + options.update_every, sight.share)
        start_s = min(info.media_s, self._above_s + options.min_duration)
        return [self._event(sight, info, Phase.START, start_s, self._covered(sight, info))]

    def _update(self, sight: _Sight, info: FrameInfo) -> list[Event]:
        now = self._happening
        due = now is not None and self._options.update_every > 0 and info.media_s >= now.report_s - _ROUNDING
        if now is None or not due or self._below_s is not None:
            return []
        now.report_s = info.media_s + self._options.update_every
        return [self._event(sight, info, Phase.UPDATE, info.media_s, self._covered(sight, info))]

    def _end(self, sight: _Sight, info: FrameInfo) -> list[Event]:
        if self._below_s is None or info.media_s - self._below_s < self._options.leave_after - _ROUNDING:
            return []
        return [self._over(sight, info, self._below_s, "cleared")]

    def _over(self, sight: _Sight, info: FrameInfo, media_s: float, reason: str) -> Event:
        event = self._event(sight, info, Phase.END, media_s, {"reason": reason})
        self._happening = None
        return event

    def _covered(self, sight: _Sight, info: FrameInfo) -> dict[str, Any]:
        return {"polygons": sight.outlines(self._options.classes, info.size_wh)}

    def _event(self, sight: _Sight, info: FrameInfo, phase: Phase, media_s: float, data: dict[str, Any]) -> Event:
        now, options = self._happening, self._options
        assert now is not None
        evidence = {"share": round(sight.share, 4), "min_share": options.min_share}
        if phase is Phase.END:
            evidence |= {"max_share_end": options.end_share, "largest_share": round(now.largest, 4)}
        evidence |= {
            "pixels": sight.pixels,
            "zone_pixels": sight.footprint.pixels,
            "duration_s": round(max(0.0, (info.media_s if phase is Phase.START else media_s) - now.since_s), 3),
            "min_duration_s": options.min_duration,
        }
        data = {"zone": options.zone, "map": sight.found.name, "classes": list(options.classes), **data}
        return self._reporter.event(info, phase, media_s, None, data, evidence, now.id)


@dataclass(slots=True)
class _Happening:
    """What is going on: since when enough is covered, when to report it next, and the most that was covered."""

    id: str
    since_s: float
    report_s: float
    largest: float


@dataclass(frozen=True, slots=True, eq=False)
class _Footprint:
    """A zone on the raster of a label map: ``inside`` (h,w) bool is the map's part from ``origin_xy`` on."""

    letterbox: Letterbox
    origin_xy: tuple[int, int]
    inside: NDArray[np.bool_]
    pixels: int

    def cut(self, label_map: UInt8) -> UInt8:
        """Return the part of a label map that the zone's bounding box covers, as a view."""
        (x, y), (height, width) = self.origin_xy, self.inside.shape
        return label_map[y : y + height, x : x + width]


def _footprint(corners: Float64, letterbox: Letterbox) -> _Footprint:
    """Rasterise a zone, (P,2) in fractions of the picture: a pixel belongs to it if its centre does.

    A zone so small that it holds no centre is the pixel in its middle.
    """
    polygon = corners * letterbox.inner_wh + letterbox.offset_xy
    first = np.asarray(letterbox.offset_xy)
    last = first + letterbox.inner_wh
    low = np.clip(np.floor(polygon.min(0)), first, last - 1).astype(int)
    high = np.clip(np.ceil(polygon.max(0)), low + 1, last).astype(int)
    inside = _centres_inside(polygon, low, high)
    if not inside.any():
        low = np.clip(np.floor(polygon.mean(0)), first, last - 1).astype(int)
        inside = np.ones((1, 1), np.bool_)
    return _Footprint(letterbox, (int(low[0]), int(low[1])), inside, int(np.count_nonzero(inside)))


def _centres_inside(polygon: Float64, low: NDArray[np.int_], high: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Tell for each pixel (h,w) between two corners whether its centre lies inside a polygon (P,2)."""
    x, y = np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5
    rows = max(1, _PIXELS_AT_ONCE // len(x))
    bands = []
    for start in range(0, len(y), rows):
        band = np.stack(np.meshgrid(x, y[start : start + rows]), axis=-1).reshape(-1, 2)
        bands.append(points_in_polygon(band, polygon).reshape(-1, len(x)))
    return np.concatenate(bands)


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """What one picture's label map shows of the zone."""

    found: Segmentation
    footprint: _Footprint
    media_s: float
    pixels: int

    @classmethod
    def count(cls, found: Segmentation, classes: tuple[str, ...], footprint: _Footprint, media_s: float) -> _Sight:
        pixels = int(np.count_nonzero(_wanted(found, classes, footprint)))
        return cls(found, footprint, media_s, pixels)

    @property
    def share(self) -> float:
        """How much of the zone is covered, 0-1."""
        return self.pixels / self.footprint.pixels

    def outlines(self, classes: tuple[str, ...], source_wh: tuple[int, int]) -> list[list[list[float]]]:
        """Return the outer borders of what was counted, in source px, the largest first."""
        covered = _wanted(self.found, classes, self.footprint)
        letterbox, (x, y) = self.footprint.letterbox, self.footprint.origin_xy
        corners = np.array([[x, y], [x + covered.shape[1], y + covered.shape[0]]])
        region = (corners - letterbox.offset_xy) / letterbox.scale_xy
        masks = Masks(covered[None] - np.float32(0.5), region.astype(np.float32).reshape(1, 4))
        return [np.round(one, 1).tolist() for one in polygons(masks, 0, source_wh)[:_MAX_POLYGONS]]


def _wanted(found: Segmentation, classes: tuple[str, ...], footprint: _Footprint) -> NDArray[np.bool_]:
    """Tell which pixels (h,w) of a zone's bounding box lie in the zone and are of one of the classes."""
    table = np.zeros(256, np.bool_)
    table[: len(found.class_names)] = [name in classes for name in found.class_names]
    return np.asarray(table[footprint.cut(found.label_map)] & footprint.inside, np.bool_)


def _reached_s(last: _Sight | None, sight: _Sight, share: float) -> float:
    """Return when a share was reached, as if it had changed evenly since the last picture."""
    if last is None or last.share == sight.share:
        return sight.media_s
    passed = (share - last.share) / (sight.share - last.share)
    return last.media_s + min(max(passed, 0.0), 1.0) * (sight.media_s - last.media_s)
