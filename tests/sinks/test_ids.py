from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from streamvision.clock import SystemClock
from streamvision.sinks.ids import EventIds
from streamvision.sinks.store import EventStore
from tests.fakes import FakeClock
from tests.sinks.samples import event

YEARS_S = 20 * 365 * 86_400


@given(st.lists(st.integers(-YEARS_S, YEARS_S), max_size=50))
def test_ids_are_ulids_that_grow_wherever_the_clock_jumps(jumps: list[int]) -> None:
    clock = FakeClock()
    ids = EventIds(clock)
    made = [ids()]
    for jump_s in jumps:
        clock.jump(jump_s)
        made.append(ids())
    assert made == sorted(set(made))
    assert all(str(ULID.from_str(one)) == one for one in made)


def test_an_id_says_when_it_was_made() -> None:
    clock = FakeClock()
    assert abs(ULID.from_str(EventIds(clock)()).timestamp - clock.utcnow().timestamp()) < 0.01


def test_ids_go_on_beyond_the_newest_of_the_store(tmp_path) -> None:
    clock = FakeClock()
    store = EventStore(tmp_path / "events.db", clock)
    before = store.new_id()
    store.append([event(1, id=before)])
    store.close()
    clock.jump(-YEARS_S)
    store = EventStore(tmp_path / "events.db", clock)
    assert store.new_id() > before
    store.close()


def test_threads_never_make_the_same() -> None:
    ids = EventIds(SystemClock())
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda own: own.extend(ids() for _ in range(500)), args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({one for own in made for one in own}) == 2000
    assert all(own == sorted(own) for own in made)


def test_what_is_no_ulid_of_ours_is_no_start() -> None:
    clock = FakeClock()
    for newest in ("", "nonsense", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"):
        assert abs(ULID.from_str(EventIds(clock, newest)()).timestamp - clock.utcnow().timestamp()) < 0.01
