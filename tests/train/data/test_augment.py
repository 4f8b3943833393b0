"""Boxes, masks and label maps go where the pixels go."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamvision.dataset import Objects
from streamvision.geometry import iou_matrix
from streamvision.train.augmentation import Augmentation
from streamvision.types import Fit
from tests.train.data.sets import COLOURS, coloured, is_class

pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.train.data.augment import Plan, augmented
from streamvision.train.data.light import copy_small, vary
from streamvision.train.data.sample import Sample, Stored, affine, blank, box_map, mirrored, paint
from streamvision.train.data.store import Store

STILL = Augmentation(preset="none")
WH = (256, 144)

MOVING = {
    "flip": {"flip": 1.0},
    "zoom in": {"scale": (1.5, 2.0)},
    "zoom out": {"scale": (0.3, 0.7)},
    "aspect": {"aspect": 1.0},
    "translate": {"translate": 0.4},
    "mosaic": {"mosaic": 1.0, "scale": (0.7, 1.4), "flip": 0.5},
    "all": {"mosaic": 0.5, "scale": (0.5, 1.6), "flip": 0.5, "aspect": 0.3, "translate": 0.2},
}


def vary_one(folder: Path, options: Augmentation, seed: int, *, fit: Fit = Fit.LETTERBOX, calm: bool = False) -> Sample:
    dataset = coloured(folder)
    store = Store(dataset, WH)
    plan = Plan(WH, fit, 128, ("ground",), True)
    rng = np.random.default_rng(seed)
    return augmented(int(rng.integers(len(dataset))), store.load, len(dataset), plan, options, rng, calm=calm)


@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.STRETCH])
@pytest.mark.parametrize("name", MOVING)
def test_boxes_masks_and_maps_follow_the_pixels(tmp_path: Path, name: str, fit: Fit):
    options = STILL.model_copy(update=MOVING[name])
    looked_at = 0
    for seed in range(8):
        sample = vary_one(tmp_path, options, seed, fit=fit)
        assert sample.masks is not None
        assert len(sample.xyxy) == len(sample.labels) == len(sample.ignore) == len(sample.masks)
        for box, label, mask in zip(sample.xyxy, sample.labels, sample.masks, strict=True):
            if min(box[2:] - box[:2]) < 6:
                continue
            found = around(is_class(sample.rgb, int(label)), box)
            assert iou_matrix(found[None], box[None])[0, 0] > 0.7, (seed, box, found)
            np.testing.assert_allclose(found, box, atol=1.7)
            pixels = is_class(sample.rgb, int(label)) & within(box, 2)
            assert (mask.astype(bool) & pixels).sum() > 0.75 * max(mask.sum(), pixels.sum())
            looked_at += 1
        red, ground = is_class(sample.rgb, 0), sample.maps["ground"] == 1
        assert (red & ground).sum() >= 0.8 * max(red.sum(), ground.sum())
    assert looked_at > 10


def around(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the box around the pixels that lie in a box or two pixels beside it."""
    rows, columns = np.nonzero(pixels & within(box, 2))
    assert len(rows), "there is nothing of that colour in the box"
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def within(box: np.ndarray, margin: int) -> np.ndarray:
    mask = np.zeros(WH[::-1], np.bool_)
    x1, y1, x2, y2 = (box + np.array([-margin, -margin, margin, margin])).round().astype(int).clip(0)
    mask[y1:y2, x1:x2] = True
    return mask


def test_without_variation_a_picture_is_fitted_as_an_engine_fits_it(tmp_path: Path):
    from streamvision.train.data.batches import plain

    dataset = coloured(tmp_path)
    for fit in Fit:
        plan = Plan(WH, fit, 128, ("ground",), True)
        for index in range(len(dataset)):
            ours = augmented(index, Store(dataset, WH).load, 7, plan, STILL, np.random.default_rng(0), calm=True)
            engine = plain(dataset, index, plan)
            np.testing.assert_allclose(ours.xyxy, engine.xyxy, atol=1.0)
            assert np.abs(ours.rgb.astype(int) - engine.rgb).mean() < 4


