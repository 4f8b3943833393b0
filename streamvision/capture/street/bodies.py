"""The bodies of the street's actors: cars with panels and glass, cyclists, and people with a gait."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from streamvision.capture.street.figures import Figure, Ink, Part, disc, limb, lit, panel, prism
from streamvision.capture.street.scene import Actor, Kind, Look
from streamvision.capture.street.view import Points

_GLASS: Ink = (92, 80, 66)
_TYRE: Ink = (34, 32, 32)
_RIM: Ink = (168, 166, 164)
_DARK: Ink = (40, 38, 38)
_SHOE: Ink = (44, 42, 46)


def body(actor: Actor) -> Figure:
    """Return an actor's figure where it stands, in painting order."""
    look = actor.look
    if look.kind is Kind.CAR:
        figure = _car(look.model, look.paint)
    elif look.kind is Kind.BICYCLE:
        figure = Figure.of(_cyclist(look, actor.covered_m))
    else:
        figure = Figure.of(_person(look, actor.covered_m, actor.stride, actor.heading))
    return figure.at(actor.x, actor.y, actor.heading)


# Length, width, height of the belt line, height of the roof; the cabin's x at its foot and at the roof, front first.
_CAR_MODELS = (
    (4.2, 1.78, 0.88, 1.46, (0.95, -2.02), (0.18, -1.62)),
    (4.6, 1.82, 0.90, 1.42, (0.85, -1.75), (0.05, -1.05)),
    (4.9, 1.92, 1.12, 2.05, (1.75, -2.42), (1.25, -2.34)),
)


@lru_cache(maxsize=64)
def _car(model: int, paint: Ink) -> Figure:
    length, width, belt, roof, foot_x, roof_x = _CAR_MODELS[model]
    outline = _rounded(length / 2, -length / 2, width / 2, 0.42)
    hull = [*_underside(outline), *prism(outline * [0.985, 0.97], 0.26, 0.55, paint, outline),
            *prism(outline, 0.55, belt, paint, outline * [0.965, 0.94])]  # fmt: skip
    foot = _rounded(*foot_x, width * 0.46, 0.16)
    lid = _rounded(*roof_x, width * 0.37, 0.14)
    cabin = prism(foot, belt, roof, paint, lid)
    details = (*_wheels(length, width), *_lamps(length, width, belt), *cabin, *_windows(cabin))
    return Figure.of((*hull, *details))


def _rounded(front: float, back: float, half_width: float, corner: float) -> Points:
    """Return a rectangle's outline (12,2) with its corners cut twice, counter-clockwise."""
    cut = np.array([[0.0, corner], [corner * 0.3, corner * 0.3], [corner, 0.0]])
    corners = ((front, half_width), (back, half_width), (back, -half_width), (front, -half_width))
    points = []
    for index, (x, y) in enumerate(corners):
        inward = np.array([-np.sign(x - (front + back) / 2), -np.sign(y)])
        points.append(np.array([x, y]) + (cut if index % 2 == 0 else cut[::-1]) * inward)
    return np.concatenate(points)


def _underside(outline: Points) -> list[Part]:
    return [Part(np.column_stack([outline * 0.96, np.full(len(outline), 0.16)]), _DARK, (), True)]


def _wheels(length: float, width: float) -> Iterator[Part]:
    for side in (-1, 1):
        for x in (length * 0.31, -length * 0.31):
            for radius, ink, out in ((0.37, _DARK, 0.0), (0.33, _TYRE, 0.005), (0.2, _RIM, 0.01)):
                circle = disc(radius)[::-side]
                y = np.full(len(circle), side * (width / 2 + out))
                yield Part(np.column_stack([circle[:, 0] + x, y, circle[:, 1] + 0.33]), ink)


def _lamps(length: float, width: float, belt: float) -> Iterator[Part]:
    for end, ink in ((1, (225.0, 240.0, 248.0)), (-1, (46.0, 40.0, 196.0))):
        for side in (-1, 1):
            y0, y1 = side * width * 0.26, side * width * 0.44
            x, low, high = end * (length / 2 + 0.004), belt - 0.3, belt - 0.14
            corners = [(x, y0, low), (x - end * 0.08, y1, low), (x - end * 0.08, y1, high), (x, y0, high)]
            yield panel(corners[:: end * side], ink)


