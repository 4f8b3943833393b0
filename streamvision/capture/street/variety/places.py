"""Where a picture is taken: roads, junctions, car parks, squares, yards, halls; who may be where in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from streamvision.capture.drawn.camera import Points
from streamvision.capture.street.variety.textures import NUMBERS as TILES
from streamvision.capture.street.variety.walls import INDOORS, OUTDOORS
from streamvision.capture.street.variety.walls import NUMBERS as WALLS

UNKNOWN = 255
_TRAFFIC = {"car": 1.0, "truck": 0.16, "bus": 0.12, "motorcycle": 0.14, "bicycle": 0.08}
_FOOT = {"person": 1.0, "bicycle": 0.14, "motorcycle": 0.05, "traffic sign": 0.18, "traffic light": 0.14, "": 0.45}
_CYCLE = {"bicycle": 1.0, "person": 0.15, "motorcycle": 0.1}
_PARKED = {"car": 1.0, "truck": 0.05, "motorcycle": 0.06, "bus": 0.01}
_SQUARE = {
    "person": 1.0,
    "bicycle": 0.14,
    "": 0.3,
    "car": 0.04,
    "motorcycle": 0.07,
    "traffic sign": 0.06,
    "traffic light": 0.03,
}
_YARD = {"person": 0.7, "car": 0.5, "truck": 0.35, "": 0.6, "bicycle": 0.12, "motorcycle": 0.14, "bus": 0.08,
         "traffic sign": 0.05}  # fmt: skip
_HALL = {"person": 1.0, "": 0.75, "bicycle": 0.02}


@dataclass(frozen=True, slots=True)
class Ground:
    """A texture with a tint (BGR gains), and what it means: 1 carriageway, 0 not, 255 unknown."""

    kind: str
    number: int
    tint: tuple[float, float, float]
    meaning: int


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """A polygon (n,2) in metres of another ground."""

    corners: Points
    ground: Ground


@dataclass(frozen=True, slots=True, eq=False)
class Stripe:
    """Paint on the ground: a polygon (n,2) in metres, BGR; ``lane``: a line that lanes end at."""

    corners: Points
    ink: tuple[float, float, float]
    lane: bool


@dataclass(frozen=True, slots=True)
class Zone:
    """A rectangle x0, x1, y0, y1 in which things of given weights stand, heading one of some ways.

    ``snap``: "x" or "y" where they keep to its middle line; ``pitch``: and how far apart they stand along it.
    """

    span: tuple[float, float, float, float]
    weights: Mapping[str, float]
    headings: tuple[float, ...] = ()
    snap: str = ""
    pitch: float = 0.0


@dataclass(frozen=True, slots=True)
class Wall:
    """A wall from (x0, y0) to (x1, y1) that is seen from its left side, as walked along."""

    ends: tuple[float, float, float, float]
    kind: str
    number: int


@dataclass(slots=True)
class Place:
    """A place, in metres around (0, 0)."""

    kind: str
    base: Ground
    indoors: bool = False
    areas: list[Area] = field(default_factory=list)
    stripes: list[Stripe] = field(default_factory=list)
    zones: list[Zone] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)


def place(rng: np.random.Generator) -> Place:
    """Return any place."""
    kinds = {"road": _road, "junction": _junction, "motorway": _motorway, "car park": _car_park, "square": _square,
             "yard": _yard, "hall": _hall, "field": _field}  # fmt: skip
    kind = str(rng.choice(list(kinds), p=[0.27, 0.14, 0.1, 0.15, 0.13, 0.06, 0.09, 0.06]))
    return kinds[kind](rng)


def ground(rng: np.random.Generator, kinds: tuple[str, ...], meaning: int) -> Ground:
    """Return one of some kinds of ground in a tint of its own."""
    tint = rng.uniform(0.82, 1.12) * (1 + rng.normal(0, 0.025, 3))
    return Ground(str(rng.choice(kinds)), int(rng.integers(TILES)), tuple(tint.tolist()), meaning)


def rect(x0: float, x1: float, y0: float, y1: float) -> Points:
    """Return the corners of a rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


_FOOTWAY = ("paving", "concrete", "brick", "asphalt", "paving")
_VERGE = ("grass", "dirt", "gravel", "paving", "concrete")
_FAR = 120.0


def _paint(rng: np.random.Generator) -> tuple[float, float, float]:
    level = rng.uniform(170, 240)
    return (level, level, level) if rng.random() < 0.82 else (level * 0.3, level * 0.78, level * 0.95)


