from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamvision.geometry import (
    Letterbox,
    box_areas,
    iou_matrix,
    line_offsets,
    line_positions,
    line_problem,
    points_in_polygon,
    polygon_depths,
    polygon_problem,
    segments_meet,
)

UNIT = st.floats(0, 1, width=32)
POINTS = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=UNIT)
SEGMENTS = arrays(np.float64, (6, 2, 2), elements=st.integers(0, 5))
SIZES = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
CONCAVE = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], np.float64)


@st.composite
def boxes(draw: st.DrawFn, count: int = 5) -> np.ndarray:
    corner = draw(arrays(np.float32, (count, 2), elements=st.floats(0, 1000, width=32)))
    sides = draw(arrays(np.float32, (count, 2), elements=st.floats(0, 500, width=32)))
    return np.concatenate([corner, corner + sides], axis=1)


@st.composite
def star_polygons(draw: st.DrawFn) -> np.ndarray:
    """Simple polygons of any concavity: corners around (0.5, 0.5) in the order of their angles."""
    radii = np.array(draw(st.lists(st.floats(0.05, 0.5), min_size=3, max_size=12)))
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return 0.5 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def inside_one(x: float, y: float, polygon: np.ndarray) -> bool:
    """The schoolbook's even-odd rule."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def gap_one(x: float, y: float, polygon: np.ndarray) -> float:
    gaps = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = min(1.0, max(0.0, float(np.dot([x, y] - a, b - a) / max(np.dot(b - a, b - a), 1e-300))))
        gaps.append(float(np.hypot(*([x, y] - (a + along * (b - a))))))
    return min(gaps)


@given(boxes(), boxes())
def test_iou_is_bounded_and_symmetric(a, b):
    iou = iou_matrix(a, b)
    assert ((iou >= 0) & (iou <= 1 + 1e-5)).all()
    assert np.allclose(iou, iou_matrix(b, a).T)


@given(boxes())
def test_a_box_is_all_of_itself(a):
    assert np.allclose(np.diag(iou_matrix(a, a))[box_areas(a) > 1e-3], 1, atol=1e-5)


def test_iou_of_known_boxes():
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 1], [5, 5, 6, 6]], np.float32)
    assert iou_matrix(a, b) == pytest.approx(np.array([[1 / 7, 0.5, 0], [0, 0, 0]]))


@given(SIZES, SIZES, st.sampled_from(["centre", "top_left", "stretch"]), boxes())
def test_letterbox_there_and_back(source, model, fit, fractions):
    box = Letterbox.stretch(source, model) if fit == "stretch" else Letterbox.fit(source, model, centre=fit == "centre")
    xyxy = (np.clip(fractions / 1500, 0, 1) * np.array([*source, *source])).astype(np.float32)
    there = box.to_model(xyxy)
    limit = np.array([*model, *model]) + 1e-2
    assert ((there >= 0) & (there <= limit)).all()
    assert np.allclose(box.to_source(there), xyxy, atol=1e-3 * max(source))


@given(star_polygons(), POINTS)
def test_inside_equals_the_scalar_rule(polygon, points):
    assert points_in_polygon(points, polygon).tolist() == [inside_one(x, y, polygon) for x, y in points]


@given(star_polygons(), POINTS)
def test_depth_is_the_distance_to_the_outline_with_the_sign_of_inside(polygon, points):
    depths = polygon_depths(points, polygon)
    assert np.abs(depths) == pytest.approx([gap_one(x, y, polygon) for x, y in points])
    assert ((depths >= 0) == points_in_polygon(points, polygon))[np.abs(depths) > 0].all()


def test_depth_in_a_concave_polygon():
    points = np.array([[2, 0.5], [2, 3], [1, 1], [5, 0]], np.float64)
    notch = 4 / np.sqrt(13)
    assert polygon_depths(points, CONCAVE) == pytest.approx([0.5, -notch, 0.83205029, -1])


def test_depth_counts_only_the_walls():
    depths = polygon_depths(np.array([[0.1, 0.5]]), SQUARE, np.array([True, True, True, False]))
    assert depths == pytest.approx([0.5])
    assert polygon_depths(np.array([[0.1, 0.5]]), SQUARE, np.zeros(4, np.bool_)) == [np.inf]


@pytest.mark.parametrize(
    ("line", "point", "offset"),
    [
        ([[0, 0.5], [1, 0.5]], [0.5, 0.7], 0.2),
        ([[0, 0.5], [1, 0.5]], [0.5, 0.3], -0.2),
        ([[1, 0.5], [0, 0.5]], [0.5, 0.7], -0.2),
        ([[0.5, 1], [0.5, 0]], [0.7, 0.5], 0.2),
        ([[0, 0], [1, 1]], [0, 1], np.sqrt(0.5)),
    ],
)
def test_offsets_are_positive_to_the_right_of_the_line(line, point, offset):
    assert line_offsets(np.array([point], np.float64), np.array(line, np.float64)) == pytest.approx([offset])


def test_positions_run_from_the_first_point_to_the_second():
    line = np.array([[1, 1], [3, 1]], np.float64)
    points = np.array([[1, 1], [2, 5], [3, -2], [5, 1]], np.float64)
    assert line_positions(points, line) == pytest.approx([0, 0.5, 1, 2])


@given(SEGMENTS, SEGMENTS)
def test_meeting_is_symmetric_in_both_ways(a, b):
    meet = segments_meet(a, b)
    assert (meet == segments_meet(b, a)).all()
    assert (meet == segments_meet(a[:, ::-1], b)).all()


@given(SEGMENTS)
def test_a_segment_meets_itself(a):
    assert segments_meet(a, a).all()


@pytest.mark.parametrize(
    ("a", "b", "meet"),
    [
        ([[0, 0], [2, 2]], [[0, 2], [2, 0]], True),
        ([[0, 0], [2, 0]], [[1, 0], [1, 5]], True),
        ([[0, 0], [2, 0]], [[1, 0], [3, 0]], True),
        ([[0, 0], [2, 0]], [[3, 0], [4, 0]], False),
        ([[0, 0], [2, 0]], [[0, 1], [2, 1]], False),
        ([[0, 0], [1, 1]], [[3, 0], [2, 4]], False),
    ],
)
def test_meeting_of_known_segments(a, b, meet):
    assert segments_meet(np.array([a], np.float64), np.array([b], np.float64)).tolist() == [meet]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0, 0], [100, 0], [100, 50]], ["point 2 (100, 0)", "outside the picture", "from 0 to 1"]),
        ([[0, 0], [1, -0.1], [1, 1]], ["point 2", "outside"]),
        ([[0, 0], [float("nan"), 0], [1, 1]], ["point 2", "outside"]),
        ([[0, 0], [1, 1]], ["at least three points, not 2"]),
        ([], ["at least three points, not 0"]),
        ([[0, 0], [1, 0], [1, 1], [0, 0]], ["points 1 and 4 are the same", "closes itself"]),
        ([[0, 0], [0.5, 0.5], [1, 1]], ["no area"]),
        ([[0, 0], [1, 1], [1, 0], [0, 1]], ["crosses itself", "point 1 to 2", "point 3 to 4"]),
        ([[0, 0], [1, 0], [0.5, 0], [0.5, 1]], ["crosses itself"]),
        ([[0, 0], [0.8, 0.8], [0.8, 0.1], [0.1, 0.9], [0.05, 0.5]], ["crosses itself"]),
    ],
)
def test_zones_that_never_work_say_why(points, words):
    problem = polygon_problem(points)
    assert problem is not None
    assert all(word in problem for word in words), problem


@pytest.mark.parametrize(
    "points",
    [
        SQUARE.tolist(),
        (CONCAVE / 4).tolist(),
        SQUARE[::-1].tolist(),
        [[0.1, 0.1], [0.2, 0.1], [0.15, 0.12]],
    ],
)
def test_zones_that_work(points):
    assert polygon_problem(points) is None


@given(star_polygons())
def test_star_polygons_never_cross_themselves(polygon):
    assert polygon_problem(polygon.tolist()) is None


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0.2, 0.5], [1.2, 0.5]], ["point 2", "outside the picture"]),
        ([[0.2, 0.5], [0.2, 0.5]], ["no length"]),
        ([[0.2, 0.5]], ["two points, not 1"]),
        ([[0.2, 0.5], [0.4, 0.5], [0.6, 0.5]], ["two points, not 3"]),
        ([[0, 1], [1, 1]], ["bottom edge"]),
        ([[0, 0.2], [0, 0.9]], ["left edge"]),
        ([[1, 0.2], [1, 0.9]], ["right edge"]),
        ([[0.1, 0], [0.9, 0]], ["top edge"]),
    ],
)
def test_lines_that_never_work_say_why(points, words):
    problem = line_problem(points)
    assert problem is not None
    assert all(word in problem for word in words), problem


@pytest.mark.parametrize(
    "points", [[[0, 0.5], [1, 0.5]], [[0, 0], [1, 1]], [[0.5, 0], [0.5, 1]], [[0.1, 0.99], [0.9, 0.99]]]
)
def test_lines_that_work(points):
    assert line_problem(points) is None
