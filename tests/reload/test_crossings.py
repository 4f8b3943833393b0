"""Changes that come while something still waits: a camera that is being opened, a picture in an engine, a full disk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from streamvision.capture.file import FileSource
from streamvision.capture.stream import StreamCapture
from streamvision.errors import ConnectError, StreamvisionError
from streamvision.pipeline import Abandoned, Pipeline
from streamvision.pipeline.running import Running
from streamvision.types import Frame
from tests.engine.fake_backends import FakeBackend, workshop
from tests.fakes import FakeClock
from tests.harness import assert_balanced, read_events, running, wait_until
from tests.reload.scene import STREAMS, WAIT_S, ZONE, Hook, Recorder, change, more, rule, stream, toy, unbroken
from tests.sinks.samples import event
from tests.sinks.test_store import fill_disk, free_disk

END_S = 0.5


class Slow:
    """Lets opening the file ``slow.mp4`` hang, until it is let go, after some attempts that fail."""

    def __init__(self, folder: Path, film: Path, fails: int = 0) -> None:
        self.path = folder / "slow.mp4"
        self.path.write_bytes(film.read_bytes())
        self.entered, self.let_go, self.left = threading.Event(), threading.Event(), fails
        self.inside = 0
        self._lock = threading.Lock()

    def open(self, real: Callable[[FileSource], None], source: FileSource) -> None:
        if "slow" in str(source.path):
            if self.left:
                self.left -= 1
                raise ConnectError("nobody is there")
            self.entered.set()
            with self._lock:
                self.inside += 1
            assert self.let_go.wait(WAIT_S)
        real(source)


@contextmanager
def slowly(monkeypatch: pytest.MonkeyPatch, folder: Path, film: Path, fails: int = 0) -> Iterator[Slow]:
    slow, real = Slow(folder, film, fails), FileSource.open
    monkeypatch.setattr(FileSource, "open", lambda source: slow.open(real, source))
    monkeypatch.setattr("streamvision.pipeline.running.CAPTURE_END_S", END_S)
    try:
        yield slow
    finally:
        slow.let_go.set()


@pytest.mark.parametrize("hops", ["BA", "BAB", "BCA", "BABCBA"])
def test_models_come_and_go_back_while_a_camera_is_being_opened(
    hops: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cpu, recorder = FakeBackend("cpu"), Recorder()
    labels = {"A": ["cat", "dog"], "B": ["fox", "hen"], "C": ["cat", "dog"]}
    manifests = {name: toy(tmp_path, name, labels=labels[name]) for name in "ABC"}
    models = "models: {" + ", ".join(f"{name}: {{manifest: {path}}}" for name, path in manifests.items()) + "}\n"

    def config(model: str, slow: Slow) -> str:
        kept = "".join(stream(f"keep{name}", street, f"model: {name}, fps: 2") for name in "ABC")
        return models + "streams:\n" + stream("a", slow.path, f"model: {model}") + kept

    with (
        slowly(monkeypatch, tmp_path, street) as slow,
        running(config("A", slow), tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder) as pipeline,
    ):
        assert slow.entered.wait(WAIT_S)
        monkeypatch.setattr("streamvision.pipeline.changeover.SETTLE_S", 0.1)
        capture = pipeline._stages.rows["a"].capture
        for hop in hops:
            change(pipeline, config(hop, slow), tmp_path)
            row = pipeline._stages.rows["a"]
            assert (row.lane.name, row.capture) == (hop, capture)
        slow.let_go.set()
        more(pipeline, "a", by=3)
        lane = pipeline._stages.lanes[hops[-1]]
        assert lane.batcher.open_channel("a") is row.inlet
        assert tuple(row.analyser._labels) == tuple(lane.engine.labels)
        more(pipeline, "a", "keepA", "keepB", "keepC", by=1)
    assert unbroken(recorder.numbers("a"))
    assert_balanced(pipeline.metrics.stream("a"))


def test_a_rule_changes_while_a_change_of_the_model_waits_for_the_camera(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    models = "models: {" + ", ".join(f"{name}: {{manifest: {toy(tmp_path, name)}}}" for name in "AB") + "}\n"

    def config(model: str, zone: str, slow: Slow) -> str:
        rest = f"model: {model}, {ZONE}, rules: [{rule('r', zone)}]"
        kept = "".join(stream(f"keep{name}", street, f"model: {name}, fps: 2") for name in "AB")
        return models + "streams:\n" + stream("a", slow.path, rest) + kept

    with (
        slowly(monkeypatch, tmp_path, street) as slow,
        running(config("A", "all", slow), tmp_path, workshop=workshop(tmp_path, FakeBackend("cpu"))) as pipeline,
    ):
        assert slow.entered.wait(WAIT_S)
        monkeypatch.setattr("streamvision.pipeline.changeover.SETTLE_S", 0.1)
        change(pipeline, config("B", "all", slow), tmp_path)
        change(pipeline, config("B", "left", slow), tmp_path)
        row = pipeline._stages.rows["a"]
        slow.let_go.set()
        more(pipeline, "a", by=3)
        assert row.analyser._rules == [row.parts.rules["r"]], "the newest rule counts"


@pytest.mark.parametrize("back", [False, True])
def test_a_stream_is_taken_away_while_a_picture_of_it_is_in_an_engine(
    back: bool, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its books close with it; what comes back later is nobody's, also not that of another stream of that name."""
    monkeypatch.setattr("streamvision.pipeline.running.SETTLE_S", 0.3)
    cpu, recorder = FakeBackend("cpu"), Recorder()
    models = f"models: {{m: {{manifest: motion}}, one: {{manifest: {toy(tmp_path, 'one')}}}}}\nstreams:\n"
    kept, gone = stream("keep", street, "model: m"), stream("a", street, "model: one")
    with (
        structlog.testing.capture_logs() as logs,
        running(models + kept + gone, tmp_path, workshop=workshop(tmp_path, cpu), viewer=recorder) as pipeline,
    ):
        more(pipeline, "a", "keep", by=10)
        (network,) = cpu.opened
        cpu.hold = True
        wait_until(lambda: bool(network.held), WAIT_S, pipeline)
        change(pipeline, models + kept, tmp_path)
        assert set(pipeline.metrics.streams) == {"keep"} == set(pipeline._stages.analysers)
        cpu.hold = False
        recorder.seen.pop("a")
        if back:
            change(pipeline, models + kept + gone, tmp_path)
        for future in network.held:
            future.set_result(network.outputs(1))
        more(pipeline, "keep", *("a" if back else ""))
        wait_until(network.closed.is_set, WAIT_S, pipeline)
        more(pipeline, "keep", *("a" if back else ""))
        assert ("a" in pipeline.metrics.streams) == back
    books = [line for line in logs if line["event"] == "books" and line["stream"] == "a"]
    assert len(books) == 1 + back
    assert books[0]["in_flight"] == 0
    assert books[0]["causes"]["engine/removed"] >= 1
    if back:
        assert recorder.numbers("a")[0] == 0
        assert unbroken(recorder.numbers("a"))
        assert_balanced(pipeline.metrics.stream("a"))
        assert books[1]["causes"].keys() <= {"capture/shutdown"}


