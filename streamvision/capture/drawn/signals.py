"""Traffic lights and traffic signs; their posts are part of the figure, but no box goes around those."""

# ruff: noqa: RUF005 - points are moved by lists here, nothing is concatenated

from __future__ import annotations

import numpy as np

from streamvision.capture.drawn import inks
from streamvision.capture.drawn.camera import Points
from streamvision.capture.drawn.parts import Figure, Ink, Part, Stuff, box, dim, disc, facing, limb, panel, rectangle

_RED, _YELLOW, _GREEN = (30.0, 24.0, 226.0), (20.0, 172.0, 250.0), (130.0, 220.0, 40.0)
_STEEL: Ink = (120.0, 120.0, 118.0)


def traffic_light(rng: np.random.Generator, lit: str | None = None, *, hung: bool | None = None) -> Figure:
    """Return a traffic light that faces +x: on a post, or ``hung`` from an arm; the box is that of its housing.

    ``lit``: red, amber, green, red+amber or off; any without it.
    """
    state = lit or str(rng.choice(["red", "amber", "green", "red+amber", "off"], p=[0.4, 0.12, 0.38, 0.04, 0.06]))
    mast = bool(rng.random() < 0.35) if hung is None else hung
    flat = bool(rng.random() < (0.35 if mast else 0.06))
    lens = float(rng.choice([0.1, 0.1, 0.15])) * float(rng.uniform(0.95, 1.1))
    lamps = [("red", _RED), ("amber", _YELLOW), ("green", _GREEN)]
    if rng.random() < 0.15:
        lamps = [lamps[0], lamps[2]]
    z = float(rng.uniform(5.0, 6.0)) if mast else float(rng.uniform(2.3, 3.2))
    housing = _housing(rng, lamps, state, lens, flat, z)
    high = max(float(part.points[:, 2].max()) for part in housing)
    if mast:
        side, reach = float(rng.choice([-1, 1])), float(rng.uniform(2.5, 6.0))
        top = high - 0.2
        foot = np.array([-0.25, side * reach, 0.0])
        posts = [[limb(foot, foot + [0, 0, top + 0.3], (0.11, 0.08), _STEEL, Stuff.METAL)],
                 [limb(foot + [0, 0, top], (-0.25, 0, top), (0.07, 0.05), _STEEL, Stuff.METAL)]]  # fmt: skip
    else:
        ink = _STEEL if rng.random() < 0.6 else inks.DARK
        posts = [[limb((-0.16, 0, 0), (-0.16, 0, high + 0.05), (0.06, 0.055), ink, Stuff.METAL)]]
    return Figure.of([housing], posts)


def _housing(rng: np.random.Generator, lamps: list[tuple[str, Ink]], state: str, lens: float, flat: bool,
             z: float) -> list[Part]:  # fmt: skip
    """Return the dark case, its back board, lamps lit and unlit, and their hoods."""
    pitch, half = lens * 2.5, lens * 1.32
    long = pitch * len(lamps) / 2
    size = (long, half) if flat else (half, long)
    case = inks.DARK if rng.random() < 0.75 else (28.0, 60.0, 40.0) if rng.random() < 0.5 else (30.0, 180.0, 220.0)
    centre = z + size[1]
    parts = []
    if rng.random() < 0.3:
        edge = panel(facing("+x", -0.02, (0, centre), rectangle(size[0] * 2 + 0.3, size[1] * 2 + 0.3)), inks.DARK,
                     two_sided=True)  # fmt: skip
        parts.append(edge)
    parts += box((-0.1, -size[0], z), (0.1, size[0], z + 2 * size[1]), case, Stuff.PAINT)
    for number, (name, ink) in enumerate(lamps):
        at = long - pitch * (number + 0.5)
        spot = (-at, centre) if flat else (0.0, centre + at)
        parts += _lens(rng, spot, lens, ink, name in state.split("+"))
    return parts


