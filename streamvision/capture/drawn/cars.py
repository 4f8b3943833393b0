"""Cars: hatchbacks, saloons, estates, coupés, SUVs, pick-ups and vans, each of its own size, paint and trim."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from streamvision.capture.drawn import inks
from streamvision.capture.drawn.camera import Points
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
    rectangle,
    rounded,
)


@dataclass(frozen=True, slots=True)
class CarShape:
    """Lengths in metres, places along the car in shares of its length (front 0.5, back -0.5)."""

    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    belt: tuple[float, float]
    hood_drop: float
    boot_drop: float
    foot: tuple[float, float]
    roof: tuple[float, float]
    clearance: float = 0.18
    panes: int = 2
    share: float = 1.0


SHAPES: dict[str, CarShape] = {
    "hatchback": CarShape((3.5, 4.35), (1.62, 1.82), (1.42, 1.58), (0.88, 0.98), 0.14, 0.05, (0.26, -0.485),
                          (0.07, -0.4), share=0.24),
    "saloon": CarShape((4.3, 5.05), (1.72, 1.9), (1.38, 1.5), (0.88, 0.97), 0.13, 0.03, (0.21, -0.37), (0.03, -0.25),
                       share=0.22),
    "estate": CarShape((4.3, 4.95), (1.72, 1.88), (1.42, 1.54), (0.9, 0.98), 0.13, 0.05, (0.21, -0.488),
                       (0.05, -0.42), panes=3, share=0.13),
    "coupe": CarShape((4.0, 4.7), (1.75, 1.92), (1.22, 1.36), (0.8, 0.9), 0.12, 0.04, (0.16, -0.42), (-0.03, -0.24),
                      clearance=0.14, panes=1, share=0.06),
    "suv": CarShape((4.1, 5.0), (1.78, 2.0), (1.58, 1.88), (1.02, 1.16), 0.1, 0.05, (0.23, -0.482), (0.07, -0.42),
                    clearance=0.24, panes=3, share=0.18),
    "pickup": CarShape((4.9, 5.7), (1.8, 2.02), (1.68, 1.9), (1.05, 1.18), 0.08, 0.12, (0.22, -0.1), (0.07, -0.07),
                       clearance=0.26, share=0.06),
    "van": CarShape((4.4, 5.9), (1.8, 2.05), (1.85, 2.6), (1.08, 1.28), 0.16, 0.04, (0.41, -0.494), (0.26, -0.482),
                    clearance=0.2, panes=3, share=0.11),
}  # fmt: skip


def car(rng: np.random.Generator, shape: str | None = None, paint: Ink | None = None) -> Figure:
    """Return a car, of a shape of `SHAPES` or of any; it looks along +x."""
    names = list(SHAPES)
    weights = np.array([SHAPES[name].share for name in names])
    name = shape or str(rng.choice(names, p=weights / weights.sum()))
    form = SHAPES[name]
    built = _Car.of(rng, name, form, paint or inks.car_paint(rng))
    return Figure.of(
        [[*_tyres(built), *_lower(rng, built)], *_cabin(rng, built), *_mirrors(built), *_extras(rng, built)]
    )


@dataclass(frozen=True, slots=True)
class _Car:
    name: str
    length: float
    width: float
    height: float
    belt: float
    hood: float
    boot: float
    foot: tuple[float, float]
    roof: tuple[float, float]
    clearance: float
    panes: int
    paint: Ink
    wheel: float

    @classmethod
    def of(cls, rng: np.random.Generator, name: str, form: CarShape, paint: Ink) -> _Car:
        length, belt = float(rng.uniform(*form.length)), float(rng.uniform(*form.belt))
        shift = rng.normal(0, 0.012, 4)
        foot = ((form.foot[0] + shift[0]) * length, max(form.foot[1] + shift[1], -0.49) * length)
        roof = (form.roof[0] + shift[2]) * length, max(form.roof[1] + shift[3], foot[1] / length + 0.015) * length
        return cls(name, length, float(rng.uniform(*form.width)), float(rng.uniform(*form.height)), belt,
                   belt - form.hood_drop * rng.uniform(0.7, 1.5), belt - form.boot_drop, foot, roof, form.clearance,
                   form.panes, paint, float(rng.uniform(0.29, 0.34) + form.clearance * 0.15))  # fmt: skip

    @property
    def axles(self) -> tuple[float, float]:
        return self.length * 0.31, -self.length * 0.3


def _outline(car: _Car, inset: float) -> Points:
    """Return the body's outline (16,2): a rounded rectangle with corners where the cabin begins and ends."""
    ring = rounded(car.length / 2 - inset, inset - car.length / 2, car.width / 2 - inset * 0.6, 0.36)
    side = car.width / 2 - inset * 0.6
    front, back = min(car.foot[0], car.length / 2 - 0.4), max(car.foot[1], 0.37 - car.length / 2)
    left, right = np.array([(front, side), (back, side)]), np.array([(back, -side), (front, -side)])
    return np.concatenate([ring[:3], left, ring[3:9], right, ring[9:]])