@settings(deadline=None)
@given(st.tuples(*[st.floats(0, 300, width=32)] * 4), st.floats(0.2, 3), st.floats(-100, 100))
def test_a_mirror_turns_back_what_it_turned(corners: tuple[float, ...], scale: float, offset: float):
    box = np.array([[min(corners[0::2]), min(corners[1::2]), max(corners[0::2]), max(corners[1::2])]], np.float32)
    matrix = affine((scale, scale), (offset, offset))
    there = box_map(box, mirrored(matrix, 256))
    assert (there[:, 2:] >= there[:, :2]).all()
    back = there.copy()
    back[:, [0, 2]] = 256 - there[:, [2, 0]]
    np.testing.assert_allclose(back, box_map(box, matrix), atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_happens_boxes_lie_in_the_picture(tmp_path_factory: pytest.TempPathFactory, seed: int):
    folder = tmp_path_factory.getbasetemp() / "varied"
    sample = vary_one(folder, Augmentation(mixup=0.5, copies=0.5, distort=1, erase=1), seed)
    assert (sample.rgb.shape, sample.rgb.dtype) == ((WH[1], WH[0], 3), np.uint8)
    assert (sample.xyxy >= 0).all()
    assert (sample.xyxy[:, 2:] <= WH).all()
    assert (sample.xyxy[:, 2:] > sample.xyxy[:, :2]).all()
    assert (sample.xyxy.dtype, sample.labels.dtype, sample.ignore.dtype) == (np.float32, np.int64, np.bool_)
    assert sample.masks is not None
    assert sample.masks.shape == (len(sample.xyxy), *sample.rgb.shape[:2])
    assert set(np.unique(sample.maps["ground"])) <= {0, 1, 255}


def test_an_object_that_is_mostly_cut_away_is_ignored_and_of_a_trace_nothing_is_said():
    stored = Stored(
        np.zeros((100, 100, 3), np.uint8), (100, 100),
        Objects(np.array([[0, 0, 50, 50], [40, 0, 60, 50], [0, 60, 99.5, 90]], np.float32),
                np.arange(3, dtype=np.int32), np.zeros(3, np.bool_)),
    )  # fmt: skip
    sample = blank((100, 100), 0, (), masks=False)
    paint(sample, stored, affine((1, 1), (-48.5, 0)), (0, 0, 100, 100), keep=0.35)
    assert sample.labels.tolist() == [0, 1, 2]
    assert sample.ignore.tolist() == [True, False, False]
    sample = blank((100, 100), 0, (), masks=False)
    paint(sample, stored, affine((1, 1), (-49.5, 0)), (0, 0, 100, 100), keep=0.35)
    assert sample.labels.tolist() == [1, 2]


def test_a_zoomed_picture_mostly_keeps_an_object_in_sight(tmp_path: Path):
    options = STILL.model_copy(update={"scale": (3.0, 3.0)})
    kept = sum(len(vary_one(tmp_path, options, seed).xyxy) > 0 for seed in range(20))
    assert kept > 14


def test_calm_epochs_have_no_mosaic(tmp_path: Path):
    options = STILL.model_copy(update={"mosaic": 1.0, "mixup": 1.0})
    assert all(len(vary_one(tmp_path, options, seed, calm=True).xyxy) == 3 for seed in range(6))
    assert any(len(vary_one(tmp_path, options, seed).xyxy) > 3 for seed in range(6))
    assert Augmentation(calm=0.2).calm_from(50) == 40


def test_pictures_whose_objects_nobody_knows_stay_among_themselves(tmp_path: Path):
    known = Store(coloured(tmp_path), WH).load(0)
    unknown = Stored(known.rgb, known.source_wh, None)
    options = STILL.model_copy(update={"mosaic": 1.0, "mixup": 1.0})
    plan = Plan(WH, Fit.LETTERBOX, 128, (), False)
    for seed in range(8):
        sample = augmented(
            0, lambda index: unknown if index == 0 else known, 2, plan, options, np.random.default_rng(seed), calm=False
        )
        assert not sample.known
        assert not len(sample.xyxy)


def grey(value: int = 128) -> Sample:
    sample = blank(WH, value, ("ground",), masks=True)
    sample.rgb[40:80, 40:80] = (180, 90, 60)
    sample.xyxy = np.array([[40, 40, 80, 80]], np.float32)
    sample.labels, sample.ignore = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    sample.masks = np.zeros((1, *WH[::-1]), np.uint8)
    sample.masks[0, 40:80, 40:80] = 1
    sample.maps["ground"][:] = 0
    return sample


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "saturation", "hue", "gamma", "gray", "distort", "erase"]
)  # fmt: skip
def test_light_and_surface_change_and_nothing_moves(name: str):
    options = STILL.model_copy(update={name: 0.5 if name == "hue" else 1.0})
    changed = []
    for seed in range(6):
        sample = grey()
        vary(sample, options, np.random.default_rng(seed))
        changed.append((sample.rgb != grey().rgb).any())
        assert sample.xyxy.tolist() == [[40, 40, 80, 80]]
    assert sum(changed) >= 5


