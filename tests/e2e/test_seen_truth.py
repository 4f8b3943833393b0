"""Real video, real network, real protocols, against what a careful eye has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import seen
from tests.harness import Watched, watch
from tests.servers import RtspServer, requires_rtsp

pytestmark = pytest.mark.e2e

PEOPLE = """
models: {{net: {{manifest: yolox-nano, backend: {backend}}}}}
streams:
"""
PERSON_STREAM = """
  - id: {id}
    url: {url}
    {more}
    model: net
    min_score: 0.4
    zones: {{table: {zone}}}
    rules: [{{name: visit, type: zone, zone: table, classes: [person]}}]
"""


@pytest.fixture(autouse=True)
def _networks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))


def people(backend: str, streams: dict[str, tuple[str, str]]) -> str:
    zone = seen.points(seen.load("one-by-one-person-detection")["zone"])
    rows = [PERSON_STREAM.format(id=name, url=url, more=more, zone=zone) for name, (url, more) in streams.items()]
    return PEOPLE.format(backend=backend) + "".join(rows)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_six_people_come_to_the_table_one_after_the_other(data: Path, tmp_path: Path, backend: str):
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    video = data / "videos" / "one-by-one-person-detection.mp4"
    seen_by_us = watch(people(backend, {"hall": (str(video), "")}), tmp_path, timeout_s=300)
    seen.assert_visits(seen_by_us.of("zone"), seen.load("one-by-one-person-detection"))
    assert seen_by_us.metrics.stream("hall").analysed == 1394


@pytest.mark.slow
@requires_rtsp
def test_the_same_six_come_over_rtsp_by_tcp_and_by_udp(data: Path, tmp_path: Path):
    video = data / "videos" / "one-by-one-person-detection.mp4"
    truth = seen.load("one-by-one-person-detection")
    with RtspServer({"tcp": video, "udp": video}) as server:
        streams = {name: (server.url(name), f"transport: {name}") for name in ("tcp", "udp")}
        watched = watch(
            people("openvino", streams),
            tmp_path,
            timeout_s=240,
            until=lambda one: all(one.metrics.stream(name).last_media_s > 138.0 for name in streams),
        )
    for name in streams:
        seen.assert_visits(watched.of("zone", name), truth)
        stats = watched.metrics.stream(name)
        assert sum(stats.dropped.values()) <= 0.01 * stats.decoded
        assert watched.of("zone", name)[-1]["data"]["clock"]["source"] in {"rtcp", "arrival"}


def crossings(watched: Watched) -> list[str]:
    return [event["data"]["direction"] for event in watched.of("line")]


def test_four_cars_cross_the_middle(data: Path, tmp_path: Path):
    truth = seen.load("car-detection")
    config = f"""
models: {{moving: {{manifest: motion}}}}
streams:
  - id: yard
    url: {data / "videos" / "car-detection.mp4"}
    lines: {{middle: {seen.points(truth["line"])}}}
    rules: [{{name: count, type: line, line: middle}}]
"""
    watched = watch(config, tmp_path, timeout_s=120)
    expected = sorted(truth["crossings"], key=lambda crossing: crossing["bottom_centre_s"])
    events = watched.of("line")
    assert crossings(watched) == [crossing["direction"] for crossing in expected]
    assert len({event["data"]["track"]["id"] for event in events}) == 4
    for event, crossing in zip(events, expected, strict=True):
        early, late = sorted((crossing["centre_s"], crossing["bottom_centre_s"]))
        assert early - 0.7 <= event["data"]["media_s"] <= late + 0.7, crossing["who"]


def test_cars_on_the_highway_are_counted_as_by_eye(data: Path, tmp_path: Path):
    truth = seen.load("highway")
    config = f"""
models: {{net: {{manifest: yolox-nano}}}}
streams:
  - id: highway
    url: {data / "videos" / "highway.avi"}
    model: net
    min_score: 0.3
    lines: {{across: {seen.points(truth["line"])}}}
    rules: [{{name: count, type: line, line: across, classes: [car, truck, bus]}}]
"""
    watched = watch(config, tmp_path, timeout_s=120)
    begin_s, end_s = truth["window_s"]
    by_eye = [second for lane in truth["crossings_s"].values() for second in lane if begin_s <= second <= end_s]
    events = [event for event in watched.of("line") if begin_s <= event["data"]["media_s"] <= end_s]
    assert {event["data"]["direction"] for event in events} == {truth["direction"]}
    assert abs(len(events) - len(by_eye)) <= 0.1 * len(by_eye), f"{len(events)} counted, {len(by_eye)} seen"