def _windows(cabin: list[Part]) -> Iterator[Part]:
    """Lay glass into the cabin's four long walls; two panes on each side."""
    for wall in cabin[:-1]:
        below, beside, above, over = wall.points
        if np.linalg.norm(beside - below) < 0.5:
            continue
        along_street = abs(beside[1] - below[1]) < 0.1
        for start, stop in ((0.06, 0.49), (0.53, 0.94)) if along_street else ((0.05, 0.95),):
            corners = [_on(wall.points, start, 0.12), _on(wall.points, stop, 0.12),
                       _on(wall.points, stop, 0.88), _on(wall.points, start, 0.88)]  # fmt: skip
            normal = np.cross(beside - below, over - below) + np.zeros_like(above)
            yield panel(corners, lit(_GLASS, normal + np.array([0, 0, 0.4])))


def _on(wall: Points, across: float, up: float) -> Points:
    """Return the point of a wall (4,3) at fractions of its width and height."""
    low = wall[0] + (wall[1] - wall[0]) * across
    high = wall[3] + (wall[2] - wall[3]) * across
    return np.asarray(low + (high - low) * up)


def _person(look: Look, covered_m: float, stride: float, heading: float) -> list[Part]:
    """Walk: a step every 0.75 m, legs and arms in opposite phase, knees that bend while swinging forward."""
    size = look.height_m / 1.75
    phase = covered_m / 1.5 * 2 * np.pi
    hip = np.array([0.0, 0.0, 0.92 * size - 0.025 * stride * abs(np.sin(phase))])
    shoulder = hip + np.array([0.03 * stride, 0.0, 0.52 * size])
    order = (1, -1) if np.cos(heading) >= 0 else (-1, 1)
    far, near = (_side(look, side, phase, stride, size, hip, shoulder) for side in order)
    head = shoulder + np.array([0.03, 0.0, 0.2 * size])
    return [*far, *_trunk(look, hip, shoulder, size), *near, *_head(look, head, size)]


def _side(look: Look, side: int, phase: float, stride: float, size: float, hip: Points, shoulder: Points) -> list[Part]:
    """Return one leg and one arm; ``side`` 1 is the left one."""
    swing = np.sin(phase + (0 if side > 0 else np.pi))
    forward = np.cos(phase + (0 if side > 0 else np.pi))
    joint = hip + np.array([0, side * 0.09, 0])
    thigh, bend = 0.5 * swing * stride, 0.15 * stride + 0.75 * stride * max(0.0, float(forward))
    knee = joint + 0.45 * size * np.array([np.sin(thigh), 0, -np.cos(thigh)])
    ankle = knee + 0.43 * size * np.array([np.sin(thigh - bend), 0, -np.cos(thigh - bend)])
    ankle[2] = max(ankle[2], 0.06)
    toe = ankle + np.array([0.14, 0.02 * side, -0.02])
    shoulder = shoulder + np.array([0, side * 0.2, -0.05])
    elbow = shoulder + 0.29 * size * np.array([-0.55 * swing * stride, side * 0.16, -0.95])
    hand = elbow + 0.25 * size * np.array([-0.5 * swing * stride + 0.25 * stride, 0, -0.95])
    shade = 0.82 if side > 0 else 1.0
    cloth, trousers = _dim(look.paint, shade), _dim(look.second, shade)
    return [
        limb(ankle, toe, (0.055, 0.045), _SHOE), limb(knee, ankle, (0.068, 0.055), trousers),
        limb(joint, knee, (0.095, 0.07), trousers), limb(elbow, hand, (0.045, 0.04), _dim(look.skin, shade)),
        limb(shoulder, elbow, (0.062, 0.05), cloth),
    ]  # fmt: skip


def _dim(ink: Ink, share: float) -> Ink:
    return ink[0] * share, ink[1] * share, ink[2] * share


def _trunk(look: Look, hip: Points, shoulder: Points, size: float) -> list[Part]:
    chest = shoulder + np.array([0.0, 0.0, -0.08])
    parts = [
        limb(hip, hip + np.array([0, 0, 0.08]), (0.15, 0.15), look.second),
        limb(hip + np.array([0, 0, 0.12]), chest, (0.145, 0.185), look.paint),
        limb(chest + np.array([0, -0.1, 0.02]), chest + np.array([0, 0.1, 0.02]), (0.12, 0.12), look.paint),
        limb(shoulder, shoulder + np.array([0.02, 0, 0.12 * size]), (0.055, 0.055), _dim(look.skin, 0.9)),
    ]
    if look.model == 2:
        back = np.array([-0.17, 0, 0])
        parts.insert(0, limb(chest + back, hip + back + np.array([0, 0, 0.18]), (0.13, 0.13), look.hair))
    return parts


