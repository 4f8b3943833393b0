"""Bodies: their sizes, that each is another one, and that a box is the extent of what is drawn."""

import cv2
import numpy as np
import pytest

from streamvision.capture.drawn import CLASSES
from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.cars import SHAPES, car
from streamvision.capture.drawn.clutter import INDOORS, OUTDOORS, clutter
from streamvision.capture.drawn.figures import MAKERS, any_figure, figure
from streamvision.capture.drawn.light import Light
from streamvision.capture.drawn.painter import Thing, colour, draw, shadows
from streamvision.capture.drawn.parts import Figure, box
from streamvision.capture.drawn.signals import traffic_light

# Smallest and largest length, width and height in metres of what the world has.
SIZES = {
    "person": ((0.2, 0.3, 0.8), (1.5, 1.5, 2.9)),
    "bicycle": ((1.4, 0.4, 0.9), (2.3, 0.9, 2.1)),
    "motorcycle": ((1.4, 0.5, 0.9), (2.6, 1.1, 2.1)),
    "car": ((3.4, 1.6, 1.2), (6.0, 2.6, 3.1)),
    "bus": ((6.0, 1.9, 2.5), (19.5, 3.2, 4.6)),
    "truck": ((4.5, 2.0, 2.1), (17.5, 3.2, 4.3)),
    "traffic light": ((0.1, 0.2, 2.0), (1.0, 7.0, 8.5)),
    "traffic sign": ((0.03, 0.3, 1.2), (0.6, 6.0, 6.5)),
}


def camera(size=(320, 180), *, height=2.5, away=9.0, yaw=0.0, focal=260.0, aim=1.0) -> Camera:
    pitch = float(np.arctan2(height - aim, away))
    return Camera(size, (-away * np.sin(yaw), -away * np.cos(yaw), height), yaw, pitch, focal)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_bodies_of_its_size(name):
    low, high = SIZES[name]
    sizes = np.array([figure(name, np.random.default_rng(seed)).size_m for seed in range(40)])
    assert (sizes >= low).all(), sizes.min(axis=0)
    assert (sizes <= high).all(), sizes.max(axis=0)
    assert len(np.unique(sizes.round(3), axis=0)) >= 20


def test_makers_are_the_classes():
    assert tuple(MAKERS) == CLASSES


@pytest.mark.parametrize("shape", SHAPES)
def test_cars_have_the_shape_that_is_asked_for(shape):
    form = SHAPES[shape]
    length = car(np.random.default_rng(1), shape).size_m[0]
    assert form.length[0] - 0.1 <= length <= form.length[1] + 0.5


def test_paint_is_what_is_asked_for():
    made = car(np.random.default_rng(1), "saloon", (10.0, 200.0, 30.0))
    assert (np.abs(made.inks - [10, 200, 30]).max(axis=1) < 1).sum() > 10


@pytest.mark.parametrize("name", [*CLASSES, *sorted({*INDOORS, *OUTDOORS})])
def test_panels_look_outwards(name):
    """Seen from far away to one side, a closed body shows a face wherever its silhouette is."""
    rng = np.random.default_rng(3)
    made = any_figure(name, rng) if name in CLASSES else clutter(name, rng)
    panels = np.linalg.norm(made.normals, axis=1)
    assert np.all((np.abs(panels - 1) < 1e-6) | (panels == 0))
    assert np.isfinite(made.points).all()
    assert made.points[:, 2].min() > -0.15


def test_a_stored_figure_is_always_the_same():
    first = any_figure("car", np.random.default_rng(5))
    again = any_figure("car", np.random.default_rng(5))
    assert first is again


def test_turning_keeps_size_and_distance():
    made = figure("car", np.random.default_rng(2)).at(3.0, -2.0, 0.7)
    back = made.points - [3.0, -2.0, 0.0]
    assert np.allclose(
        np.linalg.norm(back, axis=1), np.linalg.norm(figure("car", np.random.default_rng(2)).points, axis=1)
    )
    assert np.allclose(made.footprint().mean(axis=0), [3, -2], atol=0.6)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("height", [1.2, 9.0])
