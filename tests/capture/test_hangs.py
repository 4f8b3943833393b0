"""A source that hangs in native code: its thread is left behind, another goes on, the books balance."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streamvision.capture.file import FileSource
from streamvision.capture.hangs import Abandoned, CallLimits
from streamvision.capture.stream import CaptureOptions, StateChange, StreamCapture
from streamvision.channel import Channel, Closed, Overflow
from streamvision.errors import CaptureHung, TimedOut
from streamvision.health import Heartbeats
from streamvision.interfaces import SourcePicture
from streamvision.metrics import StreamStats
from streamvision.types import Frame, InputSpec
from tests.fakes import FakeClock, source_pictures
from tests.harness import assert_balanced, running, wait_until
from tests.servers import RtspServer, requires_rtsp

from .media import encode

LIMIT_S = 20.0
WAIT_S = 60.0


class Hanging:
    """A source whose chosen call blocks as native code does, until it is let go."""

    def __init__(self, call: str, *, live: bool = True) -> None:
        self.call, self.live = call, live
        self.entered, self.let_go = threading.Event(), threading.Event()
        self.closed = self.reads = 0

    def _maybe(self, call: str) -> None:
        if call == self.call:
            self.entered.set()
            assert self.let_go.wait(WAIT_S)

    def open(self) -> None:
        self._maybe("open")

    def read(self) -> Sequence[SourcePicture]:
        self.reads += 1
        if self.reads > 3:
            self._maybe("read")
        time.sleep(0.005)
        if self.call == "close" and self.reads > 3:
            raise TimedOut("so that it is closed")
        return source_pictures(1)

    def close(self) -> None:
        self.closed += 1
        if self.closed == 1:
            self._maybe("close")


class Rig:
    """A capture on a clock that only the test moves, with its supervisor."""

    def __init__(self, *sources: Hanging, abandoned: Abandoned | None = None, stream: str = "gate") -> None:
        self.clock, self.stats, self.changes = FakeClock(), StreamStats(stream), list[StateChange]()
        self.beats = Heartbeats(self.clock)
        self.beats.register("capture", 60.0)
        self.channel = Channel[Frame](2, Overflow.DROP_OLDEST, on_drop=lambda _: self.stats.drop("queue", "overflow"))
        self.sources = iter(sources)
        self.capture = StreamCapture(
            CaptureOptions(stream, InputSpec((32, 32)), limits=CallLimits(LIMIT_S, LIMIT_S)),
            lambda: next(self.sources), self.channel, self.stats, self.clock, rng=random.Random(1),
            on_state=self.changes.append, beat=lambda: self.beats.beat("capture"), sleep=self._sleep,
            abandoned=abandoned,
        )  # fmt: skip
        self.capture.start()

    def _sleep(self, seconds: float) -> bool:
        time.sleep(0.001)
        self.clock.advance(min(seconds, 0.01))
        return False

    def hang(self, source: Hanging) -> None:
        """Let one source exceed its deadline."""
        assert source.entered.wait(WAIT_S)
        before = self.stats.abandoned
        self.clock.advance(LIMIT_S - 1)
        self.capture.supervise()
        assert self.stats.abandoned == before
        assert not self.beats.silent()
        self.clock.advance(2)
        self.capture.supervise()
        assert self.stats.abandoned == before + 1

    def end(self) -> None:
        self.capture.stop()
        assert self.capture.join(WAIT_S)
        frames = []
        while True:
            try:
                frames.append(self.channel.get(1))
            except Closed:
                break
        self.stats.analysed += len(frames)
        assert_balanced(self.stats)
        assert self.capture.crashed is None


def until(condition: Callable[[], bool]) -> None:
    wait_until(condition, WAIT_S)


@pytest.mark.parametrize("call", ["open", "read", "close"])
def test_another_thread_goes_on_and_what_comes_late_is_thrown_away(call: str):
    stuck, good = Hanging(call), Hanging("")
    rig = Rig(stuck, good)
    rig.hang(stuck)
    until(lambda: rig.stats.decoded > 9)
    frame = rig.channel.get(WAIT_S)
    rig.stats.analysed += 1
    assert frame.info.epoch == (0 if call == "open" else 1)
    assert rig.stats.reconnects["hung"] == 1
    assert "hung" in [change.reason for change in rig.changes]
    stuck.let_go.set()
    until(lambda: stuck.closed > 0 and not rig.capture._abandoned.obstacle("gate"))
    assert not rig.beats.silent()
    rig.end()


def test_a_late_picture_is_in_nobodys_books():
    stuck, after = Hanging("read"), Hanging("open")
    rig = Rig(stuck, after)
    rig.hang(stuck)
    assert after.entered.wait(WAIT_S)
    stuck.let_go.set()
    until(lambda: stuck.closed == 1)
    assert rig.stats.decoded == 3
    after.let_go.set()
    until(lambda: rig.stats.decoded > 6)
    rig.end()


def test_above_the_bound_the_stream_says_why_and_goes_on_when_one_returns():
    stuck = [Hanging("read") for _ in range(3)]
    rig = Rig(*stuck, Hanging(""))
    for source in stuck:
        rig.hang(source)
    until(lambda: "3 earlier connections hang" in rig.stats.cause)
    for _ in range(50):
        rig.clock.advance(30)
        rig.capture.supervise()
        until(lambda: not rig.beats.silent())
    assert rig.stats.abandoned == 3
    assert rig.stats.decoded == 9
    stuck[1].let_go.set()
    until(lambda: rig.stats.decoded > 12)
    assert rig.stats.cause == ""
    for source in stuck:
        source.let_go.set()
    rig.end()


def test_the_bound_for_all_streams_holds_one_stream_off_because_of_another():
    together = Abandoned(per_stream=3, in_all=1)
    stuck, mine = Hanging("open"), Hanging("open")
    other = Rig(stuck, Hanging(""), abandoned=together, stream="yard")
    other.hang(stuck)
    rig = Rig(mine, abandoned=together)
    until(lambda: "connections of this daemon hang" in rig.stats.cause)
    assert not mine.entered.is_set()
    stuck.let_go.set()
    until(mine.entered.is_set)
    mine.let_go.set()
    for each in (other, rig):
        until(lambda each=each: each.stats.decoded > 1)
        each.end()


def test_a_finite_source_that_hangs_ends_with_its_error():
    stuck = Hanging("read", live=False)
    rig = Rig(stuck)
    rig.hang(stuck)
    assert rig.capture.join(WAIT_S)
    assert isinstance(rig.capture.failed, CaptureHung)
    stuck.let_go.set()
    rig.end()


def test_a_capture_that_is_to_end_is_not_replaced():
    stuck = Hanging("read")
    rig = Rig(stuck)
    assert stuck.entered.wait(WAIT_S)
    rig.capture.stop()
    rig.clock.advance(1000)
    rig.capture.supervise()
    assert rig.stats.abandoned == 0
    stuck.let_go.set()
    rig.end()


def test_one_that_is_disowned_counts_until_its_thread_ends():
    """Else every reload could leave one more thread and its connection, without a bound."""
    together, stuck, after = Abandoned(per_stream=1), Hanging("open"), Hanging("")
    rig = Rig(stuck, abandoned=together)
    assert stuck.entered.wait(WAIT_S)
    rig.capture.stop()
    for _ in range(2):
        rig.capture.disown()
    following = Rig(after, abandoned=together)
    until(lambda: "1 earlier connections hang" in following.stats.cause)
    assert not together.obstacle("yard")
    assert after.reads == 0
    stuck.let_go.set()
    until(lambda: following.stats.decoded > 3)
    following.end()
    rig.end()
    following.capture.disown()
    assert not together.obstacle("gate"), "a thread that has ended holds nothing"


def test_those_that_should_come_back_and_do_not_are_bounded_over_all_streams():
    """Streams that get a new name at every reload are bounded by nothing else."""
    together, stuck, after = Abandoned(in_time=2), [Hanging("open"), Hanging("open")], Hanging("")
    rigs = [Rig(source, abandoned=together, stream=f"name{number}") for number, source in enumerate(stuck)]
    for rig, source in zip(rigs, stuck, strict=True):
        assert not together.obstacle("name2")
        assert source.entered.wait(WAIT_S)
        rig.capture.stop()
        rig.capture.disown()
    following = Rig(after, abandoned=together, stream="name2")
    until(lambda: "2 connections of this daemon were left" in following.stats.cause)
    assert after.reads == 0
    stuck[0].let_go.set()
    until(lambda: following.stats.decoded > 3)
    stuck[1].let_go.set()
    for rig in (following, *rigs):
        rig.end()


def test_one_that_hung_and_comes_back_is_counted_off_where_it_was_counted():
    together, hung, asleep = Abandoned(in_all=1), Hanging("open"), Hanging("read")
    rig = Rig(hung, asleep, Hanging(""), abandoned=together)
    rig.hang(hung)
    assert together.obstacle("yard")
    together.in_all = 2
    assert asleep.entered.wait(WAIT_S)
    rig.capture.woken(3600.0)
    together.in_all = 1
    hung.let_go.set()
    until(lambda: together.obstacle("yard") == "")
    assert together._in_time["gate"] == 1
    asleep.let_go.set()
    until(lambda: together._in_time["gate"] == 0)
    rig.end()


def test_threads_do_not_pile_up():
    before = threading.active_count()
    stuck = [Hanging("read") for _ in range(20)]
    rig = Rig(*stuck, Hanging(""))
    for source in stuck:
        rig.hang(source)
        source.let_go.set()
        until(lambda source=source: source.closed == 1)
    until(lambda: rig.stats.decoded > 63)
    assert rig.stats.abandoned == 20
    rig.end()
    until(lambda: threading.active_count() <= before)


@pytest.mark.e2e
def test_a_daemons_pipeline_gives_a_hanging_source_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = encode(tmp_path / "clip.mp4", [(160, 96)] * 20)
    let_go, real, hang = threading.Event(), FileSource.read, threading.Event()

    def read(self: FileSource) -> Sequence[SourcePicture]:
        if "stuck" in str(self.path) and not hang.is_set():
            hang.set()
            let_go.wait(WAIT_S)
        return real(self)

    monkeypatch.setattr(FileSource, "read", read)
    monkeypatch.setattr("streamvision.pipeline.wiring.PATIENCE_S", 0.5)
    monkeypatch.setattr("streamvision.pipeline.wiring.MARGIN_S", 0.5)
    (tmp_path / "stuck.mp4").write_bytes(clip.read_bytes())
    config = "models: {default: {manifest: motion}}\nstreams:\n" + "".join(
        f"  - {{id: {name}, url: '{tmp_path / name}.mp4', loop: true, pace: realtime}}\n" for name in ("stuck", "clip")
    )
    with running(config, tmp_path) as pipeline:
        stuck, good = (pipeline.metrics.stream(name) for name in ("stuck", "clip"))
        wait_until(lambda: stuck.abandoned == 1 and stuck.analysed > 3 and good.analysed > 3, WAIT_S, pipeline)
        assert b'captures_abandoned_total{stream="stuck"} 1' in pipeline.metrics.render()
        assert stuck.reconnects["hung"] == 1
        assert good.abandoned == 0
        let_go.set()
    assert_balanced(stuck)


@pytest.mark.e2e
@requires_rtsp
def test_a_frozen_server_is_a_stall_and_no_hang(tmp_path: Path):
    clip = encode(tmp_path / "clip.mp4", [(160, 96)] * 50)
    with RtspServer({"gate": clip}) as server:
        config = (
            "models: {default: {manifest: motion}}\nstreams:\n"
            f"  - {{id: gate, url: '{server.url('gate')}', read_timeout: 1s, open_timeout: 2s}}\n"
        )
        with running(config, tmp_path) as pipeline:
            gate = pipeline.metrics.stream("gate")
            wait_until(lambda: gate.analysed > 3, WAIT_S, pipeline)
            server.freeze()
            wait_until(lambda: sum(gate.reconnects.values()) > 1, WAIT_S, pipeline)
            seen = gate.analysed
            server.thaw()
            wait_until(lambda: gate.analysed > seen + 3, WAIT_S, pipeline)
            assert gate.abandoned == 0
            assert not pipeline.silent
    assert_balanced(gate)
