"""The street's world: a pure function of seed and time, and a truth that agrees with what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.capture.street.render import Painter
from streamvision.capture.street.scene import Kind, actors, sunlight
from streamvision.capture.street.truth import StreetTruth

SIZE = (480, 270)
ACROSS = ((0.543, 0.552), (0.463, 0.282))


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(3, SIZE)


@given(seed=st.integers(0, 10_000), t_s=st.floats(0, 1e6))
@settings(max_examples=25, deadline=None)
def test_any_moment_can_be_asked_for_in_any_order(seed: int, t_s: float) -> None:
    now = actors(seed, t_s)
    actors(seed, t_s + 100.0)
    assert actors(seed, t_s) == now
    assert len({actor.id for actor in now}) == len(now)
    assert 0 <= sunlight(seed, t_s) <= 1


@given(seed=st.integers(0, 10_000), t_s=st.floats(0, 1e4))
@settings(max_examples=25, deadline=None)
def test_nobody_jumps(seed: int, t_s: float) -> None:
    later = {actor.id: actor for actor in actors(seed, t_s + 0.04)}
    for actor in actors(seed, t_s):
        if (next_one := later.get(actor.id)) is not None:
            assert np.hypot(next_one.x - actor.x, next_one.y - actor.y) < 0.04 * 8.5
            assert next_one.look == actor.look


def test_every_kind_appears() -> None:
    assert {actor.look.kind for t_s in range(0, 120, 5) for actor in actors(1, t_s)} == set(Kind)


def test_seeds_differ_and_repeat(painter: Painter) -> None:
    assert np.array_equal(painter.bgr(12.0), Painter(3, SIZE).bgr(12.0))
    assert not np.array_equal(painter.bgr(12.0), Painter(4, SIZE).bgr(12.0))


def test_what_changes_lies_inside_the_true_boxes_or_is_shadow_or_light(painter: Painter) -> None:
    """Between two moments 40 ms apart, strong changes are where the truth says that somebody is."""
    truth = StreetTruth(3, SIZE)
    allowed = np.zeros(SIZE[::-1], bool)
    for t_s in (20.0, 20.04):
        for box in truth.boxes(t_s):
            x1, y1, x2, y2 = (int(value) for value in box.xyxy)
            reach = y2 - y1  # a shadow is shorter than its owner is tall
            allowed[max(0, y1 - 2) : y2 + 3, max(0, x1 - 2) : x2 + 3 + reach] = True
    change = np.abs(painter.bgr(20.0).astype(int) - painter.bgr(20.04)).max(axis=2)
    strong = change > 24
    # A few pixels of a shadow may lie below its owner's box.
    assert np.count_nonzero(strong & ~allowed) <= 0.05 * np.count_nonzero(strong)
    assert np.any(strong)


def test_boxes_lie_in_the_picture_and_move_as_they_say() -> None:
    truth = StreetTruth(5, SIZE)
    soon = {box.id: box for box in truth.boxes(30.2)}
    for box in truth.boxes(30.0):
        x1, y1, x2, y2 = box.xyxy
        assert 0 <= x1 < x2 <= SIZE[0]
        assert 0 <= y1 < y2 <= SIZE[1]
        inside = x1 > 2 and x2 < SIZE[0] - 2 and box.kind == "car"
        if inside and box.id in soon and soon[box.id].xyxy[0] > 2 and soon[box.id].xyxy[2] < SIZE[0] - 2:
            moved = (soon[box.id].xyxy[0] + soon[box.id].xyxy[2] - x1 - x2) / 2
            assert moved == pytest.approx(box.velocity[0] * 0.2, abs=2.0)


def test_visibility_counts_what_hides() -> None:
    shares = [box.visible for t_s in range(10, 60, 5) for box in StreetTruth(1, SIZE).boxes(t_s, visibility=True)]
    assert all(0 <= share <= 1 for share in shares)
    assert min(shares) < 0.8
    assert np.median(shares) > 0.95


def test_vehicles_cross_both_ways_in_their_lanes() -> None:
    crossings = StreetTruth(2, SIZE).crossings(ACROSS, 60.0)
    assert len(crossings) > 10
    assert {crossing.kind for crossing in crossings} <= {"car", "bicycle"}
    assert {crossing.direction for crossing in crossings} == {"a_to_b", "b_to_a"}
    assert len({crossing.id for crossing in crossings}) == len(crossings)


def test_a_turned_line_tells_the_other_direction() -> None:
    truth = StreetTruth(2, SIZE)
    there = truth.crossings(ACROSS, 20.0, kinds=["car"])
    back = truth.crossings(ACROSS[::-1], 20.0, kinds=["car"])
    assert [one.time_s for one in there] == pytest.approx([one.time_s for one in back])
    assert all(one.direction != other.direction for one, other in zip(there, back, strict=True))


def test_a_car_going_right_passes_a_line_down_the_picture_from_right_to_left() -> None:
    """Looking down the picture, the right-hand side of the picture is on the left."""
    top_to_bottom = ((0.463, 0.282), (0.543, 0.552))
    truth = StreetTruth(2, SIZE)
    for crossing in truth.crossings(top_to_bottom, 30.0, kinds=["car"]):
        box = next(box for box in truth.boxes(crossing.time_s) if box.id == crossing.id)
        assert crossing.direction == ("b_to_a" if box.velocity[0] > 0 else "a_to_b")


def test_hidden_crossings_can_be_left_out() -> None:
    truth = StreetTruth(2, SIZE)
    seen = truth.crossings(ACROSS, 20.0, min_visible=0.5)
    assert set(seen) <= set(truth.crossings(ACROSS, 20.0))


def test_stays_are_of_people_and_long_enough() -> None:
    zone = ((0.341, 0.986), (0.884, 0.839), (0.81, 0.699), (0.335, 0.809))
    stays = StreetTruth(2, SIZE).stays(zone, 80.0, min_dwell_s=3.0)
    assert len(stays) >= 3
    assert all(stay.kind == "person" and stay.dwell_s >= 3.0 for stay in stays)


@pytest.mark.parametrize("size", [(320, 180), (640, 480), (360, 640), (1280, 720)])
def test_any_size_is_painted(size: tuple[int, int]) -> None:
    painter = Painter(1, size)
    assert painter.bgr(9.0).shape == (size[1], size[0], 3)
    assert painter.i420(9.0).shape == (size[1] * 3 // 2, size[0])