def test_a_box_is_the_extent_of_the_stencil(name, height):
    rng = np.random.default_rng(4)
    eye = camera(height=height, away=14.0, focal=180, aim=2.0)
    things = [Thing(any_figure(name, rng).at(0.5, 1.0, 4.3), name, 1)]
    drawing = draw(eye, things, Light(), rng)
    rows, columns = np.nonzero(drawing.owners() == 0)
    (truth,) = drawing.truths
    assert truth.xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert truth.visible == 1.0
    assert truth.whole_px == len(rows)


def test_a_box_agrees_with_projected_corners():
    eye = camera(height=6.0)
    crate = Figure.of([box((-1, -0.5, 0), (1, 0.5, 1.5), (80, 90, 100))]).at(0.0, 2.0, 0.4)
    drawing = draw(eye, [Thing(crate, "car", 1)], Light(), np.random.default_rng(0))
    pixels, _ = eye.project(crate.points)
    expected = [*pixels.min(axis=0), *pixels.max(axis=0)]
    assert np.abs(np.array(drawing.truths[0].xyxy) - expected).max() <= 1.0


def test_what_stands_behind_is_hidden_and_its_box_is_whole():
    eye = camera(height=1.5)
    wall = Figure.of([box((-3, -0.1, 0), (0, 0.1, 3), (90, 90, 90))]).at(0.0, 0.0, 0.0)
    person = figure("person", np.random.default_rng(7))
    alone = draw(eye, [Thing(person.at(0.0, 2.0, 0.0), "person", 2)], Light(), np.random.default_rng(0)).truths[0]
    things = [Thing(person.at(0.0, 2.0, 0.0), "person", 2), Thing(wall, "", 1)]
    truth = draw(eye, things, Light(), np.random.default_rng(0)).truths[0]
    assert truth.xyxy == alone.xyxy
    assert 0.2 < truth.visible < 0.8
    before = draw(eye, [Thing(person.at(0.0, -2.0, 0.0), "person", 2), Thing(wall, "", 1)], Light(),
                  np.random.default_rng(0)).truths[0]  # fmt: skip
    assert before.visible == 1.0


def test_a_long_bus_does_not_cover_who_stands_before_its_rear():
    """Centres lie: the bus's is nearer to the camera than the person, who stands between its rear and the camera."""
    eye = Camera((320, 180), (0.0, 0.0, 1.6), 0.0, 0.0, 150.0)
    bus = figure("bus", np.random.default_rng(3)).at(4.0, 9.0, np.pi / 2 * 0.9)
    person = figure("person", np.random.default_rng(7)).at(2.6, 14.0, 0.0)
    truths = draw(eye, [Thing(bus, "bus", 1), Thing(person, "person", 2)], Light(), np.random.default_rng(0)).truths
    apart = draw(eye, [Thing(person, "person", 2)], Light(), np.random.default_rng(0)).truths[0]
    assert apart.whole_px == truths[1].whole_px
    order = draw(eye, [Thing(person, "person", 2), Thing(bus, "bus", 1)], Light(), np.random.default_rng(0)).truths
    assert order[0].visible == truths[1].visible


def test_posts_do_not_count():
    light = traffic_light(np.random.default_rng(1), "red", hung=False)
    eye = camera(away=6.0, height=2.0, aim=1.8, focal=200)
    drawing = draw(eye, [Thing(light.at(0, 0, -np.pi / 2), "traffic light", 1)], Light(), np.random.default_rng(0))
    x1, y1, x2, y2 = drawing.truths[0].xyxy
    whole = np.flatnonzero((drawing.numbers > 0).any(axis=1))
    assert y2 - y1 < 0.6 * (whole[-1] - whole[0])
    assert x2 - x1 < y2 - y1