def _heights(car: _Car, ring: Points) -> Points:
    """Return the height of the body's upper edge at each of its points."""
    front = np.clip((ring[:, 0] - car.foot[0]) / max(car.length / 2 - car.foot[0], 0.1), 0, 1)
    back = np.clip((car.foot[1] - ring[:, 0]) / max(car.length / 2 + car.foot[1], 0.1), 0, 1)
    return np.asarray(car.belt - (car.belt - car.hood) * front - (car.belt - car.boot) * back)


def _lower(rng: np.random.Generator, car: _Car) -> list[Part]:
    top = _outline(car, 0.07)
    rings = [
        level(_outline(car, 0.06), car.clearance), level(_outline(car, 0.0), car.clearance + 0.22),
        level(_outline(car, 0.01), car.belt * 0.68), np.column_stack([top, _heights(car, top)]),
    ]  # fmt: skip
    walls = loft(rings, car.paint, lid=False)
    sill = dim(car.paint, 0.55) if rng.random() < 0.5 else inks.DARK
    walls[:16] = [panel(part.points, sill, Stuff.RUBBER) for part in walls[:16]]
    under = panel(rings[0][::-1], inks.DARK, Stuff.RUBBER)
    return [
        under,
        *walls,
        *_deck(rng, car, rings[-1]),
        *_ends(rng, car, walls),
        *_doors(car, walls),
        *_wheels(rng, car),
    ]


def _deck(rng: np.random.Generator, car: _Car, ring: Points) -> list[Part]:
    """Return bonnet, boot (or a pick-up's bed) and what lies under the cabin."""
    bonnet = panel(np.concatenate([ring[12:], ring[:4]]), dim(car.paint, rng.uniform(0.96, 1.04)))
    boot = panel(ring[4:12], car.paint)
    middle = panel([ring[12], ring[3], ring[4], ring[11]], dim(car.paint, 0.6))
    parts = [bonnet, boot, middle]
    if car.name == "pickup":
        bed = np.array([(car.foot[1] - 0.1, 0.42), (-0.47 * car.length, 0.42), (-0.47 * car.length, -0.42),
                        (car.foot[1] - 0.1, -0.42)]) * [1, car.width]  # fmt: skip
        parts.append(panel(level(bed, car.boot + 0.02), dim(inks.DARK, 1.3), Stuff.RUBBER))
    gap = np.array([(car.foot[0] + 0.02, -0.38), (car.foot[0] + 0.08, -0.38), (car.foot[0] + 0.08, 0.38),
                    (car.foot[0] + 0.02, 0.38)]) * [1, car.width]  # fmt: skip
    return [*parts, panel(level(gap, car.belt + 0.003), inks.DARK, Stuff.RUBBER)]


