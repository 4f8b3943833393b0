from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone

import numpy as np
import pytest

from streamvision.sinks.cloudevents import rfc3339, to_cloudevent, to_json
from streamvision.types import Attribute, ClockSource, Phase
from tests.sinks.samples import START, event

CONTRACT = """\
{"specversion": "1.0", "id": "01K00000000000000000000000", "source": "streamvision/HOST/gate", \
"type": "streamvision.zone.start", "time": "2026-01-02T03:04:05.678Z", "subject": "gate/intruder", \
"datacontenttype": "application/json", \
"data": {"stream": "gate", "rule": "intruder", "phase": "start", "event": "01K00000000000000000000000", \
"media_s": 12.48, "clock": {"source": "rtcp", "uncertainty_s": 0.02}, \
"track": {"id": 17, "class": "person", "score": 0.83, "xyxy": [100.0, 80.5, 160.2, 240.0], "velocity": [3.1, -0.2]}, \
"zone": "yard", "evidence": {"dwell_s": 2.04, "min_dwell_s": 2.0}}}"""


def test_an_event_is_what_the_contract_shows_to_the_letter():
    assert to_json(event(0), "HOST") == CONTRACT


def test_what_is_not_known_is_absent():
    data = to_cloudevent(event(0, track=None, data={"zone": None, "reason": "lost"}), "h")["data"]
    assert "track" not in data
    assert "zone" not in data
    assert data["reason"] == "lost"


def test_a_rule_cannot_overwrite_the_envelope():
    assert to_cloudevent(event(0, data={"stream": "other"}), "h")["data"]["stream"] == "gate"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.1), 0.1), (np.int64(5), 5), (np.bool_(True), True), (np.array([1.0, 2.0]), [1.0, 2.0]),
        (float("nan"), None), (float("inf"), None), (0.123456, 0.123), (-0.0, 0.0), (START, "2026-01-02T03:04:05.678Z"),
        ((1, "a"), [1, "a"]), ({"a": (1,), "b": None}, {"a": [1]}), (Phase.END, "end"), (True, True),
    ],
)  # fmt: skip
def test_values_that_rules_may_quote(value, plain):
    text = to_json(event(0, evidence={"x": value}), "h")
    assert json.loads(text)["data"]["evidence"]["x"] == plain
    assert "\n" not in text


def test_times_are_utc_with_milliseconds():
    assert rfc3339(START.astimezone(timezone(timedelta(hours=5)))) == "2026-01-02T03:04:05.678Z"


def test_every_clock_has_its_name():
    for clock in ClockSource:
        assert to_cloudevent(event(0, clock=clock), "h")["data"]["clock"]["source"] == clock.value


def test_what_second_networks_say_of_a_track_is_quoted():
    plain = event(0).track
    assert plain is not None
    track = replace(plain, attributes={"colour": Attribute("red", 0.91234, 3)})
    data = to_cloudevent(event(0, track=track), "h")["data"]
    assert data["track"]["attributes"] == {"colour": {"value": "red", "share": 0.912, "votes": 3}}


def test_a_polygon_is_quoted_in_tenths_of_a_pixel_where_there_is_one():
    plain = event(0).track
    assert plain is not None
    track = replace(plain, polygon=((100.04, 80.55), (160.0, 80.5), (130.21, 239.99)))
    data = to_cloudevent(event(0, track=track), "h")["data"]
    assert data["track"]["polygon"] == [[100.0, 80.5], [160.0, 80.5], [130.2, 240.0]]
    assert "polygon" not in to_cloudevent(event(0), "h")["data"]["track"]


def test_what_is_no_text_does_not_stop_the_events():
    text = to_json(event(1, data={"file": "caf\udce9.mp4"}), "h")
    assert json.loads(text.encode())["data"]["file"] == "caf?.mp4"
