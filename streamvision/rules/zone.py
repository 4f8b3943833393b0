"""zone: objects enter, stay in, and leave an area; one visit is one happening with start, update and end.

A visit survives what detectors do: flicker at the border, a second without detections, and a track that is lost and
found again under another id.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.geometry import polygon_depths
from streamvision.interfaces import Scene
from streamvision.rules.base import (
    Anchor,
    Float64,
    Memory,
    Reporter,
    RuleContext,
    Sight,
    Watch,
    anchor_points,
    corners_of,
    track_ref,
)
from streamvision.types import Event, FrameInfo, Phase
from streamvision.units import Seconds

_NEVER = float("nan")
_ROUNDING = 1e-6
_FORGET_S = 5.0
_FAR = 10.0
_NEAR = 0.75
"""A new track this close to where another one was lost, in object sizes, is the same object again."""

_COLUMNS = [
    ("depth", np.float64), ("inside_s", np.float64), ("border_s", np.float64), ("outside_s", np.float64),
    ("quiet_s", np.float64), ("report_s", np.float64),
    ("settled", np.bool_), ("started", np.bool_), ("muted", np.bool_),
]  # fmt: skip
_BLANK = {"depth": _NEVER, "inside_s": _NEVER, "border_s": _NEVER, "outside_s": _NEVER, "quiet_s": -np.inf}


class ZoneRule:
    """Reports visits to one zone; an `interfaces.Rule`.

    ``start``: a confirmed object has been inside for ``min_dwell``. ``update``: it still is, every ``update_every``.
    ``end``: it has left (``reason`` in the data: ``left``, ``lost`` from sight, or why the stream was closed).
    An event's time is when it happened, which lies a little before the picture that proved it; ``dwell_s`` in the
    evidence counts from the entry, and at the end to the moment of leaving or of being last seen.
    """

    class Options(BaseModel):
        """Spans are seconds of media time; ``classes`` empty means all."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        zone: str
        """Name of one of the stream's zones."""
        classes: tuple[str, ...] = ()
        """Which objects count; empty: all."""
        anchor: Anchor = Anchor.BOTTOM_CENTRE
        """The point of an object's box that has to be inside."""
        min_dwell: Seconds = 0.0
        """How long an object has to be inside before its visit starts; 0: at once."""
        update_every: Seconds = 60.0
        """How often a visit that lasts is reported again; 0: never."""
        margin: Annotated[float, Field(ge=0, le=1)] = 0.15
        """How far over the border an object must be to have come in or gone out for sure, in object sizes."""
        leave_after: Seconds = 1.0
        """How long an object has to be outside before its visit ends; coming back earlier continues it. Within the
        margin, it is also how long an object has to be inside before its visit begins."""
        lost_after: Seconds = 3.0
        """How long an object may be out of sight inside the zone before its visit ends; seen again, it continues."""
        cooldown: Seconds = 0.0
        """After a visit, the same object (or one that appears where it was lost) has no other one for this long."""

    def __init__(self, options: Options, context: RuleContext) -> None:
        """Raise `UsageError` if the stream has no such zone."""
        corners = corners_of("zone", options.zone, context.zones, context)
        self._options = options
        self._new_id = context.new_id
        self._area = _Area(corners)
        self._reporter = Reporter(context, "zone")
        self._watch = Watch(options.classes)
        self._memory = Memory(_COLUMNS, _BLANK)
        self._happenings: dict[int, str] = {}
        self._class_names: tuple[str, ...] = ()

    def update(self, scene: Scene) -> list[Event]:
        """Take one picture's tracks; return what happened, in order."""
        self._class_names = tuple(scene.class_names)
        mask, sight = self._watch.look(scene)
        if len(self._memory) == 0 and len(sight.ids) == 0:
            return []
        # A hair inside the picture, so that a zone that ends with it has an inside there.
        place = np.clip(anchor_points(sight.boxes, self._options.anchor), _ROUNDING, sight.limit - _ROUNDING)
        self._adopt(sight, place, scene.tracks.class_id[mask], scene.info.media_s)
        at = self._memory.align(sight.ids)
        self._move(at, sight, place, scene.info.media_s)
        self._watch.note(self._memory, at, scene, mask, sight)
        self._memory.rows["place"][at] = place
        events = self._ends(scene.info) + self._starts(at, sight, scene.info) + self._updates(scene.info)
        self._forget(scene.info.media_s)
        return events

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        """End every open visit; an object that was out of sight left when it was last seen."""
        rows = self._memory.rows
        events = [self._end(row, info, reason) for row in rows[rows["started"]]]
        self._memory.clear()
        return events

    def _move(self, at: NDArray[np.int64], sight: Sight, place: Float64, now_s: float) -> None:
        """Note who is inside and since when, who is outside and since when."""
        rows, options = self._memory.rows, self._options
        depth, deepest = self._area.depths(place, sight.limit)
        before, before_s = rows["depth"][at], rows["seen_s"][at]
        # A track at first sight was followed in secret before that, and has been here since.
        crossed_s = np.where(np.isnan(before), now_s - sight.age_s, _crossing_s(before, before_s, depth, now_s))
        margin = options.margin * sight.size
        inside_s = rows["inside_s"][at]
        inside_s[(depth < 0) & ~rows["settled"][at]] = _NEVER
        enters = np.isnan(inside_s) & (depth >= 0)
        inside_s[enters] = crossed_s[enters]
        rows["inside_s"][at] = inside_s
        rows["settled"][at] |= (depth >= np.minimum(margin, deepest / 2)) | (now_s - inside_s >= options.leave_after)
        rows["muted"][at] = np.where(enters, inside_s < rows["quiet_s"][at], rows["muted"][at])
        border_s = np.where((before >= 0) & (depth < 0), crossed_s, rows["border_s"][at])
        rows["border_s"][at] = border_s
        # It left when it stepped over the border, unless it stood within the margin, and so inside, before it went.
        went_on = (border_s >= before_s) | (now_s - border_s <= options.leave_after)
        left_s = np.where(went_on, border_s, before_s)
        known_s = rows["outside_s"][at]
        outside = ~np.isnan(inside_s) & (depth < -margin)
        rows["outside_s"][at] = np.where(outside, np.where(np.isnan(known_s), left_s, known_s), _NEVER)
        rows["depth"][at] = depth

    def _adopt(self, sight: Sight, place: Float64, class_id: NDArray[np.int32], now_s: float) -> None:
        """Let a new track continue the visit of an object that was lost where it appears."""
        rows = self._memory.rows
        fresh = self._memory.unknown(sight.ids)
        if not fresh.any() or len(rows) == 0:
            return
        wanted = ~np.isnan(rows["inside_s"]) | (rows["quiet_s"] > now_s)
        orphans = np.flatnonzero(wanted & ~np.isin(rows["id"], sight.ids))
        gaps = np.linalg.norm(rows["place"][orphans][:, None] - place[None], axis=2)
        reach = _NEAR * np.maximum(rows["size"][orphans][:, None], sight.size[None])
        alike = fresh[None] & (rows["class_id"][orphans][:, None] == class_id[None])
        gaps[(gaps > reach) | ~alike] = np.inf
        while gaps.size and np.isfinite(nearest := gaps.min()):
            old, new = np.argwhere(gaps == nearest)[0]
            self._rename(orphans[old], int(sight.ids[new]))
            gaps[old, :] = gaps[:, new] = np.inf
        self._memory.sort()

    def _rename(self, row: int, track: int) -> None:
        old = int(self._memory.rows["id"][row])
        self._memory.rows["id"][row] = track
        if old in self._happenings:
            self._happenings[track] = self._happenings.pop(old)

    def _starts(self, at: NDArray[np.int64], sight: Sight, info: FrameInfo) -> list[Event]:
        rows, options = self._memory.rows, self._options
        waiting = sight.confirmed & rows["settled"][at] & ~rows["started"][at] & ~rows["muted"][at]
        waiting &= np.isnan(rows["outside_s"][at])
        ready = waiting & (info.media_s - rows["inside_s"][at] >= options.min_dwell - _ROUNDING)
        events = []
        for index in at[ready]:
            row = rows[index]
            row["started"] = True
            row["report_s"] = info.media_s + options.update_every
            happening = self._happenings[int(row["id"])] = self._new_id()
            start_s = min(info.media_s, float(row["inside_s"]) + options.min_dwell)
            events.append(self._event(row, info, Phase.START, start_s, info.media_s, happening))
        return sorted(events, key=_when)

    def _updates(self, info: FrameInfo) -> list[Event]:
        rows, every = self._memory.rows, self._options.update_every
        if every == 0:
            return []
        due = rows["started"] & np.isnan(rows["outside_s"]) & (rows["report_s"] <= info.media_s + _ROUNDING)
        events = []
        for row in rows[due & (rows["seen_s"] == info.media_s)]:
            happening = self._happenings[int(row["id"])]
            events.append(self._event(row, info, Phase.UPDATE, info.media_s, info.media_s, happening))
        rows["report_s"][due] = info.media_s + every
        return events

    def _ends(self, info: FrameInfo) -> list[Event]:
        """End the visits of those who have been outside, or out of sight, for long enough."""
        rows, options = self._memory.rows, self._options
        left = info.media_s - rows["outside_s"] >= options.leave_after - _ROUNDING
        unseen = ~np.isnan(rows["inside_s"]) & ~left
        lost = unseen & (info.media_s - rows["seen_s"] > options.lost_after + _ROUNDING)
        events = []
        for why, which in (("left", left), ("lost", lost)):
            events += [self._end(row, info, why) for row in rows[which & rows["started"]]]
        over = left | lost
        # Nobody hears of a visit that was too short or muted; it only keeps a muted object muted.
        heard = over & (rows["started"] | rows["muted"])
        ended_s = np.where(left, rows["outside_s"], rows["seen_s"])
        rows["quiet_s"][heard] = ended_s[heard] + options.cooldown
        rows["inside_s"][over] = rows["outside_s"][over] = _NEVER
        rows["settled"][over] = rows["started"][over] = rows["muted"][over] = False
        return sorted(events, key=_when)

    def _end(self, row: np.void, info: FrameInfo, reason: str) -> Event:
        outside_s, seen_s = float(row["outside_s"]), float(row["seen_s"])
        end_s = seen_s if np.isnan(outside_s) else outside_s
        happening = self._happenings.pop(int(row["id"]))
        return self._event(row, info, Phase.END, end_s, end_s, happening, reason=reason)

    def _event(
        self, row: np.void, info: FrameInfo, phase: Phase, media_s: float, until_s: float, happening: str, **data: Any
    ) -> Event:
        dwell_s = max(0.0, until_s - float(row["inside_s"]))
        evidence = {"dwell_s": round(dwell_s, 3), "min_dwell_s": self._options.min_dwell}
        track = track_ref(row, self._class_names)
        data = {"zone": self._options.zone, **data}
        return self._reporter.event(info, phase, media_s, track, data, evidence, happening)

    def _forget(self, now_s: float) -> None:
        rows = self._memory.rows
        visiting = ~np.isnan(rows["inside_s"])
        self._memory.keep(visiting | (now_s - rows["seen_s"] <= _FORGET_S) | (rows["quiet_s"] > now_s))