def _lens(rng: np.random.Generator, spot: tuple[float, float], lens: float, ink: Ink, on: bool) -> list[Part]:
    circle = disc(lens, 12)
    dark = dim(ink, 0.22)
    glass = panel(facing("+x", 0.104, spot, circle), ink if on else dark, Stuff.LAMP, glow=2.4 if on else 0.0)
    parts = [panel(facing("+x", 0.102, spot, circle * 1.15), (18.0, 18.0, 18.0)), glass]
    if on:
        bright = tuple(min(255.0, channel * 0.5 + 130) for channel in ink)
        core = circle * rng.uniform(0.45, 0.7)
        parts.append(panel(facing("+x", 0.106, spot, core), (bright[0], bright[1], bright[2]), Stuff.LAMP, glow=1.5))
    angles = np.linspace(0.1, np.pi - 0.1, 7)
    arc = np.column_stack([np.cos(angles), np.sin(angles)]) * lens * 1.15
    rim, out = facing("+x", 0.1, spot, arc), facing("+x", 0.1 + lens * 1.4, spot, arc)
    for here, there, far, near in zip(rim, rim[1:], out[1:], out, strict=False):
        parts.append(panel([here, there, far, near], (20.0, 20.0, 20.0), two_sided=True))
    return parts


def traffic_sign(rng: np.random.Generator) -> Figure:
    """Return one or two signs on a post that face +x; the box is that of the plates."""
    z, size = float(rng.uniform(1.7, 2.6)), float(rng.choice([0.3, 0.35, 0.45])) * float(rng.uniform(0.9, 1.2))
    kind = str(rng.choice(list(_KINDS), p=_SHARES))
    plate = _plate(rng, kind, size, z + size)
    parts = plate
    if rng.random() < 0.15:
        parts = [*plate, *_plate(rng, "rectangle", size * 0.7, z - size * 0.75)]
    top = max(float(part.points[:, 2].max()) for part in parts)
    ink = _STEEL if rng.random() < 0.8 else inks.dull(rng)
    post = limb((-0.05, 0, 0), (-0.05, 0, top - size * 0.3), (0.035, 0.035), ink, Stuff.METAL)
    posts: list[list[Part]] = [[post]]
    if kind == "board":
        wide = float(np.ptp(plate[0].points[:, 1])) * 0.4
        posts = [[limb((-0.06, side * wide, 0), (-0.06, side * wide, top - 0.05), (0.05, 0.05), ink, Stuff.METAL)]
                 for side in (1, -1)]  # fmt: skip
    return Figure.of([parts], posts)


_KINDS = ("limit", "ban", "blue", "triangle", "yield", "octagon", "rhombus", "diamond", "rectangle", "board")
_SHARES = (0.2, 0.12, 0.12, 0.15, 0.08, 0.09, 0.06, 0.06, 0.08, 0.04)
_SIGN_RED, _SIGN_BLUE, _SIGN_YELLOW = (40.0, 30.0, 196.0), (160.0, 84.0, 24.0), (30.0, 190.0, 240.0)


def _corners(count: int, turn: float) -> Points:
    angles = turn + np.arange(count) * 2 * np.pi / count
    return np.column_stack([np.cos(angles), np.sin(angles)])


