"""A running pipeline becomes another: what did not change notices nothing, what failed is taken back, nothing leaks."""

from __future__ import annotations

import gc
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streamvision.capture.street.encode import write_street
from streamvision.changes import Plan
from streamvision.config import load_settings
from streamvision.errors import StreamvisionError
from streamvision.pipeline import Pipeline
from streamvision.types import Analysis, Frame, FrameInfo
from tests.engine import networks
from tests.engine.fake_backends import FakeBackend, answer, workshop
from tests.engine.networks import write_manifest
from tests.harness import assert_balanced, read_events, running, wait_until
from tests.scale import scaled

WAIT_S = 90
STREAMS = "models: {m: {manifest: motion}}\nstreams:\n"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    write_street(path, seed=1, seconds=8.0, size_wh=(480, 270), fps=10.0)
    return path


class Recorder:
    """Sees every analysed picture."""

    def __init__(self) -> None:
        self.seen: dict[str, list[FrameInfo]] = defaultdict(list)
        self.tracks: dict[str, list[frozenset[int]]] = defaultdict(list)

    def wanted(self, stream: str) -> bool:
        return True

    def show(self, frame: Frame, analysis: Analysis, min_score: float) -> None:
        self.seen[frame.info.stream].append(frame.info)
        self.tracks[frame.info.stream].append(frozenset(analysis.tracks.ids.tolist()))

    def tick(self) -> None:
        pass

    def numbers(self, stream: str) -> list[int]:
        return [info.seq for info in self.seen[stream]]


def change(pipeline: Pipeline, config: str, folder: Path) -> Plan:
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    return pipeline.change(load_settings(path))


def more(pipeline: Pipeline, *streams: str, by: int = 10) -> None:
    """Wait until some more pictures of every stream have been analysed."""
    stats = [pipeline.metrics.stream(name) for name in streams]
    targets = [each.analysed + by for each in stats]
    wait_until(
        lambda: all(each.analysed >= target for each, target in zip(stats, targets, strict=True)), WAIT_S, pipeline
    )


def stream(name: str, url: Path | str, rest: str = "", options: str = "loop: true, pace: realtime") -> str:
    return f"  - {{id: {name}, url: '{url}', {options}{', ' + rest if rest else ''}}}\n"


ZONE = "zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]], left: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}"


def rule(name: str, zone: str = "all", rest: str = "") -> str:
    return f"{{name: {name}, type: zone, zone: {zone}{', ' + rest if rest else ''}}}"