@pytest.mark.parametrize(("lit", "channel"), [("red", 2), ("green", 1)])
def test_a_lit_lamp_has_its_colour(lit, channel):
    made = traffic_light(np.random.default_rng(2), lit, hung=False).at(0, 0, -np.pi / 2)
    eye = camera(away=3.0, height=2.9, aim=2.8, focal=300)
    canvas = np.full((180, 320, 3), 90, np.uint8)
    drawing = draw(eye, [Thing(made, "traffic light", 1)], Light(), np.random.default_rng(0))
    shine = colour(canvas, drawing, Light())
    lamp = canvas[shine > 0].mean(axis=0)
    assert lamp.argmax() == channel
    assert lamp[channel] > 150


@pytest.mark.parametrize("step", [1, 2])
def test_colouring_touches_only_what_is_covered(step):
    canvas = np.full((180, 320, 3), 77, np.uint8)
    eye = camera()
    drawing = draw(eye, [Thing(figure("car", np.random.default_rng(1)).at(0, 0, 0.3), "car", 1)], Light(),
                   np.random.default_rng(0))  # fmt: skip
    shine = colour(canvas, drawing, Light(), step)
    assert (canvas[drawing.numbers == 0] == 77).all()
    assert canvas[drawing.numbers > 0].std() > 10
    assert shine.shape == (180 // step, 320 // step)


def test_nothing_is_drawn_of_nothing():
    canvas = np.full((180, 320, 3), 77, np.uint8)
    drawing = draw(camera(), [], Light(), np.random.default_rng(0))
    assert drawing.truths == ()
    assert not colour(canvas, drawing, Light()).any()
    assert (canvas == 77).all()


def test_what_passes_the_camera_is_cut_and_not_turned_inside_out():
    eye = Camera((320, 180), (0.0, 0.0, 1.4), 0.0, 0.05, 200.0)
    beside = figure("truck", np.random.default_rng(1)).at(2.6, 1.0, np.pi / 2)
    drawing = draw(eye, [Thing(beside, "truck", 1)], Light(), np.random.default_rng(0))
    (truth,) = drawing.truths
    assert truth.xyxy[0] > 160  # it stands to the right, and so does all that is seen of it
    behind = figure("car", np.random.default_rng(1)).at(0.0, -8.0, 0.0)
    assert draw(eye, [Thing(behind, "car", 1)], Light(), np.random.default_rng(0)).truths == ()


def test_shadows_fall_away_from_the_sun():
    eye = Camera((320, 180), (0.0, -0.01, 20.0), 0.0, np.pi / 2, 150.0)
    light = Light(to_sun=(0.8, 0.0, 0.6))
    post = Figure.of([box((-0.2, -0.2, 0), (0.2, 0.2, 3), (80, 80, 80))]).at(0, 0, 0)
    fallen = shadows(eye, [Thing(post)], light)[..., 0]
    columns = np.flatnonzero(fallen.any(axis=0))
    assert columns.mean() < 150
    pixels, _ = eye.project(np.array([[-4.0, 0.0, 0.0]]))  # 3 m high, sun at 0.6 / 0.8: 4 m long
    assert abs(columns.min() - pixels[0, 0]) < 4


def test_a_camera_finds_the_ground_that_it_projects():
    eye = camera(yaw=0.6, height=5.0)
    pixels, _ = eye.project(np.array([[1.5, 3.0, 0.0]]))
    assert np.allclose(eye.ground_at(*pixels[0]), (1.5, 3.0), atol=1e-6)
    assert eye.ground_at(160, -2000) is None
    large, _ = eye.scaled(2).project(np.array([[1.5, 3.0, 0.0]]))
    assert np.allclose(large, pixels * 2)
    ray = eye.rays()[int(pixels[0, 1]), int(pixels[0, 0])]
    hit = np.asarray(eye.position) + ray * (-eye.position[2] / ray[2])
    assert np.allclose(hit[:2], (1.5, 3.0), atol=0.1)


def test_planes_map_as_points_do():
    eye = camera(yaw=-0.3)
    matrix = eye.plane(np.array([-2.0, 1.0, 0.0]), np.array([0.1, 0, 0]), np.array([0, 0.1, 0]))
    mapped = cv2.perspectiveTransform(np.array([[[30.0, 20.0]]]), matrix)[0, 0]
    assert np.allclose(mapped, eye.project(np.array([[1.0, 3.0, 0.0]]))[0][0], atol=1e-6)
