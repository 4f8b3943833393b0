"""The capture thread of one stream, with scripted sources and a clock moved by its own waits."""

from __future__ import annotations

import gc
import itertools
import random
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.capture.file import FileSource
from streamvision.capture.picture import ArrayPicture
from streamvision.capture.stream import CaptureOptions, StateChange, StreamCapture
from streamvision.channel import Channel, Closed, Overflow
from streamvision.clock import SystemClock
from streamvision.errors import (
    AuthFailed,
    BrokenMedia,
    CaptureError,
    ConnectError,
    EndOfStream,
    SourceNotFound,
    TimedOut,
    UnsupportedMedia,
)
from streamvision.geometry import Letterbox
from streamvision.interfaces import SourcePicture
from streamvision.metrics import StreamStats
from streamvision.types import ClockSource, Frame, InputSpec, StreamState, UInt8
from tests.fakes import FakeClock, ScriptedSource, Step, blank_picture, source_pictures

from .media import encode

INPUT = InputSpec((32, 32))
OPTIONS = CaptureOptions("gate", INPUT)
JOIN_S = 20.0


@dataclass
class Rig:
    """A capture whose waits move a fake clock, with everything that it told."""

    sources: Iterable[ScriptedSource]
    options: CaptureOptions = OPTIONS
    overflow: Overflow = Overflow.BLOCK
    capacity: int = 10_000
    clock: FakeClock = field(default_factory=FakeClock)
    changes: list[StateChange] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    seed: int = 1

    def __post_init__(self) -> None:
        self.stats = StreamStats("gate")
        self.channel: Channel[Frame] = Channel(
            self.capacity, self.overflow, on_drop=lambda frame: self.stats.drop("queue", "overflow")
        )
        self._left = iter(self.sources)
        self.capture = StreamCapture(
            self.options, self._next_source, self.channel, self.stats, self.clock,
            rng=random.Random(self.seed), on_state=self.changes.append,
            beat=lambda: self.beats.append(self.clock.monotonic()), sleep=self._sleep,
        )  # fmt: skip

    def _next_source(self) -> ScriptedSource:
        source = next(self._left, None)
        if source is None:
            self.capture.stop()
            return ScriptedSource()
        return source

    def _sleep(self, seconds: float) -> bool:
        self.clock.advance(seconds)
        return False

    def run(self) -> list[Frame]:
        self.capture.start()
        assert self.capture.join(JOIN_S)
        assert self.capture.finished
        assert self.channel.closed
        return drained(self.channel)

    @property
    def states(self) -> list[str]:
        return [str(change.new) for change in self.changes]


def drained(channel: Channel[Frame]) -> list[Frame]:
    frames = []
    while True:
        try:
            frames.append(channel.get(1.0))
        except Closed:
            return frames


def file_of(pictures: Sequence[Step], **others: object) -> ScriptedSource:
    return ScriptedSource(pictures, live=False, **others)  # type: ignore[arg-type]


def test_a_file_is_read_to_its_end() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    source = file_of(source_pictures(50), started_at=start)
    rig = Rig([source])
    frames = rig.run()
    assert [frame.info.seq for frame in frames] == list(range(50))
    assert frames[-1].info.media_s == pytest.approx(49 / 25)
    assert frames[0].info.captured_at == start
    assert frames[0].info.clock is ClockSource.FILE
    assert frames[0].pixels.shape == (32, 32, 3)
    assert frames[0].info.size_wh == rig.stats.size_wh == (64, 48)
    assert (rig.stats.decoded, rig.stats.in_flight) == (50, 50)
    assert rig.states == ["connecting", "live", "stopped"]
    assert rig.capture.failed is None
    assert rig.capture.crashed is None
    assert source.closed == 1


def test_corrupt_and_unwanted_pictures_are_counted_and_not_analysed() -> None:
    rig = Rig([file_of(source_pictures(100, corrupt=[0, 1, 20, 21]))], replace(OPTIONS, fps=5))
    frames = rig.run()
    assert len(frames) == 20
    assert np.diff([frame.info.media_s for frame in frames]).max() < 0.29
    assert rig.stats.dropped == {("decode", "corrupt"): 4}
    assert rig.stats.skipped == {"target_rate": 76}
    assert rig.stats.in_flight == len(frames)


