"""Figures anywhere before any camera -> which part every pixel shows, their truth, and their colours.

First every pixel learns the number of the part that it shows (far things first; inside a thing solid by solid, which
planes between their boxes put in order). Then all pixels are coloured at once: light, shine, roundness of limbs, grain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import NEAR_M, Camera, Points
from streamvision.capture.drawn.light import GRAIN, KIND, TEXELS, Light, surface
from streamvision.capture.drawn.order import order_things, solid_ranks
from streamvision.capture.drawn.outlines import Outlines, outlines
from streamvision.capture.drawn.parts import Figure
from streamvision.types import Int32, UInt8

_SHIFT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """A placed figure in a scene: of a class, or clutter ("")."""

    figure: Figure
    name: str = ""
    id: int = 0
    gain: float = 1.0
    """How much of the scene's light falls on it."""
    shadow: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is known about one thing: its stencil's box xyxy in px of the drawing, and how much of it is seen."""

    thing: int
    xyxy: tuple[float, float, float, float]
    whole_px: int
    visible: float


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What every pixel shows: numbers (h,w) int32, 0 nothing, else 1 + a row of the tables.

    owner (K,): the number of the thing, -1 - number where the part does not count (a sign's post).
    """

    numbers: Int32
    owner: Int32
    bgr: NDArray[np.float32]
    slope: NDArray[np.float32]
    grain: NDArray[np.float32]
    glow: NDArray[np.float32]
    depth: NDArray[np.float32]
    truths: tuple[Truth, ...]

    def owners(self) -> Int32:
        """Return the thing (h,w) that every pixel shows, -1 where none or a part that does not count."""
        table = np.concatenate([[-1], np.maximum(self.owner, -1)]).astype(np.int32)
        return np.asarray(table[self.numbers], np.int32)


def draw(camera: Camera, things: Sequence[Thing], light: Light, rng: np.random.Generator) -> Drawing:
    """Find what every pixel shows."""
    width, height = camera.size_wh
    numbers = np.zeros((height, width), np.int32)
    seen = {at: one for at, thing in enumerate(things) if (one := outlines(camera, thing.figure)) is not None}
    tables: list[tuple[NDArray[np.float32], ...]] = []
    owners: list[Int32] = []
    stencils: dict[int, tuple[tuple[int, int, int, int], int]] = {}
    total = 0
    for at in order_things(camera, [things[at].figure for at in seen], list(seen.values()), list(seen)):
        figure, outline = things[at].figure, seen[at]
        chosen = outline.parts[np.argsort(solid_ranks(camera, figure)[figure.solid[outline.parts]], kind="stable")]
        found = _stencil(numbers, outline, figure, chosen, total)
        if found is not None:
            stencils[at] = found
        tables.append(_tables(camera, things[at], outline, chosen, light, rng))
        owners.append(np.where(figure.counted[figure.solid[chosen]], at, -1 - at).astype(np.int32))
        total += len(chosen)
    merged = [np.concatenate(columns) for columns in zip(*tables, strict=True)] or [np.zeros(0, np.float32)] * 5
    owner = np.concatenate([*owners, np.zeros(0, np.int32)]).astype(np.int32)
    drawing = Drawing(numbers, owner, merged[0], merged[1], merged[2], merged[3], merged[4], ())
    return _with_truth(drawing, stencils)


def _stencil(
    numbers: Int32, outline: Outlines, figure: Figure, chosen: NDArray[np.intp], first: int
) -> tuple[tuple[int, int, int, int], int] | None:
    """Draw a thing alone, lay it onto the picture; return its counted stencil's box and pixels."""
    height, width = numbers.shape
    x1, y1 = max(0, int(outline.low[0]) - 1), max(0, int(outline.low[1]) - 1)
    x2, y2 = min(width, int(outline.high[0]) + 2), min(height, int(outline.high[1]) + 2)
    if x2 <= x1 or y2 <= y1:
        return None
    alone = np.zeros((y2 - y1, x2 - x1), np.int32)
    corner = np.array([x1, y1]) + 0.5
    for row, part in enumerate(chosen):
        polygon = np.round((outline.polygons[part] - corner) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(alone, polygon, (first + row + 1,), cv2.LINE_8, _SHIFT)
    covered = alone > 0
    np.copyto(numbers[y1:y2, x1:x2], alone, where=covered)
    if not figure.counted.all():
        counts = np.concatenate([[False], figure.counted[figure.solid[chosen]]])
        covered = counts[np.maximum(alone - first, 0)]
    columns, rows = np.flatnonzero(covered.any(axis=0)), np.flatnonzero(covered.any(axis=1))
    if not len(columns):
        return None
    box = (x1 + int(columns[0]), y1 + int(rows[0]), x1 + int(columns[-1]) + 1, y1 + int(rows[-1]) + 1)
    return box, int(np.count_nonzero(covered))


def _with_truth(drawing: Drawing, stencils: dict[int, tuple[tuple[int, int, int, int], int]]) -> Drawing:
    owners = drawing.owners()
    left = np.bincount(owners[owners >= 0], minlength=max(stencils, default=0) + 1)
    truths = tuple(
        Truth(at, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), whole, float(left[at]) / whole)
        for at, (box, whole) in sorted(stencils.items())
    )
    return Drawing(drawing.numbers, drawing.owner, drawing.bgr, drawing.slope, drawing.grain, drawing.glow,
                   drawing.depth, truths)  # fmt: skip


def _tables(
    camera: Camera, thing: Thing, outline: Outlines, chosen: NDArray[np.intp], light: Light, rng: np.random.Generator
) -> tuple[NDArray[np.float32], ...]:
    """Return the parts' colour (k,3), slope (k,4: gx, gy, cx, cy), grain (k,5), glow (k,) and depth (k,)."""
    figure = thing.figure
    normals, stuff = figure.normals[chosen], figure.stuff[chosen]
    towards = np.asarray(camera.position) - figure.points[figure.starts[chosen]]
    depth = np.maximum(outline.depth[chosen], NEAR_M)
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-6)
    limbs = np.asarray(~normals.any(axis=1))
    back = (normals * towards).sum(axis=1) < 0
    normals = np.where(back[:, None], -normals, normals)
    normals[limbs] = (towards[limbs] + [0, 0, 0.6]) / np.linalg.norm(towards[limbs] + [0, 0, 0.6], axis=1)[:, None]
    glow = figure.glow[chosen] * light.lamps
    lit = surface(light, figure.inks[chosen], stuff, normals, towards) * thing.gain
    bgr = lit + figure.inks[chosen] * glow[:, None]
    slope = _slopes(camera, figure, outline, chosen, limbs, light, rng)
    per_metre = camera.focal_px / depth
    patch = rng.integers(0, 256, (len(figure.bounds), 2))[figure.solid[chosen]]
    grain = np.column_stack([GRAIN[stuff], np.minimum(TEXELS[stuff] / per_metre, 2.0), KIND[stuff], patch])
    return bgr.astype(np.float32), slope, grain.astype(np.float32), glow.astype(np.float32), depth.astype(np.float32)


