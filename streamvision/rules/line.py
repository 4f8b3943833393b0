"""line: objects cross a line; each true crossing counts exactly once, in its direction, and a return counts again.

A crossing is complete when an object that was clearly on one side is clearly on the other, and its path passed
between the ends of the line. What "clearly" means is the band: flicker on the line never counts, while an object that
jumps over the whole band between two pictures does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.geometry import line_offsets, line_positions
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

_NEVER = float("nan")
_ROUNDING = 1e-6
_FORGET_S = 5.0
_EDGE = 0.01
"""A box this close to the picture's edge, in picture heights, may be cut by it."""
_MOVED = 0.25
"""How far a new track must have come, in object sizes, for its velocity to tell where it was first seen."""

_COLUMNS = [
    ("offset", np.float64), ("side", np.int8), ("crossed_s", np.float64), ("crossed_at", np.float64, 2),
    ("whole", np.float64, 2), ("cut_side", np.int8),
]  # fmt: skip
_BLANK = {"offset": _NEVER, "crossed_s": _NEVER}


class Direction(StrEnum):
    """From the left of the line, looking from its first to its second point, to the right, or back."""

    A_TO_B = "a_to_b"
    B_TO_A = "b_to_a"


class Counted(StrEnum):
    """Which directions of crossing a rule reports."""

    A_TO_B = "a_to_b"
    B_TO_A = "b_to_a"
    BOTH = "both"


