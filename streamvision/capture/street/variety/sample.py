"""One drawn picture from a fixed camera, as another as can be from every other, and the truth about it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn import CLASSES, Drawn
from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.figures import any_figure
from streamvision.capture.drawn.painter import Drawing, Thing, colour, draw, shadows
from streamvision.capture.street.variety.backdrop import Backdrop, backdrop
from streamvision.capture.street.variety.collage import collage
from streamvision.capture.street.variety.crowd import FACED, Crowd
from streamvision.capture.street.variety.demo import demo_sample
from streamvision.capture.street.variety.lens import photograph
from streamvision.capture.street.variety.mood import Mood, mood
from streamvision.capture.street.variety.night import glowing
from streamvision.capture.street.variety.places import Place, place

Field = NDArray[np.float32]
_FACTOR = 2
"""Things are drawn larger by this and shrunk: smooth edges."""
_EVERY = 4
"""Every how manieth picture shows `demo:street` itself."""


def street_sample(seed: int, index: int, size_wh: tuple[int, int]) -> Drawn:
    """Return picture ``index`` of a seed's endless row; the same for the same three values, in any order."""
    if index % _EVERY == _EVERY - 1:
        return demo_sample(seed, index, size_wh)
    rng = np.random.default_rng([seed, index, 41])
    where = place(rng)
    camera = _camera(rng, size_wh)
    feel = mood(rng, where.indoors)
    bare = rng.random() < 0.1
    behind = collage(rng, camera) if bare else backdrop(rng, camera, where, feel)
    things = _things(rng, camera, where)
    return _picture(rng, camera, behind, things, feel, shaded=not bare)


def _camera(rng: np.random.Generator, size_wh: tuple[int, int]) -> Camera:
    """Return a camera that looks at (0, 0) or past it: from a door frame to a mast, wide or far, flat or steep."""
    height = _between(rng, 1.6, 15)
    away = _between(rng, 3.0, 45) if rng.random() < 0.75 else height * float(rng.uniform(0.1, 1.2))
    pitch = float(np.arctan2(height - rng.uniform(0, 1.2), away))
    yaw = float(rng.uniform(0, 2 * np.pi))
    look = rng.normal(0, 3.0, 2)
    position = (look[0] - away * np.sin(yaw), look[1] - away * np.cos(yaw), height)
    seen_m = _between(rng, 5.0, 60)
    view = np.clip(2 * np.arctan(seen_m / 2 / np.hypot(away, height)), np.deg2rad(16), np.deg2rad(98))
    focal = size_wh[0] / 2 / np.tan(view / 2)
    roll = float(np.deg2rad(rng.normal(0, 1.5)))
    return Camera(size_wh, (float(position[0]), float(position[1]), height), yaw, pitch, float(focal), roll)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return something between two values, as often in each doubling."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _things(rng: np.random.Generator, camera: Camera, where: Place) -> list[Thing]:
    crowd = Crowd(rng, camera, where)
    if rng.random() < 0.2:
        _close_up(rng, camera, crowd)
    crowd.fill(
        int(rng.choice([rng.integers(3, 12), rng.integers(12, 50), rng.integers(50, 130)], p=[0.22, 0.46, 0.32]))
    )
    return crowd.things


def _close_up(rng: np.random.Generator, camera: Camera, crowd: Crowd) -> None:
    """Put one thing where it fills a good part of the picture, if the camera allows."""
    name = str(rng.choice(CLASSES, p=[0.3, 0.1, 0.11, 0.25, 0.08, 0.07, 0.05, 0.04]))
    size = float(any_figure(name, rng).size_m.max())
    wanted = camera.size_wh[1] * rng.uniform(0.35, 1.0)
    distance = camera.focal_px * size / wanted
    level = float(np.sqrt(max(distance**2 - (camera.position[2] - 1) ** 2, 1.0)))
    yaw = camera.yaw + rng.normal(0, 0.12)
    spot = (camera.position[0] + np.sin(yaw) * level, camera.position[1] + np.cos(yaw) * level)
    towards = float(np.arctan2(-np.cos(yaw), -np.sin(yaw)) + rng.normal(0, 0.4))
    crowd.put(name, spot, towards if name in FACED else float(rng.uniform(0, 2 * np.pi)))


def _picture(
    rng: np.random.Generator, camera: Camera, behind: Backdrop, things: list[Thing], feel: Mood, *, shaded: bool
) -> Drawn:
    large = camera.scaled(_FACTOR)
    bgr = behind.bgr
    if shaded:
        bgr = _shaded(rng, bgr, behind, shadows(camera, things, feel.light), feel)
        bgr, things = glowing(rng, bgr, behind, things, feel)
    canvas = cv2.resize(np.clip(bgr, 0, 255).astype(np.uint8), large.size_wh, interpolation=cv2.INTER_LINEAR)
    drawing = draw(large, things, feel.light, rng)
    shine = colour(canvas, drawing, feel.light, _FACTOR)
    size = camera.size_wh
    small = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    picture = photograph(rng, small, shine, feel)
    covered = cv2.resize((drawing.numbers > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    drivable, lane = behind.drivable.copy(), behind.lane.copy()
    drivable[covered] = lane[covered] = 0
    return _drawn(picture, things, drawing, drivable, lane)


def _shaded(rng: np.random.Generator, bgr: Field, behind: Backdrop, fallen: Field, feel: Mood) -> Field:
    """Take the sun from the ground in shadows, and light from all around under things."""
    soft = cv2.GaussianBlur(fallen, (0, 0), float(rng.uniform(0.5, 1.2)))
    sun, sky = np.asarray(feel.light.sun, np.float32) * feel.light.to_sun[2], np.asarray(feel.light.sky, np.float32)
    left = sky / (sun + sky)
    direct, around = soft[..., :1] * behind.ground[..., None], soft[..., 1:] * behind.ground[..., None]
    return np.asarray(bgr * (1 - direct * (1 - left)) * (1 - around * 0.4), np.float32)


def _drawn(picture: NDArray[np.uint8], things: list[Thing], drawing: Drawing, drivable: NDArray[np.uint8],
           lane: NDArray[np.uint8]) -> Drawn:  # fmt: skip
    seen = [truth for truth in drawing.truths if things[truth.thing].name and truth.visible > 0]
    boxes = np.array([truth.xyxy for truth in seen], np.float32).reshape(-1, 4) / np.float32(_FACTOR)
    return Drawn(
        bgr=picture,
        xyxy=boxes,
        visible=np.array([truth.visible for truth in seen], np.float32),
        names=tuple(things[truth.thing].name for truth in seen),
        ids=np.array([things[truth.thing].id for truth in seen], np.int64),
        drivable=drivable,
        lane=lane,
    )
