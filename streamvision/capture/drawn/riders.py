"""Bicycles and motorcycles, with a rider or parked."""

# ruff: noqa: RUF005 - points are moved by lists here, nothing is concatenated

from __future__ import annotations

from typing import Any

import numpy as np

from streamvision.capture.drawn import inks
from streamvision.capture.drawn.camera import Points
from streamvision.capture.drawn.parts import Figure, Ink, Part, Stuff, box, dim, disc, facing, limb, panel
from streamvision.capture.drawn.people import Wear


def bicycle(rng: np.random.Generator, ridden: bool | None = None) -> Figure:
    """Return a bicycle that looks along +x, with its rider in seven of ten cases."""
    paint, size = inks.car_paint(rng), float(rng.uniform(0.92, 1.06))
    seat, bar, crank = np.array([-0.22, 0, 0.92]), np.array([0.42, 0, 1.0]), np.array([0.0, 0, 0.3])
    tube, fork = float(rng.uniform(0.018, 0.03)), np.array([0.52, 0, 0.34])
    hub = np.array([-0.52, 0, 0.34])
    ends = ((crank, seat), (crank, bar - [0.05, 0, 0.2]), (seat - [0, 0, 0.14], bar - [0.05, 0, 0.15]), (crank, hub),
            (seat - [0, 0, 0.1], hub), (bar, fork))  # fmt: skip
    frame = [limb(a, b, (tube, tube), paint, Stuff.PAINT) for a, b in ends]
    frame.append(limb(bar + [0, 0.26, 0.04], bar + [0, -0.26, 0.04], (0.018, 0.018), inks.DARK, Stuff.METAL))
    frame.append(limb(seat + [-0.08, 0, 0.04], seat + [0.1, 0, 0.04], (0.06, 0.03), inks.DARK))
    if rng.random() < 0.3:
        frame += box((0.5, -0.17, 0.82), (0.8, 0.17, 1.05), dim(inks.dull(rng), 0.8), Stuff.WOOD)
    if rng.random() < 0.25:
        frame += box((-0.75, -0.09, 0.72), (-0.4, 0.09, 0.76), inks.DARK, Stuff.METAL)
    solids: list[list[Part]] = [wheel(0.52, 0.33), wheel(-0.52, 0.33), frame]
    if ridden or (ridden is None and rng.random() < 0.72):
        solids += _cyclist(rng, seat, bar, crank)
    return Figure.of(solids).sized(size)


def wheel(x: float, radius: float, thick: float = 0.026, corners: int = 12) -> list[Part]:
    """Return a thin wheel: the tyre as short limbs, spokes, and a veil of light between them."""
    rim = disc(radius, corners)
    points = np.column_stack([rim[:, 0] + x, np.zeros(corners), rim[:, 1] + radius + 0.015])
    ring = [limb(a, b, (thick, thick), inks.TYRE, Stuff.RUBBER)
            for a, b in zip(points, np.roll(points, 1, axis=0), strict=True)]  # fmt: skip
    hub = np.array([x, 0, radius + 0.015])
    spokes = [limb(hub, points[at], (0.006, 0.006), inks.CHROME, Stuff.METAL) for at in range(0, corners, 2)]
    return [*spokes, limb(hub, hub + [0, 0.001, 0], (0.03, 0.03), inks.DARK, Stuff.METAL), *ring]


def _cyclist(rng: np.random.Generator, seat: Points, bar: Points, crank: Points) -> list[list[Part]]:
    wear = Wear.of(rng)
    turn, upright = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.0, 0.22))
    hip = seat + np.array([0.02, 0, 0.1])
    shoulder = np.array([0.22 - upright, 0, 1.42 + upright * 0.35])
    legs = []
    for side in (1, -1):
        angle = turn + (0 if side > 0 else np.pi)
        foot = crank + np.array([0.17 * np.cos(angle), side * 0.1, 0.17 * np.sin(angle)])
        legs.append(_leg(wear, hip + np.array([0, side * 0.1, 0]), foot))
    return [*legs, *rider_top(rng, wear, hip, shoulder, bar + [0, 0, 0.05], 0.24)]


def _leg(wear: Wear, hip: Points, foot: Points) -> list[Part]:
    """Return a leg whose knee is where two bones of 0.43 m meet."""
    span = foot - hip
    reach = float(np.hypot(span[0], span[2]))
    knee = (hip + foot) / 2 + np.array([-span[2], 0, span[0]]) / reach * np.sqrt(max(0.0, 0.43**2 - (reach / 2) ** 2))
    shin, stuff = (wear.skin, Stuff.SKIN) if wear.shorts else (wear.legs, Stuff.CLOTH)
    return [
        limb(foot + [-0.05, 0, 0], foot + [0.12, 0, -0.01], (0.05, 0.045), wear.shoe),
        limb(knee, foot, (0.065, 0.052), shin, stuff), limb(hip, knee, (0.095, 0.07), wear.legs),
    ]  # fmt: skip