def test_pictures_that_cannot_be_scaled_are_counted() -> None:
    class Unusable(ArrayPicture):
        def prepare(self, spec: InputSpec) -> tuple[UInt8, Letterbox]:
            raise BrokenMedia("no such format")

    bad = SourcePicture(Unusable(np.zeros((2, 2, 3), np.uint8)), 0.5, 100.0)
    rig = Rig([file_of([*source_pictures(3), bad])])
    assert len(rig.run()) == 3
    assert rig.stats.dropped == {("decode", "unusable"): 1}


@pytest.mark.parametrize("error", [SourceNotFound("no"), UnsupportedMedia("no"), BrokenMedia("no"), TimedOut("no")])
@pytest.mark.parametrize("when", ["open", "read"])
def test_a_finite_source_that_fails_ends_with_its_error(error: CaptureError, when: str) -> None:
    source = file_of([], open_error=error) if when == "open" else file_of([*source_pictures(3), error])
    rig = Rig([source])
    frames = rig.run()
    assert rig.capture.failed is error
    assert rig.states[-1] == "stopped"
    assert (rig.changes[-1].reason, rig.stats.cause) == (error.reason, "no")
    assert len(frames) == (0 if when == "open" else 3)
    assert rig.stats.reconnects == {}
    assert source.closed == 1


def test_a_live_source_is_opened_again_for_every_cause() -> None:
    sources = [
        ScriptedSource(open_error=ConnectError("refused")),
        ScriptedSource(open_error=AuthFailed("wrong password")),
        ScriptedSource([*source_pictures(3), TimedOut("silent")]),
        ScriptedSource(source_pictures(3)),
        ScriptedSource([*source_pictures(3), BrokenMedia("noise")]),
    ]
    rig = Rig(sources)
    frames = rig.run()
    assert rig.states == [
        "connecting", "backing_off", "connecting", "auth_failed", "connecting", "live", "stalled",
        "connecting", "live", "backing_off", "connecting", "live", "backing_off", "connecting", "stopped",
    ]  # fmt: skip
    assert rig.stats.reconnects == {"connect": 1, "auth": 1, "timeout": 1, "end": 1, "broken": 1}
    assert [frame.info.epoch for frame in frames] == [0] * 3 + [1] * 3 + [2] * 3
    assert all(a.info.media_s < b.info.media_s for a, b in itertools.pairwise(frames))
    assert all(source.closed == 1 for source in sources)
    assert rig.capture.failed is None
    assert max(np.diff(rig.beats)) <= 0.5  # alive during every wait


def test_a_camera_that_is_not_there_at_first_joins_later() -> None:
    absent = [ScriptedSource(open_error=ConnectError("refused")) for _ in range(30)]
    rig = Rig([*absent, ScriptedSource(source_pictures(2))])
    assert len(rig.run()) == 2
    assert rig.stats.reconnects == {"connect": 30, "end": 1}


def test_a_loop_goes_on_without_a_gap_and_stays_live() -> None:
    rig = Rig([file_of(source_pictures(5)) for _ in range(3)], replace(OPTIONS, loop=True))
    frames = rig.run()
    assert [frame.info.epoch for frame in frames] == [0] * 5 + [1] * 5 + [2] * 5
    assert [frame.info.media_s for frame in frames] == pytest.approx([index / 25 for index in range(15)])
    assert rig.states == ["connecting", "live", "stopped"]


def test_a_loop_without_a_picture_waits_instead_of_spinning() -> None:
    rig = Rig([file_of([]) for _ in range(20)], replace(OPTIONS, loop=True))
    rig.run()
    assert rig.clock.monotonic() > 105
    assert rig.stats.reconnects == {"end": 20}


def test_a_looping_file_that_vanishes_is_waited_for() -> None:
    rig = Rig(
        [file_of(source_pictures(2)), file_of([], open_error=SourceNotFound("gone")), file_of(source_pictures(2))],
        replace(OPTIONS, loop=True),
    )
    assert len(rig.run()) == 4
    assert rig.stats.reconnects == {"not_found": 1}


def test_stopping_while_the_next_stage_is_slow_loses_only_what_is_in_hand() -> None:
    rig = Rig([file_of(source_pictures(50))], capacity=2)
    rig.capture.start()
    with rig.channel.condition:
        assert rig.channel.condition.wait_for(lambda: len(rig.channel) == 2, JOIN_S)
    rig.capture.stop()
    assert rig.capture.join(JOIN_S)
    frames = drained(rig.channel)
    assert len(frames) == 2
    assert rig.stats.dropped == {("capture", "shutdown"): rig.stats.decoded - 2}
    assert rig.stats.in_flight == 2
    assert rig.changes[-1].reason == "stopped"


