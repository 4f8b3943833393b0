"""Still pictures from a camera in a vehicle, each of another road, hour, weather, vehicle and traffic."""

from __future__ import annotations

import numpy as np

from streamvision.capture.drawn import Drawn
from streamvision.capture.drawn.camera import Camera, Points
from streamvision.capture.drive.mood import mood
from streamvision.capture.drive.plan import Plan, plan
from streamvision.capture.drive.populate import over_road, populate
from streamvision.capture.drive.render import render
from streamvision.capture.drive.road import Road, Way
from streamvision.capture.drive.scene import Cabin, Scene, Shade
from streamvision.capture.drive.scenery import scenery

_TOWNS = ("city", "avenue", "mixed")


def drive_sample(seed: int, index: int, size_wh: tuple[int, int]) -> Drawn:
    """Draw picture ``index`` of the drives of a seed, with its truth; the same for the same three, in any order."""
    return render(random_scene(seed, index, size_wh))


def random_scene(seed: int, index: int, size_wh: tuple[int, int]) -> Scene:
    """Draw everything that a still picture shows by chance."""
    rng = np.random.default_rng([seed, index, 17])
    cross = plan(rng)
    hour = mood(rng, town=cross.kind in _TOWNS)
    way = _way(rng, cross)
    things = populate(rng, cross, way)
    bridged = over_road(things, rng, cross, way)
    cards = scenery(rng, cross, way)
    road = Road(way, cross.bands, cross.lines, cross.marks, cross.crossings, cross.ragged_m, int(rng.integers(2**31)),
                float(rng.uniform(0, 4000)))  # fmt: skip
    return Scene(
        camera=_camera(rng, size_wh),
        road=road,
        things=tuple(things),
        cards=tuple(cards),
        sky=hour.sky,
        light=hour.light,
        shade=_shade(rng, cross, bridged),
        air=hour.air,
        cabin=_cabin(rng),
        seed=int(rng.integers(2**31)),
    )


def _camera(rng: np.random.Generator, size_wh: tuple[int, int]) -> Camera:
    """Stand 1.1 to 2.6 m high, with a horizon between a quarter and three quarters of the picture's height."""
    width, height = size_wh
    field = np.deg2rad(np.clip(rng.normal(62, 14), 36, 100))
    focal = width / 2 / np.tan(field / 2)
    level = float(np.clip(rng.normal(0.5, 0.085), 0.26, 0.74))
    stand = float(rng.uniform(1.1, 1.65) if rng.random() < 0.75 else rng.uniform(1.65, 2.6))
    pitch = float(np.arctan((0.5 - level) * height / focal))
    roll = float(rng.normal(0, 0.012) + (rng.normal(0, 0.04) if rng.random() < 0.12 else 0))
    return Camera(size_wh, (0.0, 0.0, stand), 0.0, pitch, float(focal), roll)


_BENDS = {"motorway": 1 / 900, "country": 1 / 160, "city": 1 / 400, "avenue": 1 / 500, "lane": 1 / 90, "mixed": 1 / 350}
_GRADES = {"motorway": 0.015, "country": 0.035, "city": 0.012, "avenue": 0.012, "lane": 0.04, "mixed": 0.015}


def _way(rng: np.random.Generator, cross: Plan) -> Way:
    """Bend and raise the road; the own vehicle stands a little beside its lane's middle, and looks a little askew."""
    bends = rng.normal(0, _BENDS[cross.kind], 3) * (0.0 if rng.random() < 0.3 else 1.0)
    grades = rng.normal(0, _GRADES[cross.kind], 2) * (0.0 if rng.random() < 0.35 else 1.0)
    waves, phases = rng.uniform(80, 400, 3), rng.uniform(0, 2 * np.pi, 3)
    askew = rng.normal(0, 0.035) + (rng.normal(0, 0.3) if rng.random() < 0.07 else 0.0)

    def bend(s: Points) -> Points:
        swing = (
            np.sin(s / waves[0] * 2 * np.pi + phases[0]) * bends[1]
            + np.sin(s / waves[1] * 2 * np.pi + phases[1]) * bends[2]
        )
        return np.asarray((bends[0] + swing) * np.exp(-np.maximum(s - 250, 0) / 80))

    def grade(s: Points) -> Points:
        wave = np.sin(s / waves[2] * 2 * np.pi + phases[2]) - np.sin(phases[2])
        return np.asarray(
            (wave * grades[0] + np.clip(s / 120, 0, 1) * grades[1]) * np.exp(-np.maximum(s - 200, 0) / 60)
        )

    lane = min(cross.lanes, key=lambda lane: abs(lane.d))
    aside = float(rng.normal(0, 0.12)) * lane.width_m + lane.d
    if rng.random() < 0.08:
        aside += float(rng.uniform(-0.6, 0.6)) * lane.width_m
    return Way.of(-aside, float(askew), bend, grade)


def _shade(rng: np.random.Generator, cross: Plan, bridged: tuple[float, float] | None) -> Shade:
    left = right = None
    if rng.random() < 0.3:
        left = cross.left + float(rng.uniform(-1, 5)) if rng.random() < 0.6 else None
        right = cross.right - float(rng.uniform(-1, 5)) if rng.random() < 0.6 else None
    bands = [bridged] if bridged else []
    if rng.random() < 0.05:
        near = float(rng.uniform(5, 50))
        bands.append((near, near + float(rng.uniform(2, 14))))
    return Shade(
        tuple(bands), left, right, float(rng.uniform(0.5, 0.95)) if left is not None or right is not None else 0.0
    )


def _cabin(rng: np.random.Generator) -> Cabin:
    bonnet = float(rng.uniform(0.02, 0.22)) if rng.random() < 0.3 else 0.0
    value = float(np.exp(rng.normal(np.log(45), 0.8)))
    cast = rng.normal(1, 0.12, 3)
    return Cabin(
        bonnet=bonnet,
        sag=float(rng.uniform(0.0, 0.6)),
        ink=(float(value * cast[0]), float(value * cast[1]), float(value * cast[2])),
        reflection=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.2 else 0.0,
        wiper=float(rng.uniform(0.3, 2.6)) if rng.random() < 0.03 else None,
    )
