"""What is special to our ByteTrack: two thresholds, classes by vote, duplicates, options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from streamvision.track.bytetrack import ByteTrack
from streamvision.track.ids import counting_ids
from streamvision.types import Detections, Tracks
from tests.track.scenes import joined, one_box


def _tracker(**options: Any) -> ByteTrack:
    return ByteTrack(ByteTrack.Options(**options), counting_ids())


def _show(tracker: ByteTrack, pictures: list[Detections], start_s: float = 0.0) -> list[Tracks]:
    return [tracker.update(picture, start_s + number / 10) for number, picture in enumerate(pictures)]


def test_doubtful_detections_start_nothing() -> None:
    assert all(len(tracks) == 0 for tracks in _show(_tracker(), [one_box(100, score=0.3)] * 20))


def test_doubtful_detections_continue_what_was_seen() -> None:
    answers = _show(_tracker(), [one_box(100)] * 5 + [one_box(100, score=0.2)] * 20)
    assert [tracks.visible.tolist() for tracks in answers[5:]] == [[True]] * 20


def test_doubtful_detections_do_not_bring_back_the_lost() -> None:
    answers = _show(_tracker(), [one_box(100)] * 5 + [Detections.empty()] + [one_box(100, score=0.2)] * 5)
    assert [tracks.visible.tolist() for tracks in answers[5:]] == [[False]] * 6


def test_scores_below_the_floor_are_nothing() -> None:
    answers = _show(_tracker(low_score=0.15), [one_box(100)] * 5 + [one_box(100, score=0.1)])
    assert answers[-1].visible.tolist() == [False]


def test_a_low_threshold_alone_lowers_the_floor_too() -> None:
    assert len(_show(_tracker(high_score=0.05), [one_box(100, score=0.07)] * 5)[-1]) == 1


def test_new_objects_may_need_a_higher_score() -> None:
    assert len(_show(_tracker(new_track_score=0.8), [one_box(100, score=0.7)] * 9)[-1]) == 0
    assert len(_show(_tracker(new_track_score=0.6), [one_box(100, score=0.7)] * 9)[-1]) == 1


@pytest.mark.parametrize(
    ("options", "silent"),
    [
        ({}, 1),
        ({"confirm_hits": 4}, 3),
        ({"confirm_s": 0.5}, 5),
        ({"confirm_hits": 1, "confirm_s": 0.0}, 0),
    ],
)
def test_objects_are_believed_after_hits_and_seconds(options: dict[str, Any], silent: int) -> None:
    answers = _show(_tracker(**options), [one_box(100)] * 8)
    assert [len(tracks) for tracks in answers] == [0] * silent + [1] * (8 - silent)


def test_age_counts_from_the_first_picture() -> None:
    assert _show(_tracker(), [one_box(100)] * 6)[-1].age_s.tolist() == pytest.approx([0.5])


def test_a_class_is_a_vote_by_score() -> None:
    car, truck = one_box(100, class_id=2, score=0.8), one_box(100, class_id=7, score=0.6)
    answers = _show(_tracker(), [truck, truck, car, car, truck, car, car, truck, car, car, truck])
    assert {int(tracks.ids[0]) for tracks in answers if len(tracks)} == {1}
    assert answers[1].class_id.tolist() == [7]
    assert answers[-1].class_id.tolist() == [2]


def test_a_tie_of_classes_does_not_flicker() -> None:
    answers = _show(_tracker(), [one_box(100, class_id=2 + number % 2) for number in range(40)])
    assert {int(tracks.class_id[0]) for tracks in answers if len(tracks)} == {2}


def test_the_same_thing_under_two_names_is_one_track() -> None:
    both = joined(one_box(100, class_id=2, score=0.7), one_box(101, class_id=7, score=0.6))
    answers = _show(_tracker(), [both] * 10)
    assert [len(tracks) for tracks in answers[1:]] == [1] * 9
    assert answers[-1].class_id.tolist() == [2]


def test_a_rider_and_a_bicycle_are_two() -> None:
    rider, bicycle = one_box(100, 180, class_id=0), one_box(100, 200, class_id=1)
    ids = {(int(i), int(c)) for tracks in _show(_tracker(), [joined(rider, bicycle), joined(bicycle, rider)] * 10)
           for i, c in zip(tracks.ids, tracks.class_id, strict=True)}  # fmt: skip
    assert len(ids) == 2


def test_neighbours_of_other_classes_do_not_swap() -> None:
    pictures = [joined(one_box(100 + 4 * n, class_id=0), one_box(180 - 4 * n, class_id=16)) for n in range(21)]
    classes: dict[int, set[int]] = {}
    for tracks in _show(_tracker(), pictures):
        for track, class_id, index in zip(tracks.ids, tracks.class_id, tracks.det_index, strict=True):
            classes.setdefault(int(track), set()).add((int(class_id), int(index)))
    assert sorted(classes.values(), key=min) == [{(0, 0)}, {(16, 1)}]


@pytest.mark.parametrize(("distance", "ids"), [(3.0, {1}), (0.0, set())])
def test_jumps_further_than_the_box_need_the_distance(distance: float, ids: set[int]) -> None:
    answers = _show(_tracker(match_distance=distance), [one_box(100 + 75 * number) for number in range(10)])
    assert {int(one) for tracks in answers for one in tracks.ids} == ids


def test_a_mad_detector_cannot_grow_the_table() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 9000, (500, 2))
    boxes = np.hstack((corner, corner + 10)).astype(np.float32)
    many = Detections(boxes, rng.uniform(0.5, 1, 500).astype(np.float32), np.zeros(500, np.int32))
    best = np.sort(many.score)[-20:]
    tracks = _show(_tracker(max_tracks=20), [many] * 3)[-1]
    assert np.sort(tracks.score) == pytest.approx(best)


def test_time_that_goes_back_stands_still() -> None:
    tracker = _tracker()
    _show(tracker, [one_box(100 + 3 * number) for number in range(20)], start_s=5.0)
    tracks = tracker.update(one_box(160), 1.0)
    assert tracks.ids.tolist() == [1]
    assert tracks.age_s.tolist() == pytest.approx([1.9])


@pytest.mark.parametrize(
    "options",
    [
        {"low_score": 0.6, "high_score": 0.5},
        {"lost_s": 0},
        {"confirm_hits": 0},
        {"match_iou": 1.5},
        {"lost_frames": 30},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ByteTrack.Options(**options)
