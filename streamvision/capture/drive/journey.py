"""A drive at any time as a scene and as a picture: one road through woods and towns, with a lead and traffic."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from streamvision.capture.drawn import Drawn
from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.painter import Thing
from streamvision.capture.drawn.parts import Figure
from streamvision.capture.drive.cards import Card
from streamvision.capture.drive.mood import Mood, mood
from streamvision.capture.drive.populate import moving, put
from streamvision.capture.drive.props import prop
from streamvision.capture.drive.render import render
from streamvision.capture.drive.road import Band, Line, Mark, Road, Way
from streamvision.capture.drive.scene import Cabin, Scene, Shade
from streamvision.capture.drive.scenery import gable, house, plant, tint
from streamvision.capture.drive.world import (
    EDGE_M,
    LANE_M,
    LEFT_M,
    VIEW_M,
    ZEBRA_EVERY_M,
    ZEBRA_M,
    Actor,
    Drive,
    actors,
    zebras,
)
from streamvision.types import UInt8

_AHEAD = np.pi / 2
_STRETCH_M = 240.0
"""Town and country take turns."""
_WHITE = (232.0, 234.0, 234.0)
_WALK_M = 2.6
_HEIGHT_M, _FIELD, _LEVEL = 1.35, np.deg2rad(64), 0.47


class Painter:
    """Paints the drive of one seed at one size; may be called for any times in any order."""

    def __init__(self, seed: int, size_wh: tuple[int, int]) -> None:
        self._seed = seed
        self._size_wh = size_wh

    def drawn(self, t_s: float) -> Drawn:
        """Return the picture at a time with its truth."""
        return render(scene_at(self._seed, t_s, self._size_wh))

    def i420(self, t_s: float) -> UInt8:
        """Return the picture as planar YUV 4:2:0 (h*3/2, w)."""
        return np.asarray(cv2.cvtColor(self.drawn(t_s).bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)


def scene_at(seed: int, t_s: float, size_wh: tuple[int, int]) -> Scene:
    """Return everything that a drive shows at a time."""
    drive = Drive.of(seed)
    own = drive.travelled(t_s)
    road = road_at(drive, t_s)
    hour = _hour(seed)
    things = [_thing(road.way, actor) for actor in actors(drive, t_s)]
    return Scene(
        camera=camera_at(drive, t_s, size_wh),
        road=road,
        things=(*things, *_lamps(road.way, own)),
        cards=tuple(_cards(seed, road.way, own)),
        sky=hour.sky,
        light=hour.light,
        shade=Shade(left_d=LEFT_M + 1.5, right_d=EDGE_M - 1, dapple=0.6),
        air=hour.air,
        cabin=Cabin(0.07, 0.35, (44.0, 38.0, 34.0)),
        seed=seed,
        heading=drive.bearing(own),
        moment=round(t_s * 1000) & 0x7FFFFFFF,
    )


def camera_at(drive: Drive, t_s: float, size_wh: tuple[int, int]) -> Camera:
    """Return the camera; the vehicle nods as it brakes and accelerates."""
    width, height = size_wh
    focal = float(max(width, height * 16 / 9) / 2 / np.tan(_FIELD / 2))
    gain = (drive.speed(t_s + 0.1) - drive.speed(t_s - 0.1)) / 0.2
    pitch = float(np.arctan((0.5 - _LEVEL) * height / focal) - 0.004 * gain + 0.0012 * np.sin(t_s * 8.3))
    return Camera(size_wh, (0.0, 0.0, _HEIGHT_M), 0.0, pitch, focal, float(0.002 * np.sin(t_s * 1.7)))


def road_at(drive: Drive, t_s: float) -> Road:
    """Return the road as it lies before the own vehicle at a time."""
    own, offset = drive.travelled(t_s), drive.offset(t_s)
    askew = -np.arctan2(drive.drifting(t_s), drive.speed(t_s))
    way = Way.of(
        -offset, float(askew), lambda s: drive.bend(own + s), lambda s: drive.grade(own + s) - _level(drive, own)
    )
    marks = tuple(mark for number in zebras(own) for mark in _zebra((number + 0.5) * ZEBRA_EVERY_M - own))
    return Road(way, BANDS, LINES, marks, (), 0.0, drive.seed, own)


def _level(drive: Drive, own: float) -> float:
    """Return the grade under the vehicle, which the camera takes part in."""
    return float(drive.grade(np.array([own]))[0])


_ASPHALT, _KERB, _PAVING, _GRASS = (96.0, 95.0, 93.0), (150.0, 154.0, 156.0), (138.0, 144.0, 150.0), (50.0, 108.0, 88.0)
BANDS = (
    Band(-400.0, LEFT_M - _WALK_M, "grass", _GRASS), Band(LEFT_M - _WALK_M, LEFT_M - 0.16, "paving", _PAVING),
    Band(LEFT_M - 0.16, LEFT_M, "kerb", _KERB), Band(LEFT_M, EDGE_M, "asphalt", _ASPHALT, True),
    Band(EDGE_M, EDGE_M + 0.16, "kerb", _KERB), Band(EDGE_M + 0.16, EDGE_M + _WALK_M, "paving", _PAVING),
    Band(EDGE_M + _WALK_M, 400.0, "grass", _GRASS),
)  # fmt: skip
LINES = (
    Line(-1.5 * LANE_M, 0.13, _WHITE), Line(-LANE_M / 2, 0.13, _WHITE, (3.0, 6.0), 0.1), Line(LANE_M / 2, 0.13, _WHITE),
)  # fmt: skip
OWN_LINES = (LINES[1], LINES[2])
"""The lines left and right of the own lane."""


def _zebra(s: float) -> list[Mark]:
    if not -4 < s < VIEW_M:
        return []
    stripes = [_bar(s, s + ZEBRA_M, d, d + 0.5) for d in np.arange(LEFT_M + 0.3, EDGE_M - 0.5, 1.0)]
    return [*stripes, _bar(s - 2.0, s - 1.6, -LANE_M / 2 + 0.15, LANE_M / 2 - 0.1)]


def _bar(near: float, far: float, left: float, right: float) -> Mark:
    return Mark(np.array([(near, left), (far, left), (far, right), (near, right)]), _WHITE, 0.1)


@lru_cache(maxsize=16)
def _hour(seed: int) -> Mood:
    rng = np.random.default_rng([seed, 47])
    kind = str(rng.choice(["clear", "bright", "overcast", "dusk", "rain"], p=[0.35, 0.3, 0.2, 0.08, 0.07]))
    return mood(rng, kind)


def figure_of(actor: Actor) -> Figure:
    """Return an actor's body, not yet on the road."""
    return moving(actor.name, np.random.default_rng(actor.figure))


