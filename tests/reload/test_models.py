"""Models change while pictures come: none is lost, and no engine is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.errors import StreamvisionError
from tests.engine.fake_backends import FakeBackend, workshop
from tests.harness import assert_balanced, running, wait_until
from tests.reload.scene import WAIT_S, Recorder, change, more, stream, toy, unbroken


@pytest.mark.parametrize("labels", [["cat", "dog"], ["fox", "hen"]])
def test_streams_turn_to_another_engine_without_losing_a_picture(labels: list[str], street: Path, tmp_path: Path):
    """The old engine serves until the new one does; tracks go on where the labels are the same."""
    cpu, recorder = FakeBackend("cpu"), Recorder()
    first, second = toy(tmp_path, "first"), toy(tmp_path, "second", labels=labels)
    config = "models: {m: {manifest: MANIFEST}}\nstreams:\n" + stream("a", street) + stream("b", street)
    with running(
        config.replace("MANIFEST", str(first)), tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder, stop_s=60
    ) as pipeline:
        more(pipeline, "a", "b")
        (old,) = cpu.opened
        captures = [row.capture for row in pipeline._stages.rows.values()]
        firsts = {name: len(recorder.seen[name]) for name in "ab"}
        plan = change(pipeline, config.replace("MANIFEST", str(second)), tmp_path)
        assert plan.as_json() == {
            "models": {"changed": {"m": []}},
            "streams": {"changed": {"a": ["model"], "b": ["model"]}},
        }
        wait_until(old.closed.is_set, WAIT_S, pipeline)
        marks = {name: len(recorder.seen[name]) for name in "ab"}
        more(pipeline, "a", "b", by=10)
        assert [row.capture for row in pipeline._stages.rows.values()] == captures
        assert len(cpu.opened) == 2
        assert sum(cpu.opened[1].batches) > 0
        assert pipeline.metrics.engine("m").state == "ready"
        for name in "ab":
            before, after = recorder.tracks[name][: firsts[name]], recorder.tracks[name][marks[name] + 5 :]
            same = frozenset().union(*before) & frozenset().union(*after)
            assert bool(same) == (labels == ["cat", "dog"])
    for name in "ab":
        assert unbroken(recorder.numbers(name))
        assert_balanced(pipeline.metrics.stream(name))


def test_models_come_and_go_with_their_streams(street: Path, tmp_path: Path):
    cpu, recorder = FakeBackend("cpu"), Recorder()
    manifests = {name: toy(tmp_path, name) for name in ("one", "two")}
    models = f"models: {{one: {{manifest: {manifests['one']}}}, two: {{manifest: {manifests['two']}}}}}\nstreams:\n"
    a = stream("a", street, "model: one")
    with running(models + a, tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder) as pipeline:
        more(pipeline, "a")
        assert len(cpu.opened) == 1
        change(pipeline, models + a + stream("b", street, "model: two"), tmp_path)
        more(pipeline, "a", "b")
        assert set(pipeline.metrics.engines) == {"one", "two"}
        change(pipeline, models + stream("a", street, "model: two"), tmp_path)
        wait_until(cpu.opened[0].closed.is_set, WAIT_S, pipeline)
        more(pipeline, "a")
        assert set(pipeline.metrics.engines) == {"two"} == set(pipeline._stages.lanes)
        wait_until(lambda: "feed-one" not in pipeline.heartbeats.ages_s(), WAIT_S, pipeline)
        assert not cpu.opened[1].closed.is_set()
    assert unbroken(recorder.numbers("a"))


def test_an_engine_that_cannot_be_built_changes_nothing(street: Path, tmp_path: Path):
    cpu, recorder = FakeBackend("cpu"), Recorder()
    first, broken = toy(tmp_path, "first"), toy(tmp_path, "broken")
    (broken.parent / "toy.onnx").unlink()
    config = "models: {m: {manifest: MANIFEST}}\nstreams:\n" + stream("a", street)
    with running(
        config.replace("MANIFEST", str(first)), tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder
    ) as pipeline:
        more(pipeline, "a")
        settings = pipeline.settings
        with pytest.raises(StreamvisionError):
            change(pipeline, config.replace("MANIFEST", str(broken)), tmp_path)
        assert pipeline.settings is settings
        assert pipeline.metrics.engine("m").state == "ready"
        more(pipeline, "a")
    assert unbroken(recorder.numbers("a"))


def test_a_model_changes_while_its_engine_is_still_being_built(street: Path, tmp_path: Path):
    """What is built for the old settings is closed when it comes, and serves nobody."""
    cpu, gpu, recorder = FakeBackend("cpu"), FakeBackend("gpu"), Recorder()
    gpu.gate.clear()
    shop = workshop(tmp_path, cpu, gpu, on_gpu=("gpu",))
    config = f"models: {{m: {{manifest: {toy(tmp_path, 'one')}, max_age: MAX}}}}\nstreams:\n" + stream("a", street)
    with running(config.replace("MAX", "1s"), tmp_path, workshop=shop, viewer=recorder) as pipeline:
        more(pipeline, "a")
        assert pipeline.metrics.engine("m").state == "building"
        change(pipeline, config.replace("MAX", "2s"), tmp_path)
        more(pipeline, "a")
        assert pipeline.compiling
        gpu.gate.set()
        wait_until(lambda: pipeline.metrics.engine("m").state == "ready", WAIT_S, pipeline)
        wait_until(lambda: not pipeline.compiling and not pipeline._stages.retiring, WAIT_S, pipeline)
        wait_until(lambda: sum(not network.closed.is_set() for network in (*cpu.opened, *gpu.opened)) == 1, WAIT_S)
        (serving,) = [network for network in gpu.opened if not network.closed.is_set()]
        before = len(serving.batches)
        more(pipeline, "a")
        assert len(serving.batches) > before
    assert unbroken(recorder.numbers("a"))


def test_second_networks_come_change_and_go(street: Path, tmp_path: Path):
    cpu, recorder = FakeBackend("cpu"), Recorder()
    first, second = toy(tmp_path, "first"), toy(tmp_path, "second")
    models = f"models: {{m: {{manifest: {first}}}, c: {{manifest: {second}, max_batch: N}}}}\nstreams:\n"
    plain = models + stream("a", street, "model: m")
    looked = models + stream("a", street, "model: m, models: [{model: c, name: kind, min_side: 1, every: 1s}]")
    with running(plain.replace("N", "1"), tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder) as pipeline:
        more(pipeline, "a")
        assert len(cpu.opened) == 1
        change(pipeline, looked.replace("N", "1"), tmp_path)
        wait_until(lambda: any(cpu.opened[1].batches), WAIT_S, pipeline)
        change(pipeline, looked.replace("N", "2"), tmp_path)
        wait_until(lambda: any(cpu.opened[2].batches), WAIT_S, pipeline)
        wait_until(cpu.opened[1].closed.is_set, WAIT_S, pipeline)
        change(pipeline, plain.replace("N", "2"), tmp_path)
        wait_until(cpu.opened[2].closed.is_set, WAIT_S, pipeline)
        assert set(pipeline.metrics.engines) == {"m"}
        assert "second-c" not in pipeline.heartbeats.ages_s()
        more(pipeline, "a")
    assert unbroken(recorder.numbers("a"))
    first_ids, last_ids = recorder.tracks["a"][5], recorder.tracks["a"][-1]
    assert first_ids & last_ids  # the tracks have lived through all of it


def test_a_file_that_has_ended_stays_ended_until_its_source_changes(street: Path, tmp_path: Path):
    cpu, recorder = FakeBackend("cpu"), Recorder()
    first, second = toy(tmp_path, "first"), toy(tmp_path, "second")
    config = "models: {m: {manifest: MANIFEST}}\nstreams:\n" + stream("keep", street)
    file = stream("a", street, options="loop: false")
    with running(
        config.replace("MANIFEST", str(first)) + file, tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder
    ) as pipeline:
        wait_until(lambda: pipeline._stages.rows["a"].over, WAIT_S, pipeline)
        assert len(recorder.seen["a"]) == 80
        change(pipeline, config.replace("MANIFEST", str(second)) + file, tmp_path)
        wait_until(cpu.opened[0].closed.is_set, WAIT_S, pipeline)
        assert len(recorder.seen["a"]) == 80
        again = stream("a", street, "fps: 5", options="loop: false")
        change(pipeline, config.replace("MANIFEST", str(second)) + again, tmp_path)
        wait_until(lambda: len(recorder.seen["a"]) == 120 and pipeline._stages.rows["a"].over, WAIT_S, pipeline)
    assert_balanced(pipeline.metrics.stream("a"))
    assert unbroken(recorder.numbers("keep"))