def _ends(rng: np.random.Generator, car: _Car, walls: list[Part]) -> list[Part]:
    """Return lamps around the corners, grille, bumper strips and plates."""
    front, back = walls[16 + 15].points, walls[16 + 7].points
    low, high = rng.uniform(0.35, 0.6), rng.uniform(0.88, 1.0)
    parts = []
    for wall, part in ((16 + 0, (0.0, 1.0)), (16 + 1, (0.0, 0.7)), (16 + 14, (0.0, 1.0)), (16 + 13, (0.3, 1.0))):
        parts.append(panel(on_wall(walls[wall].points, part, (low, high)), inks.HEADLAMP, Stuff.LAMP, glow=1.2))
    parts += [panel(on_wall(front, across, (low, high)), inks.HEADLAMP, Stuff.LAMP, glow=1.6)
              for across in ((0.0, 0.16), (0.84, 1.0))]  # fmt: skip
    rear_low = rng.uniform(0.2, 0.55)
    for wall, part in ((16 + 6, (0.0, 1.0)), (16 + 8, (0.0, 1.0)), (16 + 5, (0.6, 1.0)), (16 + 9, (0.0, 0.4))):
        parts.append(panel(on_wall(walls[wall].points, part, (rear_low, 1.0)), inks.TAILLAMP, Stuff.LAMP, glow=0.8))
    parts += [panel(on_wall(back, across, (rear_low, 1.0)), inks.TAILLAMP, Stuff.LAMP, glow=0.9)
              for across in ((0.0, 0.14), (0.86, 1.0))]  # fmt: skip
    grille = inks.CHROME if rng.random() < 0.2 else inks.DARK
    parts.append(panel(on_wall(front, (0.2, 0.8), (low + 0.05, high)), grille, Stuff.METAL))
    parts.append(panel(on_wall(walls[15].points, (0.1, 0.9), (0.15, 0.85)), inks.DARK, Stuff.RUBBER))
    plate = inks.WHITE if rng.random() < 0.7 else (60.0, 200.0, 235.0)
    for end, up in ((front, (0.02, 0.3)), (back, (0.05, 0.42))):
        parts.append(panel(on_wall(end, (0.38, 0.62), up, 0.008), plate, Stuff.PRINT))
        parts.append(panel(on_wall(end, (0.41, 0.59), (up[0] + 0.08, up[1] - 0.08), 0.01), dim(plate, 0.45),
                           Stuff.PRINT))  # fmt: skip
    return parts


def _doors(car: _Car, walls: list[Part]) -> list[Part]:
    """Return the gaps between the doors, and handles."""
    parts = []
    for first, ahead in ((3, True), (11, False)):
        for layer in (16, 32):
            wall = walls[layer + first].points
            for at in (0.04, 0.5, 0.86) if car.panes > 1 else (0.04, 0.7):
                at = at if ahead else 1 - at
                parts.append(panel(on_wall(wall, (at - 0.006, at + 0.006), (0, 1)), dim(car.paint, 0.4)))
        for at in (0.42, 0.8):
            at = at if ahead else 1 - at
            handle = on_wall(walls[32 + first].points, (at - 0.035, at + 0.035), (0.5, 0.62))
            parts.append(panel(handle, dim(car.paint, 0.55), Stuff.METAL))
    return parts


def _wheels(rng: np.random.Generator, car: _Car) -> list[Part]:
    rim = inks.CHROME if rng.random() < 0.7 else dim(inks.DARK, 1.4)
    parts = []
    for side in ("+y", "-y"):
        out = car.width / 2 * (1 if side == "+y" else -1)
        for x in car.axles:
            for radius, ink, stuff, lift in (
                (car.wheel + 0.07, inks.DARK, Stuff.RUBBER, 0.002), (car.wheel, inks.TYRE, Stuff.RUBBER, 0.006),
                (car.wheel * 0.64, rim, Stuff.METAL, 0.01), (car.wheel * 0.16, inks.DARK, Stuff.METAL, 0.012),
            ):  # fmt: skip
                lifted = out + np.sign(out) * lift
                parts.append(panel(facing(side, lifted, (x, car.wheel), disc(radius)), ink, stuff))
            for angle in np.arange(5) * 2 * np.pi / 5 + rng.random():
                spot = np.array([np.cos(angle), np.sin(angle)]) * car.wheel * 0.45
                hole = disc(car.wheel * 0.12, 6) + spot
                parts.append(panel(facing(side, out + np.sign(out) * 0.012, (x, car.wheel), hole), inks.DARK))
    return parts


def _tyres(car: _Car) -> list[Part]:
    """Return what of the tyres can be seen below the body, from ahead and behind."""
    wide = car.width / 2 - 0.02
    return [
        part for x in car.axles for side in (1, -1)
        for part in box((x - car.wheel * 0.7, min(side * wide, side * (wide - 0.2)), 0.0),
                        (x + car.wheel * 0.7, max(side * wide, side * (wide - 0.2)), car.clearance), inks.TYRE,
                        Stuff.RUBBER)
    ]  # fmt: skip