def test_a_slow_next_stage_is_no_stall() -> None:
    rig = Rig([file_of(source_pictures(6))], capacity=1)
    rig.capture.start()
    frames = []
    while len(frames) < 6:
        frames.append(rig.channel.get(JOIN_S))
        rig.clock.advance(60)
    assert rig.capture.join(JOIN_S)
    assert rig.states == ["connecting", "live", "stopped"]
    assert rig.stats.dropped == {}


def test_a_live_stream_drops_its_oldest_pictures() -> None:
    rig = Rig([ScriptedSource(source_pictures(40))], overflow=Overflow.DROP_OLDEST, capacity=3)
    frames = rig.run()
    assert [frame.info.seq for frame in frames] == [37, 38, 39]
    assert rig.stats.dropped == {("queue", "overflow"): 37}
    assert rig.stats.in_flight == 3


def test_a_closed_channel_ends_the_capture() -> None:
    rig = Rig([ScriptedSource(source_pictures(5))])
    rig.channel.close()
    assert rig.run() == []
    assert rig.stats.dropped[("capture", "shutdown")] == rig.stats.decoded
    assert rig.capture.crashed is None


def test_a_bug_ends_the_stream_and_is_kept_for_the_supervisor() -> None:
    bug = RuntimeError("a bug")
    rig = Rig([ScriptedSource([*source_pictures(2), bug])])
    assert len(rig.run()) == 2
    assert rig.capture.crashed is bug
    assert (rig.changes[-1].new, rig.changes[-1].reason) == (StreamState.STOPPED, "crash")


def test_masks_hide_in_the_pixels_and_in_the_picture() -> None:
    polygon = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5)]
    white = SourcePicture(blank_picture(32, 32, 255), 0.0, 100.0)
    (frame,) = Rig([file_of([white])], replace(OPTIONS, masks={"sky": polygon})).run()
    assert not frame.pixels[:16].any()
    assert not frame.picture.rgb()[:16].any()
    assert frame.picture.rgb()[18:].all()


def test_the_motion_gate_saves_analyses_of_a_still_scene() -> None:
    pictures = [replace(picture, picture=blank_picture(value=90)) for picture in source_pictures(250)]
    rig = Rig([file_of(pictures)], replace(OPTIONS, motion_gate=True))
    frames = rig.run()
    assert 40 < len(frames) < 50  # one second held open, then twice a second
    assert rig.stats.skipped == {"no_motion": 250 - len(frames)}


def test_a_paced_file_runs_in_real_time() -> None:
    rig = Rig([file_of(source_pictures(50))], replace(OPTIONS, pace="realtime"))
    frames = rig.run()
    received = [frame.info.received_s - 100 for frame in frames]
    assert received == pytest.approx([index / 25 for index in range(50)])
    assert max(np.diff(rig.beats), default=0) <= 0.5


def test_a_change_of_size_is_followed() -> None:
    second = [replace(picture, pts_s=1.0) for picture in source_pictures(1, wh=(100, 50))]
    rig = Rig([file_of([*source_pictures(2), *second])])
    frames = rig.run()
    assert [frame.info.size_wh for frame in frames] == [(64, 48), (64, 48), (100, 50)]
    assert frames[-1].letterbox.source_wh == rig.stats.size_wh == (100, 50)


def test_what_was_decoded_when_the_stop_came_is_accounted_for() -> None:
    rig = Rig([])

    def last_words() -> Sequence[SourcePicture]:
        rig.capture.stop()
        return source_pictures(7)

    rig._left = iter([ScriptedSource([*source_pictures(2), last_words])])
    assert len(rig.run()) == 2
    assert rig.stats.dropped == {("capture", "shutdown"): 7}
    assert rig.stats.decoded == 9


def test_stop_before_start_and_twice_is_harmless() -> None:
    rig = Rig([ScriptedSource(source_pictures(2))])
    assert rig.capture.join(0.0)
    rig.capture.stop()
    rig.capture.stop()
    assert rig.run() == []
    assert rig.states == []


def test_a_stop_cuts_a_real_wait_short() -> None:
    refused = (ScriptedSource(open_error=AuthFailed("wrong password")) for _ in itertools.count())
    rig = Rig(refused)
    waiting = threading.Event()
    capture = StreamCapture(
        OPTIONS, lambda: next(refused), rig.channel, rig.stats, SystemClock(),
        rng=random.Random(1), on_state=rig.changes.append, beat=waiting.set,
    )  # fmt: skip
    capture.start()
    assert waiting.wait(JOIN_S)
    capture.stop()
    assert capture.join(4.0)  # the wait itself is at least five seconds long
    assert rig.states == ["connecting", "auth_failed", "stopped"]