class Waiting(threading.Event):
    """A flag that is never set; on its clock nothing but waiting for it takes time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.advance(timeout or 0.0)
        return super().wait(timeout)


@pytest.mark.parametrize("fate", ["changed", "removed", "taken back"])
def test_many_dead_cameras_are_waited_for_as_long_as_one(
    fate: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = STREAMS + stream("keep", street)

    def dead(path: Path, rest: str = "", names: str = "abcd") -> str:
        return "".join(stream(name, path, rest) for name in names)

    with slowly(monkeypatch, tmp_path, street) as slow, running(kept + dead(slow.path), tmp_path) as pipeline:
        wait_until(lambda: slow.inside == 4, WAIT_S, pipeline)
        waiting, wiring = Waiting(), pipeline._wiring
        pipeline._running = Running(pipeline._stages, replace(wiring, clock=waiting.clock), waiting)
        before_s, left = waiting.clock.monotonic(), [row.capture for row in pipeline._stages.rows.values()]
        periods = 1.0
        if fate == "changed":
            change(pipeline, kept + dead(slow.path, "fps: 5"), tmp_path)
        elif fate == "removed":
            change(pipeline, kept, tmp_path)
        else:  # added ones, and those that have begun anew, are ended once more
            with Hook(pipeline, "capture", 3 + 4), pytest.raises(StreamvisionError, match="this step fails"):
                change(pipeline, kept + dead(slow.path, "fps: 5") + dead(slow.path, "", "xyz"), tmp_path)
            periods = 2.0
        waited_s = waiting.clock.monotonic() - before_s
        assert END_S <= waited_s < (periods + 0.5) * END_S
        assert set(pipeline._stages.rows) == ({"keep"} if fate == "removed" else {"keep", *"abcd"})
        slow.let_go.set()
        more(pipeline, *pipeline._stages.rows)
        wait_until(lambda: all(capture.finished for capture in left[1:]), WAIT_S, pipeline)
    for stats in pipeline.metrics.streams.values():
        assert_balanced(stats)


@pytest.mark.parametrize("fate", ["changed", "removed"])
def test_a_capture_that_is_well_is_not_left_behind_by_a_change_that_meets_the_end(
    fate: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It has a picture in hand: `running` asserts that its fate is known."""
    armed, holding, release = threading.Event(), threading.Event(), threading.Event()
    put, end = StreamCapture._put, Running._end_captures

    def held(capture: StreamCapture, frame: Frame) -> None:
        if armed.is_set() and frame.info.stream == "a":
            holding.set()
            assert release.wait(WAIT_S)
        put(capture, frame)

    def end_all(stages: Running, timeout_s: float) -> None:
        release.set()
        end(stages, timeout_s)

    def reload() -> None:
        with suppress(Abandoned):
            change(pipeline, kept + (stream("a", street, "fps: 5") if fate == "changed" else ""), tmp_path)

    monkeypatch.setattr(StreamCapture, "_put", held)
    monkeypatch.setattr(Running, "_end_captures", end_all)
    monkeypatch.setattr("streamvision.pipeline.running.CAPTURE_END_S", WAIT_S)
    kept = STREAMS + stream("keep", street)
    with running(kept + stream("a", street), tmp_path, stop_s=WAIT_S) as pipeline:
        more(pipeline, "a", "keep", by=2)
        capture, stats = pipeline._stages.rows["a"].capture, pipeline.metrics.stream("a")
        armed.set()
        assert holding.wait(WAIT_S)
        thread = threading.Thread(target=reload)
        thread.start()
        wait_until(capture._stop.is_set, WAIT_S)
    thread.join(WAIT_S)
    assert capture.finished
    assert pipeline.metrics.stream("a") is stats
    assert stats.dropped["capture", "shutdown"] >= 1
    assert ("engine", "removed") not in stats.dropped
    assert_balanced(stats)


