from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamvision.errors import UsageError
from streamvision.rules.zone import ZoneRule
from streamvision.types import Event, Phase
from tests.rules.scenes import START, Thing, along, context, info, play, scene, times

Path = list[tuple[float, float]]
RATES = [5.0, 10.0, 25.0]
SQUARE = ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7))


def rule(zone: tuple[tuple[float, float], ...] = SQUARE, **options: object) -> ZoneRule:
    return ZoneRule(ZoneRule.Options(zone="yard", **options), context(zone=zone))


def walk(watch: ZoneRule, path: Path, fps: float = 10.0, y: float = 0.5, **thing: object) -> list[Event]:
    """Walk one object through (time, x) points at height ``y``."""
    return play(watch, (scene(t, Thing(1, along(t, *path), y, **thing)) for t in times(path[-1][0], fps)))


def phases(events: list[Event]) -> list[str]:
    return [str(event.phase) for event in events]


THROUGH: Path = [(0, 0.1), (1, 0.3), (2, 0.5), (6, 0.5), (7, 0.7), (8, 0.9), (12, 0.9)]
"""Enters at 1 s, leaves at 7 s."""


@pytest.mark.parametrize("fps", RATES)
def test_a_visit_is_one_happening_with_its_times(fps):
    start, end = walk(rule(), THROUGH, fps)
    assert (start.kind, start.phase, end.phase) == ("zone", Phase.START, Phase.END)
    assert start.happening == end.happening
    assert len({start.id, end.id, start.happening}) == 3
    assert start.media_s == pytest.approx(1.0, abs=0.05)
    assert end.media_s == pytest.approx(7.0, abs=0.05)
    assert start.time == START + timedelta(seconds=start.media_s)
    assert start.data == {"zone": "yard"}
    assert end.data == {"zone": "yard", "reason": "left"}
    assert end.evidence == {"dwell_s": pytest.approx(6.0, abs=0.1), "min_dwell_s": 0.0}
    assert end.track is not None
    assert (end.track.id, end.track.class_name) == (1, "person")


@pytest.mark.parametrize("fps", RATES)
def test_min_dwell_delays_the_start_but_not_the_count(fps):
    start, end = walk(rule(min_dwell="2s"), THROUGH, fps)
    assert start.media_s == pytest.approx(3.0, abs=0.05)
    assert start.evidence["dwell_s"] >= start.evidence["min_dwell_s"] == 2.0
    assert end.evidence["dwell_s"] == pytest.approx(6.0, abs=0.1)


def test_a_visit_shorter_than_min_dwell_is_never_heard_of():
    assert walk(rule(min_dwell=7), THROUGH) == []


def test_updates_come_as_often_as_asked_for_and_only_while_inside():
    events = walk(rule(update_every=2), THROUGH)
    assert phases(events) == ["start", "update", "update", "end"]
    assert len({event.happening for event in events}) == 1
    assert [event.evidence["dwell_s"] for event in events[1:3]] == pytest.approx([2.2, 4.2], abs=0.3)
    assert phases(walk(rule(update_every=0), THROUGH)) == ["start", "end"]


@pytest.mark.parametrize("fps", RATES)
def test_flicker_at_the_border_is_one_visit_at_most(fps):
    rng = np.random.default_rng(1)
    outside = [scene(t, Thing(1, 0.3 + rng.uniform(-0.004, 0.001), 0.5)) for t in times(30, fps)]
    assert len(play(rule(), outside)) <= 2
    watch = rule()
    inside = [scene(30 + t, Thing(2, 0.3 + rng.uniform(-0.02, 0.03), 0.5)) for t in times(30, fps)]
    assert phases(play(watch, inside)) == ["start"]


def test_a_short_step_outside_continues_the_visit_and_a_long_one_ends_it():
    def away(span: float) -> list[Event]:
        return walk(rule(), [(0, 0.5), (3, 0.5), (3.01, 0.9), (3 + span, 0.9), (3.01 + span, 0.5), (9, 0.5)])

    assert phases(away(0.8)) == ["start"]
    assert phases(away(1.5)) == ["start", "end", "start"]


def test_standing_just_over_the_border_after_entering_is_still_inside():
    assert phases(walk(rule(), [(0, 0.5), (1, 0.299), (20, 0.299)])) == ["start"]


