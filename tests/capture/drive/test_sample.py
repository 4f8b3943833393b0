"""Still pictures from a vehicle: the same each time, boxes exact, road and lane maps where geometry puts them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from streamvision.capture.drawn import CLASSES, Drawn
from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.painter import draw
from streamvision.capture.drive.camera import row, upright
from streamvision.capture.drive.ground import lie, pave
from streamvision.capture.drive.mood import KINDS as HOURS
from streamvision.capture.drive.mood import mood
from streamvision.capture.drive.plan import KINDS, plan
from streamvision.capture.drive.render import render
from streamvision.capture.drive.road import Road, Way
from streamvision.capture.drive.sample import drive_sample, random_scene
from streamvision.capture.drive.scene import Cabin, Scene

SIZE = (320, 180)


def empty(scene: Scene) -> Scene:
    """Return a scene without anything that could hide the road."""
    return replace(scene, things=(), cards=(), cabin=Cabin())


def flat_way() -> Way:
    return Way.of(0.0, 0.0, np.zeros_like, np.zeros_like)


def at(map_: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return what a map says at pixels that lie inside it."""
    inside = ((pixels >= 1) & (pixels < np.array(map_.shape[::-1]) - 1)).all(axis=1)
    columns, rows = pixels[inside].astype(int).T
    return map_[rows, columns]


def test_the_same_numbers_give_the_same_picture():
    first, other = drive_sample(5, 3, SIZE), drive_sample(5, 4, SIZE)
    again = drive_sample(5, 3, SIZE)
    assert np.array_equal(first.bgr, again.bgr)
    assert np.array_equal(first.xyxy, again.xyxy)
    assert np.array_equal(first.lane, again.lane)
    assert not np.array_equal(first.bgr, other.bgr)


@pytest.mark.parametrize("index", range(12))
def test_a_sample_is_whole(index: int):
    drawn = drive_sample(8, index, SIZE)
    assert drawn.bgr.shape == (*SIZE[::-1], 3)
    assert drawn.bgr.dtype == drawn.drivable.dtype == drawn.lane.dtype == np.uint8
    assert drawn.drivable.shape == drawn.lane.shape == SIZE[::-1]
    assert set(np.unique(drawn.drivable)) <= {0, 1}
    assert set(np.unique(drawn.lane)) <= {0, 1}
    assert len(drawn.xyxy) == len(drawn.visible) == len(drawn.names) == len(drawn.ids) == len(set(drawn.ids.tolist()))
    assert set(drawn.names) <= set(CLASSES)
    assert ((drawn.visible >= 0) & (drawn.visible <= 1)).all()
    assert (drawn.xyxy[:, :2] >= 0).all()
    assert (drawn.xyxy[:, 2:] <= SIZE).all()
    assert drawn.bgr.std() > 4
    assert drawn.drivable.mean() > 0.01


def test_boxes_are_those_of_the_stencils():
    scene = random_scene(8, 2, SIZE)
    drawn = render(scene)
    assert len(drawn.names) > 3
    for number, name, box in zip(drawn.ids, drawn.names, drawn.xyxy, strict=True):
        alone = [thing for thing in scene.things if thing.id == number and thing.name]
        assert [thing.name for thing in alone] == [name]
        pixels = draw(scene.camera, alone, scene.light, np.random.default_rng(0)).owners() == 0
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_what_stands_before_another_hides_it_and_the_road():
    scene = empty(random_scene(8, 2, SIZE))
    everything = render(random_scene(8, 2, SIZE))
    bare = render(scene)
    assert (everything.drivable <= bare.drivable).all()
    assert everything.drivable.sum() < bare.drivable.sum()
    assert (everything.visible < 1).any()


@pytest.mark.parametrize("index", range(10))
def test_maps_follow_the_geometry(index: int):
    """What lies in a lane's middle can be driven on; what lies on a solid line is lane; grass is neither."""
    scene = empty(random_scene(21, index, (640, 360)))
    scene = replace(scene, road=replace(scene.road, marks=(), crossings=(), ragged_m=0.0))
    drawn, way = render(scene), scene.road.way
    s = np.arange(6.0, 16.0, 0.25)

    def seen(d: float) -> np.ndarray:
        return scene.camera.project(way.point(s, d))[0]

    for band in scene.road.bands:
        if band.right - band.left > 0.6 and band.right < 40 and band.left > -40:
            found = at(drawn.drivable, seen((band.left + band.right) / 2))
            assert (found == band.drivable).all(), band
    for line in scene.road.lines:
        if line.dash_m is None and line.wear < 0.2:
            found = at(drawn.lane, seen(line.d))
            assert found.sum() >= 0.9 * len(found), line
    ordered = sorted(line.d for line in scene.road.lines)
    for left, right in pairwise(ordered):
        if right - left > 1.5:
            assert not at(drawn.lane, seen((left + right) / 2)).any()


