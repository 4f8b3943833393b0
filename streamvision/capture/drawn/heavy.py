"""Buses (single, articulated, double-deck, coaches) and lorries (box, flatbed, tipper, tanker, tractor and trailer)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamvision.capture.drawn import inks
from streamvision.capture.drawn.parts import (
    Figure,
    Ink,
    Part,
    Stuff,
    box,
    dim,
    disc,
    facing,
    level,
    limb,
    loft,
    on_wall,
    panel,
    rounded,
)


def bus(rng: np.random.Generator) -> Figure:
    """Return a bus that looks along +x."""
    kind = str(rng.choice(["single", "articulated", "double", "coach", "mini"], p=[0.42, 0.12, 0.16, 0.18, 0.12]))
    look = _Livery.of(rng)
    width, floor = float(rng.uniform(2.45, 2.6)), 0.32
    length = {"single": 12.0, "articulated": 10.2, "double": 10.8, "coach": 12.5, "mini": 7.0}[kind]
    length *= float(rng.uniform(0.9, 1.04))
    height = {"double": 4.2, "coach": 3.6, "mini": 2.7}.get(kind, 3.05) * float(rng.uniform(0.97, 1.04))
    if kind == "mini":
        width -= 0.4
    decks = 2 if kind == "double" else 1
    solids = [
        _coach(rng, look, (length / 2, -length / 2), width, (floor, height), decks, (True, kind != "articulated"))
    ]
    if kind == "articulated":
        gap, end = -length / 2 - 1.1, -length / 2 - 1.1 - float(rng.uniform(5.5, 7.0))
        solids.append(
            box((gap, -width * 0.46, 0.5), (-length / 2, width * 0.46, height - 0.15), inks.DARK, Stuff.RUBBER)
        )
        solids.append(_coach(rng, look, (gap, end), width, (floor, height), 1, (False, True)))
    if rng.random() < 0.5 and decks == 1:
        solids.append(box((-1.6, -width * 0.33, height), (1.2, width * 0.33, height + 0.28), dim(look.upper, 0.92)))
    x, out = length / 2 + 0.05, width / 2
    solids += [box((x - 0.1, min(side * out, side * (out + 0.22)), 1.9),
                   (x + 0.05, max(side * out, side * (out + 0.22)), 2.35), inks.DARK) for side in (1, -1)]  # fmt: skip
    return Figure.of(solids)


@dataclass(frozen=True, slots=True)
class _Livery:
    lower: Ink
    upper: Ink
    stripe: Ink
    glass: Ink

    @classmethod
    def of(cls, rng: np.random.Generator) -> _Livery:
        lower = inks.vivid(rng) if rng.random() < 0.65 else inks.coloured(0.1, 0.03, rng.uniform(0.75, 0.95))
        upper = lower if rng.random() < 0.6 else inks.WHITE
        return cls(lower, upper, inks.vivid(rng), dim(inks.GLASS, rng.uniform(0.5, 1.2)))


def _coach(rng: np.random.Generator, look: _Livery, x: tuple[float, float], width: float, z: tuple[float, float],
           decks: int, ends: tuple[bool, bool]) -> list[Part]:  # fmt: skip
    """Return one body on wheels; ``ends``: whether it has a face and a back."""
    front, back = x
    low, high = z
    middle = low + 0.85
    rings = [
        level(rounded(front, back, width / 2, 0.25), low), level(rounded(front, back, width / 2, 0.25), middle),
        level(rounded(front - 0.1, back + 0.05, width / 2 - 0.03, 0.25), high - 0.2),
        level(rounded(front - 0.3, back + 0.2, width / 2 - 0.2, 0.3), high),
    ]  # fmt: skip
    parts = loft(rings, look.lower, bottom=True)
    n = 12
    for at in range(1 + n, 1 + 2 * n):
        parts[at] = panel(parts[at].points, look.upper)
    for at in range(1 + 2 * n, len(parts)):
        parts[at] = panel(parts[at].points, dim(look.upper, 1.0))
    sides = (parts[1 + n + 2].points, parts[1 + n + 8].points)
    decals: list[Part] = []
    for number, wall in enumerate(sides):
        decals += _bus_side(rng, look, wall, front - back, decks, number == 1)
        low_wall = parts[1 + 2 + 6 * number].points
        if rng.random() < 0.5:
            decals.append(panel(on_wall(low_wall, (0, 1), (0.55, 0.75)), look.stripe))
    decals += _bus_ends(rng, look, parts, n, decks, ends)
    axles = [front - 2.6, back + 2.9] if ends[0] else [back + 2.2]
    if front - back < 8.5:
        axles = [front - 1.5, back + 1.7] if ends[0] else [back + 2.0]
    return [*_low_tyres(axles, width, 0.48, low), *parts, *decals, *wheels(axles, width, 0.48)]


def _bus_side(
    rng: np.random.Generator, look: _Livery, wall: np.ndarray, length: float, decks: int, doors: bool
) -> list[Part]:
    """Return the windows between their pillars, and doors on the right side."""
    parts = []
    rows = ((0.1, 0.42), (0.58, 0.9)) if decks == 2 else ((0.12, 0.8),)
    count = max(3, round(length / rng.uniform(1.3, 1.9)))
    for low, high in rows:
        parts.append(
            panel(on_wall(wall, (0.015, 0.985), (low - 0.02, high + 0.02)), dim(look.glass, 0.55), Stuff.GLASS)
        )
        for pane_at in range(count):
            across = (0.02 + 0.96 * pane_at / count + 0.006, 0.02 + 0.96 * (pane_at + 1) / count - 0.006)
            parts.append(panel(on_wall(wall, across, (low, high), 0.008), look.glass, Stuff.GLASS))
    if doors:
        for at in (0.9, 0.45) if length > 8 else (0.86,):
            door = (at - 0.65 / length, at + 0.65 / length)
            parts.append(panel(on_wall(wall, door, (-0.4, rows[0][1]), 0.01), dim(look.lower, 0.5)))
            for start in (door[0] + 0.05 / length, at + 0.03 / length):
                pane = (start, start + 0.55 / length)
                parts.append(panel(on_wall(wall, pane, (-0.3, rows[0][1] - 0.05), 0.012), look.glass, Stuff.GLASS))
    if rng.random() < 0.35 and decks == 2:
        parts.append(panel(on_wall(wall, (0.15, 0.8), (0.43, 0.57)), inks.vivid(rng), Stuff.PRINT))
    return parts


def _bus_ends(rng: np.random.Generator, look: _Livery, parts: list[Part], n: int, decks: int,
              ends: tuple[bool, bool]) -> list[Part]:  # fmt: skip
    low_front, up_front = parts[1 + 11].points, parts[1 + n + 11].points
    low_back, up_back = parts[1 + 5].points, parts[1 + n + 5].points
    found = []
    if ends[0]:
        screens = ((0.02, 0.45), (0.56, 0.9)) if decks == 2 else ((0.0, 0.8),)
        found += [panel(on_wall(up_front, (0.0, 1.0), rows), look.glass, Stuff.GLASS) for rows in screens]
        board = (0.46, 0.55) if decks == 2 else (0.84, 0.99)
        found.append(panel(on_wall(up_front, (0.08, 0.92), board), inks.DARK, Stuff.RUBBER))
        found.append(panel(on_wall(up_front, (0.2, 0.7), (board[0] + 0.03, board[1] - 0.03), 0.008), inks.AMBER,
                           Stuff.LAMP, glow=0.8))  # fmt: skip
        for across in ((0.0, 0.14), (0.86, 1.0)):
            found.append(panel(on_wall(low_front, across, (0.28, 0.52)), inks.HEADLAMP, Stuff.LAMP, glow=1.6))
        found.append(panel(on_wall(low_front, (0.36, 0.64), (0.1, 0.25)), inks.WHITE, Stuff.PRINT))
        found += [panel(on_wall(parts[1 + n + at].points, (0.1, 1.0), (0.1, 0.78)), look.glass, Stuff.GLASS)
                  for at in (0, 10)]  # fmt: skip
    if ends[1]:
        if rng.random() < 0.8:
            found.append(panel(on_wall(up_back, (0.08, 0.92), (0.35, 0.85)), look.glass, Stuff.GLASS))
        for across in ((0.0, 0.1), (0.9, 1.0)):
            found.append(panel(on_wall(low_back, across, (0.35, 0.9)), inks.TAILLAMP, Stuff.LAMP, glow=0.9))
        found.append(panel(on_wall(low_back, (0.15, 0.85), (0.3, 0.8)), dim(look.lower, 0.75)))
    return found


def _low_tyres(axles: list[float], width: float, radius: float, top: float) -> list[Part]:
    """Return what of the tyres can be seen below a body, from ahead and behind."""
    wide = width / 2 - 0.03
    return [
        part for x in axles for side in (1, -1)
        for part in box((x - radius * 0.7, min(side * wide, side * (wide - 0.28)), 0.0),
                        (x + radius * 0.7, max(side * wide, side * (wide - 0.28)), top), inks.TYRE, Stuff.RUBBER)
    ]  # fmt: skip


def wheels(axles: list[float], width: float, radius: float) -> list[Part]:
    """Return wheels on both sides of a body of a width."""
    parts = []
    for side in ("+y", "-y"):
        sign = 1.0 if side == "+y" else -1.0
        for x in axles:
            for share, ink, stuff, lift in (
                (1.12, inks.DARK, Stuff.RUBBER, 0.003), (1.0, inks.TYRE, Stuff.RUBBER, 0.007),
                (0.58, dim(inks.CHROME, 0.8), Stuff.METAL, 0.012), (0.3, dim(inks.DARK, 1.6), Stuff.METAL, 0.015),
            ):  # fmt: skip
                circle = facing(side, sign * (width / 2 + lift), (x, radius), disc(radius * share))
                parts.append(panel(circle, ink, stuff))
    return parts


def truck(rng: np.random.Generator) -> Figure:
    """Return a lorry that looks along +x."""
    kind = str(
        rng.choice(["box", "flatbed", "tipper", "semi", "tanker", "light"], p=[0.3, 0.13, 0.14, 0.23, 0.08, 0.12])
    )
    width = float(rng.uniform(2.35, 2.55)) * (0.86 if kind == "light" else 1.0)
    paint = inks.car_paint(rng) if rng.random() < 0.5 else inks.vivid(rng)
    small = kind == "light" or (kind != "semi" and rng.random() < 0.4)
    tall = float(rng.uniform(2.2, 2.7)) if small else float(rng.uniform(2.7, 3.7))
    depth = float(rng.uniform(1.5, 2.1))
    load = {"semi": 13.0, "light": 3.8}.get(kind, 6.4) * float(rng.uniform(0.85, 1.1))
    front = (depth + 0.25 + load) / 2
    back = front - depth - (1.2 if kind == "semi" else 0.2)
    solids = [_cab(rng, paint, front, depth, width, tall)]
    solids.append(box((back - load + 0.2, -0.45, 0.55), (front - depth, 0.45, 0.95), inks.DARK, Stuff.RUBBER))
    radius = 0.4 if small else 0.5
    axles = [back - load + 1.2] if small else [back - load + 1.2, back - load + 2.45]
    if kind == "semi":
        axles += [front - depth - 1.0]
    rest = _load(rng, kind if kind != "light" else "box", (back, back - load), width, tall)
    solids[1] += wheels(axles, width - 0.04, radius)
    solids[1] = _low_tyres(axles, width, radius, 0.7) + solids[1]
    x, out = front - 0.2, width / 2
    mirrors = [box((x - 0.05, min(s * out, s * (out + 0.25)), tall * 0.55), (x + 0.05, max(s * out, s * (out + 0.25)),
                   tall * 0.75), inks.DARK) for s in (1, -1)]  # fmt: skip
    return Figure.of([*solids, *rest, *mirrors])


def _cab(rng: np.random.Generator, paint: Ink, front: float, depth: float, width: float, tall: float) -> list[Part]:
    """Return the driver's cab, upright or with a short nose's slope."""
    slope = float(rng.uniform(0.05, 0.35))
    back, belt, half = front - depth, tall * 0.52, width / 2 - 0.03
    rings = [
        level(rounded(front, back, half, 0.2), 0.4), level(rounded(front, back, half, 0.2), belt),
        level(rounded(front - slope, back, half - 0.05, 0.2), tall - 0.15),
        level(rounded(front - slope - 0.3, back, half - 0.15, 0.25), tall),
    ]  # fmt: skip
    parts = loft(rings, paint, bottom=True)
    low, up, n = parts[1 + 11].points, parts[1 + 12 + 11].points, 12
    glass = dim(inks.GLASS, rng.uniform(0.5, 1.2))
    decals = [
        panel(on_wall(up, (0.0, 1.0), (0.05, 0.85)), glass, Stuff.GLASS),
        panel(
            on_wall(low, (0.1, 0.9), (0.45, 0.85)), dim(paint, 0.5) if rng.random() < 0.6 else inks.DARK, Stuff.METAL
        ),
        panel(on_wall(low, (0.0, 1.0), (0.0, 0.3)), dim(inks.DARK, 1.6), Stuff.RUBBER),
        panel(on_wall(low, (0.4, 0.6), (0.08, 0.2), 0.01), inks.WHITE, Stuff.PRINT),
    ]
    decals += [panel(on_wall(low, across, (0.22, 0.38), 0.01), inks.HEADLAMP, Stuff.LAMP, glow=1.6)
               for across in ((0.0, 0.16), (0.84, 1.0))]  # fmt: skip
    for wall, across in ((parts[1 + n + 2].points, (0.1, 0.7)), (parts[1 + n + 8].points, (0.3, 0.9))):
        decals.append(panel(on_wall(wall, across, (0.05, 0.8)), glass, Stuff.GLASS))
    axle = [front - min(1.0, depth * 0.6)]
    return [*_low_tyres(axle, width, 0.48, 0.5), *parts, *decals, *wheels(axle, width - 0.06, 0.46)]


def _load(rng: np.random.Generator, kind: str, x: tuple[float, float], width: float, tall: float) -> list[list[Part]]:
    front, back = x
    floor = 1.0
    ink = inks.WHITE if rng.random() < 0.4 else inks.vivid(rng) if rng.random() < 0.7 else inks.dull(rng)
    if kind in ("box", "semi"):
        high = max(float(rng.uniform(2.6, 4.0)), tall * 0.95)
        return [_crate(rng, ink, front, back, width, floor, high)]
    if kind == "tanker":
        middle = floor + 1.05
        tank = limb((front - 1.0, 0, middle), (back + 1.0, 0, middle), (1.0, 1.0), ink, Stuff.METAL)
        return [[tank]]
    bed = box((back, -width / 2, floor - 0.1), (front, width / 2, floor + 0.08), dim(ink, 0.8), Stuff.METAL)
    if kind == "flatbed":
        return [bed, *_cargo(rng, front, back, width, floor + 0.08)]
    half, high = width / 2, floor + float(rng.uniform(0.8, 1.5))
    low = level(rounded(front - 0.1, back + 0.2, half - 0.1, 0.1), floor)
    top = level(rounded(front, back, half, 0.1), high)
    skip = loft([low, top], ink, Stuff.METAL)
    skip[-1] = panel(top * [0.95, 0.9, 1] - [0, 0, 0.02], inks.coloured(0.08, 0.4, rng.uniform(0.2, 0.6)), Stuff.LEAF)
    return [skip]


def _crate(rng: np.random.Generator, ink: Ink, front: float, back: float, width: float, floor: float,
           high: float) -> list[Part]:  # fmt: skip
    """Return a closed body with prints on its sides, doors and lamps behind."""
    parts = box((back, -width / 2, floor), (front, width / 2, high), ink)
    back_wall = parts[1 + 3].points
    left, right = parts[1 + 2].points, parts[1 + 0].points
    decals = [panel(on_wall(back_wall, (0.49, 0.51), (0.02, 0.98)), dim(ink, 0.45), Stuff.METAL)]
    decals += [
        panel(on_wall(back_wall, (at, at + 0.02), (0.02, 0.98)), dim(ink, 0.6), Stuff.METAL) for at in (0.2, 0.78)
    ]
    decals += [panel(on_wall(back_wall, at, (0.0, 0.06)), inks.TAILLAMP, Stuff.LAMP, glow=0.9)
               for at in ((0.02, 0.16), (0.84, 0.98))]  # fmt: skip
    if rng.random() < 0.6:
        start, low = rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.5)
        across, up = (start, start + rng.uniform(0.2, 0.5)), (low, low + rng.uniform(0.15, 0.4))
        paint = inks.vivid(rng)
        decals += [panel(on_wall(wall, across, up), paint, Stuff.PRINT) for wall in (left, right)]
        marks = np.sort(rng.uniform(across[0], across[1], 6))
        decals += [panel(on_wall(wall, (marks[at], marks[at + 1]), (up[0] + 0.04, up[1] - 0.04), 0.008), inks.WHITE,
                         Stuff.PRINT) for wall in (left, right) for at in (0, 2, 4)]  # fmt: skip
    elif rng.random() < 0.5:
        for wall in (left, right):
            decals += [panel(on_wall(wall, (at, at + 0.008), (0.02, 0.98)), dim(ink, 0.75), Stuff.METAL)
                       for at in np.arange(0.04, 0.98, 0.08)]  # fmt: skip
    skirt = (floor - 0.35, floor)
    rail = box((back + 0.3, -width / 2 + 0.03, skirt[0]), (front - 0.3, width / 2 - 0.03, skirt[1]), inks.DARK)
    return [*rail, *parts, *decals]


def _cargo(rng: np.random.Generator, front: float, back: float, width: float, floor: float) -> list[list[Part]]:
    """Return crates, or pipes, on a flat bed."""
    solids, x = [], front - 0.3
    while x > back + 1.0 and rng.random() < 0.85:
        long, wide = float(rng.uniform(0.7, 2.2)), float(rng.uniform(0.5, 0.95)) * width
        end = max(x - long, back + 0.1)
        solids.append(box((end, -wide / 2, floor), (x, wide / 2, floor + rng.uniform(0.3, 1.4)), inks.dull(rng),
                          Stuff.WOOD))  # fmt: skip
        x = end - float(rng.uniform(0.05, 0.8))
    return solids
