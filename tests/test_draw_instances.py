from __future__ import annotations

import numpy as np
import pytest

from streamvision.draw import annotate, colour_of
from streamvision.draw.instances import draw_instances
from streamvision.masks import bitmap
from streamvision.types import Analysis, Detections, Masks, Tracks
from tests.test_draw import analysis, changed, grey, tracks

SOURCE = (640, 360)
BOX = (200.0, 100.0, 300.0, 300.0)


def disc() -> Masks:
    """An ellipse that touches the sides of `BOX`."""
    y, x = np.mgrid[:28, :28] - 13.5
    return Masks((14 - np.hypot(x, y)).astype(np.float32)[None], np.array([BOX], np.float32))


def found(masks: Masks | None = None, keypoints: np.ndarray | None = None) -> Detections:
    return Detections(
        np.array([BOX], np.float32), np.array([0.9], np.float32), np.array([1], np.int32), masks, keypoints
    )


@pytest.mark.parametrize("size_wh", [SOURCE, (320, 180), (1280, 720)])
def test_a_mask_tints_its_inside_and_nothing_else(size_wh: tuple[int, int]) -> None:
    canvas = grey(*size_wh)
    draw_instances(canvas, found(disc()), [(0, colour_of(5))], SOURCE)
    inside = bitmap(disc(), 0, SOURCE, size_wh)
    seen = changed(grey(*size_wh), canvas)
    assert seen[inside].all()
    # The border is a line of a pixel or two on both sides of the mask's edge.
    assert 0 < np.count_nonzero(seen & ~inside) < 0.1 * np.count_nonzero(inside)
    middle = canvas[size_wh[1] * 200 // 360, size_wh[0] * 250 // 640].astype(int)
    assert np.abs(middle - (0.62 * 90 + 0.38 * np.array(colour_of(5)))).max() <= 1


def test_the_border_is_crisp_on_the_masks_edge() -> None:
    canvas = grey()
    draw_instances(canvas, found(disc()), [(0, colour_of(5))], SOURCE)
    assert (np.abs(canvas[200, 198:203].astype(int) - colour_of(5)).sum(axis=1) < 120).any()
    assert (np.abs(canvas[200, 297:302].astype(int) - colour_of(5)).sum(axis=1) < 120).any()


def test_a_tracks_mask_is_that_of_its_detection_in_the_tracks_colour() -> None:
    one = tracks((3, BOX, True, True))
    matched = Tracks(
        one.ids, one.xyxy, one.velocity, one.class_id, one.score, one.confirmed, one.visible, one.age_s,
        np.array([0], np.int32),
    )  # fmt: skip
    plain = analysis(matched)
    seen = annotate(grey(), Analysis(plain.info, found(disc()), matched, plain.class_names), header=False)
    assert np.abs(seen[200, 250].astype(int) - (0.62 * 90 + 0.38 * np.array(colour_of(3)))).max() <= 1


def test_without_a_track_the_class_gives_the_colour() -> None:
    plain = analysis()
    seen = annotate(grey(), Analysis(plain.info, found(disc()), Tracks.empty(), plain.class_names), header=False)
    assert np.abs(seen[200, 250].astype(int) - (0.62 * 90 + 0.38 * np.array(colour_of(1)))).max() <= 1


def test_a_mask_partly_outside_the_picture_is_cut() -> None:
    masks = Masks(np.ones((1, 4, 4), np.float32), np.array([[600, 300, 900, 900]], np.float32))
    canvas = grey()
    draw_instances(canvas, found(masks), [(0, (255, 0, 0))], SOURCE)
    seen = changed(grey(), canvas)
    assert seen[300:, 600:].all()
    assert not seen[:297].any()


def test_an_empty_mask_draws_nothing() -> None:
    masks = Masks(-np.ones((1, 4, 4), np.float32), np.array([BOX], np.float32))
    canvas = grey()
    draw_instances(canvas, found(masks), [(0, (255, 0, 0))], SOURCE)
    assert not changed(grey(), canvas).any()


def test_keypoints_are_dots_and_what_is_no_number_is_no_dot() -> None:
    places = np.array([[[210.5, 120.5], [280.5, 220.5], [np.nan, 5], [9999, 9999]]], np.float32)
    canvas = grey()
    draw_instances(canvas, found(keypoints=places), [(0, (255, 0, 0))], SOURCE)
    assert canvas[120, 210].tolist() == canvas[220, 280].tolist() == [255, 0, 0]
    y, x = np.nonzero(changed(grey(), canvas))
    near = np.hypot(x - 210, y - 120) < 6
    assert (near | (np.hypot(x - 280, y - 220) < 6)).all()
