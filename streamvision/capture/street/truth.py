"""The street's truth: what a perfect observer sees, and which crossings and stays it would report.

Anchors are the bottom centres of the boxes that a perfect detector would draw: of what is inside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.street.backdrop import backdrop
from streamvision.capture.street.figures import stencil
from streamvision.capture.street.render import Seen, seen
from streamvision.capture.street.view import View
from streamvision.types import UInt8

Point = tuple[float, float]
_STEP_S = 0.1
"""How finely time is searched; a crossing is then interpolated within a step."""


@dataclass(frozen=True, slots=True)
class TrueBox:
    """One actor in the picture: xyxy px clipped to it, velocity of the box's bottom centre in px/s.

    ``visible`` is the share of its pixels inside the picture that nothing hides, 1.0 unless asked for.
    """

    id: int
    kind: str
    xyxy: tuple[float, float, float, float]
    velocity: tuple[float, float]
    visible: float = 1.0


@dataclass(frozen=True, slots=True)
class TrueCrossing:
    """Somebody crosses a line; ``direction`` as in the events: ``a_to_b`` from its left to its right."""

    time_s: float
    direction: str
    id: int
    kind: str


@dataclass(frozen=True, slots=True)
class TrueStay:
    """Somebody is inside a zone from ``start_s`` to ``end_s``; open ends are cut at the asked-for span."""

    start_s: float
    end_s: float
    id: int
    kind: str

    @property
    def dwell_s(self) -> float:
        """Return how long it lasts."""
        return self.end_s - self.start_s


class StreetTruth:
    """The truth of one street for one picture size; times count from ``start_s``, the film's first picture."""

    def __init__(self, seed: int, size_wh: tuple[int, int], start_s: float = 0.0) -> None:
        self.seed = seed
        self.start_s = start_s
        self._view = View(size_wh)
        self._occluders: tuple[tuple[float, int, int, UInt8], ...] | None = None

    def boxes(self, media_s: float, *, visibility: bool = False) -> list[TrueBox]:
        """Return every actor that is in the picture; with ``visibility`` also how much of each can be seen."""
        crowd = self._crowd(media_s)
        soon = {one.actor.id: _anchor(one) for one in self._crowd(media_s + 0.02)}
        shares = self._visible(crowd) if visibility else [1.0] * len(crowd)
        return [
            TrueBox(one.actor.id, one.actor.look.kind.value, one.xyxy, _velocity(one, soon), share)
            for one, share in zip(crowd, shares, strict=True)
        ]

    def crossings(
        self, line: Sequence[Point], duration_s: float, *, kinds: Sequence[str] = (), min_visible: float = 0.0
    ) -> list[TrueCrossing]:
        """Return all crossings of a line ((x,y), (x,y); 0-1) within a duration, in order of time.

        Those of whom less than ``min_visible`` can be seen at that moment are left out.
        """
        ends = np.asarray(line, np.float64)
        found = [
            crossing
            for path in self._paths(duration_s, kinds)
            for crossing in _path_crossings(path, ends)
            if min_visible <= 0 or self._visible_share(path.id, crossing.time_s) >= min_visible
        ]
        return sorted(found, key=lambda crossing: crossing.time_s)

    def stays(
        self, zone: Sequence[Point], duration_s: float, *, kinds: Sequence[str] = (), min_dwell_s: float = 0.0
    ) -> list[TrueStay]:
        """Return every stay of at least ``min_dwell_s`` inside a polygon (n,2; 0-1), in order of its start."""
        polygon = np.asarray(zone, np.float32)
        found = [stay for path in self._paths(duration_s, kinds) for stay in _path_stays(path, polygon)]
        return sorted((stay for stay in found if stay.dwell_s >= min_dwell_s), key=lambda stay: stay.start_s)

    def _crowd(self, media_s: float) -> list[Seen]:
        return seen(self.seed, self._view, self.start_s + media_s)

    def _paths(self, duration_s: float, kinds: Sequence[str]) -> list[_Path]:
        """Return where everybody's anchor is at every step, in 0-1 of the picture; gaps start a new path."""
        paths: dict[int, _Path] = {}
        done: list[_Path] = []
        for step in range(int(np.ceil(duration_s / _STEP_S)) + 1):
            time_s = min(step * _STEP_S, duration_s)
            crowd = {one.actor.id: one for one in self._crowd(time_s) if _wanted(one, kinds)}
            done += [paths.pop(left) for left in list(paths) if left not in crowd]
            for key, one in crowd.items():
                path = paths.setdefault(key, _Path(key, one.actor.look.kind.value, [], []))
                path.times_s.append(time_s)
                path.points.append(np.asarray(_anchor(one)) / self._view.size_wh)
        return done + list(paths.values())

    def _visible_share(self, identity: int, media_s: float) -> float:
        return next((box.visible for box in self.boxes(media_s, visibility=True) if box.id == identity), 0.0)

    def _visible(self, crowd: Sequence[Seen]) -> list[float]:
        """Paint everybody's number from back to front and count what is left of each."""
        canvas = np.zeros(self._view.size_wh[::-1], np.uint8)
        whole = []
        for number, one in enumerate(crowd, start=1):
            alone = np.zeros_like(canvas)
            stencil(alone, one.placed)
            whole.append(int(np.count_nonzero(alone)))
            canvas[alone > 0] = number
            self._hide(canvas, number, one)
        return [int(np.count_nonzero(canvas == n)) / max(count, 1) for n, count in enumerate(whole, start=1)]

    def _hide(self, canvas: UInt8, number: int, one: Seen) -> None:
        if self._occluders is None:
            occluders = backdrop(self.seed, self._view).occluders
            self._occluders = tuple((each.depth_m, each.left, each.top, each.cover) for each in occluders)
        for depth_m, left, top, cover in self._occluders:
            if depth_m < one.placed.depth_m:
                part = canvas[top : top + cover.shape[0], left : left + cover.shape[1]]
                part[(cover > 127) & (part == number)] = 0


