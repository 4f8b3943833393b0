"""Where pictures go when one change of engine comes before the one before it was made."""

from __future__ import annotations

import pytest

from streamvision.capture.course import Course
from streamvision.capture.orders import Target
from streamvision.channel import Channel
from streamvision.types import Frame, InputSpec

BIG, SMALL, TINY = InputSpec((64, 64)), InputSpec((32, 32)), InputSpec((16, 16))


class Way:
    """A course from ``first``, with two channels to go to, and what the turns did."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.first, self.second, self.third = (Channel[Frame](4) for _ in range(3))
        self.course = Course(BIG, self.first)

    def noted(self, name: str) -> Target:
        channel, size = (self.second, SMALL) if name == "second" else (self.third, TINY)
        return Target(size, channel, self.noting(name))

    def noting(self, name: str):
        return lambda: self.turns.append(name)

    def turn(self) -> None:
        while (target := self.course.turn()) is not None:
            target.turn()


def test_one_that_is_called_back_before_it_has_left_goes_on_where_it_is_and_both_turns_are_made():
    way = Way()
    assert way.course.go(way.noted("second"))
    assert way.course.stay(way.first, way.noting("back"))
    assert way.second.closed
    way.turn()
    assert (way.course.channel, way.course.input, way.first.closed) == (way.first, BIG, False)
    assert way.turns == ["second", "back"]
    way.course.go(way.noted("third"))
    way.turn()
    assert (way.course.channel, way.course.input, way.first.closed) == (way.third, TINY, True)


def test_staying_and_going_after_all_closes_nothing_that_is_in_use():
    way = Way()
    way.course.go(way.noted("second"))
    way.course.stay(way.first, way.noting("back"))
    way.course.go(way.noted("third"))
    assert not way.first.closed
    way.turn()
    assert way.turns == ["second", "back", "third"]
    assert way.first.closed
    assert not way.third.closed


def test_one_that_has_left_cannot_stay_and_what_it_left_is_closed():
    way = Way()
    assert not way.course.stay(way.first, way.noting("never"))
    way.course.go(way.noted("second"))
    assert way.course.turn() is not None
    assert not way.course.stay(way.first, way.noting("never"))
    assert way.first.closed
    way.course.go(way.noted("third"))
    assert not way.course.stay(way.first, way.noting("never"))
    assert way.course.stay(way.second, way.noting("back"))
    way.turn()
    assert (way.course.channel, way.course.input) == (way.second, SMALL)
    assert way.turns == ["third", "back"]


def test_at_the_end_what_was_still_to_be_turned_to_has_its_turn_and_nothing_is_planned_after_it():
    way = Way()
    way.course.go(way.noted("second"))
    last = way.course.end()
    assert last is not None
    last.turn()
    assert way.course.go(way.noted("third")), "it has not ended yet: somebody may be waiting in that turn"
    last = way.course.end()
    assert last is not None
    last.turn()
    assert way.course.end() is None
    assert way.turns == ["second", "third"]
    assert all(channel.closed for channel in (way.first, way.second, way.third))
    assert not way.course.go(way.noted("second"))


@pytest.mark.parametrize("planned", [False, True])
def test_one_that_is_left_has_everything_closed_and_turns_no_more(planned: bool):
    way = Way()
    if planned:
        way.course.go(way.noted("second"))
    way.course.leave()()
    assert way.turns == (["second"] if planned else [])
    assert way.first.closed
    assert way.second.closed == planned
    assert way.course.turn() is None
