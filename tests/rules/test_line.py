from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamvision.errors import UsageError
from streamvision.rules.line import LineRule
from streamvision.types import Event, Phase
from tests.rules.scenes import START, Thing, along, context, info, play, scene, times

Path = list[tuple[float, float]]
RATES = [5.0, 10.0, 25.0]
LEFT_TO_RIGHT = ((0.1, 0.5), (0.9, 0.5))


def rule(line: tuple[tuple[float, float], ...] = LEFT_TO_RIGHT, **options: object) -> LineRule:
    return LineRule(LineRule.Options(line="fence", **options), context(line=line))


def directions(events: list[Event]) -> list[str]:
    return [event.data["direction"] for event in events]


def walk(
    watch: LineRule, path: list[tuple[float, float]], fps: float = 25.0, x: float = 0.5, **thing: object
) -> list[Event]:
    """Walk one object through (time, y) points."""
    moments = times(path[-1][0], fps)
    return play(watch, (scene(t, Thing(1, x, along(t, *path), **thing)) for t in moments))


@pytest.mark.parametrize(
    ("line", "start", "end", "expected"),
    [
        (((0, 0.5), (1, 0.5)), (0.5, 0.3), (0.5, 0.7), "a_to_b"),
        (((0, 0.5), (1, 0.5)), (0.5, 0.7), (0.5, 0.3), "b_to_a"),
        (((1, 0.5), (0, 0.5)), (0.5, 0.3), (0.5, 0.7), "b_to_a"),
        (((0.5, 1), (0.5, 0)), (0.3, 0.5), (0.7, 0.5), "a_to_b"),
        (((0.5, 0), (0.5, 1)), (0.3, 0.5), (0.7, 0.5), "b_to_a"),
        (((0.2, 0.2), (0.8, 0.8)), (0.7, 0.3), (0.3, 0.7), "a_to_b"),
    ],
)
def test_direction_is_from_the_left_of_the_line_to_its_right(line, start, end, expected):
    share = [(t, t / 2) for t in times(2.1, 10)]
    steps = [(t, np.array(start) + k * (np.array(end) - start)) for t, k in share]
    events = play(rule(line), (scene(t, Thing(1, x, y)) for t, (x, y) in steps))
    assert directions(events) == [expected]


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("speed", [0.05, 0.3, 2.0])
def test_one_crossing_at_any_rate_and_speed_with_its_time_and_place(fps, speed):
    path = [(0.0, 0.2), (0.6 / speed, 0.8), (0.6 / speed + 1, 0.8)]
    (event,) = walk(rule(), path, fps)
    assert event.kind == "line"
    assert event.phase is Phase.INSTANT
    assert event.happening == event.id
    assert event.media_s == pytest.approx(0.3 / speed, abs=0.5 / fps)
    assert event.time == START + timedelta(seconds=event.media_s)
    assert event.data == {"line": "fence", "direction": "a_to_b"}
    assert event.evidence["point"] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert event.evidence["distance"] >= event.evidence["band"] > 0
    assert event.track is not None
    assert (event.track.id, event.track.class_name) == (1, "person")


def test_a_return_counts_again_and_only_the_wanted_direction_is_told():
    path = [(0, 0.3), (1, 0.7), (2, 0.3), (3, 0.7), (4, 0.7)]
    assert directions(walk(rule(), path)) == ["a_to_b", "b_to_a", "a_to_b"]
    assert directions(walk(rule(direction="b_to_a"), path)) == ["b_to_a"]
    assert directions(walk(rule(direction="a_to_b"), path)) == ["a_to_b", "a_to_b"]


@pytest.mark.parametrize("fps", RATES)
def test_flicker_on_the_line_never_counts(fps):
    rng = np.random.default_rng(1)
    noisy = [scene(t, Thing(1, 0.5, 0.5 + rng.uniform(-0.0049, 0.0049))) for t in times(60, fps)]
    assert play(rule(), noisy) == []


def test_flicker_while_crossing_counts_once():
    rng = np.random.default_rng(2)
    watch = rule()
    slow = (scene(t, Thing(1, 0.5, 0.4 + 0.2 * t / 20 + rng.uniform(-0.004, 0.004))) for t in times(20, 25))
    assert directions(play(watch, slow)) == ["a_to_b"]