ERRORS: list[type[CaptureError]] = [ConnectError, TimedOut, AuthFailed, EndOfStream, BrokenMedia]
scripts = st.lists(
    st.tuples(st.integers(0, 12), st.sets(st.integers(0, 11), max_size=3), st.sampled_from(ERRORS), st.booleans()),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(scripts, st.sampled_from([None, 3.0, 25.0]), st.booleans(), st.sampled_from(list(Overflow)), st.integers(0, 99))
def test_the_books_balance_whatever_happens(
    script: list[tuple[int, set[int], type[CaptureError], bool]],
    fps: float | None,
    gate: bool,
    overflow: Overflow,
    seed: int,
) -> None:
    sources = [
        ScriptedSource(open_error=error("why"))
        if at_open
        else ScriptedSource([*source_pictures(count, corrupt=[*bad]), error("why")])
        for count, bad, error, at_open in script
    ]
    capacity = 4 if overflow is Overflow.DROP_OLDEST else 1000
    rig = Rig(sources, replace(OPTIONS, fps=fps, motion_gate=gate), overflow, capacity, seed=seed)
    frames = rig.run()
    assert rig.stats.decoded == sum(count for count, _, _, at_open in script if not at_open)
    assert rig.stats.in_flight == len(frames)
    assert sum(rig.stats.reconnects.values()) == len(script)
    assert all(source.opened == source.closed == 1 for source in sources)
    assert all(a.info.media_s < b.info.media_s for a, b in itertools.pairwise(frames))
    assert all(a.new is b.old for a, b in itertools.pairwise(rig.changes))


def test_what_comes_in_one_read_with_the_picture_that_ends_the_connection_is_in_the_books() -> None:
    def blind() -> list[SourcePicture]:
        late = [replace(one, received_s=one.received_s + 60, lost_packets=2) for one in source_pictures(3)]
        return [replace(one, corrupt=True) for one in late]

    rig = Rig([ScriptedSource([*source_pictures(2), blind]), ScriptedSource(source_pictures(2))])
    frames = rig.run()
    assert rig.stats.reconnects["broken"] + rig.stats.reconnects["loss"] == 1
    assert rig.stats.decoded == 7
    assert rig.stats.dropped == {("decode", "corrupt"): 1, ("decode", "given_up"): 2}
    assert rig.stats.lost_packets == 6
    assert rig.stats.in_flight == len(frames) == 4
    assert [frame.info.seq for frame in frames] == [0, 1, 5, 6]


def test_an_ended_session_keeps_no_picture_while_the_next_one_lasts() -> None:
    """Without the help of the garbage collector, which may not come for hours."""

    class Weighty(ArrayPicture):
        """One that can be watched."""

    kept: list[object] = []

    def blind() -> list[SourcePicture]:
        picture = Weighty(np.zeros((48, 64, 3), np.uint8))
        watched.append(weakref.ref(picture))
        return [SourcePicture(picture, 1.0, 200.0, corrupt=True)]

    def look() -> list[SourcePicture]:
        kept.extend(ref() for ref in watched)
        return []

    watched: list[weakref.ref[Weighty]] = []
    rig = Rig([ScriptedSource([blind]), ScriptedSource([look])])
    gc.disable()
    try:
        rig.run()
    finally:
        gc.enable()
    assert rig.stats.reconnects["broken"] == 1
    assert kept == [None]


@pytest.mark.parametrize("fault", ["end", "missing", "no video"])
def test_sessions_leave_nothing_that_only_the_garbage_collector_finds(tmp_path: Path, fault: str) -> None:
    clip = tmp_path / "clip.mkv"
    if fault == "end":
        encode(clip, [(64, 48)] * 3)
    elif fault == "no video":
        clip.write_bytes(bytes(range(256)) * 64)
    sources: list[weakref.ref[FileSource]] = []

    def opened() -> FileSource:
        source = FileSource(str(clip), FileSource.Options(), SystemClock())
        sources.append(weakref.ref(source))
        if len(sources) == 4:
            rig.capture.stop()
        return source

    rig = Rig([], replace(OPTIONS, loop=True))
    rig.capture._open_source = opened
    gc.disable()
    try:
        rig.run()
        assert [ref() for ref in sources[:3]] == [None] * 3
    finally:
        gc.enable()
