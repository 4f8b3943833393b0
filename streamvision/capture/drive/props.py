"""What stands beside roads and is of no class: lamp posts, delineators, poles with wires, gantries, bridges, cones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from streamvision.capture.drawn.parts import Figure, Ink, Part, Stuff, box, limb

_STEEL: Ink = (132.0, 130.0, 126.0)
_POOL = 12


@lru_cache(maxsize=64)
def prop(kind: str, number: int) -> Figure:
    """Return one of the dozen props of a kind: lamp, pole, delineator, bollard, cone, bin, cabinet."""
    rng = np.random.default_rng([61, number % _POOL])
    solids = {"lamp": _lamp, "pole": _pole, "delineator": _delineator, "bollard": _bollard, "cone": _cone,
              "bin": _bin, "cabinet": _cabinet}[kind](rng)  # fmt: skip
    return Figure.of(solids)


def _lamp(rng: np.random.Generator) -> list[list[Part]]:
    tall, reach = float(rng.uniform(5, 11)), float(rng.uniform(0.4, 2.8))
    head = [
        *box((reach - 0.35, -0.12, tall + 0.05), (reach + 0.35, 0.12, tall + 0.2), (150.0, 150.0, 148.0), Stuff.METAL)
    ]
    shine = Part(
        np.array([(reach - 0.3, -0.1, tall + 0.04), (reach - 0.3, 0.1, tall + 0.04), (reach + 0.3, 0.1, tall + 0.04),
                  (reach + 0.3, -0.1, tall + 0.04)]), (160.0, 215.0, 250.0), Stuff.LAMP, (), True, 1.0)  # fmt: skip
    return [[limb((0, 0, 0), (0, 0, tall), (0.1, 0.055), _STEEL, Stuff.METAL)],
            [limb((0, 0, tall), (reach, 0, tall + 0.12), (0.055, 0.045), _STEEL, Stuff.METAL)],
            [*head, shine]]  # fmt: skip


def _pole(rng: np.random.Generator) -> list[list[Part]]:
    tall, wood = float(rng.uniform(6, 9)), (60.0 * rng.uniform(0.6, 1.6), 78.0, 94.0)
    solids = [[limb((0, 0, 0), (0, 0, tall), (0.14, 0.1), wood, Stuff.WOOD)]]
    for _ in range(int(rng.integers(0, 3))):
        z = tall - float(rng.uniform(0.2, 1.4))
        solids.append([limb((0, -0.9, z), (0, 0.9, z), (0.05, 0.05), wood, Stuff.WOOD)])
    return solids


def _delineator(rng: np.random.Generator) -> list[list[Part]]:
    white, dark = (215.0, 218.0, 220.0), (40.0, 38.0, 38.0)
    return [box((-0.05, -0.06, 0), (0.05, 0.06, 0.7), white), box((-0.05, -0.06, 0.7), (0.05, 0.06, 0.9), dark),
            box((-0.05, -0.06, 0.9), (0.05, 0.06, 1.0), white)]  # fmt: skip


def _bollard(rng: np.random.Generator) -> list[list[Part]]:
    ink = tuple((np.array([60.0, 60.0, 60.0]) * rng.uniform(0.5, 3.2)).tolist())
    return [
        [limb((0, 0, 0), (0, 0, float(rng.uniform(0.6, 1.1))), (0.08, 0.07), (ink[0], ink[1], ink[2]), Stuff.METAL)]
    ]


def _cone(rng: np.random.Generator) -> list[list[Part]]:
    return [[limb((0, 0, 0.05), (0, 0, 0.3), (0.18, 0.13), (40, 90, 235))],
            [limb((0, 0, 0.32), (0, 0, 0.48), (0.12, 0.09), (225, 228, 230))],
            [limb((0, 0, 0.5), (0, 0, 0.7), (0.08, 0.04), (40, 90, 235))]]  # fmt: skip


def _bin(rng: np.random.Generator) -> list[list[Part]]:
    ink = tuple(rng.uniform(20, 110, 3).tolist())
    return [box((-0.3, -0.3, 0.05), (0.3, 0.3, float(rng.uniform(0.9, 1.3))), (ink[0], ink[1], ink[2]))]


def _cabinet(rng: np.random.Generator) -> list[list[Part]]:
    ink = tuple((np.array([120.0, 128.0, 120.0]) * rng.uniform(0.5, 1.4)).tolist())
    return [box((-0.3, -0.6, 0), (0.3, 0.6, float(rng.uniform(1.0, 1.6))), (ink[0], ink[1], ink[2]), Stuff.METAL)]


def gantry(rng: np.random.Generator, left: float, right: float) -> list[Figure]:
    """Return the frame of a gantry over d from left to right, then its signs (of a class); they look along +x."""
    z, post = float(rng.uniform(5.4, 6.2)), (150.0, 150.0, 148.0)
    frame = [[limb((0.3, -d, 0), (0.3, -d, z + 1.6), (0.18, 0.16), post, Stuff.METAL)] for d in (left, right)]
    beams = ((0.3, -left, z + 0.4), (0.3, -right, z + 0.4)), ((0.3, -left, z + 1.4), (0.3, -right, z + 1.4))
    frame += [[limb(start, end, (0.12, 0.12), post, Stuff.METAL)] for start, end in beams]
    ink = ((120.0, 70.0, 20.0), (70.0, 110.0, 20.0))[int(rng.integers(2))]
    plates = []
    at = left + 0.8
    while at < right - 2.5:
        wide = float(rng.uniform(2.4, 4.2))
        plates.append(_plate(rng, at, min(at + wide, right - 0.3), z, ink))
        at += wide + float(rng.uniform(0.3, 3.0))
    return [Figure.of(frame), *(Figure.of([plate]) for plate in plates)]


def _plate(rng: np.random.Generator, left: float, right: float, z: float, ink: Ink) -> list[Part]:
    """Return a blue or green sign with lines of white writing; it faces +x, d grows to -y."""
    tall = float(rng.uniform(1.6, 2.6))
    parts = box((-0.1, -right, z), (0, -left, z + tall), ink, Stuff.PRINT)
    white = (228.0, 230.0, 230.0)
    for row in np.arange(z + 0.25, z + tall - 0.3, 0.55):
        start, long = float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.4, 0.9))
        y0, y1 = -left - start, max(-left - start - (right - left) * long, -right + 0.2)
        if y0 - y1 > 0.3:
            corners = [(0.01, y1, row), (0.01, y0, row), (0.01, y0, row + 0.28), (0.01, y1, row + 0.28)]
            parts.append(Part(np.array(corners), white, Stuff.PRINT, (), True))
    return parts


def bridge(rng: np.random.Generator, left: float, right: float, depth_m: float) -> Figure:
    """Return a bridge across the road that looks along +x: deck, parapet, and piers beside the carriageway."""
    ink = tuple((np.array([150.0, 156.0, 160.0]) * rng.uniform(0.55, 1.1)).tolist())
    stone: Ink = (ink[0], ink[1], ink[2])
    z = float(rng.uniform(4.8, 6.5))
    deck = box((-depth_m, -60, z), (0, 60, z + float(rng.uniform(0.9, 1.6))), stone, Stuff.STONE)
    rail = box((-0.2, -60, z + 1.6), (0, 60, z + 2.4), (110.0, 112.0, 112.0), Stuff.METAL)
    piers = [
        box((-depth_m * 0.8, d - 0.5, 0), (-0.3, d + 0.5, z), stone, Stuff.STONE) for d in (-right - 1.5, -left + 1.5)
    ]
    return Figure.of([deck, rail, *piers])
