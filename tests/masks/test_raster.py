from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.masks import Patch, bitmap, bitmaps, patch
from streamvision.types import Float32, Masks
from tests.masks.fields import SIDES, VALUES, disc, masks

REGIONS = st.tuples(st.integers(-20, 30), st.integers(-20, 30), st.integers(1, 40), st.integers(1, 40))


def scalar(values: Float32, region: tuple[float, ...], source_wh: tuple[int, int], size_wh: tuple[int, int]):
    """Return the field at every pixel's centre by the definition, one at a time; nan outside the region."""
    height, width = values.shape
    found = np.full(size_wh[::-1], np.nan)
    for row, column in np.ndindex(found.shape):
        x = (column + 0.5) * source_wh[0] / size_wh[0]
        y = (row + 0.5) * source_wh[1] / size_wh[1]
        if region[0] <= x < region[2] and region[1] <= y < region[3]:
            u = min(max((x - region[0]) / (region[2] - region[0]) * width - 0.5, 0), width - 1)
            v = min(max((y - region[1]) / (region[3] - region[1]) * height - 0.5, 0), height - 1)
            i, j = int(u), int(v)
            i2, j2, a, b = min(i + 1, width - 1), min(j + 1, height - 1), u - i, v - j
            above = values[j, i] * (1 - a) + values[j, i2] * a
            below = values[j2, i] * (1 - a) + values[j2, i2] * a
            found[row, column] = above * (1 - b) + below * b
    return found


@given(VALUES, REGIONS, st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_a_bitmap_is_the_sign_of_the_field_at_every_pixels_centre(values, corner_and_size, source_wh, size_wh):
    x, y, width, height = corner_and_size
    region = (float(x), float(y), float(x + width), float(y + height))
    field = scalar(values, region, source_wh, size_wh)
    sure = np.isnan(field) | (np.abs(field) > 1e-4)
    found = bitmap(masks(values, region), 0, source_wh, size_wh)
    assert found.shape == size_wh[::-1]
    assert np.array_equal(found[sure], (field > 0)[sure])


@pytest.mark.parametrize("size_wh", [(37, 23), (8, 8), (3, 5), (160, 90)])
def test_a_mask_of_the_whole_picture_is_pytorchs_interpolation(size_wh: tuple[int, int]):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference")
    values = np.random.default_rng(5).normal(size=(2, 8, 11)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size_wh[::-1], mode="bilinear")[0] > 0
    region = np.array([[0, 0, *size_wh]] * 2, np.float32)
    assert np.array_equal(bitmaps(Masks(values, region), size_wh), expected.numpy())


def test_masks_of_boxes_are_what_torchvision_pastes():
    torch = pytest.importorskip("torch", reason="PyTorch is the reference")
    heads = pytest.importorskip("torchvision.models.detection.roi_heads", reason="torchvision is the reference")
    probability = np.random.default_rng(6).uniform(size=(5, 28, 28)).astype(np.float32)
    boxes = np.array(
        [[10, 5, 40, 35], [-8, -3, 20, 30], [50, 30, 90, 70], [3.4, 6.7, 9.2, 11.9], [0, 0, 63, 47]], np.float32
    )
    expected = heads.paste_masks_in_image(torch.from_numpy(probability)[:, None], torch.from_numpy(boxes), (48, 64))
    # torchvision surrounds the raster with zeros, the box with the same share, and rounds that to whole pixels.
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (30 / 28)
    region = np.trunc(np.concatenate((middle - half, middle + half), axis=1)) + np.float32([0, 0, 1, 1])
    values = np.pad(probability, ((0, 0), (1, 1), (1, 1))) - np.float32(0.5)
    assert np.array_equal(bitmaps(Masks(values, region.astype(np.float32)), (64, 48)), expected[:, 0].numpy() > 0.5)


@given(VALUES, st.integers(-30, 60), st.integers(-30, 60))
def test_a_patch_lies_in_the_picture_and_holds_the_whole_object(values, x, y):
    found = patch(masks(values, (x, y, x + 25.5, y + 14.25)), 0, (50, 40))
    assert found.full().shape == (40, 50)
    assert found.area == np.count_nonzero(found.full())
    height, width = found.pixels.shape
    assert 0 <= found.origin_xy[0] <= 50 - width
    assert 0 <= found.origin_xy[1] <= 40 - height


def test_a_patch_is_as_small_as_the_object():
    found = patch(masks(disc(160, (80, 40), 5), (0, 0, 1920, 1080)), 0, (1920, 1080))
    assert found.pixels.shape[0] < 90
    assert found.pixels.shape[1] < 150


@pytest.mark.parametrize(
    "region",
    [(5, 5, 5, 9), (9, 5, 5, 9), (100, 5, 120, 9), (5, -20, 9, 0)],
    ids=["thin", "inside out", "right", "above"],
)
def test_a_region_that_shows_nothing_of_the_picture_has_no_pixels(region: tuple[float, float, float, float]):
    assert patch(masks(np.ones((4, 4)), region), 0, (100, 50)).area == 0


def test_neighbouring_regions_share_no_pixel():
    both = bitmaps(masks(np.ones((2, 3)), (0, 0, 5.5, 7), (5.5, 0, 10, 7)), (10, 7))
    assert (both.sum(axis=0) == 1).all()


def test_no_masks_make_no_bitmaps():
    none = Masks(np.empty((0, 4, 4), np.float32), np.empty((0, 4), np.float32))
    assert bitmaps(none, (9, 7)).shape == (0, 7, 9)


@given(VALUES, VALUES, st.integers(-9, 9), st.integers(-9, 9))
def test_iou_is_symmetric_bounded_and_that_of_the_bitmaps(one, other, dx, dy):
    first = patch(masks(one, (5, 5, 25, 20)), 0, (40, 30))
    second = patch(masks(other, (5 + dx, 5 + dy, 25 + dx, 20 + dy)), 0, (40, 30))
    a, b = first.full(), second.full()
    expected = np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1)
    assert first.iou(second) == second.iou(first) == pytest.approx(expected)
    assert first.iou(first) == (1 if first.area else 0)


def test_patches_of_different_pictures_have_no_iou():
    small = Patch(np.ones((2, 2), np.bool_), (0, 0), (4, 4))
    with pytest.raises(ValueError, match="different sizes"):
        small.iou(Patch(np.ones((2, 2), np.bool_), (0, 0), (5, 4)))


@given(VALUES, st.floats(-5, 30), st.floats(-5, 30), st.floats(0.5, 30), st.floats(0.5, 30))
def test_bounds_cut_a_mask_at_pixels_centres(values, x, y, width, height):
    whole = masks(values, (0, 0, 25, 20))
    box = np.array([[x, y, x + width, y + height]], np.float32)
    x1, y1, x2, y2 = box[0].tolist()
    row, column = np.mgrid[:20, :25] + 0.5
    inside = (column >= x1) & (column < x2) & (row >= y1) & (row < y2)
    assert np.array_equal(
        bitmap(Masks(whole.values, whole.region, box), 0, (25, 20)), bitmap(whole, 0, (25, 20)) & inside
    )


def test_a_selection_of_masks_keeps_regions_and_bounds():
    regions = np.array([[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 4, 4]], np.float32)
    three = Masks(np.zeros((3, 2, 2), np.float32), regions, regions + 1)
    two = three[np.array([2, 0])]
    assert two.region.tolist() == regions[[2, 0]].tolist()
    assert two.bounds is not None
    assert two.bounds.tolist() == (regions[[2, 0]] + 1).tolist()
    with pytest.raises(ValueError, match="bounds: expected"):
        Masks(three.values, regions, regions[:2])
