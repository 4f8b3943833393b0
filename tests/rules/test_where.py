"""where: events only for tracks with an attribute, whenever that becomes known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from streamvision.interfaces import Scene
from streamvision.rules.where import WhereRule
from streamvision.types import Attribute, ClockSource, Event, FrameInfo, Phase, TrackRef, Tracks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RED, BLUE = ({"colour": Attribute(value, 0.9, 2)} for value in ("red", "blue"))


def event(phase: Phase, happening: str, media_s: float, track: int | None = 1) -> Event:
    ref = None if track is None else TrackRef(track, "car", 0.9, (0, 0, 1, 1), (0, 0))
    return Event(
        f"{happening}-{phase}", "zone", phase, "gate", "r", happening, media_s, NOW, ClockSource.FILE, 0.0, ref
    )


class Script:
    """A rule that says what it is told to say."""

    def __init__(self, *steps: Sequence[Event], last: Sequence[Event] = ()) -> None:
        self._steps = [list(step) for step in steps]
        self._last = list(last)

    def update(self, scene: Scene) -> list[Event]:
        return self._steps.pop(0) if self._steps else []

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        return self._last


def info(media_s: float) -> FrameInfo:
    return FrameInfo("gate", 0, 0, media_s, 0.0, NOW, ClockSource.FILE, 0.0, (64, 48))


def told(rule: WhereRule, media_s: float, known: Mapping[int, Mapping[str, Attribute]]) -> list[str]:
    scene = Scene(info(media_s), Tracks.empty(), ("car",), attributes=known)
    return [each.id for each in rule.update(scene)]


START, UPDATE, END, INSTANT = Phase.START, Phase.UPDATE, Phase.END, Phase.INSTANT


def test_a_happening_of_the_right_track_is_told_whole():
    rule = WhereRule(Script([event(START, "a", 0)], [event(UPDATE, "a", 1)], [event(END, "a", 2)]), {"colour": ["red"]})
    assert [told(rule, t, {1: RED}) for t in (0, 1, 2)] == [["a-start"], ["a-update"], ["a-end"]]


def test_one_of_another_track_is_not_told_at_all():
    rule = WhereRule(Script([event(START, "a", 0)], [event(UPDATE, "a", 1)], [event(END, "a", 2)]), {"colour": ["red"]})
    assert [told(rule, t, {1: BLUE}) for t in (0, 1, 2)] == [[], [], []]
    assert told(rule, 3, {1: RED}) == []


def test_it_is_told_later_when_the_attribute_is_known_later():
    rule = WhereRule(Script([event(START, "a", 0)], [], [], [event(END, "a", 3)]), {"colour": ["red", "orange"]})
    assert [told(rule, t, known) for t, known in [(0, {}), (1, {1: BLUE}), (2, {1: RED}), (3, {1: BLUE})]] == [
        [], [], ["a-start"], ["a-end"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "expected"),
    [({1: RED}, ["a-instant"]), ({1: BLUE}, []), ({2: RED}, []), ({1: {"size": RED["colour"]}}, [])],
)
def test_an_instant_waits_for_the_first_answer(known: Mapping[int, Mapping[str, Attribute]], expected: list[str]):
    rule = WhereRule(Script([event(INSTANT, "a", 0)]), {"colour": ["red"]})
    assert told(rule, 0, {}) == []
    assert told(rule, 1, known) == expected
    if known.get(1) is BLUE:
        assert told(rule, 2, {1: RED}) == []


def test_patience_ends():
    rule = WhereRule(Script([event(INSTANT, "a", 0)]), {"colour": ["red"]})
    assert told(rule, 0, {}) == []
    assert told(rule, 31, {}) == []
    assert told(rule, 32, {1: RED}) == []


def test_all_attributes_must_be_right():
    both = {"colour": ["red"], "face": ["none"]}
    rule = WhereRule(Script([event(INSTANT, "a", 0)], [event(INSTANT, "b", 1)]), both)
    assert told(rule, 0, {1: RED}) == []
    assert told(rule, 1, {1: {**RED, "face": Attribute("none", 1.0, 1)}}) == ["a-instant", "b-instant"]


def test_closing_ends_what_was_told_and_nothing_else():
    last = [event(END, "a", 5), event(END, "b", 5, track=2)]
    rule = WhereRule(Script([event(START, "a", 0), event(START, "b", 0, track=2)], last=last), {"colour": ["red"]})
    assert told(rule, 0, {1: RED, 2: BLUE}) == ["a-start"]
    assert [each.id for each in rule.close(info(5), "stream_end")] == ["a-end"]
    assert told(rule, 6, {2: RED}) == []
