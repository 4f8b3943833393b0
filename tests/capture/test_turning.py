"""A capture that turns to another engine in the midst, and one that goes on where another has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvision.capture.stream import HANDOVER_S, Target
from streamvision.channel import Channel, Overflow
from streamvision.errors import EndOfStream, TimedOut
from streamvision.types import Frame, InputSpec, StreamState
from tests.capture.test_stream import OPTIONS, Rig, drained, file_of
from tests.fakes import ScriptedSource, source_pictures

SMALL = InputSpec((16, 16))


def other_channel() -> Channel[Frame]:
    return Channel(10_000, Overflow.BLOCK)


def turning(at: int, rig: Rig, *targets: Target) -> ScriptedSource:
    """A file in whose midst somebody asks the capture to turn."""
    pictures = source_pictures(20)

    def ask():
        for target in targets:
            rig.capture.retarget(target)
        return [pictures[at]]

    return file_of([*pictures[:at], ask, *pictures[at + 1 :]])


def test_pictures_turn_between_two_without_losing_one_and_after_the_earlier_ones_are_done() -> None:
    rig, second, analysed_at_turn = Rig([]), other_channel(), []

    def turn() -> None:
        analysed_at_turn.append(rig.stats.analysed)

    rig._left = iter([turning(7, rig, Target(SMALL, second, turn))])
    sleep = rig._sleep

    def analyse(seconds: float) -> bool:  # while the capture waits, the old engine works
        if rig.channel.take_nowait() is not None:
            rig.stats.analysed += 1
        return sleep(seconds)

    rig.capture._sleep = analyse
    assert rig.run() == []
    frames = drained(second)
    assert analysed_at_turn == [7]
    assert [frame.info.seq for frame in frames] == list(range(7, 20))
    assert {frame.pixels.shape for frame in frames} == {(16, 16, 3)}
    assert rig.stats.in_flight == len(frames)
    assert rig.states == ["connecting", "live", "stopped"]


def test_an_engine_that_never_finishes_does_not_hold_a_stream_for_ever() -> None:
    rig, second = Rig([]), other_channel()
    rig._left = iter([turning(7, rig, Target(SMALL, second, lambda: None))])
    started_s = rig.clock.monotonic()
    assert len(rig.run()) == 7
    assert len(drained(second)) == 13
    assert rig.clock.monotonic() - started_s == pytest.approx(HANDOVER_S, abs=0.1)
    assert len(rig.beats) > 20


def test_of_two_targets_the_last_counts_and_both_have_their_turn() -> None:
    rig, missed, last, turns = Rig([]), other_channel(), other_channel(), []
    targets = Target(SMALL, missed, lambda: turns.append("missed")), Target(SMALL, last, lambda: turns.append("last"))
    rig._left = iter([turning(7, rig, *targets)])
    rig.run()
    assert turns == ["missed", "last"]
    assert missed.finished
    assert len(drained(last)) == 13


def test_a_target_that_comes_too_late_is_closed() -> None:
    rig, late = Rig([]), other_channel()
    pictures = source_pictures(3)

    def ask():
        rig.capture.retarget(Target(SMALL, late, lambda: None))
        rig.capture.stop()
        return []

    rig._left = iter([file_of([*pictures, ask])])
    assert len(rig.run()) == 3
    assert late.finished


def test_a_turn_that_the_end_of_a_file_forestalls_is_made_when_the_last_picture_is_through() -> None:
    rig, late, analysed_at_turn = Rig([]), other_channel(), []
    pictures = source_pictures(3)

    def ask():
        rig.capture.retarget(Target(SMALL, late, lambda: analysed_at_turn.append(rig.stats.analysed)))
        raise EndOfStream("over")

    def analyse(seconds: float) -> bool:
        rig.stats.analysed += rig.channel.take_nowait() is not None
        rig.clock.advance(seconds)
        return False

    rig.capture._sleep = analyse
    rig._left = iter([file_of([*pictures, ask])])
    rig.run()
    assert analysed_at_turn == [3]
    assert late.finished


def test_a_turn_that_is_asked_of_a_capture_that_has_ended_is_made_at_once() -> None:
    rig, late, turns = Rig([file_of(source_pictures(3))]), other_channel(), []
    rig.run()
    rig.capture.retarget(Target(SMALL, late, lambda: turns.append("late")))
    assert turns == ["late"]
    assert late.finished


def test_a_camera_that_is_away_turns_while_it_waits() -> None:
    rig, second = Rig([]), other_channel()
    target = Target(SMALL, second, lambda: None)

    def ask():
        rig.capture.retarget(target)
        raise TimedOut("silent")

    rig._left = iter([ScriptedSource([ask]), ScriptedSource(source_pictures(5))])
    assert rig.run() == []
    assert len(drained(second)) == 5


def test_a_capture_goes_on_where_another_has_ended() -> None:
    first = Rig([file_of(source_pictures(10))])
    before = first.run()
    second = Rig([file_of(source_pictures(10))], replace(OPTIONS, fps=5), clock=first.clock)
    second.capture.continue_from(first.capture)
    after = second.run()
    assert [frame.info.seq for frame in before] == list(range(10))
    assert after[0].info.seq == 10
    assert after[0].info.media_s > before[-1].info.media_s
    assert after[0].info.epoch == before[-1].info.epoch + 1


def test_a_picture_that_comes_late_to_an_ended_capture_does_not_move_the_next_ones_time() -> None:
    """The first is left behind in its call; what it brings back is stamped before it sees that it has to end."""

    def media(late: bool) -> list[float]:
        first = Rig([ScriptedSource(source_pictures(10))])
        first.run()
        second = Rig([ScriptedSource(source_pictures(10, clock=first.clock))], clock=first.clock)
        second.capture.continue_from(first.capture)
        if late:
            first.capture._timeline.stamp(90.0, 100.0)
            first.capture._timeline.stamp(95.0, 190.0)
        return [frame.info.media_s for frame in second.run()]

    assert media(late=True) == media(late=False)


def test_media_time_goes_on_when_a_file_becomes_a_camera() -> None:
    first = Rig([file_of(source_pictures(10))])
    before = first.run()
    first.clock.advance(3600)
    second = Rig([ScriptedSource(source_pictures(10, clock=first.clock))], clock=first.clock)
    second.capture.continue_from(first.capture)
    media = [frame.info.media_s for frame in (*before, *second.run())]
    assert media == sorted(media)
    assert media[-1] - media[10] == pytest.approx(9 / 25, abs=0.05)


def test_a_capture_that_is_disowned_writes_into_nobodys_books() -> None:
    rig = Rig([])
    pictures = source_pictures(4)

    def disown():
        rig.capture.disown()
        return pictures[2:]

    rig._left = iter([file_of([*pictures[:2], disown])])
    rig.run()
    assert rig.stats.decoded == 2
    assert rig.states == ["connecting", "live", "stopped"]
    assert rig.stats.state is StreamState.STOPPED