def test_stopping_on_the_line_and_turning_back_does_not_count():
    assert walk(rule(), [(0, 0.4), (1, 0.5), (5, 0.5), (6, 0.4), (8, 0.4)]) == []


@pytest.mark.parametrize("x", [0.02, 0.98])
def test_going_around_the_end_of_the_line_does_not_count(x):
    assert walk(rule(), [(0, 0.4), (1, 0.6), (2, 0.6)], x=x) == []


def test_around_the_end_and_back_across_counts_once():
    watch = rule()
    around = [(0.5, 0.4), (0.97, 0.4), (0.97, 0.6), (0.5, 0.6), (0.5, 0.4)]
    legs = [(float(i), p) for i, p in enumerate(around)]
    events = play(
        watch,
        (
            scene(t, Thing(1, along(t, *[(s, p[0]) for s, p in legs]), along(t, *[(s, p[1]) for s, p in legs])))
            for t in times(4.1, 25)
        ),
    )
    assert directions(events) == ["b_to_a"]


def test_a_crossing_behind_an_obstacle_counts_when_the_same_track_is_seen_again():
    path = [(0, 0.4), (2, 0.6), (3, 0.6)]
    events = play(
        rule(),
        (scene(t, Thing(1, 0.5, along(t, *path), visible=not 0.6 < t < 1.4)) for t in times(3, 10)),
    )
    assert directions(events) == ["a_to_b"]
    assert events[0].media_s == pytest.approx(1.0, abs=0.1)


def test_the_predicted_box_of_a_hidden_track_never_crosses():
    drift = (scene(t, Thing(1, 0.5, 0.45 + 0.1 * t, visible=t < 0.3)) for t in times(2, 10))
    assert play(rule(), drift) == []


def test_a_tentative_track_counts_once_it_is_confirmed():
    watch = rule()
    path = [(0, 0.4), (1, 0.6), (2, 0.7)]
    moments = times(2, 10)
    events = play(watch, (scene(t, Thing(1, 0.5, along(t, *path), confirmed=t > 0.9)) for t in moments))
    assert [event.media_s for event in events] == [pytest.approx(0.5, abs=0.05)]
    assert walk(rule(), path, confirmed=False) == []


def test_a_tracker_that_hides_young_tracks_still_gives_their_crossing():
    """First reported beyond the line, 0.4 s old and fast: it has come from before the line."""
    events = play(
        rule(),
        (scene(t, Thing(1, 0.5, 0.4 + 0.5 * t, age_s=t, velocity=(0, 500))) for t in times(1, 5) if t > 0.3),
    )
    assert directions(events) == ["a_to_b"]
    assert events[0].media_s == pytest.approx(0.2, abs=0.05)


def test_something_still_that_appears_beside_the_line_does_not_count():
    still = (scene(t, Thing(1, 0.5, 0.51, age_s=t, velocity=(0, 40))) for t in times(2, 10) if t > 0.15)
    assert play(rule(), still) == []


@pytest.mark.parametrize("fps", [10.0, 25.0])
@pytest.mark.parametrize("edge", [0.01, 0.02, 0.05])
@pytest.mark.parametrize(("enters", "expected"), [(True, "b_to_a"), (False, "a_to_b")])
def test_a_line_near_the_lower_edge_counts_who_comes_in_and_goes_out(fps, edge, enters, expected):
    """The box ends at the picture's edge while its object is cut by it."""
    path = [(0, 1.1), (2, 0.8), (3, 0.8)] if enters else [(0, 0.8), (1, 0.8), (3, 1.08)]
    assert directions(walk(rule(((0.1, 1 - edge), (0.9, 1 - edge))), path, fps)) == [expected]


@pytest.mark.parametrize("fps", [10.0, 25.0])
@pytest.mark.parametrize("enters", [True, False])
def test_a_line_near_the_left_edge_counts_though_the_cut_box_is_never_beyond_it(fps, enters):
    watch = rule(((0.02, 0.9), (0.02, 0.1)))
    path = [(0, -0.04), (1, 0.2), (2, 0.2)] if enters else [(0, 0.2), (1, 0.2), (2, -0.04)]
    events = play(watch, (scene(t, Thing(1, along(t, *path), 0.5, w=0.1)) for t in times(path[-1][0], fps)))
    assert directions(events) == ["a_to_b" if enters else "b_to_a"]