def _walls(rng: np.random.Generator, where: Place, distances: tuple[float, float, float, float]) -> None:
    """Put walls to the north, west, south and east, or leave some sides open."""
    kinds = INDOORS if where.indoors else OUTDOORS
    north, west, south, east = distances
    far = _FAR if not where.indoors else max(distances)
    ends = ((far, north, -far, north), (-west, far, -west, -far), (-far, -south, far, -south), (east, -far, east, far))
    kind = str(rng.choice(kinds))
    for end in ends:
        if rng.random() < (0.95 if where.indoors else 0.62):
            kind = kind if rng.random() < 0.5 else str(rng.choice(kinds))
            where.walls.append(Wall(end, kind, int(rng.integers(WALLS))))


def _dashes(y: float, wide: float, length: float, gap: float, ink: tuple[float, float, float], across: bool,
            span: tuple[float, float]) -> list[Stripe]:  # fmt: skip
    """Return a line along x (or, ``across``, along y) at y; whole where ``gap`` is 0."""
    stripes = []
    for start in np.arange(span[0], span[1], length + gap) if gap else (span[0],):
        corners = rect(start, start + length if gap else span[1], y - wide / 2, y + wide / 2)
        stripes.append(Stripe(corners[:, ::-1] if across else corners, ink, True))
    return stripes


def _carriageway(rng: np.random.Generator, where: Place, lanes: int, wide: float, *, across: bool = False,
                 gap: float = 0.0, meadow: float = 0.0) -> float:  # fmt: skip
    """Lay a road along x (or, ``across``, along y) with its lines and zones; return half its width.

    ``gap``: half the width of a junction in which nothing is painted. ``meadow``: half the width of a green middle.
    """
    half = meadow + lanes * wide
    road = ground(rng, ("asphalt", "asphalt", "asphalt", "concrete"), 1) if not where.areas else where.areas[0].ground
    strips = ((-half, half),) if not meadow else ((-half, -meadow), (meadow, half))
    for low, high in strips:
        corners = rect(-_FAR, _FAR, low, high)
        where.areas.append(Area(corners[:, ::-1] if across else corners, road))
    paint, dash = _paint(rng), float(rng.uniform(1.5, 6.0))
    thick, middle = float(rng.uniform(0.1, 0.2)), float(rng.choice([0.0, dash * 1.2]))
    edge = rng.random() < 0.6
    sides = ((gap, _FAR), (-_FAR, -gap)) if gap else ((-_FAR, _FAR),)
    for span in sides:
        for sign in (1, -1):
            for lane in range(1, lanes):
                at = sign * (meadow + lane * wide)
                where.stripes += _dashes(at, thick, dash, dash * 1.5, paint, across, span)
            if edge:
                where.stripes += _dashes(sign * (half - 0.25), thick, 0, 0, paint, across, span)
            if meadow:
                where.stripes += _dashes(sign * (meadow + 0.25), thick, 0, 0, paint, across, span)
        if not meadow and lanes:
            where.stripes += _dashes(0.0, thick, dash if middle else 0, middle, paint, across, span)
    keep_right = rng.random() < 0.75
    for sign in (1, -1):
        for lane in range(lanes):
            at = sign * (meadow + (lane + 0.5) * wide)
            heading = (0.0 if (sign < 0) == keep_right else np.pi) + (np.pi / 2 if across else 0)
            box = (-_FAR, _FAR, at - wide / 2, at + wide / 2)
            span4 = (box[2], box[3], box[0], box[1]) if across else box
            where.zones.append(Zone(span4, _TRAFFIC, (heading,), "x" if across else "y"))
    return half


def _road(rng: np.random.Generator) -> Place:
    where = Place("road", ground(rng, _VERGE, 0))
    half = _carriageway(rng, where, int(rng.choice([1, 1, 2, 2, 3])), float(rng.uniform(2.9, 3.6)),
                        meadow=float(rng.choice([0, 0, 0, rng.uniform(0.6, 3)])))  # fmt: skip
    sides = []
    for sign in (1, -1):
        out = half
        if rng.random() < 0.3:
            out = _cycle_way(rng, where, sign, out)
        if rng.random() < 0.45:
            out = _kerb_parking(rng, where, sign, out)
        if rng.random() < 0.8:
            out = _footway(rng, where, sign, out)
        sides.append(out)
    _walls(rng, where, (sides[0] + rng.uniform(0, 12), 60.0, sides[1] + rng.uniform(0, 12), 60.0))
    _zebra(rng, where, half)
    where.zones.append(
        Zone((-_FAR, _FAR, -_FAR, _FAR), {"": 1.0, "person": 0.3, "traffic sign": 0.2, "traffic light": 0.08})
    )
    return where


def _band(sign: int, low: float, high: float) -> tuple[float, float, float, float]:
    return (-_FAR, _FAR, low, high) if sign > 0 else (-_FAR, _FAR, -high, -low)


