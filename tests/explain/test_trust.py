"""Measures of a map, on networks whose answer is known and on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from streamvision.explain import trust
from streamvision.explain.pictures import frame_of
from streamvision.explain.saliency import Saliency
from streamvision.explain.targets import Object
from streamvision.geometry import Letterbox
from tests.explain.engines import BOX, SIZE_WH, QuadrantEngine, picture

TARGET = Object(0, "dog", BOX)


def saliency(values: np.ndarray, agreement: float | None = 0.9) -> Saliency:
    return Saliency("drise", values.astype(np.float32), Letterbox.stretch((192, 128), SIZE_WH), 0.87, 100, agreement)


def quadrant() -> np.ndarray:
    values = np.zeros(SIZE_WH[::-1])
    values[:32, :48] = 1
    return values


def measured(values: np.ndarray) -> trust.Curves:
    engine = QuadrantEngine()
    curves = trust.curves(engine, frame_of(picture(), engine.input), TARGET, saliency(values), steps=8)
    assert engine.open == 0
    return curves


def test_the_right_map_is_better_than_its_opposite():
    right, wrong = measured(quadrant()), measured(-quadrant())
    assert len(right.deletion) == len(right.insertion) == 9
    assert right.deletion[0] == pytest.approx(right.insertion[-1], rel=0.02)
    assert right.deletion[2] == pytest.approx(right.deletion[8])  # a quarter of the picture is all that matters
    assert wrong.deletion[6] == pytest.approx(wrong.deletion[0])
    assert right.deletion_area < wrong.deletion_area - 0.2
    assert right.insertion_area == pytest.approx(wrong.insertion_area, rel=0.01)  # a blur is as bright as the picture
    assert (right.control, wrong.control) == (wrong.deletion, right.deletion)
    assert trust.doubts(saliency(quadrant()), right) == []
    assert trust.doubts(saliency(-quadrant()), wrong) == [
        "what it marks does not matter more to the network than what it does not"
    ]


def test_areas_are_those_of_the_trapezoids():
    curves = trust.Curves((1.0, 0.5, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.5))
    assert (curves.deletion_area, curves.insertion_area, curves.control_area) == (0.5, 0.75, 0.875)
    assert trust.doubts(saliency(quadrant()), curves) == []


def test_a_noisy_map_is_doubted():
    (doubt,) = trust.doubts(saliency(quadrant(), 0.2), trust.Curves((1.0, 0.0), (1.0, 1.0), (1.0, 1.0)))
    assert "noise" in doubt


def test_energy_in_a_box_and_the_pointing_game():
    values = np.zeros((64, 96))
    values[10, 20] = 3
    values[50, 80] = 1
    values[0, 0] = -5  # what speaks against it is no energy
    inside = trust.pointing(saliency(values), (30, 10, 60, 40))  # source px: twice those of the map
    assert inside == trust.Pointing(0.75, 15 * 15 / (64 * 96), True)
    assert trust.pointing(saliency(values), (150, 90, 170, 110)) == trust.Pointing(0.25, 10 * 10 / (64 * 96), False)


def test_a_map_without_any_opinion_points_nowhere():
    flat = trust.pointing(saliency(np.zeros((64, 96))), (0, 0, 192, 128))
    assert (flat.energy, flat.hit) == (0.0, False)