def test_a_parked_car_cut_by_the_edge_never_counts_however_often_its_track_begins():
    watch = rule(((0.02, 0.9), (0.02, 0.1)))
    rng = np.random.default_rng(3)
    parked = (
        scene(t, Thing(1 + int(t / 2), 0.03 + rng.uniform(-0.005, 0.005), 0.5, w=0.1, kind=1)) for t in times(20, 10)
    )
    assert play(watch, parked) == []


def test_only_the_wanted_classes_count():
    path = [(0, 0.4), (1, 0.6), (2, 0.6)]
    assert walk(rule(classes=("car", "truck")), path, kind=0) == []
    assert len(walk(rule(classes=("car", "truck")), path, kind=2)) == 1


@pytest.mark.parametrize("anchor", ["bottom_centre", "centre", "top_centre", "top_left", "bottom_right"])
def test_the_anchor_decides_when(anchor):
    (event,) = walk(rule(anchor=anchor), [(0, 0.3), (1, 0.8), (2, 0.8)])
    later = {"bottom": 0.0, "centre": 0.1, "top": 0.2}[anchor.split("_")[0]]
    assert event.media_s == pytest.approx(0.4 + later, abs=0.02)


def test_many_objects_at_once_each_count_for_themselves():
    def crowd(t: float) -> list[Thing]:
        return [Thing(i, 0.15 + 0.07 * i, 0.4 + (0.2 if i % 2 else 0.05) * t) for i in range(10)]

    events = play(rule(), (scene(t, *crowd(t)) for t in times(1.5, 10)))
    assert sorted(event.track.id for event in events if event.track) == [1, 3, 5, 7, 9]


def test_memory_is_bounded_by_what_is_alive():
    watch = rule()
    play(watch, (scene(t, Thing(int(t * 10), 0.5, 0.4)) for t in times(100, 10)))
    assert len(watch._memory) <= 60


def test_a_change_of_resolution_is_no_crossing():
    before = scene(0.0, Thing(1, 0.5, 0.45))
    half = replace(before, info=info(0.1, (500, 500)), tracks=replace(before.tracks, xyxy=before.tracks.xyxy / 2))
    assert play(rule(), [before, half]) == []


def test_close_forgets_and_tells_nothing():
    watch = rule()
    play(watch, [scene(0.0, Thing(1, 0.5, 0.4))])
    assert watch.close(info(0.1), "stream_end") == []
    assert play(watch, [scene(0.2, Thing(1, 0.5, 0.6))]) == []


def test_an_unknown_line_and_unknown_options_are_errors():
    with pytest.raises(UsageError, match=r"no line 'wall'.*fence"):
        LineRule(LineRule.Options(line="wall"), context())
    for wrong in ({"directoin": "both"}, {"direction": "up"}, {"band": -1}, {"anchor": "middle"}):
        with pytest.raises(ValidationError):
            LineRule.Options(line="fence", **wrong)


LEVELS = st.lists(st.floats(0.03, 0.35).flatmap(lambda d: st.sampled_from([d, -d])), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(LEVELS, st.sampled_from(RATES), st.floats(0.05, 1.5), st.integers(0, 1000))
def test_counts_equal_the_true_changes_of_side_at_any_rate(levels, fps, way_s, seed):
    """Stops clearly beside the line, moves between them; noise within the band; jitter and dropped pictures."""
    path, now = [], 0.0
    for level in levels:
        path += [(now, 0.5 + level), (now + 1.0, 0.5 + level)]
        now += 1.0 + way_s
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-0.004, 0.004, 5000)
    moments = times(now - way_s, fps, seed, jitter=0.5, drop=0.1)
    events = play(rule(), (scene(t, Thing(1, 0.5, along(t, *path) + n)) for t, n in zip(moments, noise, strict=False)))
    sides = np.sign(levels)
    expected = ["a_to_b" if b > a else "b_to_a" for a, b in pairwise(sides) if a != b]
    assert directions(events) == expected