def _cycle_way(rng: np.random.Generator, where: Place, sign: int, out: float) -> float:
    band = _band(sign, out, out + 1.6)
    tone = ground(rng, ("asphalt", "paving", "brick"), 0)
    red = (0.65, 0.7, 1.25) if rng.random() < 0.5 else tone.tint
    where.areas.append(Area(rect(*band), Ground(tone.kind, tone.number, red, 0)))
    where.zones.append(Zone(band, _CYCLE, (0.0, np.pi), "y"))
    return out + 1.6


def _kerb_parking(rng: np.random.Generator, where: Place, sign: int, out: float) -> float:
    """Lay a strip in which cars stand one behind the other, or side by side."""
    straight = rng.random() < 0.7
    deep, pitch = (2.2, rng.uniform(5.2, 6.5)) if straight else (5.0, rng.uniform(2.4, 2.8))
    band = _band(sign, out, out + deep)
    where.areas.append(Area(rect(*band), ground(rng, ("asphalt", "paving", "brick", "concrete"), UNKNOWN)))
    headings = (0.0, np.pi) if straight else (np.pi / 2, -np.pi / 2)
    where.zones.append(Zone(band, _PARKED, headings, "y", pitch))
    if rng.random() < 0.6:
        ink = _paint(rng)
        for x in np.arange(-60, 60, pitch):
            where.stripes.append(Stripe(rect(x - 0.05, x + 0.05, band[2], band[3]), ink, False))
    return out + deep


def _footway(rng: np.random.Generator, where: Place, sign: int, out: float) -> float:
    wide = float(rng.uniform(1.5, 5.0))
    kerb = _band(sign, out, out + 0.18)
    level = rng.uniform(120, 200)
    where.areas.append(Area(rect(*_band(sign, out, out + wide)), ground(rng, _FOOTWAY, 0)))
    where.stripes.append(Stripe(rect(*kerb), (level, level, level), False))
    where.zones.append(Zone(_band(sign, out + 0.4, out + wide), _FOOT, (0.0, np.pi)))
    return out + wide


def _zebra(rng: np.random.Generator, where: Place, half: float) -> None:
    if rng.random() < 0.4:
        x, ink = float(rng.uniform(-10, 10)), _paint(rng)
        for y in np.arange(-half + 0.3, half - 0.4, 1.0):
            where.stripes.append(Stripe(rect(x, x + 3.5, y, y + 0.5), ink, False))
        where.zones.insert(0, Zone((x, x + 3.5, -half, half), {"person": 1.0, "bicycle": 0.15, "car": 0.2},
                                   (np.pi / 2, -np.pi / 2)))  # fmt: skip


def _junction(rng: np.random.Generator) -> Place:
    where = Place("junction", ground(rng, _FOOTWAY, 0))
    wide = float(rng.uniform(2.9, 3.6))
    lanes, other = int(rng.choice([1, 2, 2, 3])), int(rng.choice([1, 1, 2]))
    half, cross = lanes * wide, other * wide
    _carriageway(rng, where, lanes, wide, gap=cross + 5)
    _carriageway(rng, where, other, wide, across=True, gap=half + 5)
    ink = _paint(rng)
    for sign in (1, -1):
        for at in np.arange(-half + 0.3, half - 0.4, 1.0):
            near, far = sorted((sign * (cross + 1), sign * (cross + 4)))
            where.stripes.append(Stripe(rect(near, far, at, at + 0.5), ink, False))
        near, far = sorted((sign * (cross + 4.6), sign * (cross + 5.0)))
        where.stripes.append(Stripe(rect(near, far, *sorted((0.0, -sign * half))), ink, False))
    where.zones.insert(0, Zone((-cross, cross, -half, half), _TRAFFIC))
    corner = {"traffic light": 1.0, "traffic sign": 0.7, "person": 0.9, "": 0.3}
    for sx in (1, -1):
        for sy in (1, -1):
            xs, ys = sorted((sx * (cross + 0.4), sx * (cross + 3.0))), sorted((sy * (half + 0.4), sy * (half + 3.0)))
            where.zones.insert(0, Zone((xs[0], xs[1], ys[0], ys[1]), corner))
    where.zones.append(Zone((-_FAR, _FAR, -_FAR, _FAR), _FOOT))
    _walls(rng, where, tuple(rng.uniform(18, 60, 4).tolist()))
    return where


