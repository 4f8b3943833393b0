"""The daemon's worker: what it keeps, what it loses and says so, and that it never gets in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.clock import SystemClock
from streamvision.config import ExplainSettings
from streamvision.errors import EngineError
from streamvision.explain.background import Explainer, Subject, decoded, target_of
from streamvision.explain.pictures import frame_of
from streamvision.explain.shelf import Request, Shelf, State
from streamvision.explain.targets import Area, Object
from streamvision.metrics import StreamStats
from streamvision.types import Analysis, ClockSource, Detections, Event, Frame, Phase, TrackRef, Tracks
from tests.explain.engines import BOX, QuadrantEngine, picture
from tests.harness import wait_until

SETTINGS = ExplainSettings(masks=60, share=1.0, side=192, backlog=3)
HIDDEN = {"door": ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))}
SCALED = tuple(value * 2 for value in BOX)


def event(number: int, rule: str = "intruder", phase: Phase = Phase.START, track: int | None = 17) -> Event:
    ref = None if track is None else TrackRef(track, "dog", 0.8, (0.0, 0.0, 9.0, 9.0), (0.0, 0.0))
    return Event(
        f"01E{number}", "zone", phase, "gate", rule, f"01E{number}", 1.0, datetime.now(UTC), ClockSource.FILE, 0.0, ref,
        {}, {"dwell_s": 2.0},
    )  # fmt: skip


def analysed(engine: QuadrantEngine) -> tuple[Frame, Analysis]:
    frame = frame_of(picture((384, 256)), engine.input, "gate")
    box = np.array([[value * 2 for value in BOX]], np.float32)
    found = Detections(box, np.array([0.8], np.float32), np.zeros(1, np.int32))
    tracks = Tracks(
        np.array([17], np.int64), box + 3, np.zeros((1, 2), np.float32), np.zeros(1, np.int32), found.score,
        np.ones(1, np.bool_), np.ones(1, np.bool_), np.ones(1, np.float32), np.zeros(1, np.int32),
    )  # fmt: skip
    return frame, Analysis(frame.info, found, tracks, ("dog",))


class Bench:
    def __init__(
        self, folder: Path, idle: Callable[[], bool] = lambda: True, settings: ExplainSettings = SETTINGS
    ) -> None:
        self.engine, self.stats, self.shelf = QuadrantEngine(max_batch=1), StreamStats("gate"), Shelf(folder)
        subject = Subject("street", self.engine, frozenset({"intruder"}), self.stats, idle, HIDDEN)
        self.explainer = Explainer(settings, self.shelf, {"gate": subject}, SystemClock(), lambda _: None)

    def see(self, *events: Event) -> list[Event]:
        return self.explainer.see(*analysed(self.engine), list(events))

    def settle(self, *numbers: int) -> None:
        def settled() -> bool:
            assert self.explainer.crashed is None
            found = [self.shelf.find(f"01E{number}") for number in numbers]
            return all(one is not None and one.state is not State.PENDING for one in found)

        wait_until(settled, 30)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_event_says_where_its_explanation_will_be_and_there_it_is(bench: Bench):
    (told,) = bench.see(event(1))
    assert told.evidence == {"dwell_s": 2.0, "explanation": "explanations/01E1.jpg"}
    bench.explainer.start()
    bench.settle(1)
    assert bench.explainer.stop(10)
    known = bench.shelf.find("01E1")
    assert known is not None
    assert known.state is State.DONE
    assert isinstance(known.target, Object)
    assert known.target.xyxy == pytest.approx(BOX)  # the detection's box, in px of a picture of half the size
    assert known.numbers["masks"] == 60
    assert dict(bench.stats.explained) == {"intruder": 1}
    assert decoded(bench.shelf.explanation("01E1") or b"").shape == (128, 192, 3)
    assert bench.engine.open == 0


def test_only_what_was_asked_for_is_explained(bench: Bench):
    events = [event(1, rule="other"), event(2, phase=Phase.END), event(3, phase=Phase.UPDATE)]
    assert bench.see(*events) == events


def test_privacy_masks_are_black_in_what_is_kept_and_in_the_map(bench: Bench):
    bench.see(event(1))
    bench.explainer.start()
    bench.settle(1)
    bench.explainer.stop(10)
    kept = decoded(bench.shelf.picture("01E1"))
    assert kept[66:, 98:].max() <= 8
    assert kept[:60, :90].min() > 100
    explained = decoded(bench.shelf.explanation("01E1") or b"")
    assert explained[66:, 98:].mean() < 60  # black but for the map's own colours


def test_a_full_queue_is_told_and_counted(bench: Bench):
    told = bench.see(*(event(number) for number in range(10)))
    lost = [one.evidence["explanation_dropped"] for one in told if "explanation_dropped" in one.evidence]
    assert lost == ["queue", "queue"]
    assert sum("explanation" in one.evidence for one in told) == 8
    bench.explainer.start()
    wait_until(lambda: bench.stats.unexplained["backlog"] == 5, 30)
    bench.settle(0, 1, 2)
    bench.explainer.stop(10)
    assert dict(bench.stats.unexplained) == {"queue": 2, "backlog": 5}
    assert bench.stats.explained["intruder"] == 3
    known = bench.shelf.find("01E7")
    assert known is not None
    assert (known.state, known.reason) == (State.DROPPED, "backlog")


def test_an_event_that_is_about_no_part_of_the_picture_says_so(bench: Bench):
    (told,) = bench.see(event(1, track=None))
    assert told.evidence["explanation_dropped"] == "no_target"
    assert dict(bench.stats.unexplained) == {"no_target": 1}


def test_while_pictures_wait_for_the_engine_nothing_is_asked_and_nothing_is_lost(tmp_path: Path):
    free = threading.Event()
    bench = Bench(tmp_path, free.is_set)
    bench.see(event(1))
    bench.explainer.start()
    wait_until(lambda: bench.shelf.find("01E1") is not None, 30)
    bench.see(event(2))
    wait_until(lambda: bench.shelf.find("01E2") is not None, 30)  # it keeps pictures while it waits
    assert bench.engine.asked == 0
    free.set()
    bench.settle(1, 2)
    bench.explainer.stop(10)
    assert bench.stats.explained["intruder"] == 2


def test_what_was_not_done_is_done_after_the_next_start(tmp_path: Path):
    first = Bench(tmp_path, lambda: False)
    first.see(event(1))
    first.explainer.start()
    assert first.explainer.stop(10)
    assert [one.event for one in first.shelf.pending()] == ["01E1"]
    (late,) = first.see(event(2))
    assert late.evidence["explanation_dropped"] == "stopped"
    second = Bench(tmp_path)
    second.explainer.start()
    second.settle(1)
    second.explainer.stop(10)
    assert second.shelf.explanation("01E1") is not None


@pytest.mark.parametrize("reason", ["engine", "not_seen", "no_model", "disk"])
def test_a_failure_costs_one_explanation_and_has_a_reason(bench: Bench, reason: str):
    target = Object(0, "dog", (60.0, 40.0, 90.0, 60.0)) if reason == "not_seen" else Object(0, "dog", BOX)
    model = "another" if reason == "no_model" else "street"
    picture_file = b"no picture" if reason == "disk" else bytes(cv2.imencode(".jpg", picture())[1])
    bench.shelf.keep(Request("01E1", "gate", "intruder", model, target), picture_file)
    bench.engine.fault = EngineError("the device is lost") if reason == "engine" else None
    bench.explainer.start()
    wait_until(lambda: bench.stats.unexplained[reason] == 1, 30)
    bench.explainer.stop(10)
    assert bench.explainer.crashed is None
    assert bench.shelf.explanation("01E1") is None


def test_events_of_label_maps_are_explained_in_their_zone():
    _, analysis = analysed(QuadrantEngine())
    data = {"map": "ground", "classes": ["snow"], "zone": "yard"}
    about = replace(event(1, track=None), data=data)
    corners = ((0.1, 0.4), (0.9, 0.4), (0.9, 1.0))
    assert target_of(about, analysis, {"yard": corners}) == Area("ground", ("snow",), corners)
    assert target_of(about, analysis, {}) is None


def test_a_track_that_this_picture_does_not_show_is_explained_where_the_event_has_it():
    _, analysis = analysed(QuadrantEngine())
    assert target_of(event(1, track=99), analysis, {}) == Object(0, "dog", (0.0, 0.0, 9.0, 9.0))