def _plate(rng: np.random.Generator, kind: str, size: float, z: float) -> list[Part]:
    """Return layers of a plate, largest first, then its symbol; behind it bare metal."""
    blank = inks.WHITE if rng.random() < 0.8 else _SIGN_YELLOW
    layers: list[tuple[Points, Ink]]
    circle, up, down = disc(1.0, 20), _corners(3, np.pi / 2), _corners(3, -np.pi / 2)
    layers = {
        "limit": [(circle, _SIGN_RED), (circle * 0.78, blank)],
        "ban": [(circle, _SIGN_RED), (circle * 0.78, blank if rng.random() < 0.5 else _SIGN_RED)],
        "blue": [(circle, inks.WHITE), (circle * 0.95, _SIGN_BLUE)],
        "triangle": [(up * 1.15, _SIGN_RED), (up * 0.78, blank)],
        "yield": [(down * 1.15, _SIGN_RED), (down * 0.72, blank)],
        "octagon": [(_corners(8, np.pi / 8), inks.WHITE), (_corners(8, np.pi / 8) * 0.94, _SIGN_RED)],
        "rhombus": [(_corners(4, 0), inks.WHITE), (_corners(4, 0) * 0.78, _SIGN_YELLOW)],
        "diamond": [(_corners(4, 0) * 1.1, inks.DARK), (_corners(4, 0) * 1.04, _SIGN_YELLOW)],
        "rectangle": [(rectangle(1.5, rng.uniform(1.4, 2.2)), inks.WHITE),
                      (rectangle(1.4, 1.3), _SIGN_BLUE if rng.random() < 0.6 else inks.WHITE)],
        "board": [(rectangle(rng.uniform(5, 9), rng.uniform(2.5, 5)), inks.WHITE)],
    }[kind]  # fmt: skip
    if kind == "board":
        ink = _SIGN_BLUE if rng.random() < 0.5 else (70.0, 110.0, 20.0)
        layers.append((layers[0][0] * 0.96, ink))
    back = panel(facing("-x", -0.012, (0, z), layers[0][0] * [-1, 1] * size), _STEEL, Stuff.METAL)
    back = panel(back.points[::-1], _STEEL, Stuff.METAL)
    faces = [panel(facing("+x", 0.004 * at, (0, z), outline * size), ink, Stuff.PRINT)
             for at, (outline, ink) in enumerate(layers)]  # fmt: skip
    return [*faces, back, *_symbol(rng, kind, size, z, layers[-1][1])]


def _symbol(rng: np.random.Generator, kind: str, size: float, z: float, ground: Ink) -> list[Part]:
    if kind in ("yield", "rhombus") or (kind == "ban" and rng.random() < 0.3):
        return []
    ink = inks.WHITE if sum(ground) < 420 else inks.DARK
    if kind == "ban":
        bar = rectangle(1.2, 0.3) if ground == _SIGN_RED else rectangle(1.3, 0.16) @ np.array([[0.7, 0.7], [-0.7, 0.7]])
        shapes, ink = [bar], inks.WHITE if ground == _SIGN_RED else _SIGN_RED
    elif kind == "limit":
        shapes = [part for at in (-0.3, 0.3) for part in _digit(rng, at)]
    elif kind == "octagon":
        shapes = [rectangle(0.26, 0.5) + [at, 0] for at in (-0.54, -0.18, 0.18, 0.54)]
    elif kind == "board":
        shapes = [rectangle(rng.uniform(1, 3), 0.34) + [rng.uniform(-1.5, 0), at] for at in (0.7, 0.0, -0.7)]
    else:
        shapes = [_blot(rng) * (0.7 if kind == "triangle" else 1.0) - [0, 0.08]]
    return [panel(facing("+x", 0.014, (0, z), shape * size), ink, Stuff.PRINT) for shape in shapes]


def _digit(rng: np.random.Generator, at: float) -> list[Points]:
    """Return a digit-like sign of a few strokes."""
    strokes = [rectangle(0.38, 0.12) + [at, y] for y in (0.34, 0.0, -0.34)]
    strokes += [rectangle(0.12, 0.38) + [at + x, y] for x in (-0.14, 0.14) for y in (0.17, -0.17)]
    keep = rng.random(len(strokes)) < 0.75
    return [stroke for stroke, wanted in zip(strokes, keep, strict=True) if wanted] or strokes


def _blot(rng: np.random.Generator) -> Points:
    """Return an arrow, or a rounded thing."""
    if rng.random() < 0.5:
        arrow = np.array([(-0.1, -0.5), (0.1, -0.5), (0.1, 0.05), (0.3, 0.05), (0.0, 0.5), (-0.3, 0.05), (-0.1, 0.05)])
        angle = rng.choice([0.0, np.pi / 2, -np.pi / 2, np.pi / 4])
        return np.asarray(arrow @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]))
    angles = np.arange(8) * np.pi / 4
    return np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.22, 0.5, (8, 1))