def unbroken(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_changed_rule_keeps_connection_tracks_and_the_happenings_of_the_others(street: Path, tmp_path: Path):
    recorder = Recorder()
    # One long pass through a slow scene: what is open when the rules change stays open for a while.
    before = STREAMS + stream("a", street, f"{ZONE}, rules: [{rule('kept')}, {rule('other')}, {rule('gone')}]")
    after = STREAMS + stream("a", street, f"{ZONE}, rules: [{rule('kept')}, {rule('other', 'left')}, {rule('fresh')}]")
    with running(before, tmp_path, viewer=recorder) as pipeline:
        events = pipeline.metrics.stream("a").events
        wait_until(lambda: events["gone", "streamvision.zone.start"] > 0, WAIT_S, pipeline)
        capture, count = pipeline._stages.rows["a"].capture, len(recorder.seen["a"])
        plan = change(pipeline, after, tmp_path)
        assert plan.as_json() == {"streams": {"changed": {"a": ["rules"]}}}
        wait_until(lambda: events["fresh", "streamvision.zone.start"] > 0, WAIT_S, pipeline)
        assert pipeline._stages.rows["a"].capture is capture
        more(pipeline, "a", by=3)
        assert recorder.tracks["a"][count - 1] & recorder.tracks["a"][count + 1]
    assert_balanced(pipeline.metrics.stream("a"))
    assert unbroken(recorder.numbers("a"))
    ends = {rule: [] for rule in ("kept", "other", "gone", "fresh")}
    for event in read_events(tmp_path / "var"):
        if event["type"] == "streamvision.zone.end":
            ends[event["data"]["rule"]].append(event["data"]["reason"])
    assert "reload" in ends["gone"]
    assert "reload" in ends["other"]
    assert "reload" not in ends["kept"]
    assert "reload" not in ends["fresh"]


@pytest.mark.parametrize(
    "detail",
    ["fps: 5", "privacy_masks: {w: [[0, 0], [0.2, 0], [0.2, 0.3]]}", "motion_gate: 'on'", "url"],
)
def test_a_changed_source_restarts_its_own_capture_and_no_other(detail: str, street: Path, tmp_path: Path):
    recorder, other = Recorder(), tmp_path / "other.mp4"
    other.write_bytes(street.read_bytes())
    neighbours = stream("n1", street) + stream("n2", street)
    changed = stream("a", other) if detail == "url" else stream("a", street, detail)
    with running(STREAMS + stream("a", street) + neighbours, tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a", "n1", "n2")
        rows = pipeline._stages.rows
        captures = {name: row.capture for name, row in rows.items()}
        plan = change(pipeline, STREAMS + changed + neighbours, tmp_path)
        assert plan.kept["streams"] == ["n1", "n2"]
        assert rows["a"].capture is not captures["a"]
        assert captures["a"].finished
        assert all(rows[name].capture is captures[name] for name in ("n1", "n2"))
        more(pipeline, "n1", "n2")
        more(pipeline, "a", by=3)
    for name in ("n1", "n2"):
        stats = pipeline.metrics.stream(name)
        assert unbroken(recorder.numbers(name))
        assert recorder.numbers(name)[0] == 0
        assert not {key: count for key, count in stats.dropped.items() if key != ("capture", "shutdown")}
        assert_balanced(stats)
    assert_balanced(pipeline.metrics.stream("a"))
    media = [info.media_s for info in recorder.seen["a"]]
    assert media == sorted(media)


def test_streams_come_and_go_while_the_others_run(street: Path, tmp_path: Path):
    recorder = Recorder()
    one = stream("a", street)
    visitor = stream("b", street, f"{ZONE}, rules: [{rule('r')}]")
    with running(STREAMS + one, tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a")
        change(pipeline, STREAMS + one + visitor, tmp_path)
        wait_until(lambda: pipeline.metrics.stream("b").events["r", "streamvision.zone.start"] > 0, WAIT_S, pipeline)
        gone = pipeline.metrics.stream("b")
        assert 'stream="b"' in pipeline.metrics.render().decode()
        change(pipeline, STREAMS + one, tmp_path)
        assert_balanced(gone)
        assert 'stream="b"' not in pipeline.metrics.render().decode()
        assert "capture-b" not in pipeline.heartbeats.ages_s()
        more(pipeline, "a")
        assert set(pipeline._stages.rows) == {"a"} == set(pipeline._stages.analysers)
    assert unbroken(recorder.numbers("a"))
    assert_balanced(pipeline.metrics.stream("a"))
    reasons = [e["data"]["reason"] for e in read_events(tmp_path / "var") if e["type"] == "streamvision.zone.end"]
    assert "reload" in reasons


def test_another_tracker_keeps_the_connection(street: Path, tmp_path: Path):
    recorder = Recorder()
    with running(STREAMS + stream("a", street), tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a")
        capture = pipeline._stages.rows["a"].capture
        before = max(max(ids, default=0) for ids in recorder.tracks["a"])
        change(pipeline, STREAMS + stream("a", street, "min_score: 0.8, tracker: {type: bytetrack}"), tmp_path)
        mark = len(recorder.tracks["a"])
        wait_until(lambda: any(recorder.tracks["a"][mark + 1 :]), WAIT_S, pipeline)
        assert pipeline._stages.rows["a"].capture is capture
        assert pipeline._stages.rows["a"].analyser.min_score == 0.8
        assert min(min(ids, default=before + 1) for ids in recorder.tracks["a"][mark + 1 :]) > before
    assert unbroken(recorder.numbers("a"))


def toy(folder: Path, name: str, **changes: object) -> Path:
    (folder / name).mkdir()
    return write_manifest(folder / name, networks.constant(folder / name / "toy.onnx", answer(), (64, 32)), **changes)


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
        more(pipeline, "a", "b")
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


def lines(folder: Path, name: str) -> list[str]:
    import json

    path = folder / "var" / name
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def test_sinks_come_change_and_go_and_nothing_is_lost(street: Path, tmp_path: Path):
    line = stream(
        "a", street, "lines: {mid: [[0.5, 0], [0.5, 1]]}, rules: [{name: r, type: line, line: mid}]", "loop: true"
    )
    base = STREAMS + line

    def sinks(*named: tuple[str, str]) -> str:
        return "sinks: [" + ", ".join(f"{{name: {n}, type: jsonl, path: {p}}}" for n, p in named) + "]\n"

    with running(base + sinks(("log", "one.jsonl")), tmp_path) as pipeline:
        wait_until(lambda: len(lines(tmp_path, "one.jsonl")) > 3, WAIT_S, pipeline)
        change(pipeline, base + sinks(("log", "two.jsonl"), ("more", "more.jsonl")), tmp_path)
        wait_until(lambda: len(lines(tmp_path, "more.jsonl")) > 3, WAIT_S, pipeline)
        change(pipeline, base + sinks(("log", "two.jsonl")), tmp_path)
        assert set(pipeline.metrics.sinks) == {"log"}
        gone = lines(tmp_path, "more.jsonl")
        wait_until(lambda: len(lines(tmp_path, "two.jsonl")) > len(gone) + 3, WAIT_S, pipeline)
        assert lines(tmp_path, "more.jsonl") == gone
    stored = [event["id"] for event in read_events(tmp_path / "var")]
    assert lines(tmp_path, "one.jsonl") + lines(tmp_path, "two.jsonl") == stored


class Hook:
    """Fails the step that it is told to."""

    def __init__(self, pipeline: Pipeline, method: str, at: int) -> None:
        self.running, self.method, self.left = pipeline._running, method, at

    def __enter__(self) -> None:
        original: Callable[..., None] = getattr(type(self.running), self.method)

        def failing(running: object, *args: object) -> None:
            self.left -= 1
            if self.left == 0:
                raise StreamvisionError("this step fails")
            original(running, *args)

        self.original = original
        setattr(type(self.running), self.method, failing)

    def __exit__(self, *_: object) -> None:
        setattr(type(self.running), self.method, self.original)


@pytest.mark.parametrize(
    ("method", "at"), [("lane", 1), ("delivery", 1), ("delivery", 2), ("capture", 1), ("capture", 2)]
)
def test_whatever_step_fails_is_taken_back(method: str, at: int, street: Path, tmp_path: Path):
    recorder = Recorder()
    a, b = stream("a", street), stream("b", street, "fps: 5, model: m")
    sinks = "sinks: [{name: log, type: jsonl, path: log.jsonl}]\n"
    both = "sinks: [{name: log, type: jsonl, path: other.jsonl}, {name: x, type: stdout}]\n"
    before = STREAMS + a + stream("b", street) + sinks
    after = (
        "models: {m: {manifest: motion}, n: {manifest: motion}}\nstreams:\n" + stream("a", street, "model: m") + b
        + stream("c", street, "model: n") + both
    )  # fmt: skip
    with running(before, tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a", "b")
        settings, threads = pipeline.settings, {each.name for each in threading.enumerate()}
        with Hook(pipeline, method, at), pytest.raises(StreamvisionError, match="this step fails"):
            change(pipeline, after, tmp_path)
        assert pipeline.settings is settings
        more(pipeline, "a", "b")
        assert set(pipeline.metrics.streams) == {"a", "b"} == set(pipeline._stages.rows)
        assert set(pipeline._stages.deliveries) == {"log"} == set(pipeline.metrics.sinks)
        assert set(pipeline._stages.lanes) == {"m"} == set(pipeline.metrics.engines)
        wait_until(lambda: {each.name for each in threading.enumerate()} <= threads, WAIT_S, pipeline)
        change(pipeline, after, tmp_path)  # the very same works when nothing fails
        more(pipeline, "a", "b", "c")
        media = [info.media_s for info in recorder.seen["b"]]
        assert media == sorted(media)
    assert unbroken(recorder.numbers("a"))
    for stats in pipeline.metrics.streams.values():
        assert_balanced(stats)


def test_many_reloads_leave_nothing_behind(street: Path, tmp_path: Path):
    """Threads, descriptors and what is known of streams and tracks are what they were."""

    def config(number: int) -> str:
        extra = stream(f"x{number}", street, "model: n") if number % 2 else ""
        zone = 0.2 + 0.6 * (number % 7) / 7
        a = stream(
            "a",
            street,
            f"zones: {{z: [[0, 0], [{zone}, 0], [1, 1], [0, 1]]}}, rules: [{rule('r', 'z')}], fps: {5 + number % 3}",
        )
        models = f"models: {{m: {{manifest: motion, max_age: {1 + number % 2}s}}, n: {{manifest: motion}}}}\nstreams:\n"
        sinks = f"sinks: [{{name: log, type: jsonl, path: log{number % 2}.jsonl}}]\n"
        steady = stream("steady", street, "model: n")
        return models + steady + a.replace("loop", "model: m, loop") + extra + sinks

    def counts() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    recorder = Recorder()
    with running(config(0), tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a", "steady", by=2)
        for number in (1, 2):
            change(pipeline, config(number), tmp_path)
        settled: list[tuple[int, int]] = []
        wait_until(lambda: not pipeline._stages.retiring, WAIT_S, pipeline)
        settled.append(counts())
        for number in range(3, scaled(13, 203)):
            change(pipeline, config(number), tmp_path)
            pipeline.tick()
        change(pipeline, config(2), tmp_path)
        wait_until(lambda: counts()[0] <= settled[0][0] and counts()[1] <= settled[0][1], WAIT_S, pipeline)
        assert set(pipeline.metrics.streams) == {"a", "steady"} == set(pipeline._stages.analysers)
        assert set(pipeline._wiring.told) <= {"a", "steady"}
        assert len(pipeline._wiring.servings) <= 4
        assert not any(stage.startswith("capture-x") for stage in pipeline.heartbeats._last_s)
        more(pipeline, "a", "steady", by=2)
    assert unbroken(recorder.numbers("steady"))
    assert_balanced(pipeline.metrics.stream("a"))
    assert_balanced(pipeline.metrics.stream("steady"))