@dataclass(frozen=True, slots=True)
class _Path:
    id: int
    kind: str
    times_s: list[float]
    points: list[NDArray[np.float64]]


def _wanted(one: Seen, kinds: Sequence[str]) -> bool:
    return not kinds or one.actor.look.kind.value in kinds


def _anchor(one: Seen) -> Point:
    x1, _, x2, y2 = one.xyxy
    return (x1 + x2) / 2, y2


def _velocity(one: Seen, soon: dict[int, Point]) -> tuple[float, float]:
    now = _anchor(one)
    then = soon.get(one.actor.id, now)
    return (then[0] - now[0]) / 0.02, (then[1] - now[1]) / 0.02


def _side(points: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which side (n,) of the line from its first to its second end: below 0 is left of it, with y down."""
    along, towards = ends[1] - ends[0], points - ends[0]
    return np.asarray(along[0] * towards[:, 1] - along[1] * towards[:, 0])


def _path_crossings(path: _Path, ends: NDArray[np.float64]) -> list[TrueCrossing]:
    """Find sign changes where the way crosses between the ends; a way back within the same step is none."""
    points = np.asarray(path.points)
    side = _side(points, ends)
    found = []
    for index in np.flatnonzero((side[:-1] < 0) != (side[1:] < 0)):
        share = side[index] / (side[index] - side[index + 1])
        where = points[index] + (points[index + 1] - points[index]) * share
        if 0 <= float((where - ends[0]) @ (ends[1] - ends[0])) <= float(np.sum((ends[1] - ends[0]) ** 2)):
            time_s = path.times_s[index] + (path.times_s[index + 1] - path.times_s[index]) * float(share)
            direction = "a_to_b" if side[index] < 0 else "b_to_a"
            found.append(TrueCrossing(time_s, direction, path.id, path.kind))
    return found


def _path_stays(path: _Path, polygon: NDArray[np.float32]) -> list[TrueStay]:
    inside = np.array([cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0 for x, y in path.points])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [
        TrueStay(path.times_s[start], path.times_s[stop - 1], path.id, path.kind)
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