@pytest.mark.parametrize("gap_s", [0.5, 1.5, 2.9])
def test_a_detector_that_looks_away_does_not_end_the_visit(gap_s):
    seen = (scene(t, *([Thing(1, 0.5, 0.5)] if not 2 < t < 2 + gap_s else [])) for t in times(8, 10))
    assert phases(play(rule(), seen)) == ["start"]


def test_who_is_lost_inside_left_when_last_seen():
    events = play(rule(), (scene(t, *([Thing(1, 0.5, 0.5)] if t < 2.05 else [])) for t in times(8, 10)))
    assert phases(events) == ["start", "end"]
    assert events[1].data["reason"] == "lost"
    assert events[1].media_s == pytest.approx(2.0)
    assert events[1].evidence["dwell_s"] == pytest.approx(2.0)


@pytest.mark.parametrize("min_dwell", [0.0, 5.0])
@pytest.mark.parametrize("gap_s", [0.1, 1.0, 2.8])
def test_a_new_track_in_the_old_place_continues_the_visit(gap_s, min_dwell):
    def things(t: float) -> list[Thing]:
        if t < 3:
            return [Thing(1, 0.5, 0.5)]
        if t < 3 + gap_s:
            return [Thing(1, 0.5, 0.5, visible=False)]
        return [Thing(2, 0.52, 0.5) if t < 9 else Thing(2, 0.9, 0.5)]

    start, end = play(rule(min_dwell=min_dwell), (scene(t, *things(t)) for t in times(12, 10)))
    assert start.happening == end.happening
    assert end.track is not None
    assert end.track.id == 2
    assert end.evidence["dwell_s"] == pytest.approx(9, abs=0.15)


def test_another_class_or_another_place_is_another_visit():
    for other in (Thing(2, 0.52, 0.5, kind=1), Thing(2, 0.65, 0.65)):
        events = play(rule(), (scene(t, Thing(1, 0.5, 0.5) if t < 2 else other) for t in times(4, 10)))
        assert phases(events) == ["start", "start"]


def test_two_at_the_same_time_never_take_over_from_each_other():
    both = (scene(t, Thing(1, 0.5, 0.5), *([Thing(2, 0.52, 0.5)] if t > 1 else [])) for t in times(4, 10))
    events = play(rule(), both)
    assert [event.track.id for event in events if event.track] == [1, 2]


@pytest.mark.parametrize(("cooldown", "visits"), [(0, 3), (3, 3), (8, 1)])
def test_the_cooldown_silences_the_same_object(cooldown, visits):
    leg = [(0.5, 3.0), (0.9, 4.0)]
    path, now = [], 0.0
    for x, span in leg * 3:
        path += [(now, x), (now + span, x)]
        now += span + 0.2
    events = walk(rule(cooldown=cooldown), path)
    assert phases(events).count("start") == visits
    assert phases(events).count("end") == visits


@pytest.mark.parametrize(("cooldown", "starts"), [(0, 3), (60, 1)])
def test_a_parked_car_that_comes_and_goes_in_the_detector_alerts_once_per_cooldown(cooldown, starts):
    """Seen for 5 s, lost for 5 s (longer than lost_after), each time as a new track."""
    seen = (scene(t, *([Thing(1 + int(t / 10), 0.5, 0.5, kind=1)] if t % 10 < 5 else [])) for t in times(29, 10))
    assert phases(play(rule(cooldown=cooldown), seen)).count("start") == starts


def test_tentative_tracks_do_not_start_a_visit_but_their_time_counts():
    seen = (scene(t, Thing(1, 0.5, 0.5, confirmed=t > 1.95)) for t in times(4, 10))
    events = play(rule(), seen)
    assert phases(events) == ["start"]
    assert events[0].media_s == pytest.approx(0.0)
    assert events[0].evidence["dwell_s"] == pytest.approx(2.0)


def test_a_track_that_is_reported_late_has_been_inside_since_it_was_first_seen():
    events = play(rule(), [scene(5.0, Thing(1, 0.5, 0.5, age_s=0.4))])
    assert events[0].media_s == pytest.approx(4.6)