class LineRule:
    """Reports crossings of one line, by confirmed objects, as instants; an `interfaces.Rule`.

    The time of an event is when the path met the line, interpolated between pictures; the evidence holds the
    distance beyond the line and the band (picture heights), the place (0-1 of the picture) and the speed (px/s).
    """

    lasting: ClassVar[bool] = False

    class Options(BaseModel):
        """``classes`` empty means all."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        line: str
        """Name of one of the stream's lines."""
        classes: tuple[str, ...] = ()
        """Which objects count; empty: all."""
        direction: Counted = Counted.BOTH
        """``a_to_b``: from the left of the line, looking from its first to its second point, to the right."""
        anchor: Anchor = Anchor.BOTTOM_CENTRE
        """The point of an object's box that has to cross."""
        band: Annotated[float, Field(ge=0, le=1)] = 0.05
        """How far on one side of the line an object must be to be there for sure, in object sizes."""

    def __init__(self, options: Options, context: RuleContext) -> None:
        """Raise `UsageError` if the stream has no such line."""
        corners = corners_of("line", options.line, context.lines, context)
        self._options = options
        self._line = corners
        self._reporter = Reporter(context, "line")
        self._watch = Watch(options.classes)
        self._memory = Memory(_COLUMNS, _BLANK)
        self._limit = np.zeros(2)
        self._room = np.zeros(2)

    def update(self, scene: Scene) -> list[Event]:
        """Take one picture's tracks; return the crossings that they complete, in order."""
        mask, sight = self._watch.look(scene)
        if len(self._memory) == 0 and len(sight.ids) == 0:
            return []
        now_s = scene.info.media_s
        line = self._line * sight.limit
        at = self._memory.align(sight.ids)
        place = self._places(at, sight)
        band = self._bands(line, sight)
        velocity = scene.tracks.velocity[mask].astype(np.float64) / scene.info.size_wh[1]
        self._recall(at, sight, place, velocity, line, band, now_s)
        offset = line_offsets(place, line)
        self._trace(at, place, offset, now_s)
        crossed, side = self._judge(at, sight, offset, band)
        self._watch.note(self._memory, at, scene, mask, sight)
        self._memory.rows["place"][at] = place
        events = self._events(np.flatnonzero(crossed), at, side, offset, band, line, scene)
        self._memory.keep(now_s - self._memory.rows["seen_s"] <= _FORGET_S)
        return events

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        """Forget everything: a crossing is an instant, none is ever open."""
        self._memory.clear()
        return []

    def _places(self, at: NDArray[np.int64], sight: Sight) -> Float64:
        """Return the anchors (N,2); a box cut by the picture's edge goes on beyond it as far as it once was long."""
        rows = self._memory.rows
        low, high = sight.boxes[:, :2], sight.boxes[:, 2:]
        cut_low, cut_high = _cuts(sight)
        sides = rows["whole"][at]
        sides = np.where(cut_low | cut_high, sides, high - low)
        rows["whole"][at] = sides
        known = (sides > 0) & ~(cut_low & cut_high)
        longer_low = np.where(known & cut_low, np.minimum(low, high - sides), low)
        longer_high = np.where(known & cut_high, np.maximum(high, low + sides), high)
        place = anchor_points(np.concatenate([longer_low, longer_high], axis=1), self._options.anchor)
        return np.clip(place, 0.0, sight.limit)

    def _bands(self, line: Float64, sight: Sight) -> Float64:
        """Return the band (N,2) on the left and on the right; near the edge of the picture there is less room."""
        if (sight.limit != self._limit).any():
            self._limit = sight.limit
            self._room = np.array([_room(line, sight.limit, -1), _room(line, sight.limit, 1)])
        return np.minimum(self._options.band * sight.size[:, None], self._room / 2)

    def _recall(
        self, at: NDArray[np.int64], sight: Sight, place: Float64, velocity: Float64, line: Float64, band: Float64,
        now_s: float,
    ) -> None:  # fmt: skip
        """Give tracks at first sight a past: where they come from by their velocity, or by the edge that cuts them."""
        rows = self._memory.rows
        fresh = np.isnan(rows["offset"][at])
        if not fresh.any():
            return
        way = velocity * sight.age_s[:, None]
        moved = np.hypot(way[:, 0], way[:, 1]) >= _MOVED * sight.size
        cut_low, cut_high = _cuts(sight)
        entry = np.where(cut_low & ~cut_high, 0.0, np.where(cut_high & ~cut_low, sight.limit, place))
        start = np.where(moved[:, None], np.clip(place - way, 0.0, sight.limit), entry)
        new = at[fresh]
        rows["seen_s"][new] = now_s - sight.age_s[fresh]
        rows["place"][new] = start[fresh]
        rows["offset"][new] = line_offsets(start[fresh], line)
        rows["side"][new] = np.where(moved, _sure_side(line_offsets(start, line), band), 0)[fresh]
        rows["cut_side"][new] = _sure_side(line_offsets(entry, line), band)[fresh]

    def _trace(self, at: NDArray[np.int64], place: Float64, offset: Float64, now_s: float) -> None:
        """Note when and where the path last met the line, or its extension."""
        rows = self._memory.rows
        before = rows["offset"][at]
        met = (before >= 0) != (offset >= 0)
        share = np.where(met, before / np.where(met, before - offset, 1.0), 0.0)
        met_s = rows["seen_s"][at] + share * (now_s - rows["seen_s"][at])
        met_at = rows["place"][at] + share[:, None] * (place - rows["place"][at])
        rows["crossed_s"][at] = np.where(met, met_s, rows["crossed_s"][at])
        rows["crossed_at"][at] = np.where(met[:, None], met_at, rows["crossed_at"][at])
        rows["offset"][at] = offset

    def _judge(
        self, at: NDArray[np.int64], sight: Sight, offset: Float64, band: Float64
    ) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
        """Return who has completed a crossing (N,), and on which side everybody surely is (N,): -1, 1, or 0."""
        rows = self._memory.rows
        now, last, cut = _sure_side(offset, band), rows["side"][at], rows["cut_side"][at]
        # Came in over the edge, beyond the line; believed once it was seen whole: a parked car that the edge cuts
        # never is, however often its track begins anew.
        whole = (rows["whole"][at] > 0).all(axis=1)
        crossed = sight.confirmed & (now != 0) & ((last == -now) | ((cut == -now) & whole))
        settled = (now != 0) & (sight.confirmed | (last == 0))
        rows["side"][at] = np.where(settled, now, last)
        rows["cut_side"][at] = np.where(((now != 0) & (now == cut)) | crossed, 0, cut)
        return crossed, now

    def _events(
        self, crossed: NDArray[np.intp], at: NDArray[np.int64], side: NDArray[np.int8], offset: Float64, band: Float64,
        line: Float64, scene: Scene,
    ) -> list[Event]:  # fmt: skip
        events = []
        for number in crossed:
            row = self._memory.rows[at[number]]
            direction = Direction.A_TO_B if side[number] > 0 else Direction.B_TO_A
            along = float(line_positions(row["crossed_at"][None], line)[0])
            wanted = self._options.direction in (Counted.BOTH, direction)
            if wanted and -_ROUNDING <= along <= 1 + _ROUNDING:
                sure = float(band[number, int(side[number] > 0)])
                events.append(self._event(row, direction, float(abs(offset[number])), sure, scene))
        return sorted(events, key=lambda event: event.media_s)

    def _event(self, row: np.void, direction: Direction, beyond: float, band: float, scene: Scene) -> Event:
        width, height = scene.info.size_wh
        x, y = row["crossed_at"].tolist()
        evidence: dict[str, Any] = {
            "distance": round(beyond, 4),
            "band": round(band, 4),
            "point": [round(x * height / width, 4), round(y, 4)],
            "speed_px_s": round(float(np.hypot(*row["velocity"])), 1),
        }
        track = track_ref(row, scene.class_names)
        data = {"line": self._options.line, "direction": str(direction)}
        return self._reporter.event(scene.info, Phase.INSTANT, float(row["crossed_s"]), track, data, evidence)


def _sure_side(offset: Float64, band: Float64) -> NDArray[np.int8]:
    """Return on which side (N,) of the line something surely is: 1 right, -1 left, 0 within the band (N,2)."""
    return np.asarray((offset > band[:, 1]).astype(np.int8) - (offset < -band[:, 0]).astype(np.int8), np.int8)


def _cuts(sight: Sight) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which boxes the left and top (N,2), and the right and bottom (N,2) edges of the picture cut."""
    return sight.boxes[:, :2] <= _EDGE, sight.boxes[:, 2:] >= sight.limit - _EDGE


def _room(line: Float64, limit: Float64, side: int) -> float:
    """Return how far the picture goes beyond a line on one side (1 right, -1 left), where it goes farthest."""
    dx, dy = line[1] - line[0]
    ahead = np.array([-dy, dx]) * side / np.hypot(dx, dy)
    points = line[0] + np.linspace(0.0, 1.0, 9)[:, None] * (line[1] - line[0])
    border = np.where(ahead > 0, limit, 0.0)
    ways = np.where(np.abs(ahead) < _ROUNDING, np.inf, (border - points) / np.where(ahead == 0, 1.0, ahead))
    return float(ways.min(axis=1).max())