def _slopes(camera: Camera, figure: Figure, outline: Outlines, chosen: NDArray[np.intp], limbs: NDArray[np.bool_],
            light: Light, rng: np.random.Generator) -> NDArray[np.float32]:  # fmt: skip
    """Return how brightness changes over each part: across limbs towards the sun, down panels."""
    low, high = outline.lows[chosen], outline.highs[chosen]
    size = np.maximum(high - low, 2.0)
    slope = np.zeros((len(chosen), 4), np.float32)
    slope[:, 2:] = (low + high) / 2
    slope[:, 1] = -rng.uniform(0.05, 0.3, len(chosen)) / size[:, 1]
    slope[:, 0] = rng.normal(0, 0.1, len(chosen)) / size[:, 0]
    rows = figure.starts[chosen[limbs]]
    along = outline.pixels[rows + 1] - outline.pixels[rows]
    across = np.column_stack([-along[:, 1], along[:, 0]]) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
    sun = camera.axes[:2] @ np.asarray(light.to_sun)
    side = across @ sun
    width = np.maximum(outline.radii[rows], 1.0)
    strength = (0.15 + 0.3 * float(np.mean(light.sun)) * np.abs(side)) * np.sign(side)
    slope[limbs, :2] = across * (strength / width)[:, None] + slope[limbs, :2] * 0.4
    return slope