def _thing(way: Way, actor: Actor) -> Thing:
    figure = figure_of(actor)
    s = actor.s + float(figure.size_m[0]) / 2 if actor.id == 1 else actor.s
    return Thing(put(way, figure, s, actor.d, actor.turn), actor.name, actor.id)


def _lamps(way: Way, own: float) -> list[Thing]:
    places = np.arange(np.ceil((own + 2) / 34), np.floor((own + VIEW_M) / 34) + 1) * 34 - own
    return [Thing(put(way, prop("lamp", 3), s, EDGE_M + 1.0, np.pi)) for s in places.tolist()]


def _cards(seed: int, way: Way, own: float) -> list[Card]:
    """Return houses where the road leads through the town, trees elsewhere and between them."""
    cards: list[Card] = []
    for number in range(int((own - 16) // 14), int((own + 190) // 14) + 1):
        s = number * 14.0 - own
        town = int(number * 14 // _STRETCH_M) % 2 == 0
        for side, edge in ((-1, LEFT_M - _WALK_M), (1, EDGE_M + _WALK_M)):
            rng = np.random.default_rng([seed, 61 + side, number & 0x7FFFFFFF])
            kind, tall, shade = int(rng.integers(48)), float(rng.uniform(6, 15)), tint(rng)
            if town and rng.random() < 0.85:
                cards.append(house(way, s, 14.0, edge + side * 1.0, tall, kind, shade))
                cards.append(gable(way, s, edge + side * 1.0, side, tall, kind, shade))
            elif s > 0:
                d = edge + side * float(rng.uniform(0.8, 5))
                cards.append(plant(way, s, d, tall * 0.8, int(rng.integers(30)), shade))
    return cards