def test_a_zone_to_the_edge_of_the_picture_holds_who_is_cut_by_it():
    watch = rule(((0.2, 0.5), (0.8, 0.5), (0.8, 1.0), (0.2, 1.0)))
    events = walk(watch, [(0, 0.5), (5, 0.5)], y=1.05, h=0.3)
    assert phases(events) == ["start"]
    assert events[0].media_s == 0.0


def test_the_whole_picture_is_a_zone():
    assert phases(walk(rule(((0, 0), (1, 0), (1, 1), (0, 1))), [(0, 0.01), (3, 0.5)])) == ["start"]


def test_a_zone_narrower_than_the_margin_still_works():
    events = walk(rule(((0.49, 0.2), (0.51, 0.2), (0.51, 0.8), (0.49, 0.8)), margin=1.0), THROUGH, h=0.4, w=0.4)
    assert phases(events)[0] == "start"


@pytest.mark.parametrize(("anchor", "starts"), [("bottom_centre", 0), ("centre", 1), ("top_centre", 1)])
def test_the_anchor_decides_who_is_inside(anchor, starts):
    assert len(walk(rule(anchor=anchor), [(0, 0.5), (3, 0.5)], y=0.8, h=0.3)) == starts


def test_only_the_wanted_classes_are_seen():
    assert walk(rule(classes=("car",)), THROUGH, kind=0) == []
    assert len(walk(rule(classes=("person", "car")), THROUGH, kind=1)) == 2


def test_close_ends_what_is_open_and_forgets():
    watch = rule()
    play(watch, (scene(t, Thing(1, 0.5, 0.5), Thing(2, 0.4, 0.4)) for t in times(3, 10)))
    events = watch.close(info(2.9), "stream_end")
    assert [(event.phase, event.data["reason"]) for event in events] == [(Phase.END, "stream_end")] * 2
    assert [event.evidence["dwell_s"] for event in events] == pytest.approx([2.9, 2.9])
    assert watch.close(info(2.9), "shutdown") == []
    assert phases(play(watch, [scene(3.0, Thing(1, 0.5, 0.5))])) == ["start"]


def test_close_does_not_count_time_out_of_sight():
    watch = rule()
    play(watch, (scene(t, Thing(1, 0.5, 0.5, visible=t < 2)) for t in times(4, 10)))
    assert watch.close(info(3.9), "shutdown")[0].media_s == pytest.approx(1.9)


def test_memory_is_bounded_by_what_is_alive():
    watch = rule()
    events = play(watch, (scene(t, Thing(int(t * 10), 0.1 + 0.8 * (t % 1), 0.5)) for t in times(100, 10)))
    assert len(watch._memory) <= 100
    assert len(watch._happenings) == phases(events).count("start") - phases(events).count("end")


def test_an_unknown_zone_and_unknown_options_are_errors():
    with pytest.raises(UsageError, match=r"no zone 'garden'.*yard"):
        ZoneRule(ZoneRule.Options(zone="garden"), context())
    for wrong in ({"min_dwel": 1}, {"min_dwell": "soon"}, {"margin": -1}, {"anchor": "feet"}):
        with pytest.raises(ValidationError):
            ZoneRule.Options(zone="yard", **wrong)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(2.5, 6)), min_size=1, max_size=6),
    st.sampled_from(RATES),
    st.integers(0, 1000),
)
def test_visits_equal_the_true_stays_at_any_rate(stays, fps, seed):
    """Runs of inside and outside, each longer than the hysteresis; jitter, noise and dropped pictures."""
    path, expected, now, was = [], [], 0.0, False
    for inside, span in stays:
        path += [(now, 0.5 if inside else 0.1), (now + span, 0.5 if inside else 0.1)]
        if inside and not was:
            expected.append(0.0)
        if inside:
            expected[-1] += span + (0.2 if was else 0.1)
        now, was = now + span + 0.2, inside
    rng = np.random.default_rng(seed)
    watch = rule()
    moments = times(now - 0.2, fps, seed, jitter=0.5, drop=0.1)
    events = play(watch, (scene(t, Thing(1, along(t, *path) + rng.uniform(-0.02, 0.02), 0.5)) for t in moments))
    ends = [e for e in [*events, *watch.close(info(moments[-1]), "stream_end")] if e.phase is Phase.END]
    assert phases(events).count("start") == len(expected) == len(ends)
    assert [e.evidence["dwell_s"] for e in ends] == pytest.approx(expected, abs=0.3 + 3 / fps)
