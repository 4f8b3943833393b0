"""What fails is taken back, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamvision.capture.file import FileSource
from streamvision.errors import StreamvisionError
from streamvision.interfaces import SourcePicture
from streamvision.pipeline import Abandoned
from streamvision.pipeline.running import Running
from streamvision.pipeline.wiring import Wiring
from streamvision.types import StreamState
from tests.harness import assert_balanced, running, wait_until
from tests.reload.scene import STREAMS, WAIT_S, ZONE, Hook, Recorder, change, more, rule, stream, unbroken
from tests.scale import scaled


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


def test_a_capture_that_hangs_is_left_behind_and_writes_into_nobodys_books(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recorder, release, hanging = Recorder(), threading.Event(), threading.Event()
    read = FileSource.read

    def hang(source: FileSource) -> Sequence[SourcePicture]:
        if "hang" in str(source.path):
            hanging.set()
            assert release.wait(WAIT_S)
        return read(source)

    monkeypatch.setattr(FileSource, "read", hang)
    stuck = tmp_path / "hang.mp4"
    stuck.write_bytes(street.read_bytes())
    with running(STREAMS + stream("a", stuck) + stream("n", street), tmp_path, viewer=recorder) as pipeline:
        assert hanging.wait(WAIT_S)
        left = pipeline._stages.rows["a"].capture
        change(pipeline, STREAMS + stream("a", street) + stream("n", street), tmp_path)
        more(pipeline, "a", "n")
        release.set()
        wait_until(lambda: left.finished, WAIT_S, pipeline)
        assert pipeline.metrics.stream("a").state is StreamState.LIVE
        more(pipeline, "a", "n")
    for name in ("a", "n"):
        assert unbroken(recorder.numbers(name))
        assert_balanced(pipeline.metrics.stream(name))


@pytest.mark.parametrize("moment", ["prepare", "commit", "finish"])
def test_the_end_in_the_midst_of_a_change_is_an_orderly_one(moment: str, street: Path, tmp_path: Path):
    """`running` asserts that everything was drained, and that nothing crashed."""
    entered, release = threading.Event(), threading.Event()
    place = {
        "prepare": (Wiring, "outlet"),
        "commit": (Running, "end_delivery"),
        "finish": (Running, "end_capture"),
    }[moment]
    original = getattr(*place)

    def held(*args: object) -> object:
        entered.set()
        assert release.wait(WAIT_S)
        return original(*args)

    sinks = "sinks: [{name: log, type: jsonl, path: one.jsonl}]\n"
    outcome: list[BaseException | None] = []
    with pytest.MonkeyPatch.context() as patch:
        with running(STREAMS + stream("a", street) + stream("b", street) + sinks, tmp_path) as pipeline:
            more(pipeline, "a", "b")
            patch.setattr(*place, held)

            def reload() -> None:
                try:
                    change(pipeline, STREAMS + stream("a", street) + sinks.replace("one", "two"), tmp_path)
                    outcome.append(None)
                except Abandoned as error:
                    outcome.append(error)

            thread = threading.Thread(target=reload)
            thread.start()
            assert entered.wait(WAIT_S)
            threading.Timer(0.5, release.set).start()
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert (outcome[0] is None) == (moment == "finish")
    for stats in pipeline.metrics.streams.values():
        assert_balanced(stats)


def test_what_collects_and_explains_comes_changes_and_goes(street: Path, tmp_path: Path):
    recorder = Recorder()
    collecting = "collect: {folder: F, sample: 1s, low: 0.01, high: 0.9, every: 0s}\n"
    explaining = stream("a", street, f"{ZONE}, rules: [{rule('r', 'all', 'explain: true')}]")
    with running(STREAMS + stream("a", street), tmp_path, viewer=recorder) as pipeline:
        more(pipeline, "a")
        change(pipeline, STREAMS + stream("a", street) + collecting.replace("F", "first"), tmp_path)
        wait_until(lambda: sum(pipeline.metrics.stream("a").collected.values()) > 0, WAIT_S, pipeline)
        assert [aside.stage for aside in pipeline.asides] == ["collect"]
        with pytest.raises(StreamvisionError, match="it sees what moves"):
            change(pipeline, STREAMS + explaining + collecting.replace("F", "second"), tmp_path)
        assert [aside.stage for aside in pipeline.asides] == ["collect"]
        (tmp_path / "var" / "second").mkdir(parents=True, exist_ok=True)
        change(pipeline, STREAMS + stream("a", street) + collecting.replace("F", "second"), tmp_path)
        wait_until(lambda: any((tmp_path / "var" / "second").rglob("*.jpg")), WAIT_S, pipeline)
        change(pipeline, STREAMS + stream("a", street), tmp_path)
        assert pipeline.asides == []
        assert "collect" not in pipeline.heartbeats.ages_s()
        more(pipeline, "a")
    assert unbroken(recorder.numbers("a"))
    assert any((tmp_path / "var" / "first").rglob("*.jpg"))
