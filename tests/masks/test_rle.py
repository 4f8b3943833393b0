from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamvision.masks import Patch, patch, rle, run_lengths, to_text
from tests.masks.fields import disc, masks


@st.composite
def patches(draw: st.DrawFn) -> Patch:
    width, height = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    x, y = draw(st.integers(0, width)), draw(st.integers(0, height))
    shape = (draw(st.integers(0, height - y)), draw(st.integers(0, width - x)))
    return Patch(draw(arrays(np.bool_, shape)), (x, y), (width, height))


@given(patches())
def test_run_lengths_say_every_pixel(one: Patch):
    lengths = run_lengths(one)
    inside = np.arange(len(lengths)) % 2 == 1
    assert np.array_equal(np.repeat(inside, lengths), one.full().ravel(order="F"))
    assert (lengths[1:] > 0).all()


@given(patches())
def test_the_text_is_that_of_pycocotools(one: Patch):
    reference = pytest.importorskip("pycocotools.mask", reason="pycocotools is the reference")
    expected = reference.encode(np.asfortranarray(one.full().astype(np.uint8)))
    assert rle(one) == {"size": expected["size"], "counts": expected["counts"].decode()}


@given(st.lists(st.integers(0, 5_000_000), min_size=1, max_size=12))
def test_long_runs_come_back_from_their_text(lengths: list[int]):
    reference = pytest.importorskip("pycocotools.mask", reason="pycocotools is the reference")
    size = [sum(lengths), 1]
    packed = reference.frPyObjects({"size": size, "counts": lengths}, *size)
    assert to_text(np.array(lengths)) == packed["counts"].decode()


@pytest.mark.parametrize(
    ("pixels", "lengths"),
    [
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1], [0, 1]], [2, 2]),
        ([[0, 1], [1, 0]], [1, 2, 1]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
    ],
)
def test_columns_run_from_left_to_right(pixels: list[list[int]], lengths: list[int]):
    assert run_lengths(Patch(np.array(pixels, np.bool_), (0, 0), (2, 2))).tolist() == lengths


def test_pycocotools_reads_the_area_of_a_large_object():
    reference = pytest.importorskip("pycocotools.mask", reason="pycocotools is the reference")
    found = patch(masks(disc(160, (70, 90), 55), (0, 0, 1920, 1080)), 0, (1920, 1080))
    assert reference.area(rle(found)) == found.area