def _motorway(rng: np.random.Generator) -> Place:
    where = Place("motorway", ground(rng, ("grass", "dirt", "gravel", "grass", "concrete"), 0))
    half = _carriageway(rng, where, int(rng.integers(2, 5)), float(rng.uniform(3.3, 3.8)), meadow=rng.uniform(0.5, 4))
    traffic = {"car": 1.0, "truck": 0.35, "bus": 0.08, "motorcycle": 0.06}
    where.zones = [Zone(zone.span, traffic, zone.headings, zone.snap) for zone in where.zones]
    side = {"": 0.5, "traffic sign": 0.5}
    where.zones += [Zone(_band(sign, half + 0.5, half + 4), side) for sign in (1, -1)]
    _walls(rng, where, tuple(rng.uniform(half + 6, half + 40, 4).tolist()))
    where.walls = [wall for wall in where.walls if wall.kind in ("hedge", "masonry", "block", "shed")]
    return where


def _car_park(rng: np.random.Generator) -> Place:
    where = Place("car park", ground(rng, ("asphalt", "asphalt", "concrete", "gravel", "paving", "brick"), UNKNOWN))
    pitch, deep, aisle = float(rng.uniform(2.35, 2.9)), 5.0, float(rng.uniform(5.0, 7.5))
    ink, lined = _paint(rng), rng.random() < 0.8
    aisle_meets = {"car": 0.7, "person": 0.6, "truck": 0.05, "motorcycle": 0.06, "bicycle": 0.06}
    for row in range(-3, 4):
        y = row * (2 * deep + aisle)
        for low, headings in ((y, (-np.pi / 2, np.pi / 2)), (y + deep, (np.pi / 2, -np.pi / 2))):
            where.zones.append(Zone((-60, 60, low, low + deep), _PARKED, headings, "y", pitch))
            if lined:
                for x in np.arange(-60 + pitch / 2, 60, pitch):
                    where.stripes.append(Stripe(rect(x - 0.05, x + 0.05, low + 0.1, low + deep - 0.1), ink, False))
        if lined:
            where.stripes.append(Stripe(rect(-60, 60, y + deep - 0.05, y + deep + 0.05), ink, False))
        where.zones.append(Zone((-60, 60, y + 2 * deep, y + 2 * deep + aisle), aisle_meets, (0.0, np.pi)))
    where.zones.append(Zone((-_FAR, _FAR, -_FAR, _FAR), _FOOT))
    _walls(rng, where, tuple(rng.uniform(16, 50, 4).tolist()))
    return where


def _open(rng: np.random.Generator, kind: str, base: Ground, weights: Mapping[str, float], *,
          indoors: bool = False) -> Place:  # fmt: skip
    """Return a place without ways: patches of other ground, and everybody anywhere."""
    where = Place(kind, base, indoors)
    for _ in range(int(rng.integers(0, 4))):
        x, y, wide, long = rng.uniform(-15, 15), rng.uniform(-15, 15), rng.uniform(1, 12), rng.uniform(1, 25)
        kinds = ("tiles", "carpet", "checks") if indoors else ("grass", "paving", "concrete", "brick", "gravel")
        where.areas.append(Area(rect(x, x + wide, y, y + long), ground(rng, kinds, base.meaning)))
    for _ in range(int(rng.integers(0, 6))):
        x, y, long = rng.uniform(-12, 12), rng.uniform(-12, 12), rng.uniform(1, 12)
        corners = rect(x, x + long, y, y + 0.1)
        where.stripes.append(Stripe(corners if rng.random() < 0.5 else corners[:, ::-1], _paint(rng), False))
    where.zones.append(Zone((-_FAR, _FAR, -_FAR, _FAR), weights))
    return where


def _square(rng: np.random.Generator) -> Place:
    where = _open(rng, "square", ground(rng, ("paving", "brick", "concrete", "paving", "gravel", "checks"), 0), _SQUARE)
    _walls(rng, where, tuple(rng.uniform(7, 40, 4).tolist()))
    return where


def _yard(rng: np.random.Generator) -> Place:
    base = ground(rng, ("asphalt", "concrete", "gravel", "dirt", "brick", "snow"), UNKNOWN)
    where = _open(rng, "yard", base, _YARD)
    _walls(rng, where, tuple(rng.uniform(10, 35, 4).tolist()))
    return where


def _hall(rng: np.random.Generator) -> Place:
    base = ground(rng, ("tiles", "shiny", "carpet", "wood", "checks", "concrete"), 0)
    where = _open(rng, "hall", base, _HALL, indoors=True)
    _walls(rng, where, tuple(rng.uniform(4, 16, 4).tolist()))
    return where


def _field(rng: np.random.Generator) -> Place:
    where = _open(rng, "field", ground(rng, ("grass", "dirt", "gravel", "snow", "grass"), 0), _SQUARE | {"": 0.7})
    _walls(rng, where, tuple(rng.uniform(15, 50, 4).tolist()))
    return where