@pytest.mark.parametrize("end", ["changed", "removed", "shutdown"])
def test_an_outage_ends_also_where_its_camera_is_left_while_it_is_being_opened(
    end: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with slowly(monkeypatch, tmp_path, street, fails=1) as slow:
        kept = STREAMS + stream("keep", street)
        with running(kept + stream("a", slow.path), tmp_path) as pipeline:
            assert slow.entered.wait(WAIT_S)
            assert pipeline.metrics.stream("a").events["outage", "streamvision.outage.start"] == 1
            left = pipeline._stages.rows["a"].capture
            if end == "changed":
                change(pipeline, kept + stream("a", street), tmp_path)
                more(pipeline, "a")
            elif end == "removed":
                change(pipeline, kept, tmp_path)
            if end != "shutdown":
                assert pipeline._wiring.abandoned._in_time["a"] == 1
                slow.let_go.set()
                wait_until(lambda: left.finished, WAIT_S, pipeline)
                wait_until(lambda: pipeline._wiring.abandoned._in_time["a"] == 0, WAIT_S, pipeline)
                more(pipeline, "keep")
        outages = [one["data"] for one in read_events(pipeline.settings.state_dir) if "outage" in one["type"]]
    assert Counter(outage["phase"] for outage in outages) == {"start": 1, "end": 1}
    assert len({outage["event"] for outage in outages}) == 1
    assert outages[-1]["reason"] == "stopped"


def test_a_stream_gets_its_first_track_while_the_disk_is_full(street: Path, tmp_path: Path):
    zone = "zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]]}, rules: [{name: r, type: zone, zone: all}]"
    first = STREAMS + stream("keep", street)
    with running(first, tmp_path) as pipeline:
        more(pipeline, "keep", by=2)
        pipeline.store.flush()
        fill_disk(pipeline.store)
        refuse(pipeline)
        change(pipeline, first + stream("a", street, zone), tmp_path)
        wait_until(lambda: sum(pipeline.metrics.stream("a").events.values()) > 0, WAIT_S, pipeline)
        assert pipeline.store.failing
        free_disk(pipeline.store)
        wait_until(lambda: not pipeline.store.failing, WAIT_S, pipeline)
    starts = [one for one in read_events(pipeline.settings.state_dir) if one["type"] == "streamvision.zone.start"]
    assert starts
    assert min(one["data"]["track"]["id"] for one in starts) >= 1


def refuse(pipeline: Pipeline) -> None:
    """Leave so many events that the full disk is noticed."""
    pipeline.store.append([event(number) for number in range(1000)])
    wait_until(lambda: pipeline.store.failing is not None, WAIT_S, pipeline)