def rider_top(rng: np.random.Generator, wear: Wear, hip: Points, shoulder: Points, grip: Any,
              reach: float, helmeted: float = 0.5) -> list[list[Part]]:  # fmt: skip
    """Return trunk, arms to the handlebar, head and helmet."""
    across = np.array([0, 0.12, 0])
    trunk = [
        limb(hip, hip + (shoulder - hip) * 0.3, (0.15 * wear.girth, 0.14 * wear.girth), wear.legs),
        limb(hip + (shoulder - hip) * 0.25, shoulder, (0.14 * wear.girth, 0.16), wear.top),
        limb(shoulder + across, shoulder - across, (0.1, 0.1), wear.top),
    ]
    arms = []
    for side in (1, -1):
        joint, hand = shoulder + np.array([0.02, side * 0.19, 0.0]), np.asarray(grip) + np.array([0, side * reach, 0])
        elbow = (joint + hand) / 2 + np.array([-0.04, side * 0.07, -0.06])
        sleeve = wear.skin if wear.short_sleeves else wear.top
        arms.append([limb(joint, elbow, (0.06, 0.05), wear.top), limb(elbow, hand, (0.048, 0.04), sleeve)])
    lean = (shoulder - hip)[0] * 0.25
    head = shoulder + np.array([0.06 + lean, 0, 0.24])
    solids = [trunk, *arms, [limb(shoulder, head, (0.06, 0.055), wear.skin, Stuff.SKIN)]]
    face = [limb(head + [0.02, 0, 0], head + [0.03, 0, -0.06], (0.095, 0.075), wear.skin, Stuff.SKIN)]
    if rng.random() < helmeted:
        ink = inks.vivid(rng) if rng.random() < 0.6 else inks.DARK
        face.append(limb(head + [0.02, 0, 0.06], head + [-0.07, 0, 0.05], (0.112, 0.108), ink, Stuff.PAINT))
    else:
        face.append(limb(head + [0.0, 0, 0.05], head + [-0.04, 0, 0.0], (0.1, 0.1), wear.hair))
    return [*solids, face, *_pack(rng, hip, shoulder)]


def _pack(rng: np.random.Generator, hip: Points, shoulder: Points) -> list[list[Part]]:
    """Return a rucksack, or the cube of a delivery rider, sometimes."""
    kind = rng.random()
    behind = np.array([-0.2, 0, 0.02])
    if kind < 0.2:
        return [[limb(shoulder + behind + [0, 0, -0.08], hip + (shoulder - hip) * 0.4 + behind, (0.12, 0.13),
                      inks.cloth(rng))]]  # fmt: skip
    if kind < 0.28:
        low = shoulder + [-0.62, -0.23, -0.42]
        return [box(low.tolist(), (low + [0.42, 0.46, 0.46]).tolist(), inks.vivid(rng), Stuff.CLOTH)]
    return []


def motorcycle(rng: np.random.Generator, ridden: bool | None = None) -> Figure:
    """Return a motorcycle or scooter that looks along +x, with its rider in two of three cases."""
    scooter = rng.random() < 0.4
    paint = inks.car_paint(rng) if rng.random() < 0.5 else inks.vivid(rng)
    solids = _scooter(paint) if scooter else _motorbike(rng, paint)
    if rng.random() < (0.4 if scooter else 0.12):
        solids.append(box((-0.95, -0.2, 0.92), (-0.55, 0.2, 1.28), dim(paint, 0.7)))
    if ridden or (ridden is None and rng.random() < 0.66):
        solids += _motorcyclist(rng, scooter)
        if rng.random() < 0.12:
            solids += _motorcyclist(rng, scooter, -0.38)
    return Figure.of(solids).sized(float(rng.uniform(0.92, 1.08)))


def _fat_wheel(x: float, radius: float, wide: float) -> list[Part]:
    parts = []
    rim = disc(radius, 14)
    points = np.column_stack([rim[:, 0] + x, np.zeros(14), rim[:, 1] + radius])
    inner = points * [1, 1, 1] + (np.array([x, 0, radius]) - points) * 0.14
    parts += [
        limb(a, b, (wide, wide), inks.TYRE, Stuff.RUBBER) for a, b in zip(inner, np.roll(inner, 1, 0), strict=True)
    ]
    for side, sign in (("+y", 1.0), ("-y", -1.0)):
        parts.append(panel(facing(side, sign * wide * 0.5, (x, radius), disc(radius * 0.7, 12)), dim(inks.DARK, 1.3),
                           Stuff.METAL))  # fmt: skip
        parts.append(panel(facing(side, sign * wide * 0.6, (x, radius), disc(radius * 0.35, 10)),
                           dim(inks.CHROME, 0.75), Stuff.METAL))  # fmt: skip
    return parts


