from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.geometry import points_in_polygon, polygon_depths
from streamvision.masks import bitmap, patch, polygon, polygons
from streamvision.types import Float32, Masks
from tests.masks.fields import VALUES, disc, masks

FINE = {"tolerance_px": 0.01, "max_points": 10_000}


def area(outline: Float32) -> float:
    (x, y), (next_x, next_y) = outline.T.astype(np.float64), np.roll(outline, -1, axis=0).T.astype(np.float64)
    return float(x @ next_y - next_x @ y) / 2


def centres(size_wh: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    return np.stack((x.ravel(), y.ravel()), axis=1) + 0.5


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ((10, 20, 30, 60), [[10, 20], [30, 20], [30, 60], [10, 60]]),
        ((-10, 20, 30, 200), [[0, 20], [30, 20], [30, 100], [0, 100]]),
    ],
    ids=["inside", "cut by the picture"],
)
def test_a_full_mask_has_the_outline_of_its_region(region: tuple[float, ...], expected: list[list[float]]):
    found = polygon(masks(np.ones((4, 4)), region), 0, (100, 100))
    assert found is not None
    assert sorted(found.tolist()) == sorted(expected)


def test_bounds_cut_an_outline():
    one = masks(np.ones((4, 4)), (10, 20, 30, 60))
    found = polygon(Masks(one.values, one.region, np.array([[12.5, 0, 100, 50]], np.float32)), 0, (100, 100))
    assert found is not None
    assert sorted(found.tolist()) == [[12.5, 20], [12.5, 50], [30, 20], [30, 50]]


def test_the_border_is_where_the_field_crosses_zero():
    found = polygon(masks([[-1, 3, 3, -1]], (0, 0, 40, 10)), 0, (40, 10), **FINE)
    assert found is not None
    # A quarter of the way from the first sample's centre at 5 to the next one's at 15, and the same from the right.
    assert sorted(found.tolist()) == [[7.5, 0], [7.5, 10], [32.5, 0], [32.5, 10]]


@given(
    st.tuples(st.floats(-5, 45), st.floats(-5, 45)), st.floats(1.5, 20),
    st.floats(-60, 60), st.floats(-60, 60), st.floats(20, 200), st.floats(20, 200),
)  # fmt: skip
@settings(max_examples=40)
def test_a_polygon_covers_what_the_bitmap_covers(centre, radius, x, y, width, height):
    one = masks(disc(40, centre, radius), (x, y, x + width, y + height))
    found = polygons(one, 0, (90, 70), **FINE)
    # In a cell the field's border is a slightly bent line, whose ends the polygon joins by a straight one.
    bend = 0.1 * max(width, height) / 40
    covered = bitmap(one, 0, (90, 70)).ravel()
    inside = np.zeros(len(covered), np.bool_)
    near = np.zeros(len(covered), np.bool_)
    for outline in found:
        depth = polygon_depths(centres((90, 70)), outline.astype(np.float64))
        inside |= depth > 0
        near |= np.abs(depth) <= 0.02 + bend
    assert np.array_equal(covered[~near], inside[~near])
    perimeter = sum(float(np.hypot(*(outline - np.roll(outline, 1, axis=0)).T).sum()) for outline in found)
    assert sum(map(area, found)) == pytest.approx(covered.sum(), abs=0.5 * perimeter + 1)


@given(VALUES)
def test_outer_borders_hold_every_sample_of_the_object(values):
    height, width = values.shape
    one = masks(values, (0, 0, width, height))
    found = polygons(one, 0, (width, height), tolerance_px=0.0, max_points=10_000)
    held = np.zeros(values.size, np.bool_)
    for outline in found:
        held |= polygon_depths(centres((width, height)), outline.astype(np.float64)) >= -1e-5
    assert held[values.ravel() > 1e-3].all()
    assert all(area(outline) >= 0 for outline in found)


@given(VALUES, st.sampled_from([0.0, 0.5, 4.0]), st.integers(4, 12))
def test_polygons_are_bounded_and_lie_in_the_picture(values, tolerance_px, max_points):
    one = masks(values, (-7, 3, 60, 55))
    for outline in polygons(one, 0, (50, 40), tolerance_px=tolerance_px, max_points=max_points):
        assert 3 <= len(outline) <= max_points
        assert (outline >= 0).all()
        assert (outline <= (50, 40)).all()


def test_the_largest_part_comes_first_and_holes_are_filled():
    raster = -np.ones((12, 20))
    raster[2:10, 2:10] = 1
    raster[5:7, 5:7] = -1
    raster[4:7, 14:17] = 1
    one = masks(raster, (0, 0, 20, 12))
    large, small = polygons(one, 0, (20, 12), **FINE)
    assert area(large) == pytest.approx(64, abs=1)
    assert area(small) == pytest.approx(9, abs=1)
    assert points_in_polygon(np.array([[6.0, 6.0]]), large.astype(np.float64)).all()
    first = polygon(one, 0, (20, 12), **FINE)
    assert first is not None
    assert np.array_equal(first, large)


@pytest.mark.parametrize(("diagonal", "parts"), [(1.0, 2), (5.0, 1)], ids=["apart", "joined"])
def test_a_saddle_is_settled_by_its_middle(diagonal: float, parts: int):
    raster = -3 * np.ones((4, 4))
    raster[1, 1] = raster[2, 2] = diagonal
    assert len(polygons(masks(raster, (0, 0, 40, 40)), 0, (40, 40), **FINE)) == parts


def test_what_is_thinner_than_the_tolerance_is_a_rectangle_of_its_length():
    raster = -np.ones((40, 40))
    raster[20, 5:35] = 1
    found = polygon(masks(raster, (0, 0, 40, 40)), 0, (40, 40), tolerance_px=3.0)
    assert found is not None
    assert np.ptp(found, axis=0)[0] == pytest.approx(30, abs=0.1)


def test_an_object_that_is_nowhere_has_no_outline():
    one = masks(-np.ones((4, 4)), (0, 0, 10, 10))
    assert polygon(one, 0, (10, 10)) is None
    assert polygons(one, 0, (10, 10)) == []
    assert polygon(masks(np.ones((4, 4)), (20, 0, 30, 10)), 0, (10, 10)) is None


def test_tolerance_is_kept():
    one = masks(disc(160, (80, 80), 60), (0, 0, 640, 640))
    exact = polygon(one, 0, (640, 640), **FINE)
    coarse = polygon(one, 0, (640, 640), tolerance_px=2.0)
    assert exact is not None
    assert coarse is not None
    assert len(coarse) < len(exact) / 10
    assert np.abs(polygon_depths(exact.astype(np.float64), coarse.astype(np.float64))).max() <= 2.0
    assert area(exact) == pytest.approx(patch(one, 0, (640, 640)).area, rel=1e-3)
