from __future__ import annotations

from streamvision.capture.course import Course
from streamvision.capture.orders import Target
from streamvision.channel import Channel, Overflow
from streamvision.types import InputSpec

SPEC = InputSpec((32, 32))


def test_errands_are_done_at_their_turn_in_the_order_in_which_they_came():
    first, second, third = (Channel(1, Overflow.BLOCK) for _ in range(3))
    course, done = Course(SPEC, first), []
    assert not course.also(lambda: done.append("never")), "no turn is to come"

    def turn() -> None:
        done.append("second")
        assert course.also(lambda: done.append("while it turns"))
        assert course.go(Target(SPEC, third, lambda: done.append("third")))
        assert course.also(lambda: done.append("at the third"))

    assert course.go(Target(SPEC, second, turn))
    assert course.also(lambda: done.append("before it turns"))
    assert not done
    assert course.turn()
    assert (course.channel, first.closed, second.closed) == (second, True, False)
    course.arrive()
    assert done == ["second", "before it turns", "while it turns"]
    assert course.end()
    course.arrive()
    assert done[3:] == ["third", "at the third"]
    assert (second.closed, third.closed) == (True, True)
    assert not course.end()
    assert not course.go(Target(SPEC, Channel(1, Overflow.BLOCK), lambda: None))
    assert not course.also(lambda: None)


def test_what_a_missed_turn_was_to_do_is_given_back():
    course, done = Course(SPEC, Channel(1, Overflow.BLOCK)), []
    course.go(Target(SPEC, Channel(1, Overflow.BLOCK), lambda: done.append(1)))
    course.go(Target(SPEC, Channel(1, Overflow.BLOCK), lambda: done.append(2)))
    course.also(lambda: done.append(3))
    missed = course.leave()
    assert not course.turn()
    missed()
    assert done == [1, 2, 3]
