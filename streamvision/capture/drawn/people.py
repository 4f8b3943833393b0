"""People: walking and standing, tall and small, with coats, skirts, bags, hats and umbrellas."""

# ruff: noqa: RUF005 - points are moved by lists here, nothing is concatenated

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamvision.capture.drawn import inks
from streamvision.capture.drawn.camera import Points
from streamvision.capture.drawn.parts import Figure, Ink, Part, Stuff, box, dim, disc, level, limb, loft


@dataclass(frozen=True, slots=True)
class Wear:
    """What somebody looks like; colours BGR. ``girth`` 1 is slim."""

    top: Ink
    legs: Ink
    skin: Ink
    hair: Ink
    shoe: Ink
    girth: float
    short_sleeves: bool
    shorts: bool

    @classmethod
    def of(cls, rng: np.random.Generator) -> Wear:
        """Dress somebody."""
        return cls(inks.cloth(rng), inks.trousers(rng), inks.skin(rng), inks.hair(rng),
                   inks.WHITE if rng.random() < 0.25 else dim(inks.dull(rng), 0.5), float(rng.uniform(0.88, 1.3)),
                   bool(rng.random() < 0.35), bool(rng.random() < 0.15))  # fmt: skip


def person(rng: np.random.Generator, stride: float | None = None, phase: float | None = None) -> Figure:
    """Return somebody who looks along +x; ``stride`` 0 stands, 1 walks, 1.5 runs; ``phase`` rad is where in a step."""
    wear = Wear.of(rng)
    child = rng.random() < 0.12
    size = float(rng.uniform(0.55, 0.8) if child else np.clip(rng.normal(0.985, 0.055), 0.84, 1.13))
    if stride is None:
        stride = 0.0 if rng.random() < 0.35 else float(rng.uniform(0.5, 1.2))
    turn = float(rng.uniform(0, 2 * np.pi)) if phase is None else phase
    pose = _Pose.of(rng, stride, turn)
    legs, skirt = _legs(wear, pose), _dress(rng, wear, pose, child)
    if skirt:  # it hides the legs from everywhere
        legs = [[part for leg in legs for part in leg] + skirt]
    solids = [*legs, *_trunk(wear, pose), *_arms(rng, wear, pose), *_head(rng, wear, pose), *_carried(rng, pose)]
    return Figure.of(solids).sized(size)


@dataclass(frozen=True, slots=True)
class _Pose:
    """A grown person of 1.75 m in mid-step."""

    hip: Points
    shoulder: Points
    stride: float
    phase: float

    @classmethod
    def of(cls, rng: np.random.Generator, stride: float, phase: float) -> _Pose:
        hip = np.array([0.0, 0.0, 0.93 - 0.03 * stride * abs(np.sin(phase))])
        lean = rng.uniform(-0.02, 0.05) + 0.04 * stride
        return cls(hip, hip + np.array([lean, 0.0, 0.5]), stride, phase)


def _legs(wear: Wear, pose: _Pose) -> list[list[Part]]:
    solids = []
    for side in (1, -1):
        swing = np.sin(pose.phase + (0 if side > 0 else np.pi))
        forward = np.cos(pose.phase + (0 if side > 0 else np.pi))
        thigh = 0.48 * swing * pose.stride
        bend = 0.08 * pose.stride + 0.75 * pose.stride * max(0.0, float(forward))
        joint = pose.hip + np.array([0, side * 0.09, -0.02])
        knee = joint + 0.43 * np.array([np.sin(thigh), 0, -np.cos(thigh)])
        ankle = knee + 0.42 * np.array([np.sin(thigh - bend), 0, -np.cos(thigh - bend)])
        ankle[2] = max(ankle[2], 0.07)
        girth = wear.girth
        shin = wear.skin if wear.shorts else wear.legs
        solids += [
            [limb(ankle + [-0.04, 0, -0.02], ankle + [0.15, side * 0.03, -0.03], (0.05, 0.042), wear.shoe)],
            [limb(knee, ankle, (0.062 * girth, 0.05), shin, Stuff.SKIN if wear.shorts else Stuff.CLOTH)],
            [limb(joint, knee, (0.092 * girth, 0.07 * girth), wear.legs)],
        ]
    return solids


def _trunk(wear: Wear, pose: _Pose) -> list[list[Part]]:
    """Return hips and chest as ovals that are wider than deep."""
    hip, top, girth = pose.hip, pose.shoulder, wear.girth
    oval = disc(1.0, 12)
    waist = hip + (top - hip) * 0.3
    rings = [
        (hip - [0, 0, 0.08], 0.1, 0.155), (hip + [0, 0, 0.06], 0.115, 0.17), (waist, 0.105, 0.155),
        (top - [0, 0, 0.14], 0.125, 0.195), (top - [0, 0, 0.03], 0.1, 0.195), (top + [0, 0, 0.045], 0.06, 0.1),
    ]  # fmt: skip
    shapes = [
        np.column_stack([oval * [deep * girth, wide * girth**0.7] + centre[:2], np.full(12, centre[2])])
        for centre, deep, wide in rings
    ]
    lower = loft(shapes[:3], wear.legs, Stuff.CLOTH, bottom=True)
    upper = loft(shapes[2:], wear.top, Stuff.CLOTH)
    neck = limb(top, top + [0.02, 0, 0.13], (0.055, 0.052), dim(wear.skin, 0.9), Stuff.SKIN)
    return [lower, upper, [neck]]