def _motorbike(rng: np.random.Generator, paint: Ink) -> list[list[Part]]:
    fairing = rng.random() < 0.5
    engine = [
        *box((-0.32, -0.17, 0.28), (0.3, 0.17, 0.6), dim(inks.DARK, 1.5), Stuff.METAL),
        limb((-0.75, -0.2, 0.42), (0.1, -0.17, 0.3), (0.06, 0.035), inks.CHROME, Stuff.METAL),
    ]
    tank = [limb((0.26, 0, 0.84), (-0.1, 0, 0.78), (0.17, 0.14), paint, Stuff.PAINT)]
    seat = [limb((-0.15, 0, 0.78), (-0.72, 0, 0.84), (0.12, 0.1), inks.DARK), limb(
        (-0.6, 0, 0.76), (-0.85, 0, 0.86), (0.09, 0.05), paint, Stuff.PAINT)]  # fmt: skip
    fork = [
        limb((0.74, side * 0.09, 0.33), (0.42, side * 0.1, 1.0), (0.03, 0.03), inks.CHROME, Stuff.METAL)
        for side in (1, -1)
    ] + [limb((0.42, 0.36, 1.05), (0.42, -0.36, 1.05), (0.022, 0.022), inks.DARK, Stuff.METAL)]
    nose = [limb((0.5, 0, 0.9), (0.56, 0, 0.88), (0.12, 0.1), inks.DARK, Stuff.PAINT),
            _lamp((0.67, 0, 0.88)), _tail((-0.9, 0, 0.86))]  # fmt: skip
    solids = [_fat_wheel(0.74, 0.32, 0.06), _fat_wheel(-0.68, 0.32, 0.085), engine, tank, seat, fork, nose]
    if fairing:
        solids.append(
            [limb((0.45, 0, 0.72), (0.52, 0, 0.98), (0.22, 0.14), paint, Stuff.PAINT), _lamp((0.72, 0, 0.86))]
        )
    return solids


def _scooter(paint: Ink) -> list[list[Part]]:
    return [
        _fat_wheel(0.6, 0.24, 0.06), _fat_wheel(-0.58, 0.24, 0.07),
        box((-0.3, -0.15, 0.24), (0.4, 0.15, 0.34), dim(paint, 0.6)),
        [limb((-0.2, 0, 0.55), (-0.7, 0, 0.62), (0.2, 0.16), paint, Stuff.PAINT), _tail((-0.88, 0, 0.66))],
        [limb((-0.15, 0, 0.78), (-0.65, 0, 0.82), (0.12, 0.1), inks.DARK)],
        [limb((0.5, 0, 0.42), (0.4, 0, 0.98), (0.2, 0.14), paint, Stuff.PAINT), _lamp((0.56, 0, 0.9))],
        [limb((0.36, 0.32, 1.06), (0.36, -0.32, 1.06), (0.022, 0.022), inks.DARK, Stuff.METAL)],
    ]  # fmt: skip


def _lamp(at: tuple[float, float, float]) -> Part:
    return panel(facing("+x", at[0], (at[1], at[2]), disc(0.085, 10)), inks.HEADLAMP, Stuff.LAMP, glow=1.8)


def _tail(at: tuple[float, float, float]) -> Part:
    return panel(facing("-x", at[0], (at[1], at[2]), disc(0.06, 8)), inks.TAILLAMP, Stuff.LAMP, glow=1.0)


def _motorcyclist(rng: np.random.Generator, scooter: bool, back: float = 0.0) -> list[list[Part]]:
    wear = Wear.of(rng)
    hip = np.array([-0.28 + back, 0, 0.95])
    shoulder = np.array([(-0.12 if scooter else 0.02) + back * 0.9, 0, 1.46])
    legs = []
    for side in (1, -1):
        foot = np.array([0.25 + back if scooter else -0.02 + back, side * 0.2, 0.38])
        knee = hip + np.array([0.42, side * 0.2, -0.08])
        legs.append([
            limb(foot + [-0.05, 0, 0], foot + [0.14, 0, -0.02], (0.055, 0.045), wear.shoe),
            limb(knee, foot, (0.068, 0.055), wear.legs),
            limb(hip + [0, side * 0.1, 0], knee, (0.1, 0.075), wear.legs),
        ])  # fmt: skip
    grip = (0.4, 0, 1.06) if back == 0 else (0.0, 0, 1.2)
    return [*legs, *rider_top(rng, wear, hip, shoulder, grip, 0.3, helmeted=0.85)]
