"""Scenes as rules see them, written in a line: objects by their bottom centre, in fractions of a square picture."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from streamvision.interfaces import Rule, RuleContext, Scene
from streamvision.types import ClockSource, Event, FrameInfo, Tracks

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("person", "car", "truck")
SIDE = 1000


@dataclass(frozen=True)
class Thing:
    """An object with its bottom centre at (x, y)."""

    id: int
    x: float
    y: float
    w: float = 0.1
    h: float = 0.1
    kind: int = 0
    confirmed: bool = True
    visible: bool = True
    age_s: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        left, right = max(0.0, self.x - self.w / 2), min(1.0, self.x + self.w / 2)
        return left * SIDE, max(0.0, self.y - self.h) * SIDE, right * SIDE, min(1.0, self.y) * SIDE


def info(media_s: float, size_wh: tuple[int, int] = (SIDE, SIDE)) -> FrameInfo:
    captured_at = START + timedelta(seconds=media_s)
    return FrameInfo("gate", 0, 0, media_s, media_s, captured_at, ClockSource.RTCP, 0.02, size_wh)


def scene(media_s: float, *things: Thing) -> Scene:
    tracks = Tracks(
        ids=np.array([t.id for t in things], np.int64),
        xyxy=np.array([t.xyxy for t in things], np.float32).reshape(-1, 4),
        velocity=np.array([t.velocity for t in things], np.float32).reshape(-1, 2),
        class_id=np.array([t.kind for t in things], np.int32),
        score=np.full(len(things), 0.9, np.float32),
        confirmed=np.array([t.confirmed for t in things], np.bool_),
        visible=np.array([t.visible for t in things], np.bool_),
        age_s=np.array([t.age_s for t in things], np.float32),
        det_index=np.array([0 if t.visible else -1 for t in things], np.int32),
    )
    return Scene(info(media_s), tracks, NAMES)


def context(
    zone: Sequence[Sequence[float]] = ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7)),
    line: Sequence[Sequence[float]] = ((0.1, 0.5), (0.9, 0.5)),
) -> RuleContext:
    numbers = itertools.count(1)
    return RuleContext("gate", "rule", {"yard": zone}, {"fence": line}, lambda: f"id{next(numbers)}")


def play(rule: Rule, scenes: Iterable[Scene]) -> list[Event]:
    return [event for one in scenes for event in rule.update(one)]


def times(end_s: float, fps: float, seed: int = 0, jitter: float = 0.0, drop: float = 0.0) -> list[float]:
    """Return when pictures come: evenly, or jittered by a share of the interval, with a share of them dropped."""
    rng = np.random.default_rng(seed)
    even = np.arange(0, end_s, 1 / fps)
    even = even + rng.uniform(-jitter, jitter, len(even)) / fps / 2
    return [float(max(0.0, t)) for t in even[(rng.random(len(even)) >= drop) | (np.arange(len(even)) == 0)]]


def along(t: float, *waypoints: tuple[float, float]) -> float:
    """Return the value at ``t`` of a path through (time, value) points."""
    return float(np.interp(t, [w[0] for w in waypoints], [w[1] for w in waypoints]))
