"""Who is where in the street at any time: a pure function of (seed, time).

Every lane is a timetable of slots. What happens in slot k of a lane follows from (seed, lane, k) alone, so any
moment can be asked for, in any order, without a history. Slots keep the head-ways that real traffic keeps, so
that a counting line at `LINE_X` is passed by one vehicle per lane at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

LINE_X = -2.5
"""Where the counting line of the demo lies, in metres along the street."""
KERB_NEAR, KERB_FAR = 0.0, 12.8
STANDS_X = (-6.2, -3.9, -1.6, 0.7)
STANDS_Y = -7.1
"""Where people wait in the plaza."""
PLAZA = ((-8.4, -8.5), (2.6, -8.5), (2.6, -5.6), (-8.4, -5.6))
"""The waiting area on the ground; those who only pass by stay out of it."""
_HALF_LENGTH = 34.0
"""Half of the length of street in which anything exists; everything beyond is out of the picture."""


class Kind(StrEnum):
    """What an actor is, in the words of a detector."""

    PERSON = "person"
    CAR = "car"
    BICYCLE = "bicycle"


@dataclass(frozen=True, slots=True)
class Look:
    """What stays the same about an actor: its body, its clothes or paint (BGR), its size in metres."""

    kind: Kind
    model: int
    paint: tuple[int, int, int]
    second: tuple[int, int, int]
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    height_m: float


@dataclass(frozen=True, slots=True)
class Actor:
    """One moving thing at one moment: position on the ground in metres, heading in radians, metres covered.

    ``stride`` is how much of a full step a person takes: 0 standing, 1 walking.
    """

    id: int
    look: Look
    x: float
    y: float
    heading: float
    covered_m: float
    stride: float


@dataclass(frozen=True, slots=True)
class _Lane:
    """A timetable: about one actor every ``period_s``, passing `LINE_X` at its own time."""

    number: int
    kind: Kind
    y: float
    direction: int
    period_s: float
    offset_s: float
    jitter_s: float
    presence: float
    speed_m_s: tuple[float, float]
    follow: float = 0.0
    """How often a second one follows closely."""


_LANES = (
    _Lane(1, Kind.CAR, 3.6, 1, 8.4, 1.0, 0.5, 0.9, (6.6, 7.8), 0.4),
    _Lane(2, Kind.CAR, 9.3, -1, 8.4, 5.2, 0.5, 0.9, (6.6, 7.8), 0.4),
    _Lane(3, Kind.BICYCLE, 1.05, 1, 25.2, 6.3, 0.3, 0.85, (4.0, 5.0)),
    _Lane(4, Kind.BICYCLE, 11.9, -1, 25.2, 10.4, 0.3, 0.85, (4.0, 5.0)),
    _Lane(5, Kind.PERSON, -2.7, 1, 17.0, 3.0, 4.0, 0.8, (1.2, 1.55)),
    _Lane(6, Kind.PERSON, -3.4, -1, 19.0, 9.0, 4.0, 0.8, (1.2, 1.55)),
    _Lane(7, Kind.PERSON, 14.3, 1, 16.0, 1.0, 4.0, 0.8, (1.2, 1.55)),
    _Lane(8, Kind.PERSON, 15.5, -1, 18.0, 11.0, 4.0, 0.8, (1.2, 1.55)),
)
_FOLLOW_S = 2.2
_WAITERS = 9
_WAIT_PERIOD_S = 14.0
_FIRST_WAITER = 1
"""The plaza is empty at time 0: nobody can know who has been standing there before the first picture."""
_LONGEST_WAIT_S = 2 * _WAIT_PERIOD_S + 12.0

_PAINTS = (
    (236, 236, 232), (70, 66, 62), (60, 44, 170), (150, 92, 38), (176, 172, 168), (112, 138, 60), (48, 128, 206),
    (96, 60, 36), (206, 200, 190), (40, 38, 40),
)  # fmt: skip
_CLOTHES = (
    (44, 62, 190), (170, 96, 40), (64, 150, 70), (214, 214, 220), (50, 44, 44), (60, 170, 226), (138, 58, 110),
    (180, 160, 60), (112, 120, 216),
)  # fmt: skip
_TROUSERS = ((96, 60, 40), (52, 48, 46), (92, 110, 130), (130, 96, 64), (60, 74, 92))
_SKINS = ((160, 190, 230), (118, 154, 206), (74, 104, 158), (48, 66, 102))
_HAIRS = ((28, 34, 46), (40, 66, 104), (92, 150, 196), (150, 150, 152), (22, 22, 26))


def actors(seed: int, t_s: float) -> list[Actor]:
    """Return everybody who is in the street at a time, in no special order; ids never return."""
    everybody = [actor for lane in _LANES for actor in _lane_actors(seed, lane, t_s)]
    return everybody + list(_waiting(seed, t_s))


def _lane_actors(seed: int, lane: _Lane, t_s: float) -> Iterator[Actor]:
    reach = _HALF_LENGTH / lane.speed_m_s[0] + lane.jitter_s + _FOLLOW_S
    first = int(np.floor((t_s - lane.offset_s - reach) / lane.period_s))
    last = int(np.ceil((t_s - lane.offset_s + reach) / lane.period_s))
    for slot in range(first, last + 1):
        for ride in _slot(seed, lane, slot):
            distance = (t_s - ride.at_s) * ride.speed_m_s
            if abs(distance) < _HALF_LENGTH:
                yield _riding(lane, ride, distance)


@dataclass(frozen=True, slots=True)
class _Ride:
    id: int
    look: Look
    at_s: float
    speed_m_s: float
    sideways_m: float


@lru_cache(maxsize=4096)
def _slot(seed: int, lane: _Lane, slot: int) -> tuple[_Ride, ...]:
    rng = _random(seed, lane.number, slot)
    if rng.random() >= lane.presence:
        return ()
    at = slot * lane.period_s + lane.offset_s + rng.uniform(-1, 1) * lane.jitter_s
    speed = rng.uniform(*lane.speed_m_s)
    count = 1 + int(rng.random() < lane.follow)
    aside = 0.12 if lane.kind is Kind.CAR else 0.2
    return tuple(
        _Ride(_identity(lane.number, slot, nth), _look(rng, lane.kind), at + nth * _FOLLOW_S, speed,
              float(rng.uniform(-aside, aside)))
        for nth in range(count)
    )  # fmt: skip


def _riding(lane: _Lane, ride: _Ride, distance: float) -> Actor:
    heading = 0.0 if lane.direction > 0 else np.pi
    x = LINE_X + lane.direction * distance
    return Actor(ride.id, ride.look, x, lane.y + ride.sideways_m, heading, distance + _HALF_LENGTH, 1.0)


@dataclass(frozen=True, slots=True)
class _Visit:
    """Somebody who comes to the plaza, waits, and goes: times at the corners of the way."""

    id: int
    look: Look
    corners: tuple[tuple[float, float], ...]
    times_s: tuple[float, ...]


def _waiting(seed: int, t_s: float) -> Iterator[Actor]:
    longest = 2 * (_HALF_LENGTH + 12) / 1.2 + _LONGEST_WAIT_S
    first = max(_FIRST_WAITER, int(np.floor((t_s - longest) / _WAIT_PERIOD_S)))
    for slot in range(first, int(np.ceil((t_s + longest) / _WAIT_PERIOD_S)) + 1):
        visit = _visit(seed, slot)
        if visit is not None and visit.times_s[0] <= t_s < visit.times_s[-1]:
            yield _visiting(visit, t_s)


@lru_cache(maxsize=1024)
def _visit(seed: int, slot: int) -> _Visit | None:
    rng = _random(seed, _WAITERS, slot)
    if rng.random() > 0.85:
        return None
    speed, look = rng.uniform(1.2, 1.45), _look(rng, Kind.PERSON)
    corners = _way(slot, *rng.choice([-1, 1], 2).tolist())
    legs = np.hypot(*np.diff(corners, axis=0).T) / speed
    arrives_s = slot * _WAIT_PERIOD_S + rng.uniform(0, 2.0)
    legs[2] = _leaves_s(rng, slot) - arrives_s
    start = arrives_s - legs[:2].sum()
    times = start + np.concatenate([[0.0], np.cumsum(legs)])
    return _Visit(_identity(_WAITERS, slot, 0), look, corners, tuple(times.tolist()))


def _leaves_s(rng: np.random.Generator, slot: int) -> float:
    """Return when somebody leaves: 0 to 2 periods later, and when nobody else comes or leaves."""
    later = int(rng.integers(3))
    return (slot + later) * _WAIT_PERIOD_S + 3.0 + 2 * later + float(rng.uniform(0, 0.5))


def _way(slot: int, came_from: float, goes_to: float) -> tuple[tuple[float, float], ...]:
    """Return the corners of a way: along the pavement, down to the stand, (wait), up again, along and away."""
    x = STANDS_X[slot * 3 % len(STANDS_X)]
    y_in, y_out = (-3.4 if side > 0 else -2.7 for side in (came_from, -goes_to))
    return (
        (came_from * _HALF_LENGTH, y_in), (x + came_from * 1.4, y_in), (x, STANDS_Y),
        (x, STANDS_Y), (x + goes_to * 1.4, y_out), (goes_to * _HALF_LENGTH, y_out),
    )  # fmt: skip


def _visiting(visit: _Visit, t_s: float) -> Actor:
    leg = int(np.searchsorted(visit.times_s, t_s, side="right")) - 1
    begin, end = visit.times_s[leg], visit.times_s[leg + 1]
    (x0, y0), (x1, y1) = visit.corners[leg], visit.corners[leg + 1]
    share = (t_s - begin) / max(end - begin, 1e-9)
    walked = float(np.hypot(x1 - x0, y1 - y0))
    x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
    covered = 1.35 * (t_s - visit.times_s[0]) if walked else 0.0
    return Actor(visit.id, visit.look, x, y, _heading(visit, t_s), covered, _stride(visit, t_s))


def _heading(visit: _Visit, t_s: float) -> float:
    """Turn within half a second at each corner; who waits faces the street."""
    headings = np.array([_leg_heading(visit, leg) for leg in range(len(visit.corners) - 1)])
    window = np.linspace(-0.25, 0.25, 7) + t_s
    legs = np.clip(np.searchsorted(visit.times_s, window, side="right") - 1, 0, len(headings) - 1)
    return float(np.angle(np.exp(1j * headings[legs]).mean()))


def _leg_heading(visit: _Visit, leg: int) -> float:
    (x0, y0), (x1, y1) = visit.corners[leg], visit.corners[leg + 1]
    return float(np.arctan2(y1 - y0, x1 - x0)) if (x0, y0) != (x1, y1) else np.pi / 2


def _stride(visit: _Visit, t_s: float) -> float:
    """Ease the gait in and out around the time of standing."""
    stop, go = visit.times_s[2], visit.times_s[3]
    return float(np.clip(max(stop + 0.2 - t_s, t_s - go + 0.2) / 0.4, 0, 1))


def _identity(lane: int, slot: int, nth: int) -> int:
    return lane * 10_000_000 + (slot + 1_000_000) * 2 + nth


def _random(seed: int, lane: int, slot: int) -> np.random.Generator:
    return np.random.default_rng([seed, lane, slot + 1_000_000])


def _look(rng: np.random.Generator, kind: Kind) -> Look:
    paints = _PAINTS if kind is Kind.CAR else _CLOTHES
    return Look(
        kind,
        int(rng.choice(3, p=(0.5, 0.3, 0.2))),
        paints[rng.integers(len(paints))],
        _TROUSERS[rng.integers(len(_TROUSERS))],
        _SKINS[rng.integers(len(_SKINS))],
        _HAIRS[rng.integers(len(_HAIRS))],
        float(rng.uniform(1.6, 1.88)),
    )


def sunlight(seed: int, t_s: float) -> float:
    """Return how much of the sun comes through the clouds, 0..1; it changes over tens of seconds."""
    phases = _random(seed, 0, 0).uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * t_s / np.array([53.0, 31.0, 97.0]) + phases)
    return float(1 / (1 + np.exp(-3.0 * (waves @ [0.8, 0.35, 0.5] + 0.6))))
