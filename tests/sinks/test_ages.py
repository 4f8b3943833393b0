"""Age without the wall clock: jumps, sleeps, a year switched off; and ids that always grow."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamvision.paths import STORE_FILE
from streamvision.sinks.ages import Age
from streamvision.sinks.ids import EventIds
from streamvision.sinks.retention import Retention
from streamvision.sinks.store import EventStore
from streamvision.sinks.writer import FIRST_PRUNE_S, PRUNE_EVERY_S
from streamvision.timesync import SETTLED_S, TrustedTime
from tests.fakes import FakeClock
from tests.harness import wait_until

from .samples import event, number_of

WAIT_S = 60.0
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


class Rig:
    """A store of one file on a clock that the test moves; `live` lets time pass, with the looks that belong to it."""

    def __init__(self, folder: Path, clock: FakeClock, **retention: int) -> None:
        self.clock = clock
        self.store = EventStore(folder / STORE_FILE, clock, retention=Retention(**retention))
        self.live(FIRST_PRUNE_S)

    def live(self, seconds: float) -> None:
        self.clock.advance(seconds)
        looks = self.store._writer.prune_at_s
        if self.clock.monotonic() >= looks:
            self.store.append([event(999)])  # wakes the writer
            wait_until(lambda: self.store._writer.prune_at_s > looks, WAIT_S)

    def settle(self) -> None:
        for _ in range(int(SETTLED_S / PRUNE_EVERY_S) + 2):
            self.live(PRUNE_EVERY_S)

    def add(self, *numbers: int) -> None:
        self.store.append([event(number) for number in numbers])
        self.store.flush(WAIT_S)

    @property
    def kept(self) -> list[int]:
        found = self.store.after(0, 1000)
        return [n for n in (number_of(one.json) for one in found if one.stream == "gate") if n != 999]


@pytest.mark.parametrize("follows", [True, False, None])
@pytest.mark.parametrize("delivered", [True, False])
def test_a_jump_of_ten_years_and_back_deletes_nothing(tmp_path: Path, follows: bool | None, delivered: bool):
    clock = FakeClock()
    clock.follows = follows
    one = Rig(tmp_path, clock)
    if not delivered:
        one.store.register("out")
    one.settle()
    one.add(1, 2, 3)
    clock.jump(10 * YEAR_S)
    one.settle()
    assert one.kept == [1, 2, 3]
    clock.jump(-10 * YEAR_S)
    one.settle()
    assert one.kept == [1, 2, 3]
    one.live(31 * DAY_S)  # time that has really passed counts
    wait_until(lambda: one.kept == [], WAIT_S)
    one.store.close()


@pytest.mark.parametrize(("follows", "kept"), [(True, []), (False, [1]), (None, [1])])
def test_a_year_switched_off_counts_for_what_was_delivered_once_the_clock_is_known(
    tmp_path: Path, follows: bool | None, kept: list[int]
):
    clock = FakeClock()
    clock.follows = True
    one = Rig(tmp_path, clock)
    one.store.register("out")
    one.settle()
    one.add(1)
    one.live(PRUNE_EVERY_S)
    one.store.advance("out", one.store.position)
    one.add(2)
    one.store.close()

    later = FakeClock(5.0, utc=clock.utcnow())  # a battery that is empty: the clock stands where it stood
    later.follows = False
    again = Rig(tmp_path, later)
    again.store.register("out")
    again.add(3)
    assert again.kept == [1, 2, 3]
    later.jump(YEAR_S)
    later.follows = follows
    again.live(PRUNE_EVERY_S)
    assert again.kept == [1, 2, 3], "not before it has been steady for a while"
    again.settle()
    wait_until(lambda: again.kept == [*kept, 2, 3], WAIT_S)
    again.store.close()


def test_what_a_sink_lacks_ages_by_time_in_which_it_could_be_delivered(tmp_path: Path):
    clock = FakeClock()
    clock.follows = True
    one = Rig(tmp_path, clock)
    one.store.register("out")
    one.add(1)
    clock.sleep(YEAR_S)
    one.settle()
    assert one.kept == [1]
    one.live(29 * DAY_S)
    assert one.kept == [1]
    one.live(2 * DAY_S)
    wait_until(lambda: one.kept == [], WAIT_S)
    one.store.close()


def test_a_sleep_counts_for_what_was_delivered(tmp_path: Path):
    clock = FakeClock()
    one = Rig(tmp_path, clock)
    one.add(1)
    one.live(PRUNE_EVERY_S)
    clock.sleep(31 * DAY_S)
    clock.advance(1.0)
    one.add(2)
    one.live(PRUNE_EVERY_S)
    wait_until(lambda: one.kept == [2], WAIT_S)
    one.store.close()


def test_a_clock_that_starts_in_1970_and_is_corrected_deletes_nothing(tmp_path: Path):
    clock = FakeClock(5.0, utc=datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))
    clock.follows = False
    one = Rig(tmp_path, clock)
    one.add(1, 2)
    clock.jump(56 * YEAR_S)
    clock.follows = True
    one.add(3)
    one.settle()
    assert one.kept == [1, 2, 3]
    one.store.close()


def test_age_goes_on_after_a_restart(tmp_path: Path):
    clock = FakeClock()
    one = Rig(tmp_path, clock)
    one.add(1)
    one.live(20 * DAY_S)
    one.store.close()
    again = Rig(tmp_path, FakeClock(3.0))
    assert again.kept == [1]
    again.live(11 * DAY_S)
    wait_until(lambda: again.kept == [], WAIT_S)
    again.store.close()


def test_dead_letters_do_not_believe_the_clock_either(tmp_path: Path):
    clock = FakeClock()
    clock.follows = True
    one = Rig(tmp_path, clock)
    one.add(1)
    (stored,) = [row for row in one.store.after(0, 1000) if number_of(row.json) == 1]
    one.store.bury("out", stored, "refused", "no")
    clock.jump(10 * YEAR_S)
    one.settle()
    assert one.store.letters("out", 5)[0] == 1
    one.live(31 * DAY_S)
    wait_until(lambda: one.store.letters("out", 5)[0] == 0, WAIT_S)
    one.store.close()


def test_what_the_second_layout_held_is_as_old_as_its_first_event(tmp_path: Path):
    one = Rig(tmp_path, FakeClock())
    one.add(1, 2)
    one.store.close()
    connection = sqlite3.connect(tmp_path / STORE_FILE)
    connection.executescript(
        "DROP TABLE away; DELETE FROM facts; ALTER TABLE dead_letters DROP COLUMN lived_us;"
        "ALTER TABLE events RENAME COLUMN lived_us TO stored_us; DROP INDEX events_by_type; PRAGMA user_version=2;"
        "UPDATE events SET stored_us = 1767323045000000 + position * 315360000000000;"  # ten years between each
    )
    connection.close()
    again = Rig(tmp_path, FakeClock())
    again.settle()
    assert again.kept == [1, 2]
    again.store.close()


@pytest.mark.parametrize(
    ("away", "before"),
    [({}, 90), ({95: 3}, 93), ({95: 100}, 96), ({50: 100}, 90), ({98: 3, 96: 1}, 94), ({90: 5}, 90)],
)
def test_the_edge_of_an_age(away: dict[int, int], before: int):
    s = 1_000_000
    age = Age(100 * s, {at * s: us * s for at, us in away.items()})
    assert age.awaited_before_us(10) == 90 * s
    edge = age.delivered_before_us(10)
    assert edge == (before * s if before != 96 else 95 * s + 1)


def test_trusted_time_takes_a_steady_synchronised_clock_and_then_no_jump():
    clock = FakeClock()
    time = TrustedTime(clock)
    clock.follows = True
    assert time.now() is None
    clock.advance(SETTLED_S - 1)
    clock.jump(3600)
    assert time.now() is None
    clock.advance(SETTLED_S - 1)
    assert time.now() is None
    clock.follows = False
    clock.advance(2)
    assert time.now() is None
    clock.follows = True
    clock.advance(SETTLED_S)
    known = clock.utcnow()
    assert time.now() == known
    clock.jump(YEAR_S)
    assert time.now() == known


def test_ids_grow_and_are_unique_however_the_clock_jumps():
    clock = FakeClock()
    new_id, made = EventIds(clock), []
    for jump_s in (0, YEAR_S, -2 * YEAR_S, 3600, -3600, -50 * YEAR_S, 0.0):
        clock.jump(jump_s)
        made += [new_id() for _ in range(200)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(one) for one in made} == {26}
    behind = FakeClock(utc=datetime(1970, 1, 1, tzinfo=UTC))
    assert EventIds(behind, made[-1])() > made[-1]
    assert EventIds(behind, made[-1])() != EventIds(behind, made[-1])(), "two machines with the same past"
    assert EventIds(clock, "no id")() < "02"


def test_a_store_goes_on_after_the_ids_that_it_holds(tmp_path: Path):
    one = Rig(tmp_path, FakeClock())
    newest = one.store.new_id()
    one.store.append([event(1, id=newest)])
    one.store.close()
    again = EventStore(tmp_path / STORE_FILE, FakeClock(utc=datetime(1970, 1, 2, tzinfo=UTC)))
    assert again.new_id() > newest
    again.close()
