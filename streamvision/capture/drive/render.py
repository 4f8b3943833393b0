"""A scene -> its picture and its truth: far things first, then the road, what stands on it, the air, the lens."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn import Drawn
from streamvision.capture.drawn.painter import Drawing, colour, draw
from streamvision.capture.drive.air import through_air
from streamvision.capture.drive.cabin import cabin_mask, paint_cabin
from streamvision.capture.drive.cards import stand
from streamvision.capture.drive.ground import Lie, Paved, lie, pave
from streamvision.capture.drive.scene import Scene
from streamvision.capture.drive.shade import shaded
from streamvision.capture.drive.sky import paint_sky
from streamvision.types import UInt8

Field = NDArray[np.float32]
_SKY_M = 1e4
_SMALLEST_PX = 2.0


def render(scene: Scene) -> Drawn:
    """Draw a scene with its exact truth."""
    rng = np.random.default_rng([scene.seed, 3])
    where = lie(scene.camera, scene.road.way)
    canvas, depth, paved = _world(scene, where)
    clear = depth.copy()
    stand(scene.camera, scene.cards, canvas, depth, scene.light)
    drawing = draw(scene.camera, scene.things, scene.light, rng)
    hidden = _hidden(scene, drawing, clear, depth)
    drawing.numbers[hidden] = 0
    covered = (depth < clear) | (drawing.numbers > 0)
    picture = np.clip(canvas, 0, 255).astype(np.uint8)
    shine = colour(picture, drawing, scene.light) if len(drawing.owner) else np.zeros_like(depth)
    depth = _with_figures(drawing, depth)
    moment = np.random.default_rng([scene.seed, 4, scene.moment])
    picture = through_air(scene, picture, depth, shine, where, paved, moment)
    inside = cabin_mask(scene.camera.size_wh, scene.cabin)
    picture = paint_cabin(picture, inside, scene, rng)
    return _drawn(scene, picture, drawing, paved, where, covered | (inside > 127), inside > 127)


def _world(scene: Scene, where: Lie) -> tuple[Field, Field, Paved]:
    """Return sky and ground as a canvas, the depth of the ground, and what is painted on it."""
    rows = min(where.top + int(abs(np.sin(scene.camera.roll)) * scene.camera.size_wh[0]) + 3, scene.camera.size_wh[1])
    canvas = paint_sky(scene.camera, scene.sky, scene.light, rows, scene.heading)
    paved = pave(scene.camera, scene.road, where)
    light = scene.light
    sun, sky = np.asarray(light.sun) * light.to_sun[2] * 1.15, np.asarray(light.sky)
    gains = cv2.transform(shaded(scene, where), np.stack([-sun, -0.45 * sky, sun + sky], axis=1))
    lit = cv2.multiply(paved.bgr, gains, dst=gains)
    if light.haze_per_m > 0:
        clear = cv2.exp(where.depth * np.float32(-light.haze_per_m))
        lit = cv2.subtract(lit, (*light.haze, 0.0), dst=lit)
        lit *= clear[..., None]
        lit = cv2.add(lit, (*light.haze, 0.0), dst=lit)
    part = canvas[where.top :]
    np.copyto(part, lit, where=where.shown[..., None])
    depth = np.full(canvas.shape[:2], _SKY_M, np.float32)
    np.copyto(depth[where.top :], where.depth, where=where.shown)
    return canvas, depth, paved


def _hidden(scene: Scene, drawing: Drawing, ground: Field, depth: Field) -> NDArray[np.bool_]:
    """Return where a card, or the crest of a hill, stands before a figure."""
    table = np.concatenate([[np.float32(0)], drawing.depth.ravel()])
    far = table[drawing.numbers]
    hidden = (far > depth) & (depth < ground)
    if np.ptp(scene.road.way.z) > 0.5:
        hidden |= far > ground * 1.1 + 2.5
    return np.asarray(hidden & (drawing.numbers > 0))


def _with_figures(drawing: Drawing, depth: Field) -> Field:
    table = np.concatenate([[np.float32(0)], drawing.depth.ravel()])
    return np.where(drawing.numbers > 0, table[drawing.numbers], depth)


def _drawn(
    scene: Scene, picture: UInt8, drawing: Drawing, paved: Paved, where: Lie, covered: NDArray[np.bool_],
    inside: NDArray[np.bool_],
) -> Drawn:  # fmt: skip
    """Put the truth together: boxes of what counts, and the road where nothing hides it."""
    owners = drawing.owners()
    owners[inside] = -1
    left = np.bincount(owners[owners >= 0], minlength=len(scene.things))
    kept = [
        truth for truth in drawing.truths
        if scene.things[truth.thing].name
        and min(truth.xyxy[2] - truth.xyxy[0], truth.xyxy[3] - truth.xyxy[1]) >= _SMALLEST_PX
    ]  # fmt: skip
    maps = []
    for part in (paved.drivable, paved.lane):
        whole = np.zeros(picture.shape[:2], np.uint8)
        whole[where.top :] = part
        whole[covered] = 0
        maps.append(whole)
    return Drawn(
        bgr=picture,
        xyxy=np.array([truth.xyxy for truth in kept], np.float32).reshape(-1, 4),
        visible=np.array([left[truth.thing] / truth.whole_px for truth in kept], np.float32),
        names=tuple(scene.things[truth.thing].name for truth in kept),
        ids=np.array([scene.things[truth.thing].id for truth in kept], np.int64),
        drivable=maps[0],
        lane=maps[1],
    )
