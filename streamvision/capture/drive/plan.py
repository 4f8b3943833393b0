"""Roads of every kind as cross-sections: lanes, edges, paint, what lies beside them.

Everything is laid out for traffic on the right, own lane around d 0, and mirrored where traffic keeps left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamvision.capture.drive.road import Band, Crossing, Ink, Line, Mark

KINDS = ("motorway", "country", "city", "avenue", "lane", "mixed")
_SHARES = (0.26, 0.2, 0.2, 0.12, 0.09, 0.13)
_DASHES = ((3.0, 9.0), (6.0, 12.0), (3.0, 6.0), (4.0, 8.0), (2.0, 4.0), (3.0, 4.5), (6.0, 3.0))


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane's middle (d), its width, and whether it goes along (1) or against (-1) the own way; 0: parked cars."""

    d: float
    width_m: float
    way: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A road's cross-section and paint, and where things may stand beside it.

    left, right: the carriageway's edges; walks: (from, to) d of pavements; verge_left, verge_right: d from which on
    trees and houses stand; hand: 1 where traffic keeps right, -1 left.
    """

    kind: str
    lanes: tuple[Lane, ...]
    left: float
    right: float
    bands: tuple[Band, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    crossings: tuple[Crossing, ...]
    walks: tuple[tuple[float, float], ...]
    verge_left: float
    verge_right: float
    barriers: tuple[tuple[float, float, int], ...]
    """d, height and kind of what runs along the road."""
    ragged_m: float = 0.0
    hand: int = 1

    def mirrored(self) -> Plan:
        """Return the same road where traffic keeps left."""
        return replace(
            self,
            lanes=tuple(replace(lane, d=-lane.d) for lane in self.lanes),
            left=-self.right, right=-self.left,
            bands=tuple(replace(band, left=-band.right, right=-band.left) for band in reversed(self.bands)),
            lines=tuple(replace(line, d=-line.d) for line in self.lines),
            marks=tuple(replace(mark, corners=mark.corners * [1, -1]) for mark in self.marks),
            walks=tuple((-right, -left) for left, right in self.walks),
            verge_left=-self.verge_right, verge_right=-self.verge_left,
            barriers=tuple((-d, height, kind) for d, height, kind in self.barriers),
            hand=-self.hand,
        )  # fmt: skip


def plan(rng: np.random.Generator, kind: str | None = None, hand: int | None = None) -> Plan:
    """Draw a road of one of `KINDS`, with traffic on either side."""
    kind = kind or str(rng.choice(KINDS, p=_SHARES))
    made = {"motorway": _motorway, "country": _country, "city": _city, "avenue": _avenue, "lane": _lane,
            "mixed": _mixed}[kind](rng)  # fmt: skip
    if hand is None:
        hand = -1 if rng.random() < 0.4 else 1
    return made if hand > 0 else made.mirrored()


def asphalt(rng: np.random.Generator) -> Ink:
    """Return a grey: from fresh black to worn pale, bluish to brownish."""
    value = float(np.exp(rng.normal(np.log(92), 0.3)))
    tint = rng.normal(0.01, 0.035)
    return value * (1 + tint), value, value * (1 - tint * 0.8)


def _grass(rng: np.random.Generator) -> Ink:
    kind = rng.random()
    if kind < 0.6:
        return 48 * rng.uniform(0.6, 1.3), 104 * rng.uniform(0.7, 1.2), 88 * rng.uniform(0.6, 1.3)
    if kind < 0.85:
        return 92 * rng.uniform(0.7, 1.2), 142 * rng.uniform(0.8, 1.15), 168 * rng.uniform(0.8, 1.15)
    return _earth(rng)


def _earth(rng: np.random.Generator) -> Ink:
    value = rng.uniform(0.65, 1.25)
    return 96 * value, 124 * value, 150 * value


def _white(rng: np.random.Generator) -> Ink:
    value = rng.uniform(185, 245)
    return value, value, value


def _yellow(rng: np.random.Generator) -> Ink:
    return rng.uniform(40, 110), rng.uniform(150, 190), rng.uniform(190, 235)


def _concrete(rng: np.random.Generator) -> Ink:
    value = rng.uniform(120, 175)
    return value * 0.97, value, value * 1.02


def _bands(*strips: tuple[float, str, Ink, bool], start: float = -400.0) -> tuple[Band, ...]:
    """Make bands from (right edge, surface, ink, drivable), left to right."""
    bands = []
    for right, surface, ink, drivable in strips:
        if right > start:
            bands.append(Band(start, right, surface, ink, drivable))
            start = right
    return tuple(bands)


def _separators(rng: np.random.Generator, at: list[float], width: float, wear: float) -> list[Line]:
    dash = _DASHES[rng.integers(len(_DASHES))]
    ink = _white(rng)
    return [Line(d, width, ink, dash, wear) for d in at]


def _wear(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, 0.15, 0.35, 0.55, 0.75], p=[0.35, 0.25, 0.2, 0.12, 0.08]))


def _motorway(rng: np.random.Generator) -> Plan:
    count, width = int(rng.integers(2, 6)), float(rng.uniform(3.4, 3.8))
    own = int(rng.integers(0, count))
    lanes = tuple(Lane((number - own) * width, width, 1) for number in range(count))
    left, right = -(own + 0.5) * width, (count - own - 0.5) * width
    inner, outer = float(rng.uniform(0.4, 1.6)), float(rng.uniform(0.8, 3.2))
    median = float(rng.uniform(1.0, 9.0))
    road, grass = asphalt(rng), _grass(rng)
    shoulder = road if rng.random() < 0.6 else asphalt(rng)
    other = left - inner - median
    between = grass if median > 3 else _concrete(rng)
    bands = _bands(
        (other - count * width, "grass", _grass(rng), False), (other, "asphalt", asphalt(rng), False),
        (left - inner, "grass" if median > 3 else "concrete", between, False),
        (left, "asphalt", shoulder, True), (right, "asphalt", road, True), (right + outer, "asphalt", shoulder, True),
        (400, "grass", grass, False),
    )  # fmt: skip
    wear, thick = _wear(rng) * 0.8, float(rng.uniform(0.12, 0.2))
    edge = _white(rng)
    lines = [
        Line(left, thick, _yellow(rng) if rng.random() < 0.5 else edge, None, wear),
        Line(right, thick, edge, None, wear),
    ]
    lines += _separators(rng, [left + width * number for number in range(1, count)], thick, wear)
    barriers = [(left - inner - 0.3, float(rng.uniform(0.7, 1.1)), int(rng.choice([0, 0, 1, 1, 3])))]
    if rng.random() < 0.7:
        barriers.append(
            (right + outer + rng.uniform(0.3, 1.5), float(rng.uniform(0.7, 1.3)), int(rng.choice([0, 0, 1, 2])))
        )
    if rng.random() < 0.12:
        barriers.append((right + outer + 2.5, float(rng.uniform(2.5, 5)), 4))
    verge = right + outer + rng.uniform(2, 9)
    return Plan("motorway", lanes, left - inner, right + outer, bands, tuple(lines), (), (), (),
                other - count * width - 4, verge, tuple(barriers))  # fmt: skip


def _country(rng: np.random.Generator) -> Plan:
    width = float(rng.uniform(2.7, 3.6))
    lanes = (Lane(-width, width, -1), Lane(0.0, width, 1))
    left, right = -1.5 * width, 0.5 * width
    border = float(rng.uniform(0.15, 1.2))
    road, grass = asphalt(rng), _grass(rng)
    strip = _earth(rng) if rng.random() < 0.4 else grass
    sand = float(rng.uniform(0.2, 1.5))
    bands = _bands(
        (left - border - sand, "grass", grass, False), (left - border, "gravel", strip, False),
        (right + border, "asphalt", road, True), (right + border + sand, "gravel", strip, False),
        (400, "grass", grass, False),
    )  # fmt: skip
    lines = _middle(rng, -0.5 * width)
    if rng.random() < 0.65:
        wear, ink, thick = _wear(rng), _white(rng), float(rng.uniform(0.1, 0.18))
        dash = None if rng.random() < 0.8 else (1.0, 1.0)
        lines += [Line(left, thick, ink, dash, wear), Line(right, thick, ink, dash, wear)]
    barriers = _roadside_barriers(rng, left - border - sand, right + border + sand)
    crossings = (_crossing(rng, 4.0),) if rng.random() < 0.15 else ()
    return Plan("country", lanes, left - border, right + border, bands, tuple(lines), (), crossings, (),
                left - border - sand - rng.uniform(0.8, 5), right + border + sand + rng.uniform(0.8, 5), barriers,
                float(rng.choice([0.0, 0.03, 0.1])))  # fmt: skip


def _roadside_barriers(rng: np.random.Generator, left: float, right: float) -> tuple[tuple[float, float, int], ...]:
    found = []
    for d, side in ((left, -1), (right, 1)):
        if rng.random() < 0.28:
            found.append((d + side * rng.uniform(0.2, 1), float(rng.uniform(0.6, 1.4)), int(rng.choice([0, 2, 3, 4]))))
    return tuple(found)


def _middle(rng: np.random.Generator, d: float) -> list[Line]:
    """Return what divides the directions: dashes, a solid line, two, one of each, or nothing."""
    ink = _yellow(rng) if rng.random() < 0.35 else _white(rng)
    wear, thick = _wear(rng), float(rng.uniform(0.1, 0.16))
    gap = thick * rng.uniform(0.9, 1.3)
    dash = _DASHES[rng.integers(len(_DASHES))]
    kind = rng.random()
    if kind < 0.45:
        return [Line(d, thick, ink, dash, wear)]
    if kind < 0.62:
        return [Line(d, thick, ink, None, wear)]
    if kind < 0.78:
        return [Line(d - gap, thick, ink, None, wear), Line(d + gap, thick, ink, None, wear)]
    if kind < 0.9:
        return [Line(d - gap, thick, ink, None, wear), Line(d + gap, thick, ink, dash, wear)]
    return []


def _city(rng: np.random.Generator) -> Plan:
    return _street(rng, "city", int(rng.integers(1, 3)), int(rng.integers(0, 3)))


def _avenue(rng: np.random.Generator) -> Plan:
    return _street(rng, "avenue", int(rng.integers(2, 4)), int(rng.integers(1, 4)))


def _street(rng: np.random.Generator, kind: str, same: int, against: int) -> Plan:
    width = float(rng.uniform(2.8, 3.5))
    own = int(rng.integers(0, same))
    lanes = [Lane((number - own) * width, width, 1) for number in range(same)]
    first = -(own + 0.5) * width
    lanes += [Lane(first - (number + 0.5) * width, width, -1) for number in range(against)]
    left, right = first - against * width, first + same * width
    parking = [float(rng.uniform(1.9, 2.3)) if rng.random() < 0.45 else 0.0 for _ in range(2)]
    lines = _street_lines(rng, lanes, first, left, right, against, width)
    edge_left, edge_right = left - parking[0], right + parking[1]
    for d, wide in ((edge_left + parking[0] / 2, parking[0]), (edge_right - parking[1] / 2, parking[1])):
        if wide:
            lanes.append(Lane(d, wide, 0))
    walk = [float(rng.uniform(1.5, 5.0)) for _ in range(2)]
    bands = _street_bands(rng, edge_left, edge_right, walk)
    crossings = (_crossing(rng, 6.0),) if rng.random() < 0.45 else ()
    marks = _street_marks(rng, lanes, edge_left, edge_right, right, first, crossings)
    barriers = tuple((d, 1.0, 3) for d in (edge_left - 0.4, edge_right + 0.4) if rng.random() < 0.12)
    return Plan(kind, tuple(lanes), edge_left, edge_right, bands, tuple(lines), marks, crossings,
                ((edge_left - walk[0], edge_left - 0.4), (edge_right + 0.4, edge_right + walk[1])),
                edge_left - walk[0] - 0.3, edge_right + walk[1] + 0.3, barriers)  # fmt: skip


def _street_bands(rng: np.random.Generator, left: float, right: float, walk: list[float]) -> tuple[Band, ...]:
    road, kerb = asphalt(rng), _concrete(rng)
    paved = _concrete(rng) if rng.random() < 0.7 else asphalt(rng)
    surface = "paving" if rng.random() < 0.8 else "asphalt"
    beyond = _grass(rng) if rng.random() < 0.5 else paved
    gutter = tuple(float(channel * 0.82) for channel in road)
    edge = (gutter[0], gutter[1], gutter[2])
    return _bands(
        (left - walk[0], "grass", beyond, False), (left - 0.16, surface, paved, False), (left, "kerb", kerb, False),
        (left + 0.25, "asphalt", edge, True), (right - 0.25, "asphalt", road, True), (right, "asphalt", edge, True),
        (right + 0.16, "kerb", kerb, False), (right + walk[1], surface, paved, False), (400, "grass", beyond, False),
    )  # fmt: skip


def _street_lines(rng: np.random.Generator, lanes: list[Lane], first: float, left: float, right: float, against: int,
                  width: float) -> list[Line]:  # fmt: skip
    lines: list[Line] = []
    if rng.random() < 0.12:
        return lines
    wear = _wear(rng)
    if against:
        lines += _middle(rng, first)
    inner = sorted(lane.d + width / 2 for lane in lanes)
    inner = [d for d in inner if left + 1 < d < right - 1 and abs(d - first) > 0.5]
    lines += _separators(rng, inner, float(rng.uniform(0.1, 0.16)), wear)
    kind = rng.random()
    if kind < 0.35:
        ink = _white(rng)
        lines += [Line(d, 0.12, ink, None, wear) for d in (left + 0.1, right - 0.1)]
    elif kind < 0.5:
        ink = _yellow(rng)
        lines += [Line(d, 0.08, ink, None, wear) for d in (left + 0.3, left + 0.5, right - 0.3, right - 0.5)]
    return lines


def _crossing(rng: np.random.Generator, corner_m: float) -> Crossing:
    near = float(rng.uniform(7, 50))
    return Crossing(near, near + float(rng.uniform(6, 18)), float(rng.uniform(0.5, 1.3) * corner_m))


def _street_marks(
    rng: np.random.Generator, lanes: list[Lane], left: float, right: float, own_right: float, first: float,
    crossings: tuple[Crossing, ...],
) -> tuple[Mark, ...]:  # fmt: skip
    ink, wear = _white(rng), _wear(rng) * 0.8
    marks: list[Mark] = []
    at = crossings[0].near - crossings[0].corner_m if crossings else float(rng.uniform(6, 45))
    if (crossings and rng.random() < 0.75) or rng.random() < 0.2:
        wide, step = float(rng.uniform(2.5, 4.5)), float(rng.uniform(0.8, 1.2))
        if rng.random() < 0.7:
            marks += [
                _rectangle(at - wide, at, d, d + step / 2, ink, wear) for d in np.arange(left + 0.4, right - 0.6, step)
            ]
        at -= wide + float(rng.uniform(0.8, 2))
        marks.append(_rectangle(at - 0.4, at, first + 0.2, own_right - 0.1, ink, wear))
    if rng.random() < 0.4:
        for lane in lanes:
            if lane.way > 0 and rng.random() < 0.8:
                marks += arrow(rng, at - float(rng.uniform(3, 12)), lane.d, ink, wear)
    if crossings and rng.random() < 0.12:
        marks += _hatched(crossings[0], left, right, _yellow(rng), wear)
    return tuple(marks)


def _hatched(crossing: Crossing, left: float, right: float, ink: Ink, wear: float) -> list[Mark]:
    """Return the yellow box of a junction that must be kept free."""
    long, aside = crossing.far - crossing.near, np.array([0, 0.14])
    marks = []
    for d in np.arange(left - long, right + long, 1.6):
        for way in (1, -1):
            ends = np.array([(crossing.near, d), (crossing.far, d + way * long)])
            share = np.clip(((left - d) * way / long, (right - d) * way / long), 0, 1)
            a, b = (ends[0] + (ends[1] - ends[0]) * each for each in sorted(share))
            if b[0] - a[0] > 0.3:
                marks.append(Mark(np.array([a, b, b + aside, a + aside]), ink, wear))
    return marks


def _rectangle(near: float, far: float, left: float, right: float, ink: Ink, wear: float) -> Mark:
    return Mark(np.array([(near, left), (far, left), (far, right), (near, right)]), ink, wear)


_STRAIGHT = np.array([(0, -0.08), (3.0, -0.08), (3.0, -0.35), (5.0, 0), (3.0, 0.35), (3.0, 0.08), (0, 0.08)])
_TURN = np.array([(0, -0.08), (2.4, -0.08), (3.0, 0.25), (3.0, 0.1), (3.6, 0.75), (2.3, 0.95), (2.5, 0.6), (1.9, 0.08),
                  (0, 0.08)])  # fmt: skip


def arrow(rng: np.random.Generator, s: float, d: float, ink: Ink, wear: float) -> list[Mark]:
    """Return an arrow on a lane: ahead, to a side, or both."""
    shapes = [(_STRAIGHT,), (_TURN,), (_TURN * [1, -1],), (_STRAIGHT, _TURN), (_STRAIGHT, _TURN * [1, -1])]
    place = np.array([s, d])
    return [Mark(shape + place, ink, wear) for shape in shapes[rng.integers(len(shapes))]]


def _lane(rng: np.random.Generator) -> Plan:
    """A narrow road without paint: asphalt, gravel or earth."""
    half = float(rng.uniform(1.6, 3.2))
    aside = float(rng.uniform(-0.2, 0.6)) * half
    surface = str(rng.choice(["asphalt", "asphalt", "gravel", "earth"]))
    ink = asphalt(rng) if surface == "asphalt" else _earth(rng)
    if surface == "gravel":
        ink = tuple(0.4 * np.array(ink) + 0.6 * np.array(_concrete(rng)))
    grass = _grass(rng)
    left, right = -half - aside, half - aside
    lanes = (Lane(0.0, 2 * half, 1), Lane(-aside - half * 0.5, half, -1))
    bands = _bands((left - 0.8, "grass", grass, False), (left, "earth", _earth(rng), False),
                   (right, surface, ink, True), (right + 0.8, "earth", _earth(rng), False),
                   (400, "grass", grass, False))  # fmt: skip
    return Plan("lane", lanes, left, right, bands, (), (), (), (), left - rng.uniform(0.6, 4),
                right + rng.uniform(0.6, 4), _roadside_barriers(rng, left - 0.5, right + 0.5),
                float(rng.uniform(0.05, 0.35)))  # fmt: skip


def _mixed(rng: np.random.Generator) -> Plan:
    """A wide street whose edges run into earth; few lines, a low median sometimes."""
    width, same = float(rng.uniform(2.8, 3.6)), int(rng.integers(1, 4))
    own = int(rng.integers(0, same))
    lanes = [Lane((number - own) * width, width, 1) for number in range(same)]
    first, right = -(own + 0.5) * width, (same - own - 0.5) * width
    divided = rng.random() < 0.45
    against = same if rng.random() < 0.8 else 0
    lanes += [Lane(first - (number + 0.5) * width - divided * 1.2, width, -1) for number in range(against)]
    left = first if divided else first - against * width
    road, earth = asphalt(rng), _earth(rng)
    far = first - 1.2 - against * width
    strips = [
        (far, "earth", earth, False),
        (first - 1.2, "asphalt", road, False),
        (first, "kerb", _concrete(rng), False),
    ]
    bands = _bands(*(strips if divided else [(left, "earth", earth, False)]), (right, "asphalt", road, True),
                   (right + rng.uniform(0.5, 3), "earth", earth, False),
                   (400, "paving" if rng.random() < 0.3 else "earth", _earth(rng), False))  # fmt: skip
    lines: list[Line] = []
    if rng.random() < 0.5:
        wear = max(_wear(rng), 0.15)
        lines += _separators(rng, [first + width * number for number in range(1, same)], 0.12, wear)
        lines += [Line(right - 0.2, 0.12, _white(rng), None, wear)]
        lines += [Line(first + 0.25, 0.12, _yellow(rng), None, wear)] if divided else _middle(rng, first)
    barriers = ((first - 0.6, float(rng.uniform(0.35, 0.9)), int(rng.choice([5, 5, 3, 1]))),) if divided else ()
    return Plan("mixed", tuple(lanes), left, right, bands, tuple(lines), (), (), ((right + 0.5, right + 3),),
                min(left, far if divided else left) - rng.uniform(1, 4), right + rng.uniform(1.5, 5), barriers,
                float(rng.uniform(0.05, 0.3)))  # fmt: skip
