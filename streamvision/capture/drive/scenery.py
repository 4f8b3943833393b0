"""House fronts, trees, hedges and barriers along a road, as cards."""

from __future__ import annotations

import numpy as np

from streamvision.capture.drawn.light import BGR
from streamvision.capture.drive.cards import Card
from streamvision.capture.drive.plan import Plan
from streamvision.capture.drive.road import Way

_FAR_M = 190.0


def scenery(rng: np.random.Generator, plan: Plan, way: Way) -> list[Card]:
    """Return everything flat that stands along the road, for one still picture."""
    cards: list[Card] = []
    for d, height, kind in plan.barriers:
        cards += along(way, (-4.0, 160.0), d, height, "rail", kind + 6 * int(rng.integers(6)), 8.0)
    for side, verge in ((-1, plan.verge_left), (1, plan.verge_right)):
        built = rng.random() < {"city": 0.85, "avenue": 0.7, "mixed": 0.55, "lane": 0.2, "country": 0.1}.get(
            plan.kind, 0.03
        )
        green = rng.random() < {"city": 0.4, "avenue": 0.6, "mixed": 0.6}.get(plan.kind, 0.75)
        if built:
            cards += fronts(rng, plan, way, side, verge + side * float(rng.choice([0.0, 0.5, 4.0, 9.0])))
        if green:
            away = 0.0 if built else float(rng.exponential(5))
            cards += trees(rng, way, side, verge + side * away, (-1.0, 140.0), float(rng.uniform(4, 22)))
        if rng.random() < {"country": 0.4, "lane": 0.5, "motorway": 0.35}.get(plan.kind, 0.1):
            d = verge + side * float(rng.uniform(0.2, 7))
            height = float(np.exp(rng.uniform(np.log(0.5), np.log(7))))
            cards += along(way, (-4.0, 170.0), d, height, "hedge", int(rng.integers(24)), height * 3.5, tint(rng))
    return cards


def tint(rng: np.random.Generator, spread: float = 0.12) -> BGR:
    """Return gains near 1."""
    value = np.exp(rng.normal(0, spread, 3) * [0.5, 0.4, 0.5] + rng.normal(0, spread))
    return float(value[0]), float(value[1]), float(value[2])


def along(
    way: Way, span: tuple[float, float], d: float, height: float, kind: str, variant: int, piece_m: float,
    tinted: BGR = (1.0, 1.0, 1.0), phase_m: float = 0.0,
) -> list[Card]:  # fmt: skip
    """Run a picture along the road in pieces that repeat it; far pieces are longer. ``phase_m`` shifts them."""
    cards = []
    s = span[0] - phase_m % piece_m
    while s < span[1]:
        step = piece_m * (1 if s < 40 else 2)
        foot = way.point(np.array([s, s + step]), d)
        cards.append(Card(foot if d < 0 else foot[::-1], height, kind, variant, tinted))
        s += step
    return cards


def fronts(rng: np.random.Generator, plan: Plan, way: Way, side: int, d: float) -> list[Card]:
    """Return a row of houses with gaps, and the side walls that show in the gaps."""
    cards: list[Card] = []
    s, gaps = float(rng.uniform(-12, 0)), float(rng.choice([0.0, 0.15, 0.5]))
    height = float(rng.uniform(4, 16))
    while s < _FAR_M:
        wide = float(rng.uniform(6, 24))
        if any(s < crossing.far + 3 and s + wide > crossing.near - 3 for crossing in plan.crossings):
            s += wide
            continue
        variant, tall, shade = int(rng.integers(48)), height * float(rng.uniform(0.7, 1.4)), tint(rng)
        cards.append(house(way, s, wide, d, tall, variant, shade))
        cards.append(gable(way, s, d, side, tall, variant, shade))
        s += wide + (float(rng.uniform(2, 14)) if rng.random() < gaps else 0.0)
    return cards


def house(way: Way, s: float, wide: float, d: float, tall: float, variant: int, shade: BGR) -> Card:
    """Return a house front that faces the road."""
    foot = way.point(np.array([s, s + wide]), d)
    return Card(foot if d < 0 else foot[::-1], tall, "front", variant, shade)


def gable(way: Way, s: float, d: float, side: int, tall: float, variant: int, shade: BGR) -> Card:
    """Return the wall of a house that faces the camera, in the shade."""
    foot = way.point(s, np.array([d, d + side * 9.0]))
    dark = (shade[0] * 0.7, shade[1] * 0.68, shade[2] * 0.66)
    return Card(foot if side > 0 else foot[::-1], tall, "front", variant + 48, dark)


def trees(
    rng: np.random.Generator, way: Way, side: int, d: float, span: tuple[float, float], step_m: float
) -> list[Card]:
    """Return trees and bushes along a verge, in one or several rows."""
    cards: list[Card] = []
    kinds = rng.integers(0, 60, int(rng.integers(2, 6)))
    tall, depth = float(rng.uniform(3.5, 13)), float(rng.exponential(6))
    s = span[0] + float(rng.uniform(2, 2 + step_m))
    while s < span[1] and len(cards) < 40:
        height = tall * float(rng.uniform(0.6, 1.35))
        cards.append(
            plant(way, s, d + side * float(rng.uniform(0.6, 1 + depth)), height, int(rng.choice(kinds)), tint(rng))
        )
        s += step_m * float(rng.uniform(0.4, 1.8))
    return cards


def plant(way: Way, s: float, d: float, height: float, variant: int, shade: BGR) -> Card:
    """Return a tree that faces the camera."""
    if variant % 6 == 5:
        height *= 0.35
    foot = way.point(s, d)
    half = np.array([height / 2, 0, 0])
    return Card(np.stack([foot - half, foot + half]) - [0, 0, 0.05], height, "tree", variant, shade)