def _head(look: Look, head: Points, size: float) -> list[Part]:
    return [
        limb(head + np.array([-0.03, 0, 0.035]), head + np.array([-0.035, 0, 0.01]), (0.118, 0.11), look.hair),
        limb(head + np.array([0.02, 0, 0.0]), head + np.array([0.025, 0, -0.06 * size]), (0.098, 0.08), look.skin),
        limb(head + np.array([-0.01, 0, 0.07]), head + np.array([-0.04, 0, 0.06]), (0.095, 0.1), look.hair),
    ]


def _cyclist(look: Look, covered_m: float) -> list[Part]:
    phase = covered_m / 4.2 * 2 * np.pi
    wheels = [part for x in (0.52, -0.52) for part in _spokes(x)]
    seat, bar, crank = np.array([-0.22, 0, 0.92]), np.array([0.42, 0, 1.0]), np.array([0.0, 0, 0.3])
    frame = [
        limb(ends[0], ends[1], (0.024, 0.024), _dim(look.paint, 0.8))
        for ends in ((crank, seat), (crank, bar - [0.05, 0, 0.2]), (seat - [0, 0, 0.12], bar - [0.05, 0, 0.15]),
                     (crank, (-0.52, 0, 0.34)), (seat, (-0.52, 0, 0.34)), (bar, (0.52, 0, 0.34)))
    ]  # fmt: skip
    hip, shoulder = seat + np.array([0.02, 0, 0.1]), np.array([0.2, 0, 1.48])
    legs = [_pedalling(look, side, phase, hip, crank) for side in (1, -1)]
    torso = [
        limb(hip, hip + np.array([0.04, 0, 0.1]), (0.15, 0.14), look.second),
        limb(hip + np.array([0.05, 0, 0.12]), shoulder, (0.14, 0.17), look.paint),
    ]
    arms = [
        limb(shoulder + np.array([0.03, side * 0.17, -0.02]), bar + np.array([0, side * 0.22, 0.04]), (0.06, 0.045),
             _dim(look.paint, 0.9)) for side in (1, -1)
    ]  # fmt: skip
    head = shoulder + np.array([0.1, 0, 0.24])
    helmet = limb(head + np.array([-0.02, 0, 0.05]), head + np.array([-0.08, 0, 0.05]), (0.115, 0.11), look.skin[::-1])
    face = limb(head, head + np.array([0.02, 0, -0.06]), (0.1, 0.08), look.skin)
    return [*wheels, *legs[0], arms[0], *frame, *torso, *legs[1], arms[1], face, helmet]


def _spokes(x: float) -> list[Part]:
    """Return a wheel: the rim as short limbs."""
    rim = disc(0.33, 12)
    points = np.column_stack([rim[:, 0] + x, np.zeros(len(rim)), rim[:, 1] + 0.34])
    return [
        limb(here, there, (0.028, 0.028), _TYRE) for here, there in zip(points, np.roll(points, 1, axis=0), strict=True)
    ]


def _pedalling(look: Look, side: int, phase: float, hip: Points, crank: Points) -> list[Part]:
    """Return a leg whose foot goes round with the crank; the knee is where two bones of given length meet."""
    angle = -phase + (0 if side > 0 else np.pi)
    foot = crank + np.array([0.17 * np.cos(angle), side * 0.1, 0.17 * np.sin(angle)])
    start = hip + np.array([0, side * 0.1, 0])
    span = foot - start
    reach = float(np.hypot(span[0], span[2]))
    height = np.sqrt(max(0.0, 0.43**2 - (reach / 2) ** 2))
    knee = (start + foot) / 2 + np.array([-span[2], 0, span[0]]) / reach * height
    trousers = _dim(look.second, 0.82 if side > 0 else 1.0)
    return [
        limb(foot, foot + np.array([0.1, 0, -0.01]), (0.055, 0.045), _SHOE),
        limb(knee, foot, (0.068, 0.055), trousers), limb(start, knee, (0.095, 0.07), trousers),
    ]  # fmt: skip
