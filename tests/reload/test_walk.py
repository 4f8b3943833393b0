"""A walk through random configurations: after every step runs what the file says, and one stream never noticed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streamvision.errors import StreamvisionError
from streamvision.pipeline import Pipeline
from tests.engine.fake_backends import FakeBackend, workshop
from tests.harness import assert_balanced, running, wait_until
from tests.reload.scene import WAIT_S, ZONE, Hook, Recorder, change, more, rule, stream, toy, unbroken
from tests.scale import scaled

MODELS = ("m", "n", "o")


def any_stream(rng: random.Random, name: str, film: Path) -> str:
    rules = [rule(each, rng.choice(["all", "left"])) for each in "rst" if rng.random() < 0.5]
    options = [f"model: {rng.choice(MODELS)}", ZONE, f"rules: [{', '.join(rules)}]"]
    options += rng.choices(["fps: 5", "min_score: 0.3", "motion_gate: 'on'", "tracker: bytetrack"], k=rng.randint(0, 1))
    if rng.random() < 0.3:
        options.append("models: [{model: second, name: kind, min_side: 1}]")
    return stream(name, film, ", ".join(options), rng.choice(["loop: true", "loop: true, pace: realtime"]))


def any_config(rng: random.Random, film: Path, manifest: Path) -> str:
    models = "".join(f"  {name}: {{manifest: {manifest}, max_batch: {rng.randint(1, 2)}}}\n" for name in MODELS)
    second = f"  second: {{manifest: {manifest}}}\n"
    steady = f"  steady: {{manifest: {manifest}}}\n"
    streams = [any_stream(rng, name, film) for name in "abcd" if rng.random() < 0.6]
    streams.insert(rng.randint(0, len(streams)), stream("s", film, "model: steady"))
    sinks = [f"{{name: {n}, type: jsonl, path: {n}{rng.randint(1, 2)}.jsonl}}" for n in "xy" if rng.random() < 0.6]
    return f"models:\n{models}{second}{steady}streams:\n{''.join(streams)}sinks: [{', '.join(sinks)}]\n"


def assert_runs_what_is_said(pipeline: Pipeline) -> None:
    settings, stages, metrics = pipeline.settings, pipeline._stages, pipeline.metrics
    streams = {one.id: one for one in settings.streams}
    assert set(stages.rows) == set(metrics.streams) == set(streams)
    assert {name: row.settings for name, row in stages.rows.items()} == streams
    assert set(stages.lanes) == {one.model for one in settings.streams}
    assert set(stages.sides) == {second.model for one in settings.streams for second in one.models}
    assert set(metrics.engines) == {*stages.lanes, *stages.sides}
    assert set(stages.deliveries) == {sink.name for sink in settings.sinks} == set(metrics.sinks)
    for row in stages.rows.values():
        assert row.lane is stages.lanes[row.settings.model]
        assert list(row.parts.rules) == [one.name for one in row.settings.rules]
        assert list(row.parts.looks) == [one.attribute for one in row.settings.models]
    wait_until(lambda: set(stages.analysers) == set(streams), WAIT_S, pipeline)  # the analysis hears of it in its turn


@pytest.mark.parametrize("seed", range(scaled(2, 12)))
def test_a_walk_through_random_configurations(seed: int, street: Path, tmp_path: Path):
    rng, cpu, recorder = random.Random(seed), FakeBackend("cpu"), Recorder()
    manifest = toy(tmp_path, "net")
    shop = workshop(tmp_path, cpu)
    with running(any_config(rng, street, manifest), tmp_path, workshop=shop, viewer=recorder, stop_s=60) as pipeline:
        more(pipeline, "s", by=2)
        for _ in range(scaled(6, 25)):
            config = any_config(rng, street, manifest)
            if rng.random() < 0.4:
                method, at = rng.choice(["lane", "side", "delivery", "capture"]), rng.randint(1, 3)
                before = pipeline.settings
                with Hook(pipeline, method, at):
                    try:
                        change(pipeline, config, tmp_path)
                    except StreamvisionError:
                        assert pipeline.settings is before
                assert_runs_what_is_said(pipeline)
            change(pipeline, config, tmp_path)
            assert_runs_what_is_said(pipeline)
            more(pipeline, *pipeline._stages.rows, by=1)
        wait_until(lambda: not pipeline._stages.retiring, WAIT_S, pipeline)
        in_use = len(pipeline._stages.lanes) + len(pipeline._stages.sides)
        wait_until(lambda: sum(not net.closed.is_set() for net in cpu.opened) == in_use, WAIT_S, pipeline)
    for stats in pipeline.metrics.streams.values():
        assert_balanced(stats)
    assert unbroken(recorder.numbers("s"))
    for infos in recorder.seen.values():
        assert all(info.media_s >= 0 for info in infos)