class _Area:
    """A zone in picture heights. Its sides on the picture's own edge are no border: nobody is ever seen beyond."""

    def __init__(self, corners: Float64) -> None:
        """``corners`` (P,2) in fractions of the picture."""
        self._corners = corners
        following = np.roll(corners, -1, axis=0)
        on_edge = (corners == following) & ((corners == 0) | (corners == 1))
        self._walls = ~on_edge.any(axis=1)
        self._limit: Float64 | None = None
        self._deepest = 0.0

    def depths(self, place: Float64, limit: Float64) -> tuple[Float64, float]:
        """Return how deep (N,) points (N,2) lie inside, and how deep one can be, in a picture of size ``limit``."""
        polygon = self._corners * limit
        if self._limit is None or (limit != self._limit).any():
            self._limit = limit
            steps = np.linspace(0.01, 0.99, 50)
            grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) * limit
            self._deepest = float(polygon_depths(grid, polygon, self._walls).max(initial=0.0))
        depth = polygon_depths(place, polygon, self._walls)
        return np.clip(np.where(np.abs(depth) < _ROUNDING, 0.0, depth), -_FAR, _FAR), self._deepest


def _crossing_s(before: Float64, before_s: Float64, depth: Float64, now_s: float) -> Float64:
    """Return when the border was passed between two looks, as if the object had moved evenly."""
    passed = (before >= 0) != (depth >= 0)
    share = np.where(passed, before / np.where(passed, before - depth, 1.0), 1.0)
    return np.asarray(before_s + share * (now_s - before_s), np.float64)


def _when(event: Event) -> float:
    return event.media_s
