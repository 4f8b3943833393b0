"""Who is where on the drive at any time: a pure function of (seed, time), in metres along an endless road.

The road keeps one cross-section. Everything that stands beside it or drives on it belongs to a numbered slot whose
content follows from (seed, slot) alone, so that any moment can be asked for, in any order, without a history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamvision.capture.drawn.camera import Points

LANE_M = 3.5
"""Width of the own lane (its middle is d 0) and of the oncoming one to its left."""
ZEBRA_EVERY_M, ZEBRA_M = 260.0, 3.0
VIEW_M = 130.0
EDGE_M, LEFT_M = LANE_M / 2 + 1.2, -1.5 * LANE_M - 0.6
"""The carriageway's edges: a strip for bicycles lies right of the own lane."""
_AHEAD, _TOWARDS = np.pi / 2, -np.pi / 2
_LEAD_S = 80.0
_MEET_S = 5.0
"""How often something may come the other way."""
_DRIFT_S = 40.0
_WALK_M_S = 1.45
_BRAKES_M = 18.0
"""How far before the zebra the own vehicle is when somebody has crossed it."""


@dataclass(frozen=True, slots=True)
class Drive:
    """The own vehicle's motion: speed = mean + swing * sin(2 pi t / wave + phase), and the road's bends and grades."""

    seed: int
    mean_m_s: float
    swing_m_s: float
    wave_s: float
    phase: float
    bends: tuple[tuple[float, float, float], ...]
    grades: tuple[tuple[float, float, float], ...]
    """(amplitude, wavelength / 2 pi in metres, phase) of the sines that curvature (1/m) and grade are made of."""

    @classmethod
    def of(cls, seed: int) -> Drive:
        """Draw the drive of a seed."""
        rng = np.random.default_rng([seed, 41])
        bends = tuple(
            (float(rng.uniform(0.3, 1) / 700), float(rng.uniform(25, 70)), float(rng.uniform(0, 6))) for _ in "ab"
        )
        grades = tuple(
            (float(rng.uniform(0.2, 1) * 0.012), float(rng.uniform(30, 90)), float(rng.uniform(0, 6))) for _ in "ab"
        )
        return cls(seed, float(rng.uniform(11, 14)), float(rng.uniform(1, 2.5)), float(rng.uniform(18, 30)),
                   float(rng.uniform(0, 6)), bends, grades)  # fmt: skip

    def travelled(self, t_s: float) -> float:
        """Return the metres covered since time 0."""
        turn = 2 * np.pi / self.wave_s
        waved = np.cos(self.phase) - np.cos(turn * t_s + self.phase)
        return float(self.mean_m_s * t_s + self.swing_m_s / turn * waved)

    def speed(self, t_s: float) -> float:
        """Return the own speed in m/s."""
        return float(self.mean_m_s + self.swing_m_s * np.sin(2 * np.pi * t_s / self.wave_s + self.phase))

    def arrival(self, at_m: float) -> float:
        """Return when the own vehicle is at a place, by Newton's method."""
        t_s = at_m / self.mean_m_s
        for _ in range(12):
            t_s -= (self.travelled(t_s) - at_m) / self.speed(t_s)
        return t_s

    def bend(self, at_m: Points) -> Points:
        """Return the curvature (1/m, positive to the right) at places."""
        return np.asarray(sum(size * np.sin(at_m / wave + phase) for size, wave, phase in self.bends))

    def grade(self, at_m: Points) -> Points:
        """Return the slope of the road at places."""
        return np.asarray(sum(size * np.sin(at_m / wave + phase) for size, wave, phase in self.grades))

    def bearing(self, at_m: float) -> float:
        """Return which way, in radians, the road goes at a place."""
        return float(sum(-size * wave * np.cos(at_m / wave + phase) for size, wave, phase in self.bends))

    def offset(self, t_s: float) -> float:
        """Return the own lateral offset from the middle of the lane: a slight weave, and now and then a drift."""
        weave = 0.12 * np.sin(2 * np.pi * t_s / 17 + self.phase)
        number = int(np.floor(t_s / _DRIFT_S))
        return float(weave + sum(self._drift(each, t_s) for each in (number - 1, number, number + 1)))

    def _drift(self, number: int, t_s: float) -> float:
        rng = np.random.default_rng([self.seed, 42, number & 0x7FFFFFFF])
        middle = (number + rng.uniform(0.3, 0.8)) * _DRIFT_S
        reach = rng.choice([-1, 1]) * rng.uniform(0.7, 1.15)
        return float(reach * np.exp(-(((t_s - middle) / 1.7) ** 2)))

    def drifting(self, t_s: float) -> float:
        """Return how fast the offset grows, in m/s."""
        return (self.offset(t_s + 0.01) - self.offset(t_s - 0.01)) / 0.02


@dataclass(frozen=True, slots=True)
class Actor:
    """Something of a class: ``figure`` draws its body, s ahead of the camera and d in metres, turn in radians
    (pi/2 along the road), speed along the road in m/s. The lead's s is that of its rear, else of the middle."""

    id: int
    name: str
    figure: int
    s: float
    d: float
    turn: float
    speed_m_s: float


def lead_gap(drive: Drive, t_s: float) -> float:
    """Return how far ahead the lead vehicle's rear is: it brakes and accelerates, draws away and is caught up with."""
    away = 60.0 * max(0.0, abs(t_s / _LEAD_S % 1.0 - 0.5) * 2 - 0.45) ** 2 / 0.3025
    return float(17.0 + away + 5.0 * np.sin(2 * np.pi * t_s / 14.0 + drive.phase))