def colour(canvas: UInt8, drawing: Drawing, light: Light, step: int = 1) -> NDArray[np.float32]:
    """Paint what a drawing shows onto a BGR picture (h,w,3); return what shines (h/step,w/step) 0..1 for a glare.

    ``step`` 2 finds shades and grain for every other pixel only, for drawings that are shrunk afterwards.
    """
    numbers = drawing.numbers
    covered = numbers > 0
    x, y, wide, high = (int(side) for side in cv2.boundingRect(covered.view(np.uint8)))
    shine = np.zeros(numbers[::step, ::step].shape, np.float32)
    if not wide:
        return shine
    x, y = x - x % step, y - y % step
    part = (slice(y, y + high + step), slice(x, x + wide + step))
    inks, clear = _hazy(drawing, light)
    flat = np.take(np.concatenate([np.zeros((1, 3), np.uint8), inks]), numbers[part], axis=0)
    gain = _gains(drawing, numbers[part][::step, ::step], (x, y), step, clear)
    if step > 1:
        gain = cv2.resize(gain, flat.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    shaded = cv2.multiply(flat, cv2.merge([gain] * 3), dtype=cv2.CV_8U)
    np.copyto(canvas[part], shaded, where=covered[part][..., None])
    if drawing.glow.any():
        glow = np.concatenate([np.zeros(1, np.float32), drawing.glow])
        shine[:] = np.take(glow, numbers[::step, ::step])
    return shine


def _hazy(drawing: Drawing, light: Light) -> tuple[UInt8, NDArray[np.float32]]:
    """Return the parts' colours (K,3) as seen through the air, and how much of their own is left (K,)."""
    clear = np.exp(-drawing.depth * np.float32(light.haze_per_m)).astype(np.float32)
    inks = drawing.bgr * clear[:, None] + np.asarray(light.haze, np.float32) * (1 - clear[:, None])
    return np.clip(inks, 0, 255).astype(np.uint8), clear


def _gains(drawing: Drawing, numbers: Int32, corner: tuple[int, int], step: int,
           clear: NDArray[np.float32]) -> NDArray[np.float32]:  # fmt: skip
    """Return by how much every pixel is brighter than its part's colour: its slope, and its grain."""
    flat = np.flatnonzero(numbers)
    y, x = np.divmod(flat.astype(np.int32), np.int32(numbers.shape[1]))
    across, down = (x * step + corner[0]).astype(np.float32), (y * step + corner[1]).astype(np.float32)
    table = np.column_stack([drawing.slope, drawing.grain, clear])
    rows = np.take(table, numbers.ravel()[flat] - 1, axis=0)
    gx, gy, cx, cy, share, texels, kind, u, v, left = rows.T
    slope = np.clip(gx * (across - cx) + gy * (down - cy), -0.55, 0.6)
    spot = ((down * texels + v).astype(np.int32) & 255) * 256 + ((across * texels + u).astype(np.int32) & 255)
    texel = np.take(_grains().ravel(), kind.astype(np.int32) * 65536 + spot)
    gain = np.ones(numbers.shape, np.float32)
    gain.ravel()[flat] = np.maximum(1 + (slope + texel * share) * left, 0)
    return gain


@lru_cache(maxsize=1)
def _grains() -> NDArray[np.float32]:
    """Return three kinds of grain (3,256,256) around 0 that tile: fine, blotches, and streaks."""
    rng = np.random.default_rng(5)
    layers = []
    for blurs in (((1, 1), (5, 5)), ((9, 9), (41, 41)), ((41, 1), (9, 3))):
        layer = np.zeros((256, 256), np.float32)
        for blur in blurs:
            noise = np.tile(rng.normal(size=(256, 256)).astype(np.float32), (3, 3))
            soft = cv2.GaussianBlur(noise, (blur[0] | 1, blur[1] | 1), 0)[256:512, 256:512]
            layer += soft / soft.std()
        layers.append(layer / layer.std())
    return np.stack(layers).astype(np.float32)


def shadows(camera: Camera, things: Sequence[Thing], light: Light) -> NDArray[np.float32]:
    """Return how much of the sun (h,w,2: direct, around) every pixel of the ground misses, 0..1, hard-edged."""
    width, height = camera.size_wh
    direct, around = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for thing in things:
        if not thing.shadow:
            continue
        if max(light.sun) > 0.05:
            for hull in _fallen(camera, thing.figure, light):
                cv2.fillConvexPoly(direct, hull, (255,), cv2.LINE_8, _SHIFT)
        foot = np.column_stack([thing.figure.footprint(), np.zeros(4)])
        pixels, depth = camera.project(foot)
        if depth.min() > NEAR_M and thing.figure.bounds[:, 0, 2].min() < 0.6:
            cv2.fillConvexPoly(around, _fixed(pixels), (255,), cv2.LINE_8, _SHIFT)
    return np.stack([direct, around], axis=2).astype(np.float32) / np.float32(255)


def _fallen(camera: Camera, figure: Figure, light: Light) -> list[Int32]:
    """Return the outline of each solid's shadow on the ground."""
    sun = np.asarray(light.to_sun)
    fat = figure.radii[:, None]
    points = np.concatenate([figure.points + fat * way for way in _WAYS])
    points = points - points[:, 2:] * (sun / max(sun[2], 0.15))
    pixels, depth = camera.project(points)
    owner = np.tile(np.repeat(figure.solid, np.diff(figure.starts)), len(_WAYS))
    hulls = []
    for solid in range(len(figure.bounds)):
        mine = owner == solid
        if depth[mine].min() > NEAR_M:
            hulls.append(cv2.convexHull(_fixed(pixels[mine])))
    return hulls


_WAYS = np.array([(0.7, 0.7, 0), (-0.7, -0.7, 0), (0.7, -0.7, 0), (-0.7, 0.7, 0)])


def _fixed(pixels: Points) -> Int32:
    return np.asarray(np.round(np.clip(pixels - 0.5, -2e6, 2e6) * (1 << _SHIFT)), np.int32)
