"""Street pictures to train on: the same again, true to what is drawn, and each another."""

from collections import Counter

import numpy as np
import pytest

from streamvision.capture.drawn import CLASSES, Drawn
from streamvision.capture.street.truth import StreetTruth
from streamvision.capture.street.variety import demo, street_sample

SIZE = (256, 144)
COUNT = 40


@pytest.fixture(scope="module")
def samples() -> list[Drawn]:
    return [street_sample(5, index, SIZE) for index in range(COUNT)]


def same(one: Drawn, other: Drawn) -> bool:
    arrays = ("bgr", "xyxy", "visible", "ids", "drivable", "lane")
    return one.names == other.names and all(np.array_equal(getattr(one, at), getattr(other, at)) for at in arrays)


@pytest.mark.parametrize("index", [0, 3, 10])
def test_a_picture_is_the_same_again_in_any_order(samples, index):
    assert same(street_sample(5, index, SIZE), samples[index])


def test_another_seed_is_another_picture(samples):
    assert not np.array_equal(street_sample(6, 0, SIZE).bgr, samples[0].bgr)


def test_shapes_and_ranges(samples):
    width, height = SIZE
    for one in samples:
        assert one.bgr.shape == (height, width, 3)
        assert one.bgr.dtype == one.drivable.dtype == one.lane.dtype == np.uint8
        assert one.drivable.shape == one.lane.shape == (height, width)
        assert one.xyxy.dtype == one.visible.dtype == np.float32
        assert one.ids.dtype == np.int64
        assert len(one.xyxy) == len(one.visible) == len(one.names) == len(one.ids) == len(set(one.ids.tolist()))
        assert set(one.names) <= set(CLASSES)
        assert ((one.visible > 0) & (one.visible <= 1)).all()
        assert (one.xyxy[:, 2:] > one.xyxy[:, :2]).all()
        assert (one.xyxy >= 0).all()
        assert (one.xyxy <= [width, height] * 2).all()
        assert set(np.unique(one.drivable)) <= {0, 1, 255}
        assert set(np.unique(one.lane)) <= {0, 1, 255}


def test_lane_lines_lie_on_or_beside_the_carriageway(samples):
    """Where the road's meaning is unknown, its lines are; a line is never on a footway."""
    for one in samples:
        assert not (one.lane == 1)[one.drivable == 255].any()
    painted = sum(int((one.lane == 1).sum()) for one in samples)
    on_road = sum(int(((one.lane == 1) & (one.drivable == 1)).sum()) for one in samples)
    assert painted > 500
    assert on_road > 0.8 * painted


def test_roads_are_known_in_many_pictures_and_unknown_in_some(samples):
    assert sum(bool((one.drivable == 1).any()) for one in samples) > COUNT // 4
    assert sum(bool((one.drivable == 255).any()) for one in samples) > COUNT // 20


def test_every_class_appears():
    seen = Counter(name for index in range(90) if index % 4 != 3 for name in street_sample(7, index, (128, 72)).names)
    assert set(seen) == set(CLASSES)
    assert min(seen.values()) >= 4, seen
    assert seen["car"] > seen["bus"]


def test_pictures_vary_in_light_size_and_number(samples):
    own = [one for index, one in enumerate(samples) if index % 4 != 3]
    brightness = np.array([one.bgr.mean() for one in own])
    assert np.ptp(brightness) > 65
    assert brightness.std() > 15
    counts = np.array([len(one.names) for one in own])
    assert counts.min() <= 3
    assert counts.max() >= 20
    heights = np.concatenate([one.xyxy[:, 3] - one.xyxy[:, 1] for one in samples])
    assert np.quantile(heights, 0.1) < 10
    assert heights.max() > SIZE[1] * 0.6
    shares = np.concatenate([one.visible for one in samples])
    assert (shares < 0.5).mean() > 0.03
    assert (shares > 0.95).mean() > 0.3
    colours = np.array([one.bgr.reshape(-1, 3).mean(axis=0) for one in own])
    assert np.ptp(colours[:, 0] - colours[:, 2]) > 25


def test_no_two_pictures_look_alike(samples):
    small = np.array(
        [one.bgr[::12, ::16].reshape(-1).astype(np.float32) for i, one in enumerate(samples) if i % 4 != 3]
    )
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-6
    alike = small @ small.T - np.eye(len(small))
    assert alike.max() < 0.97


def test_a_quarter_is_the_demo_street_itself_with_its_own_boxes():
    whole = demo._SIZE
    shown = [index for index in range(3, 64, 4) if demo._window(_fresh(9, index), whole) == (0, 0, *whole)]
    index = shown[0]
    drawn = street_sample(9, index, whole)
    rng = np.random.default_rng([9, index, 43])
    truth = StreetTruth(demo.street_seed(9, index), whole, float(rng.uniform(0, 4000))).boxes(0.0, visibility=True)
    boxes = {one.id: (one.xyxy, one.visible) for one in truth if one.visible > 0}
    assert set(drawn.ids.tolist()) == set(boxes)
    assert demo.street_seed(9, index) >= 100
    for identity, box, share in zip(drawn.ids.tolist(), drawn.xyxy, drawn.visible, strict=True):
        assert np.allclose(box, boxes[identity][0], atol=1e-2)
        assert abs(share - boxes[identity][1]) < 1e-6


def _fresh(seed: int, index: int) -> np.random.Generator:
    rng = np.random.default_rng([seed, index, 43])
    rng.uniform(0, 4000)
    return rng
