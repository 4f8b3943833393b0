"""Polygons and run lengths as bitmaps, beside pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.dataset.outlines import area, bitmap, box, moved, runs, runs_problem
from streamvision.masks import Patch, from_text, run_lengths, to_text


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=40))
def test_run_lengths_survive_their_text(lengths: list[int]):
    numbers = np.array(lengths, np.int64)
    assert from_text(to_text(numbers)).tolist() == lengths


@pytest.mark.parametrize("text", ["\x01", "o", "äö", "ooooooooo0"])
def test_text_that_holds_no_run_lengths_is_refused(text: str):
    with pytest.raises(ValueError, match="run"):
        from_text(text)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bitmaps_survive_run_lengths(seed: int):
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 20), rng.integers(1, 20))) < rng.random()
    size_wh = (mask.shape[1], mask.shape[0])
    text = {"size": list(mask.shape), "counts": to_text(run_lengths(Patch(mask, (0, 0), size_wh)))}
    assert runs_problem(text, size_wh) is None
    np.testing.assert_array_equal(bitmap(text, size_wh), mask)
    assert runs(text, size_wh) == text
    assert area(text, size_wh) == mask.sum()


def test_run_lengths_are_pycocotools_own():
    mask_tools = pytest.importorskip("pycocotools.mask", reason="needs the extra eval")
    mask = np.random.default_rng(0).random((37, 53)) < 0.4
    theirs = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": theirs["size"], "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(bitmap(text, (53, 37)), mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_polygons_cover_what_pycocotools_says_but_for_their_border():
    mask_tools = pytest.importorskip("pycocotools.mask", reason="needs the extra eval")
    polygon = np.array([[5.5, 3.2], [44.1, 8.0], [39.0, 33.3], [12.2, 30.0]], np.float32)
    theirs = mask_tools.decode(mask_tools.merge(mask_tools.frPyObjects([polygon.ravel().tolist()], 40, 50)))
    ours = bitmap([polygon], (50, 40))
    assert (ours != theirs).sum() < 0.04 * theirs.sum()


@pytest.mark.parametrize(
    ("outline", "said"),
    [
        ({"size": [4, 5], "counts": [20]}, "its size"),
        ({"size": [5, 4], "counts": [19]}, "add up to 19"),
        ({"size": [5, 4], "counts": [-1, 21]}, "add up"),
        ({"size": [5, 4], "counts": "\x01"}, "run lengths"),
        ({"size": [5, 4], "counts": [1.5]}, "neither"),
        ({"size": [5, 4]}, "neither"),
    ],
)
def test_run_lengths_that_are_no_mask_of_the_picture(outline: dict[str, object], said: str):
    problem = runs_problem(outline, (4, 5))
    assert problem is not None
    assert said in problem


def test_outlines_move_with_their_picture():
    square = [np.array([[2, 2], [6, 2], [6, 6], [2, 6]], np.float32)]
    matrix = np.array([[2.0, 0, 1], [0, 2.0, 3]])
    expected = np.zeros((20, 20), np.uint8)
    expected[7:15, 5:13] = 1
    np.testing.assert_array_equal(moved(square, matrix, (10, 10), (20, 20)), expected)
    np.testing.assert_array_equal(moved(runs(square, (10, 10)), matrix, (10, 10), (20, 20)), expected)
    assert box(square) is not None
    assert box(square).tolist() == box(runs(square, (10, 10))).tolist() == [2, 2, 6, 6]
    assert box([]) is None
