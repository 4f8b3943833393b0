"""Things that stand around and belong to no class: bins, boxes, benches, poles, bushes, trees, stands, barriers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from streamvision.capture.drawn import inks
from streamvision.capture.drawn.camera import Points
from streamvision.capture.drawn.parts import Figure, Ink, Part, Stuff, box, dim, disc, level, limb, loft, panel

Solids = list[list[Part]]


def _bin(rng: np.random.Generator) -> Solids:
    ink, wide, high = inks.dull(rng), rng.uniform(0.25, 0.45), rng.uniform(0.8, 1.3)
    if rng.random() < 0.5:
        low, top = level(disc(wide, 12), 0.0), level(disc(wide * 1.1, 12), high)
        return [loft([low, top], ink, Stuff.METAL)]
    body = box((-wide, -wide, 0.05), (wide, wide, high), ink)
    return [
        body,
        box((-wide - 0.04, -wide - 0.04, high), (wide + 0.04, wide + 0.04, high + 0.1), dim(inks.vivid(rng), 0.7)),
    ]


def _crate(rng: np.random.Generator) -> Solids:
    size = rng.uniform(0.25, 1.2, 3)
    ink = inks.coloured(rng.uniform(0.06, 0.1), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.8))
    if rng.random() < 0.4:
        ink = inks.vivid(rng)
    solids = [box((-size[0] / 2, -size[1] / 2, 0), (size[0] / 2, size[1] / 2, size[2]), ink, Stuff.WOOD)]
    if rng.random() < 0.5:
        upper = size * rng.uniform(0.5, 0.95)
        solids.append(box((-upper[0] / 2, -upper[1] / 2, size[2]), (upper[0] / 2, upper[1] / 2, size[2] + upper[2]),
                          dim(ink, rng.uniform(0.7, 1.2)), Stuff.WOOD))  # fmt: skip
    return solids


def _skip(rng: np.random.Generator) -> Solids:
    ink, long, wide, high = inks.vivid(rng), rng.uniform(0.6, 1.9), rng.uniform(0.5, 0.9), rng.uniform(1.0, 1.5)
    ring = np.array([(long, wide), (-long, wide), (-long, -wide), (long, -wide)])
    walls = loft([level(ring * 0.85, 0.12), level(ring, high)], dim(ink, 0.8), Stuff.METAL)
    walls[-1] = panel(walls[-1].points, inks.DARK, Stuff.RUBBER)
    return [walls]


def _bench(rng: np.random.Generator) -> Solids:
    wood, long = inks.coloured(0.07, rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7)), rng.uniform(0.6, 1.1)
    legs = [
        box((-0.2, at - 0.04, 0), (0.2, at + 0.04, 0.42), inks.DARK, Stuff.METAL) for at in (-long * 0.8, long * 0.8)
    ]
    back = box((-0.28, -long, 0.55), (-0.22, long, 0.95), wood, Stuff.WOOD)
    return [*legs, box((-0.25, -long, 0.42), (0.25, long, 0.49), wood, Stuff.WOOD), back]


def _table(rng: np.random.Generator) -> Solids:
    high, wide = rng.uniform(0.7, 0.8), rng.uniform(0.3, 0.7)
    ink = inks.dull(rng)
    solids: Solids = [[limb((0, 0, 0), (0, 0, high), (0.04, 0.04), inks.DARK, Stuff.METAL)],
                      loft([level(disc(wide, 14), z) for z in (high, high + 0.04)], ink, Stuff.WOOD)]  # fmt: skip
    for angle in rng.uniform(0, 2 * np.pi, int(rng.integers(0, 4))):
        at = np.array([np.cos(angle), np.sin(angle)]) * (wide + 0.35)
        chair = inks.vivid(rng) if rng.random() < 0.3 else inks.dull(rng)
        solids.append(box((at[0] - 0.2, at[1] - 0.2, 0.4), (at[0] + 0.2, at[1] + 0.2, 0.46), chair, Stuff.WOOD))
        solids.append(box((at[0] - 0.04, at[1] - 0.2, 0.46), (at[0] + 0.02, at[1] + 0.2, 0.9), chair, Stuff.WOOD))
    if rng.random() < 0.25:
        tip, rim, cloth = np.array([0, 0, 2.5]), level(disc(1.2, 10), 2.0), inks.vivid(rng)
        roof = [Part(np.array([rim[at], rim[at - 9], tip]), dim(cloth, 1 - 0.1 * (at % 2)), Stuff.CLOTH, (), True)
                for at in range(10)]  # fmt: skip
        solids += [[limb((0, 0, high), (0, 0, 2.4), (0.025, 0.025), inks.WHITE, Stuff.METAL)], roof]
    return solids


def _pole(rng: np.random.Generator) -> Solids:
    high, thick = rng.uniform(2.5, 8.0), rng.uniform(0.04, 0.12)
    ink = dim((120.0, 120.0, 118.0), rng.uniform(0.4, 1.4))
    solids: Solids = [[limb((0, 0, 0), (0, 0, high), (thick, thick * 0.7), ink, Stuff.METAL)]]
    if high > 4 and rng.random() < 0.7:
        reach = rng.uniform(0.8, 2.5)
        solids.append([limb((0, 0, high), (reach, 0, high + 0.2), (0.05, 0.04), ink, Stuff.METAL)])
        lamp = box((reach - 0.3, -0.12, high + 0.1), (reach + 0.3, 0.12, high + 0.22), dim(ink, 1.2))
        lamp.append(panel(lamp[0].points - [0, 0, 0.01], inks.WHITE, Stuff.LAMP, glow=2.0))
        solids.append(lamp)
    return solids


def _bollard(rng: np.random.Generator) -> Solids:
    high, ink = rng.uniform(0.5, 1.1), dim(inks.dull(rng), 0.7)
    thick = rng.uniform(0.05, 0.14)
    ring = limb((0, 0, high * 0.75), (0, 0, high * 0.82), (thick * 1.05, thick * 1.05), inks.WHITE, Stuff.PAINT)
    return [[limb((0, 0, 0), (0, 0, high), (thick, thick), ink, Stuff.METAL), ring]]


def _cone(rng: np.random.Generator) -> Solids:
    orange = inks.coloured(rng.uniform(0.0, 0.06), 0.9, rng.uniform(0.7, 0.95))
    rings = [level(disc(wide, 10), z) for wide, z in ((0.16, 0.04), (0.12, 0.24), (0.08, 0.44), (0.03, 0.7))]
    body = loft(rings, orange)
    body[10:20] = [panel(part.points, inks.WHITE) for part in body[10:20]]
    return [box((-0.2, -0.2, 0), (0.2, 0.2, 0.04), dim(orange, 0.6)), body]


def _barrier(rng: np.random.Generator) -> Solids:
    long, kind = rng.uniform(0.8, 2.0), rng.random()
    if kind < 0.35:
        low, top = np.array([(long, 0.3), (-long, 0.3), (-long, -0.3), (long, -0.3)]), 0.85
        return [
            loft(
                [level(low, 0), level(low * [1, 0.4], top)],
                inks.coloured(0.1, 0.05, rng.uniform(0.5, 0.85)),
                Stuff.STONE,
            )
        ]
    posts: Solids = [
        box((at - 0.04, -0.04, 0), (at + 0.04, 0.04, 1.05), inks.DARK, Stuff.METAL) for at in (-long, long)
    ]
    ink = (40.0, 36.0, 200.0) if kind < 0.7 else inks.dull(rng)
    for z in (0.4, 0.85):
        count = 6
        steps = np.linspace(-long, long, count + 1)
        rail: list[Part] = []
        for at in range(count):
            piece = box((steps[at], -0.03, z), (steps[at + 1], 0.03, z + 0.16), ink if at % 2 else inks.WHITE)
            rail += piece
        posts.append(rail)
    return posts


def _board(rng: np.random.Generator) -> Solids:
    """Return an advertising board: a plate that is no traffic sign."""
    wide, high, foot = rng.uniform(0.4, 1.6), rng.uniform(0.7, 1.8), rng.choice([0.05, rng.uniform(0.4, 2.2)])
    plate = box((-0.05, -wide, foot), (0.05, wide, foot + high), inks.dull(rng))
    for _ in range(int(rng.integers(2, 6))):
        y, z = rng.uniform(-wide * 0.9, wide * 0.4), foot + rng.uniform(0.05, high * 0.7)
        size = rng.uniform(0.1, 0.5, 2) * [wide, high]
        for x, order in ((0.056, 1), (-0.056, -1)):
            corners = np.array([(x, y, z), (x, y + size[0], z), (x, y + size[0], z + size[1]), (x, y, z + size[1])])
            plate.append(panel(corners[::order], inks.vivid(rng), Stuff.PRINT))
    legs: Solids = [
        box((-0.03, at - 0.03, 0), (0.03, at + 0.03, foot), inks.DARK, Stuff.METAL) for at in (-wide * 0.8, wide * 0.8)
    ]
    return [*legs, plate]


def _rack(rng: np.random.Generator) -> Solids:
    """Return a shelf with goods on it, or a row of lockers."""
    long, deep, high = rng.uniform(0.8, 2.5), rng.uniform(0.2, 0.5), rng.uniform(1.2, 2.3)
    frame = box((-long, -deep, 0), (long, deep, high), dim(inks.dull(rng), 0.6), Stuff.METAL)
    storey = rng.uniform(0.3, 0.55)
    for z in np.arange(0.12, high - 0.25, storey):
        for side, order in ((-1, 1), (1, -1)):
            x = -long + 0.05
            while x < long - 0.15:
                wide, tall = rng.uniform(0.1, 0.4), storey * rng.uniform(0.4, 0.9)
                end, y = min(x + wide, long - 0.03), side * (deep + 0.01)
                frame.append(panel(np.array([(x, y, z), (end, y, z), (end, y, z + tall), (x, y, z + tall)])[::order],
                                   inks.vivid(rng), Stuff.PRINT))  # fmt: skip
                x = end + rng.uniform(0.01, 0.12)
    return [frame]


def _box_hedge(rng: np.random.Generator) -> Solids:
    size = rng.uniform(0.4, 1.6, 2)
    ink = _green(rng)
    body = box((-size[0], -0.4, 0), (size[0], 0.4, size[1]), ink, Stuff.LEAF)
    return [body, *_leaves(rng, np.array([0, 0, size[1]]), np.array([size[0], 0.4, 0.15]), 14, 0.2, ink)]


def _green(rng: np.random.Generator) -> Ink:
    if rng.random() < 0.15:
        return inks.coloured(rng.uniform(0.02, 0.14), rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.7))
    return inks.coloured(rng.uniform(0.2, 0.36), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.55))


def _leaves(rng: np.random.Generator, centre: Points, radii: Points, count: int, leaf: float, ink: Ink) -> Solids:
    """Return balls of leaves in an ellipsoid, dark below and inside."""
    ways = rng.normal(size=(count, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    share = rng.uniform(0.4, 1.0, count)
    solids: Solids = []
    for way, out in zip(ways, share, strict=True):
        spot = centre + way * radii * out
        glow = 0.75 + 0.35 * way[2] * out + rng.normal(0, 0.1)
        size = leaf * rng.uniform(0.6, 1.3)
        solids.append(
            [limb(spot, spot + rng.normal(0, 0.5, 3) * size, (size, size * 0.7), dim(ink, max(glow, 0.25)), Stuff.LEAF)]
        )
    return solids


def _bush(rng: np.random.Generator) -> Solids:
    size = rng.uniform(0.4, 1.1)
    return _leaves(rng, np.array([0, 0, size * 0.6]), np.array([size, size, size * 0.6]), 26, size * 0.32, _green(rng))


def _tree(rng: np.random.Generator) -> Solids:
    high, wide = rng.uniform(2.2, 4.5), rng.uniform(1.2, 2.6)
    bark = inks.coloured(0.08, rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.45))
    trunk = [limb((0, 0, 0), (rng.normal(0, 0.15), 0, high), (0.16, 0.1), bark, Stuff.WOOD)]
    ink = _green(rng)
    if rng.random() < 0.25:
        rings = [
            level(disc(share * wide * 0.8, 9), z) for share, z in ((1, 0.8), (0.75, high * 0.7), (0.05, high * 1.8))
        ]
        return [trunk, loft(rings, ink, Stuff.LEAF)]
    return [
        trunk,
        *_leaves(rng, np.array([0, 0, high + wide * 0.4]), np.array([wide, wide, wide * 0.75]), 42, wide * 0.26, ink),
    ]


def _planter(rng: np.random.Generator) -> Solids:
    wide, ink = rng.uniform(0.3, 0.8), inks.coloured(0.1, rng.uniform(0, 0.4), rng.uniform(0.4, 0.8))
    pot = loft([level(disc(wide * 0.85, 12), 0), level(disc(wide, 12), 0.5)], ink, Stuff.STONE)
    leaves = _leaves(rng, np.array([0, 0, 0.65]), np.array([wide, wide, 0.3]), 16, wide * 0.28, _green(rng))
    return [pot, *leaves]


def _cabinet(rng: np.random.Generator) -> Solids:
    size = rng.uniform([0.3, 0.2, 0.9], [0.9, 0.6, 2.2])
    body = box((-size[0], -size[1], 0), (size[0], size[1], size[2]), inks.dull(rng), Stuff.METAL)
    for wall in (1, 3):
        points = body[wall].points
        middle = points.mean(axis=0)
        out = np.cross(points[1] - points[0], points[3] - points[0])
        body.append(panel((points - middle) * 0.7 + middle + out / np.linalg.norm(out) * 0.01, inks.vivid(rng) if
                          rng.random() < 0.4 else inks.GLASS, Stuff.GLASS))  # fmt: skip
    return [body]


def _trolley(rng: np.random.Generator) -> Solids:
    ink = inks.CHROME if rng.random() < 0.6 else inks.vivid(rng)
    bars = [[limb(a, b, (0.02, 0.02), ink, Stuff.METAL)] for a, b in (
        ((-0.4, -0.25, 0.1), (0.4, -0.25, 0.1)), ((-0.4, 0.25, 0.1), (0.4, 0.25, 0.1)),
        ((-0.4, 0.25, 0.1), (-0.45, 0.25, 1.0)), ((-0.4, -0.25, 0.1), (-0.45, -0.25, 1.0)),
        ((-0.45, -0.25, 1.0), (-0.45, 0.25, 1.0)))]  # fmt: skip
    return [*bars, box((-0.35, -0.25, 0.45), (0.45, 0.25, 0.85), dim(ink, 0.8), Stuff.METAL)]


_MAKERS: dict[str, Callable[[np.random.Generator], Solids]] = {
    "bin": _bin, "crate": _crate, "skip": _skip, "bench": _bench, "table": _table, "pole": _pole, "bollard": _bollard,
    "cone": _cone, "barrier": _barrier, "board": _board, "rack": _rack, "hedge": _box_hedge, "bush": _bush,
    "tree": _tree, "planter": _planter, "cabinet": _cabinet, "trolley": _trolley,
}  # fmt: skip
OUTDOORS = ("bin", "crate", "skip", "bench", "table", "pole", "bollard", "cone", "barrier", "board", "hedge", "bush",
            "tree", "planter", "cabinet")  # fmt: skip
INDOORS = ("bin", "crate", "bench", "table", "barrier", "board", "rack", "rack", "planter", "cabinet", "trolley")
POOL = 60


def clutter(name: str, rng: np.random.Generator) -> Figure:
    """Return one of `POOL` things of a kind, such as ``bin`` or ``tree``; always the same by its number."""
    return _stored(name, int(rng.integers(POOL)))


@lru_cache(maxsize=1200)
def _stored(name: str, number: int) -> Figure:
    return Figure.of(_MAKERS[name](np.random.default_rng([list(_MAKERS).index(name), number, 6])))