def _arms(rng: np.random.Generator, wear: Wear, pose: _Pose) -> list[list[Part]]:
    solids = []
    bent = rng.random() < 0.2
    for side in (1, -1):
        swing = np.sin(pose.phase + (np.pi if side > 0 else 0)) * pose.stride
        shoulder = pose.shoulder + np.array([0, side * 0.2 * wear.girth**0.6, -0.03])
        elbow = shoulder + 0.28 * np.array([0.5 * swing, side * rng.uniform(0.1, 0.25), -0.95])
        ahead = 0.8 if bent else 0.15 + 0.5 * swing + 0.1 * pose.stride
        hand = elbow + 0.25 * np.array([ahead, -side * (0.25 if bent else 0.02), 0.25 if bent else -0.93])
        sleeve, stuff = (wear.skin, Stuff.SKIN) if wear.short_sleeves else (wear.top, Stuff.CLOTH)
        solids += [
            [limb(shoulder, elbow, (0.062 * wear.girth, 0.048), wear.top)],
            [limb(elbow, hand, (0.045, 0.036), sleeve, stuff)],
            [limb(hand, hand + (hand - elbow) * 0.32, (0.042, 0.03), wear.skin, Stuff.SKIN)],
        ]
    return solids


def _head(rng: np.random.Generator, wear: Wear, pose: _Pose) -> list[list[Part]]:
    """Return skull, face, hair, and sometimes a hat or a hood; all in one, from behind to ahead."""
    middle = pose.shoulder + np.array([0.03, 0.0, 0.205])
    face = limb(middle + [0.022, 0, 0.0], middle + [0.03, 0, -0.065], (0.094, 0.07), wear.skin, Stuff.SKIN)
    bald = rng.random() < 0.06
    crown = wear.skin if bald else wear.hair
    skull = limb(middle + [-0.02, 0, 0.035], middle + [-0.03, 0, -0.01], (0.108, 0.1), crown)
    fringe = limb(middle + [0.012, 0, 0.065], middle + [-0.03, 0, 0.06], (0.088, 0.092), crown)
    solids = [[face], [skull], [fringe]]
    kind = rng.random()
    if kind < 0.25 and not bald:
        solids.append([limb(middle + [-0.06, 0, 0], middle + [-0.09, 0, -0.22], (0.1, 0.07), wear.hair)])
    elif kind < 0.4:
        ink = inks.cloth(rng)
        solids.append([limb(middle + [0, 0, 0.07], middle + [-0.02, 0, 0.1], (0.112, 0.1), ink)])
        if rng.random() < 0.6:
            brim = disc(rng.uniform(0.13, 0.22), 12) + (middle + [0.07, 0, 0])[:2]
            solids.append([Part(level(brim, middle[2] + 0.055), ink, Stuff.CLOTH, (), True)])
    elif kind < 0.46:
        solids.append([limb(middle + [-0.03, 0, 0.03], middle + [-0.06, 0, -0.12], (0.125, 0.12), wear.top)])
    return solids


def _dress(rng: np.random.Generator, wear: Wear, pose: _Pose, child: bool) -> list[Part]:
    """Return a skirt or a long coat over the legs, sometimes."""
    kind = rng.random()
    if kind > 0.26 or child:
        return []
    ink, low = (wear.legs, rng.uniform(0.3, 0.62)) if kind < 0.12 else (wear.top, rng.uniform(0.35, 0.7))
    spread = rng.uniform(0.19, 0.3) + 0.05 * pose.stride
    oval, high = disc(1.0, 12), pose.hip + [0, 0, 0.1]
    rings = [
        level(oval * [spread * (0.8 + 0.3 * pose.stride), spread] + pose.hip[:2], low),
        level(oval * [0.16, 0.19] * wear.girth + high[:2], float(high[2])),
    ]
    return loft(rings, ink, Stuff.CLOTH, lid=False)


def _carried(rng: np.random.Generator, pose: _Pose) -> list[list[Part]]:
    """Return a rucksack, a bag, a suitcase or an umbrella, sometimes."""
    kind, top, hip = rng.random(), pose.shoulder, pose.hip
    ink = inks.cloth(rng)
    side = float(rng.choice([-1, 1]))
    if kind < 0.14:
        back = top + [-0.2, 0, -0.1]
        return [[limb(back, back + [0, 0, -0.3], (0.12, 0.14), ink)]]
    if kind < 0.28:
        low = hip + [-0.14, side * 0.3 - 0.06, -0.28]
        bag = box(low.tolist(), (low + [0.32, 0.12, rng.uniform(0.2, 0.34)]).tolist(), ink, Stuff.CLOTH)
        return [bag, [limb(hip + [0.02, side * 0.3, -0.0], hip + [0.02, side * 0.28, 0.35], (0.012, 0.012), ink)]]
    if kind < 0.32:
        low = np.array([-0.55, side * 0.25 - 0.12, 0.04])
        return [box(low.tolist(), (low + [0.36, 0.24, 0.6]).tolist(), ink, Stuff.PAINT)]
    if kind < 0.38:
        return _umbrella(top + [0.12, side * 0.15, 0.0], inks.vivid(rng) if rng.random() < 0.5 else inks.DARK)
    return []


def _umbrella(hand: Points, ink: Ink) -> list[list[Part]]:
    tip = hand + [0, 0, 0.78]
    rim = disc(0.52, 10) + tip[:2]
    low = level(rim, float(tip[2]) - 0.26)
    cloth = []
    for at in range(10):
        corners = np.array([low[at], low[(at + 1) % 10], tip])
        cloth.append(Part(corners, dim(ink, 0.92 if at % 2 else 1.05), Stuff.CLOTH, (), True))
    return [[limb(hand, tip, (0.014, 0.014), inks.DARK, Stuff.METAL)], cloth]