def actors(drive: Drive, t_s: float) -> list[Actor]:
    """Return everybody of a class around the own vehicle at a time, in no special order; ids never return."""
    own = drive.travelled(t_s)
    return [*_lead(drive, t_s), *_oncoming(drive, own, t_s), *_riders(drive, own, t_s), *_walkers(drive, own, t_s),
            *_crosser(drive, own, t_s), *_signals(drive, own)]  # fmt: skip


def _lead(drive: Drive, t_s: float) -> Iterator[Actor]:
    rng = np.random.default_rng([drive.seed, 44])
    closing = (lead_gap(drive, t_s + 0.01) - lead_gap(drive, t_s - 0.01)) / 0.02
    yield Actor(1, "car", int(rng.integers(400)), lead_gap(drive, t_s), float(rng.uniform(-0.2, 0.2)), _AHEAD,
                drive.speed(t_s) + closing)  # fmt: skip


def _oncoming(drive: Drive, own: float, t_s: float) -> Iterator[Actor]:
    first = int(np.floor((t_s - 2) / _MEET_S)) - 1
    for number in range(first, first + int(14 / _MEET_S) + 3):
        rng = _slot(drive, 45, number)
        present, name = (
            rng.random() < 0.7,
            str(rng.choice(["car", "truck", "bus", "motorcycle"], p=[0.7, 0.13, 0.09, 0.08])),
        )
        meets_s, speed = _MEET_S * (number + 0.5 * rng.random()), float(rng.uniform(10, 14))
        s = drive.travelled(meets_s) - speed * (t_s - meets_s) - own
        if present and -20 < s < VIEW_M:
            d = -LANE_M + float(rng.uniform(-0.25, 0.25))
            yield Actor(_id(2, number), name, int(rng.integers(400)), s, d, _TOWARDS, -speed)


def _riders(drive: Drive, own: float, t_s: float) -> Iterator[Actor]:
    for number, s in _moving(own, 190.0, 4.5, t_s):
        rng = _slot(drive, 46, number)
        if rng.random() < 0.7:
            yield Actor(_id(3, number), "bicycle", int(rng.integers(400)), s, EDGE_M - 0.45, _AHEAD, 4.5)


def _walkers(drive: Drive, own: float, t_s: float) -> Iterator[Actor]:
    for kind, speed in ((4, 1.3), (5, -1.3)):
        for number, s in _moving(own, 26.0, speed, t_s):
            rng = _slot(drive, 46 + kind, number)
            if rng.random() < 0.4:
                side = 1 if rng.random() < 0.5 else -1
                d = side * float(rng.uniform(0.5, 2.3)) + (EDGE_M if side > 0 else LEFT_M)
                yield Actor(
                    _id(kind, number), "person", int(rng.integers(400)), s, d, _AHEAD if speed > 0 else _TOWARDS, speed
                )


def _crosser(drive: Drive, own: float, t_s: float) -> Iterator[Actor]:
    """Yield who crosses at the next zebra, from right to left; they have crossed when the own vehicle is near it."""
    number = zebras(own)[0]
    place = (number + 0.5) * ZEBRA_EVERY_M
    done_s = drive.arrival(place - _BRAKES_M)
    d = LEFT_M - 1.0 + (done_s - t_s) * _WALK_M_S
    rng = _slot(drive, 52, number)
    if place - own < VIEW_M and d < EDGE_M + 2.2:
        yield Actor(
            _id(6, number),
            "person",
            int(rng.integers(400)),
            place - own + ZEBRA_M / 2,
            max(d, LEFT_M - 1.5),
            np.pi,
            0.0,
        )


def _signals(drive: Drive, own: float) -> Iterator[Actor]:
    for number in zebras(own):
        s = (number + 0.5) * ZEBRA_EVERY_M - own - 0.8
        for side, d in enumerate((EDGE_M + 0.5, LEFT_M - 0.5)):
            rng = _slot(drive, 53 + side, number)
            if s < VIEW_M:
                yield Actor(_id(7, 2 * number + side), "traffic light", int(rng.integers(400)), s, d, _TOWARDS, 0.0)
    for number, s in _moving(own, 75.0, 0.0, 0.0):
        rng = _slot(drive, 55, number)
        if rng.random() < 0.75:
            yield Actor(
                _id(8, number),
                "traffic sign",
                int(rng.integers(400)),
                s,
                EDGE_M + float(rng.uniform(0.5, 1)),
                _TOWARDS,
                0.0,
            )


def zebras(own: float) -> tuple[int, int]:
    """Return the numbers of the zebra ahead and of the one after it; number n lies at (n + 0.5) * `ZEBRA_EVERY_M`."""
    first = int(np.floor((own + 3) / ZEBRA_EVERY_M + 0.5))
    return first, first + 1


def _moving(own: float, every_m: float, speed: float, t_s: float) -> Iterator[tuple[int, float]]:
    """Yield number and place ahead of what stands in a row, so many metres apart, that moves along."""
    start = speed * t_s - own
    first = int(np.ceil((-8 - start) / every_m))
    for number in range(first, int(np.floor((VIEW_M - start) / every_m)) + 1):
        yield number, number * every_m + start


def _slot(drive: Drive, kind: int, number: int) -> np.random.Generator:
    return np.random.default_rng([drive.seed, kind, number & 0x7FFFFFFF])


def _id(kind: int, number: int) -> int:
    return kind * 10**10 + number
