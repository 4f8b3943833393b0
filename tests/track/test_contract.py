"""What every tracker must do, run over every tracker there is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamvision import plugins
from streamvision.interfaces import IdSource, Tracker
from streamvision.track.ids import counting_ids
from streamvision.types import Detections
from tests.track.scenes import Camera, Mover, identities, joined, one_box, sound

Maker = Callable[[IdSource], Tracker]


def _maker(name: str) -> Maker:
    def make(ids: IdSource) -> Tracker:
        chosen = plugins.load("tracker", name)
        return chosen(chosen.Options(), ids)

    return make


@pytest.fixture(params=plugins.names("tracker"))
def make(request: pytest.FixtureRequest) -> Maker:
    return _maker(request.param)


CROSSING = [Mover((100, 200), (90, 4)), Mover((640, 215), (-90, 2)), Mover((150, 420), (60, -3))]
OCCLUDED = [Mover((100, 200), (70, 5), hidden_s=(2.5, 3.5)), Mover((500, 380), (-30, 0))]
FAST = [Mover((50, 100), (380, 0), (90, 50)), Mover((2400, 200), (-380, 0), (90, 50))]
QUEUE = [Mover((80 + 75 * i, 300), (45, 0)) for i in range(6)]
SCENES = {"crossing": CROSSING, "occluded": OCCLUDED, "fast": FAST, "queue": QUEUE}
LOOKS = {
    "steady": Camera(),
    "jitter": Camera(jitter=0.6),
    "drops": Camera(dropped=0.1),
    "dips": Camera(dips=0.3),
    "all at once": Camera(jitter=0.4, dropped=0.1, dips=0.2),
}


@pytest.mark.parametrize("fps", [25.0, 10.0, 5.0])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
@pytest.mark.parametrize("movers", SCENES.values(), ids=SCENES.keys())
def test_every_object_keeps_one_id_of_its_own(make: Maker, movers: list[Mover], look: Camera, fps: float) -> None:
    camera = Camera(fps, look.seconds, look.jitter, look.dropped, look.dips)
    found = identities(make(counting_ids()), movers, camera)
    assert all(len(ids) == 1 for ids in found), found
    assert len(set.union(*found)) == len(movers)


@pytest.mark.parametrize("fps", [25.0, 10.0, 5.0])
def test_ids_are_small_and_without_gaps(make: Maker, fps: float) -> None:
    found = identities(make(counting_ids()), QUEUE, Camera(fps))
    assert set.union(*found) == set(range(1, len(QUEUE) + 1))


def _follow(tracker: Tracker, xs: list[float], start_s: float, fps: float = 10.0) -> list[int]:
    """Show one box at these places; return the ids seen."""
    ids = []
    for number, x in enumerate(xs):
        tracks = tracker.update(one_box(x), start_s + number / fps)
        ids += tracks.ids[tracks.visible].tolist()
    return ids


@pytest.mark.parametrize(("away_s", "same"), [(0.5, True), (1.5, True), (30.0, False)])
def test_a_lost_object_keeps_its_id_for_a_while(make: Maker, away_s: float, same: bool) -> None:
    tracker = make(counting_ids())
    before = _follow(tracker, [300.0] * 10, 0.0)
    for number in range(int(away_s * 10)):
        tracker.update(Detections.empty(), 1.0 + number / 10)
    after = _follow(tracker, [300.0] * 10, 1.0 + away_s)
    assert (set(before) == set(after)) is same
    assert same or not set(before) & set(after)


def test_a_gap_in_the_stream_counts_as_absence(make: Maker) -> None:
    tracker = make(counting_ids())
    before, after = _follow(tracker, [300.0] * 10, 0.0), _follow(tracker, [300.0] * 10, 3600.0)
    assert not set(before) & set(after)
    assert after


def test_a_lost_track_is_reported_where_it_should_be(make: Maker) -> None:
    tracker = make(counting_ids())
    _follow(tracker, [100 + 10.0 * i for i in range(20)], 0.0)
    tracks = tracker.update(Detections.empty(), 2.2)
    assert tracks.visible.tolist() == [False]
    assert tracks.det_index.tolist() == [-1]
    assert tracks.xyxy[0, [0, 2]].mean() == pytest.approx(100 + 10.0 * 22, abs=5)


def test_velocity_is_pixels_per_second_at_any_rate(make: Maker) -> None:
    for fps in (5.0, 10.0, 25.0):
        tracker = make(counting_ids())
        for number in range(int(3 * fps)):
            tracks = tracker.update(one_box(100 + 80 * number / fps, 200 - 20 * number / fps), number / fps)
        assert tracks.velocity[0] == pytest.approx([80, -20], abs=4)
        assert tracks.age_s[0] == pytest.approx((int(3 * fps) - 1) / fps, abs=1e-3)


def test_ids_go_on_after_reset(make: Maker) -> None:
    tracker = make(counting_ids())
    before = _follow(tracker, [100.0] * 10, 0.0)
    tracker.reset()
    after = _follow(tracker, [100.0] * 10, 0.0)
    assert before
    assert after
    assert max(before) < min(after)


def test_one_id_source_serves_one_stream_without_repeats(make: Maker) -> None:
    given_out: list[int] = []
    source = counting_ids()

    def recorded(count: int) -> np.ndarray:
        ids = source(count)
        given_out.extend(ids.tolist())
        return ids

    tracker = make(recorded)
    for burst in range(20):
        _follow(tracker, [100.0 + 50 * burst] * 6, burst * 100.0)
    assert len(given_out) == len(set(given_out)) == 20


def test_a_single_flicker_spends_no_id(make: Maker) -> None:
    source = counting_ids()
    tracker = make(source)
    for number in range(50):
        tracker.update(one_box(100.0 * number) if number % 10 == 0 else Detections.empty(), number / 10)
    assert source(1).tolist() == [1]


def test_nothing_seen_means_nothing_followed(make: Maker) -> None:
    tracker = make(counting_ids())
    for number in range(10):
        tracks = tracker.update(Detections.empty(), number / 10)
        sound(tracks, Detections.empty())
        assert len(tracks) == 0


def test_thousands_of_detections_are_survived(make: Maker) -> None:
    rng = np.random.default_rng(1)
    tracker = make(counting_ids())
    corner = rng.uniform(0, 3000, (4000, 2))
    boxes = np.hstack((corner, corner + rng.uniform(5, 200, (4000, 2)))).astype(np.float32)
    detections = Detections(boxes, rng.random(4000, np.float32), rng.integers(0, 80, 4000).astype(np.int32))
    for number in range(3):
        sound(tracker.update(detections, number / 10), detections)


def test_the_same_moment_twice_is_harmless(make: Maker) -> None:
    tracker = make(counting_ids())
    ids = set()
    for number in range(40):
        tracks = tracker.update(one_box(100 + 5 * (number // 2)), (number // 2) / 10)
        sound(tracks, one_box(0))
        ids |= set(tracks.ids.tolist())
    assert ids == {1}


def test_values_that_are_no_boxes_are_ignored(make: Maker) -> None:
    tracker = make(counting_ids())
    broken = np.array(
        [[np.nan, 0, 10, 10], [0, 0, np.inf, 10], [50, 50, 20, 90], [5, 5, 5, 5], [-3e38, -3e38, 3e38, 3e38]],
        np.float32,
    )
    bad = Detections(broken, np.full(5, 0.9, np.float32), np.zeros(5, np.int32))
    unscored = Detections(one_box(500).xyxy, np.array([np.nan], np.float32), np.zeros(1, np.int32))
    for number in range(10):
        detections = joined(bad, one_box(300), unscored)
        tracks = tracker.update(detections, number / 10)
        sound(tracks, detections)
    assert tracks.det_index.tolist() == [5]


def _boxes(count: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (count, 4), elements=st.floats(-2000, 4000, width=32))


@st.composite
def _pictures(draw: st.DrawFn) -> list[tuple[Detections, float]]:
    pictures, media_s = [], 0.0
    for _ in range(draw(st.integers(1, 12))):
        count = draw(st.integers(0, 6))
        boxes = np.sort(draw(_boxes(count)).reshape(count, 2, 2), axis=1).reshape(count, 4)
        score = draw(hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
        classes = draw(hnp.arrays(np.int32, count, elements=st.integers(0, 3)))
        media_s += draw(st.sampled_from([0.0, 1e-4, 0.04, 0.2, 1.0, 5.0]))
        pictures += [(Detections(boxes, score, classes), media_s)] * draw(st.integers(1, 3))
    return pictures


@pytest.mark.parametrize("name", plugins.names("tracker"))
@settings(max_examples=60, deadline=None)
@given(pictures=_pictures(), reset_at=st.integers(0, 30))
def test_every_answer_is_sound(name: str, pictures: list[tuple[Detections, float]], reset_at: int) -> None:
    tracker = _maker(name)(counting_ids())
    retired: set[int] = set()
    alive: set[int] = set()
    for number, (detections, media_s) in enumerate(pictures):
        if number == reset_at:
            tracker.reset()
            retired, alive = retired | alive, set()
        tracks = tracker.update(detections, media_s)
        sound(tracks, detections)
        now = set(tracks.ids.tolist())
        assert not now & retired
        retired, alive = retired | (alive - now), now