def _cabin(rng: np.random.Generator, car: _Car) -> list[list[Part]]:
    top = car.paint if rng.random() < 0.8 else (inks.DARK if rng.random() < 0.7 else inks.WHITE)
    lean = 0.445 if car.name == "van" else rng.uniform(0.37, 0.41)
    foot = level(rounded(*car.foot, car.width * 0.468, 0.14), car.belt)
    brow = level(rounded(*car.roof, car.width * lean, 0.12), car.height - 0.07)
    lid = level(rounded(car.roof[0] - 0.12, car.roof[1] + 0.1, car.width * lean - 0.08, 0.16), car.height)
    walls = loft([foot, brow], car.paint, lid=False)
    cap = loft([brow, lid], top)
    glass = dim(inks.GLASS, rng.uniform(0.5, 1.3))
    return [[*walls, *_panes(rng, car, walls, glass)], [*cap, *_roof_window(rng, car, lid)]]


def _panes(rng: np.random.Generator, car: _Car, walls: list[Part], glass: Ink) -> list[Part]:
    """Lay the screens and the side windows onto the cabin's walls."""
    blind = car.name == "van" and rng.random() < 0.6
    frame = glass if rng.random() < 0.4 else None
    parts = []
    for wall, across in ((11, (0.02, 0.98)), (5, (0.06, 0.94))):
        if not (wall == 5 and blind):
            parts.append(panel(on_wall(walls[wall].points, across, (0.06, 0.93)), glass, Stuff.GLASS))
    for wall, ahead in ((2, True), (8, False)):
        stops = (0.03, 0.3) if blind else (0.05, *np.linspace(0.5, 0.8, car.panes - 1).tolist(), 0.95)
        for start, stop in pairwise(stops):
            across = (start + 0.012, stop - 0.012) if ahead else (1 - stop + 0.012, 1 - start - 0.012)
            parts.append(panel(on_wall(walls[wall].points, across, (0.08, 0.9)), glass, Stuff.GLASS))
    if frame is not None and not blind:
        parts += [panel(on_wall(walls[at].points, (0, 1), (0.1, 0.9)), frame, Stuff.GLASS) for at in (3, 4, 6, 7)]
    return parts


def _roof_window(rng: np.random.Generator, car: _Car, lid: Points) -> list[Part]:
    if rng.random() > 0.22 or car.name == "van":
        return []
    middle = lid.mean(axis=0)
    pane = (lid - middle) * [rng.uniform(0.4, 0.8), 0.7, 0] + middle + [0, 0, 0.004]
    return [panel(pane, inks.GLASS, Stuff.GLASS)]


def _mirrors(car: _Car) -> list[list[Part]]:
    x, out = car.foot[0] - 0.25 * (car.foot[0] - car.roof[0]) - 0.1, car.width * 0.47
    return [
        box((x - 0.07, min(side * out, side * (out + 0.2)), car.belt + 0.02),
            (x + 0.07, max(side * out, side * (out + 0.2)), car.belt + 0.17), dim(car.paint, 0.9))
        for side in (1, -1)
    ]  # fmt: skip


def _extras(rng: np.random.Generator, car: _Car) -> list[list[Part]]:
    """Return roof rails, a roof box, or a taxi's sign, sometimes."""
    kind, extras = rng.random(), []
    if kind < 0.2 and car.name in ("suv", "estate"):
        for side in (1, -1):
            ends = [(x, side * car.width * 0.34, car.height + 0.05) for x in (car.roof[0] - 0.2, car.roof[1] + 0.1)]
            extras.append([limb(ends[0], ends[1], (0.025, 0.025), inks.CHROME, Stuff.METAL)])
    elif kind < 0.24:
        extras.append(box((car.roof[1] + 0.2, -0.4, car.height + 0.05), (car.roof[0] - 0.1, 0.4, car.height + 0.36),
                          inks.DARK))  # fmt: skip
    elif kind < 0.29:
        middle = (car.roof[0] + car.roof[1]) / 2 + 0.3
        extras.append(box((middle - 0.1, -0.3, car.height), (middle + 0.1, 0.3, car.height + 0.16), inks.AMBER))
    if car.name == "pickup" and rng.random() < 0.3:
        load = rectangle(0.8, 0.8)
        extras.append(box((car.foot[1] - 1.1 + load[0, 0] * 0.2, -0.5, car.boot), (car.foot[1] - 0.3, 0.5,
                          car.boot + rng.uniform(0.2, 0.6)), inks.dull(rng), Stuff.WOOD))  # fmt: skip
    return extras