def test_nothing_changes_where_nothing_is_asked():
    sample = grey()
    vary(sample, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(sample.rgb, grey().rgb)


def test_a_turned_hue_and_grey_keep_the_luma():
    luma = cv2.cvtColor(grey().rgb, cv2.COLOR_RGB2GRAY)[60, 60]
    sample = grey()
    vary(sample, STILL.model_copy(update={"gray": 1.0}), np.random.default_rng(0))
    assert sample.rgb[60, 60].tolist() == pytest.approx([luma] * 3, abs=1)


def test_what_is_erased_is_not_labelled_any_more():
    for seed in range(200):
        sample = grey()
        sample.xyxy = np.array([[100, 100, 104, 104]], np.float32)
        vary(sample, STILL.model_copy(update={"erase": 1.0}), np.random.default_rng(seed))
        hidden = (sample.maps["ground"][100:104, 100:104] == 255).mean()
        assert bool(sample.ignore[0]) == (hidden > 0.7)
        assert (sample.maps["ground"] == 255).any()


def test_small_objects_are_shown_again_where_they_hide_nothing():
    sample = grey()
    sample.rgb[10:18, 10:20] = COLOURS[1]
    sample.xyxy = np.concatenate([sample.xyxy, np.array([[10, 10, 20, 18]], np.float32)])
    sample.labels, sample.ignore = np.array([0, 1]), np.zeros(2, np.bool_)
    assert sample.masks is not None
    small = np.zeros((1, *WH[::-1]), np.uint8)
    small[0, 10:18, 10:20] = 1
    sample.masks = np.concatenate([sample.masks, small])
    copy_small(sample, np.random.default_rng(0))
    assert sample.labels.tolist() == [0, 1, 1]
    x1, y1, x2, y2 = sample.xyxy[2].astype(int)
    assert (sample.rgb[y1:y2, x1:x2] == COLOURS[1]).all()
    assert sample.masks[2].sum() == 80
    assert not np.triu(iou_matrix(sample.xyxy, sample.xyxy), 1).any()


@pytest.mark.parametrize(
    "wrong", [{"flip": 2}, {"scale": (2, 1)}, {"blur": 1}, {"preset": "heavy"}, {"distort_strength": 6}, "heavy"]
)
def test_options_that_are_none_are_refused(wrong: object):
    with pytest.raises(ValidationError):
        Augmentation.model_validate(wrong)


def test_a_preset_is_what_is_not_said():
    assert Augmentation.model_validate("light") == Augmentation(preset="light")
    assert (Augmentation(preset="none", flip=0.5).flip, Augmentation(preset="none", flip=0.5).mosaic) == (0.5, 0.0)
    assert Augmentation.model_validate({"scale": 1.2}).scale == (1.2, 1.2)
