"""Second networks on crops: who is looked at and when, what the looks amount to, and that nothing hangs."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamvision.attributes import CAPACITY, Attributes, SecondLane, SecondLook, SecondOptions, votes_of
from streamvision.capture.picture import ArrayPicture
from streamvision.clock import SystemClock
from streamvision.errors import BatchLost, EngineError
from streamvision.geometry import Letterbox
from streamvision.metrics import EngineStats
from streamvision.types import (
    Batch,
    ClockSource,
    Detections,
    Frame,
    FrameInfo,
    InputSpec,
    Perception,
    Tracks,
)

SIZE = (320, 240)
COLOURS = ("red", "green", "blue")
CLASSES = ("person", "car")


class ColourEngine:
    """Says which channel of a crop is the strongest, with its share; fails or waits when it is told to."""

    input = InputSpec((8, 8))
    labels = COLOURS
    in_flight = 2
    description = "colours"

    def __init__(self, max_batch: int = 4) -> None:
        self.max_batch = max_batch
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        assert self.gate.wait(10)
        self.batches.append(len(batch))
        future: Future[list[NDArray[Any]]] = Future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            means = np.stack([frame.pixels.mean((0, 1)) for frame in batch.frames])
            future.set_result([means / means.sum(axis=1, keepdims=True)])
        return future

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        return [Perception(Detections.empty(), (), row.astype(np.float32)) for row in outputs[0]]

    def forget(self, stream: str) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def lane(engine: ColourEngine):
    lane = SecondLane("colours", engine, EngineStats("colours"), SystemClock(), lambda stage: None)
    lane.start()
    yield lane
    engine.gate.set()
    assert lane.stop(10)


def frame(media_s: float = 0.0, *, colour: tuple[int, int, int] = (200, 20, 30), stream: str = "gate") -> Frame:
    """A grey picture with a coloured square at (100, 60)-(160, 140)."""
    rgb = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    rgb[60:140, 100:160] = colour
    info = FrameInfo(stream, 0, 0, media_s, 0.0, datetime(2026, 1, 1, tzinfo=UTC), ClockSource.FILE, 0.0, SIZE)
    return Frame(info, ArrayPicture(rgb), rgb, Letterbox.fit(SIZE, SIZE), 0.0)


def tracks(*rows: tuple[int, tuple[float, float, float, float], int], confirmed: bool = True) -> Tracks:
    """Tracks by id, box and class."""
    count = len(rows)
    return Tracks(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.zeros((count, 2), np.float32),
        np.array([row[2] for row in rows], np.int32),
        np.full(count, 0.9, np.float32),
        np.full(count, confirmed),
        np.ones(count, np.bool_),
        np.ones(count, np.float32),
        np.arange(count, dtype=np.int32),
    )


SQUARE = (100.0, 60.0, 160.0, 140.0)
CAR = (7, SQUARE, 1)


def look(lane: SecondLane, *, wait: bool = True, **options: Any) -> SecondLook:
    return SecondLook(SecondOptions("colour", **{"margin": 0.0, "min_score": 0.4} | options), lane, wait=wait)


def test_what_a_crop_shows_becomes_an_attribute_of_its_track(lane: SecondLane):
    known = Attributes([look(lane)]).update(frame(), tracks(CAR), CLASSES)
    assert known[7]["colour"].value == "red"
    assert known[7]["colour"].votes == 1
    assert known[7]["colour"].share == pytest.approx(0.65, abs=0.01)  # the padding of the crop is grey


def test_a_track_is_looked_at_once_then_every_so_often_and_when_it_has_grown(lane: SecondLane, engine: ColourEngine):
    second = look(lane, every_s=5.0, grow=1.5)
    larger = (7, (80.0, 40.0, 180.0, 160.0), 1)
    for media_s, track, looks in [(0, CAR, 1), (1, CAR, 1), (4.9, CAR, 1), (5, CAR, 2), (6, larger, 3), (7, CAR, 3)]:
        second.update(frame(media_s), tracks(track), CLASSES)
        assert sum(engine.batches) == looks, media_s


def test_without_a_period_only_growth_counts(lane: SecondLane, engine: ColourEngine):
    second = look(lane, every_s=0.0)
    for media_s in (0, 1000, 2000):
        second.update(frame(media_s), tracks(CAR), CLASSES)
    assert sum(engine.batches) == 1


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, tracks((7, (100.0, 60.0, 110.0, 140.0), 1))),  # too narrow
        ({"classes": frozenset({"person"})}, tracks(CAR)),
        ({}, tracks(CAR, confirmed=False)),
        ({}, tracks((7, (400.0, 60.0, 500.0, 140.0), 1))),  # out of the picture
        ({}, tracks()),
    ],
)
def test_who_is_not_looked_at(lane: SecondLane, engine: ColourEngine, options: dict[str, Any], found: Tracks):
    second = look(lane, **options)
    second.update(frame(), found, CLASSES)
    assert not engine.batches
    assert second.attributes() == {}


def test_votes_decide_and_a_single_other_look_changes_nothing(lane: SecondLane):
    second = look(lane, every_s=1.0)
    values = []
    for media_s, colour in enumerate([(200, 20, 30), (200, 20, 30), (20, 200, 30), (20, 200, 30), (20, 200, 30)] * 2):
        second.update(frame(media_s, colour=colour), tracks(CAR), CLASSES)
        values.append(second.attributes()[7].value)
    assert values[:4] == ["red"] * 4
    assert values[-1] == "green"
    assert second.attributes()[7].votes == 10


def test_a_doubtful_look_is_no_vote(lane: SecondLane, engine: ColourEngine):
    second = look(lane)
    second.update(frame(colour=(90, 90, 90)), tracks(CAR), CLASSES)
    assert sum(engine.batches) == 1
    assert second.attributes() == {}


def test_a_live_stream_does_not_wait_for_the_answer(lane: SecondLane, engine: ColourEngine):
    second = look(lane, wait=False)
    engine.gate.clear()
    for media_s in (0, 9, 18):  # due again, but the first answer is still out
        second.update(frame(media_s), tracks(CAR), CLASSES)
    assert second.attributes() == {}
    engine.gate.set()
    answer = second._ballots[7].answer
    assert answer is not None
    answer.result(10)
    second.update(frame(19), tracks(), CLASSES)
    assert second.attributes()[7].value == "red"
    assert sum(engine.batches) == 1


def test_crops_of_several_streams_go_through_in_one_batch(lane: SecondLane, engine: ColourEngine):
    engine.gate.clear()
    seconds = [look(lane, wait=False) for _ in range(6)]
    for number, second in enumerate(seconds):
        second.update(frame(stream=f"s{number}"), tracks(CAR), CLASSES)
    engine.gate.set()
    for second in seconds:
        answer = second._ballots[7].answer
        assert answer is not None
        answer.result(10)
    assert sum(engine.batches) == 6
    assert max(engine.batches) > 1
    assert max(engine.batches) <= engine.max_batch


def test_a_look_that_finds_no_room_is_tried_again(engine: ColourEngine):
    lane = SecondLane("colours", engine, EngineStats("colours"), SystemClock(), lambda stage: None)  # not started
    filler = frame()
    assert all(lane.look(filler, wait=False) is not None for _ in range(CAPACITY))
    second = look(lane, wait=False)
    second.update(frame(0), tracks(CAR), CLASSES)
    lane.start()
    for attempt in range(100_000):
        second.update(frame(attempt / 1e5), tracks(CAR), CLASSES)
        if second._ballots[7].answer is not None:
            break
    assert lane.stop(10)
    second.update(frame(1.1), tracks(CAR), CLASSES)
    assert second.attributes()[7].value == "red"


def test_a_network_that_fails_is_not_silent(lane: SecondLane, engine: ColourEngine):
    engine.error = EngineError("the device is lost")
    with pytest.raises(EngineError, match="lost"):
        look(lane).update(frame(), tracks(CAR), CLASSES)


def test_looks_that_were_on_a_lost_device_are_no_votes_and_the_next_ones_are(lane: SecondLane, engine: ColourEngine):
    engine.error = BatchLost("the device is lost")
    second = look(lane, every_s=1.0)
    second.update(frame(), tracks(CAR), CLASSES)
    assert second.attributes() == {}
    engine.error = None
    second.update(frame(2.0), tracks(CAR), CLASSES)
    assert second.attributes()[7].value == "red"


def test_looks_for_which_there_is_no_engine_are_no_votes(lane: SecondLane, engine: ColourEngine):
    works = engine.submit

    def refuse(batch: Batch) -> Future[list[NDArray[Any]]]:
        raise BatchLost("no engine has taken the place of the lost one yet")

    engine.submit = refuse  # type: ignore[method-assign]
    second = look(lane, every_s=1.0)
    second.update(frame(), tracks(CAR), CLASSES)
    assert second.attributes() == {}
    engine.submit = works  # type: ignore[method-assign]
    second.update(frame(2.0), tracks(CAR), CLASSES)
    assert second.attributes()[7].value == "red"


def test_what_waits_for_a_lane_that_broke_is_answered(engine: ColourEngine):
    def broken(batch: Batch) -> Future[list[NDArray[Any]]]:
        raise EngineError("no device")

    engine.submit = broken  # type: ignore[method-assign]
    lane = SecondLane("colours", engine, EngineStats("colours"), SystemClock(), lambda stage: None)
    answers = [lane.look(frame(), wait=False) for _ in range(3)]
    lane.start()
    for answer in answers:
        assert answer is not None
        with pytest.raises(CancelledError):
            answer.result(10)
    assert lane.stop(10)
    assert isinstance(lane.crashed, EngineError)
    assert lane.look(frame(), wait=True) is None


def test_tracks_that_are_gone_are_forgotten_in_time(lane: SecondLane):
    second = look(lane)
    second.update(frame(0), tracks(CAR), CLASSES)
    second.update(frame(50), tracks(), CLASSES)
    assert 7 in second.attributes()
    second.update(frame(61), tracks(), CLASSES)
    assert second.attributes() == {}
    second.update(frame(62), tracks(CAR), CLASSES)
    second.clear()
    assert second.attributes() == {}


def detections(*scores: float) -> Perception:
    count = len(scores)
    return Perception(
        Detections(np.zeros((count, 4), np.float32), np.array(scores, np.float32), np.ones(count, np.int32))
    )


@pytest.mark.parametrize(
    ("seen", "votes"),
    [
        (detections(0.9, 0.5), {"face": 0.9}),
        (detections(0.2), {"none": 0.8}),
        (detections(), {"none": 1.0}),
        (Perception(Detections.empty(), (), np.array([0.1, 0.9], np.float32)), {"back": 0.1, "face": 0.9}),
        (Perception(Detections.empty(), (), np.array([0.2, 0.25], np.float32)), {}),
    ],
)
def test_what_a_look_votes_for(seen: Perception, votes: dict[str, float]):
    assert votes_of(seen, ("back", "face"), 0.3) == pytest.approx(votes)
