"""The wired stages on finite and endless sources: they end in order, and every picture has a fate."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.capture.street.encode import write_street
from streamvision.engine.motion import MotionEngine
from streamvision.errors import DeviceLost, EngineError
from streamvision.types import Batch, Perception
from tests.engine import networks
from tests.engine.fake_backends import FakeBackend, answer, workshop
from tests.engine.networks import write_manifest
from tests.harness import assert_balanced, running, wait_until, watch


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    write_street(path, seed=1, seconds=8.0, size_wh=(480, 270), fps=10.0)
    return path


def test_files_are_analysed_whole_and_end_the_run(street: Path, tmp_path: Path):
    watched = watch(
        f"streams: [{{id: a, url: '{street}'}}, {{id: b, url: '{street}', fps: 5}}]\n", tmp_path, timeout_s=60
    )
    a, b = (watched.metrics.stream(name) for name in "ab")
    assert (a.decoded, a.analysed, a.dropped) == (80, 80, {})
    assert (b.decoded, b.analysed, dict(b.skipped)) == (80, 40, {"target_rate": 40})


def test_a_visit_that_lasts_at_the_end_is_ended(street: Path, tmp_path: Path):
    config = f"""
streams:
  - id: a
    url: {street}
    zones: {{all: [[0, 0], [1, 0], [1, 1], [0, 1]]}}
    rules: [{{name: anyone, type: zone, zone: all}}]
"""
    watched = watch(config, tmp_path, timeout_s=60)
    starts, ends = watched.of("zone.start"), watched.of("zone.end")
    assert starts
    assert {event["data"]["event"] for event in starts} == {event["data"]["event"] for event in ends}
    assert "stream_end" in {event["data"]["reason"] for event in ends}


def test_track_ids_go_on_after_a_restart(street: Path, tmp_path: Path):
    config = f"""
streams:
  - {{id: a, url: '{street}', lines: {{road: [[0.5, 0], [0.5, 1]]}}, rules: [{{name: r, type: line, line: road}}]}}
"""
    first = watch(config, tmp_path, timeout_s=60).of("line")
    both = watch(config, tmp_path, timeout_s=60).of("line")
    ids = [event["data"]["track"]["id"] for event in both]
    assert len(ids) == 2 * len(first) > 0
    assert max(ids[: len(first)]) < min(ids[len(first) :])
    assert len({event["id"] for event in both}) == len(both)


def test_a_looping_file_is_stopped_in_good_order(street: Path, tmp_path: Path):
    with running(f"streams: [{{id: a, url: '{street}', loop: true}}]\n", tmp_path) as pipeline:
        wait_until(lambda: pipeline.metrics.stream("a").analysed > 200, 60, pipeline)
        assert not pipeline.finished
    assert_balanced(pipeline.metrics.stream("a"))


def test_an_engine_that_breaks_is_told_and_no_picture_is_forgotten(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[Batch] = []

    def break_down(engine: MotionEngine, batch: Batch, outputs: object) -> list[Perception]:
        calls.append(batch)
        if len(calls) > 5:
            raise EngineError("the device is lost")
        return [Perception.of_nothing() for _ in batch.frames]

    monkeypatch.setattr(MotionEngine, "decode", break_down)
    caught: list[BaseException] = []
    config = f"models: {{m: {{manifest: motion}}}}\nstreams: [{{id: a, url: '{street}'}}]\n"
    with pytest.raises(AssertionError), running(config, tmp_path) as pipeline:  # noqa: PT012
        wait_until(lambda: pipeline.crashed is not None, 30)
        caught.append(pipeline.crashed)  # type: ignore[arg-type]
    assert isinstance(caught[0], EngineError)
    stats = pipeline.metrics.stream("a")
    assert stats.analysed == 5
    assert_balanced(stats)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_manifest(tmp_path, networks.constant(tmp_path / "toy.onnx", answer(), (64, 32)))


def test_a_better_engine_takes_over_and_a_lost_device_costs_the_pictures_that_were_on_it(
    street: Path, toy: Path, tmp_path: Path
):
    cpu, gpu = FakeBackend("cpu"), FakeBackend("gpu", max_batch=4)
    gpu.gate.clear()
    shop = workshop(tmp_path, cpu, gpu, on_gpu=("gpu",))
    config = f"""
models: {{toy: {{manifest: {toy}, max_batch: 2}}}}
streams: [{{id: a, url: '{street}', loop: true}}, {{id: b, url: '{street}', loop: true}}]
"""
    with running(config, tmp_path, workshop=shop) as pipeline:
        engine, streams = pipeline.metrics.engine("toy"), [pipeline.metrics.stream(name) for name in "ab"]
        wait_until(lambda: engine.state == "building" and all(each.analysed > 20 for each in streams), 30, pipeline)
        assert engine.description.startswith("toy on cpu")
        gpu.gate.set()
        wait_until(lambda: engine.state == "ready" and 2 in gpu.opened[-1].batches, 30, pipeline)
        gpu.lost = DeviceLost("gone")
        wait_until(lambda: engine.state == "fallback", 30, pipeline)
        before = [each.analysed for each in streams]
        wait_until(lambda: all(each.analysed > old for each, old in zip(streams, before, strict=True)), 30, pipeline)
        assert engine.detail == "gpu: gone"
    lost = [each.dropped["engine", "lost"] for each in streams]
    assert 1 <= sum(lost) <= 12  # no more than were in flight
    for each in streams:
        assert_balanced(each)