def test_dashes_have_their_lengths():
    scene = empty(random_scene(21, 0, (640, 360)))
    cross = plan(np.random.default_rng(1), "motorway", 1)
    dashed = replace(next(line for line in cross.lines if line.dash_m), d=0.0, dash_m=(3.0, 9.0), wear=0.0)
    road = Road(flat_way(), cross.bands, (dashed,), offset_m=1000 * 12.0)
    camera = Camera((640, 360), (0.0, 0.0, 1.4), 0.0, 0.05, 500.0)
    drawn = render(replace(scene, road=road, camera=camera))
    s = np.arange(12.5, 24.0, 0.1)
    painted = at(drawn.lane, camera.project(road.way.point(s, 0.0))[0])
    assert painted[(s > 12.5) & (s < 14.5)].all()
    assert not painted[(s > 16) & (s < 23)].any()


def test_every_pixel_of_the_ground_knows_its_place():
    """Project (s, d) on a bending, rising road; the pixel found there says (s, d) again, also with a roll."""
    way = Way.of(-0.6, 0.05, lambda s: np.full_like(s, 1 / 250), lambda s: 0.02 * np.sin(s / 30))
    camera = Camera((640, 360), (0.0, 0.0, 1.4), 0.0, 0.06, 520.0, 0.05)
    where = lie(camera, way)
    s, d = (each.ravel() for each in np.meshgrid(np.arange(5.0, 30.0, 1.0), np.arange(-2.0, 3.0, 0.5)))
    pixels, _ = camera.project(way.point(s, d))
    inside = ((pixels >= 1) & (pixels < [639, 359])).all(axis=1)
    columns, rows = (pixels[inside]).astype(int).T
    assert inside.sum() > 150
    assert where.shown[rows - where.top, columns].all()
    assert np.abs(where.d[rows - where.top, columns] - d[inside]).max() < 0.1
    assert (np.abs(where.s[rows - where.top, columns] - s[inside]) / s[inside]).max() < 0.06


def test_a_crest_hides_the_road_behind_it():
    way = Way.of(0.0, 0.0, np.zeros_like, lambda s: np.where(s > 20, -0.12, 0.0) * (s < 120))
    camera = Camera((640, 360), (0.0, 0.0, 1.2), 0.0, 0.0, 520.0)
    where = lie(camera, way)
    shown = where.s[where.shown]
    assert not ((shown > 40) & (shown < 100)).any()


def test_rolled_rows_are_those_of_the_projection():
    camera = Camera((640, 360), (0.0, 0.0, 1.4), 0.0, 0.08, 500.0, 0.1)
    pixels, depth = camera.project(np.array([[1.5, 12.0, 0.3]]))
    column, line = pixels[0].astype(int)
    across, below = upright(camera)
    expected, far = row(camera, np.array([12.0]), np.array([0.3]))
    assert below[line, column] == pytest.approx(expected[0], abs=1.0)
    assert across[line, column] == pytest.approx(1.5 / 12.0 * 500, abs=2.5)
    assert far[0] == pytest.approx(depth[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hand", [1, -1])
def test_roads_have_an_own_lane_that_can_be_driven_on(kind: str, hand: int):
    cross = plan(np.random.default_rng(4), kind, hand)
    assert cross.hand == hand
    assert any(abs(lane.d) < 1e-6 and lane.way > 0 for lane in cross.lanes)
    assert [band.left for band in cross.bands[1:]] == [band.right for band in cross.bands[:-1]]
    assert any(band.drivable and band.left <= 0 <= band.right for band in cross.bands)
    oncoming = [lane.d * hand for lane in cross.lanes if lane.way < 0]
    assert all(d < 0 for d in oncoming)


@pytest.mark.parametrize("kind", HOURS)
def test_every_hour_and_weather_can_be_drawn(kind: str):
    scene = random_scene(8, 1, SIZE)
    hour = mood(np.random.default_rng(3), kind)
    drawn: Drawn = render(replace(scene, light=hour.light, sky=hour.sky, air=hour.air))
    top, bottom = drawn.bgr[: SIZE[1] // 6].mean(), drawn.bgr[SIZE[1] // 2 :].mean()
    assert (top > bottom) == (kind != "night") or abs(top - bottom) < 25
    assert (drawn.bgr.mean() < 70) == (kind in ("night",)) or kind == "dusk"


def test_paint_covers_the_ground_only_where_it_is():
    road = Road(flat_way(), plan(np.random.default_rng(2), "lane", 1).bands)
    where = lie(Camera(SIZE, (0.0, 0.0, 1.4), 0.0, 0.05, 250.0), road.way)
    paved = pave(Camera(SIZE, (0.0, 0.0, 1.4), 0.0, 0.05, 250.0), road, where)
    assert not paved.lane.any()
    assert paved.drivable.any()
    assert not paved.drivable[~where.shown].any()
