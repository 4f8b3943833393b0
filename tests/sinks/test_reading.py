"""Reading the event store: whoever searches holds up nobody, no search is endless, and any position may be asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvision.clock import SystemClock
from streamvision.errors import StoreError
from streamvision.interfaces import MAX_POSITION, EventReader
from streamvision.sinks.database import EventLog
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event, number_of

WAIT_S = 60.0
KINDS = ("zone", "line", "zone2", "count")
MANY = 6000
"""More than SQLite walks through between two looks at the clock."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    opened = EventStore(tmp_path_factory.mktemp("state") / "events.db", SystemClock())
    kinds = [KINDS[number * number % 7 % len(KINDS)] for number in range(MANY)]
    opened.append([event(n, kind=kind, stream=f"cam{n % 3}") for n, kind in enumerate(kinds) if n != 40])
    opened.append([event(MANY, kind="rare")])
    opened.flush(WAIT_S)
    yield opened
    opened.close()


@pytest.fixture
def log(store: EventStore) -> Iterator[EventLog]:
    opened = EventLog(store._path)
    yield opened
    opened.close()


@pytest.fixture
def hasty(store: EventStore) -> Iterator[EventLog]:
    """A reader whose patience is over at the first look at the clock."""
    opened = EventLog(store._path, patience_s=0)
    yield opened
    opened.close()


@pytest.mark.parametrize("position", [-(2**70), -1, 0])
def test_before_the_beginning_lies_everything(store: EventStore, log: EventLog, position: int):
    for reader in (store, store.visitors, log):
        assert [one.position for one in reader.after(position, 3)] == [1, 2, 3]


@pytest.mark.parametrize("position", [MANY + 5, MAX_POSITION - 1, MAX_POSITION, 2**70])
def test_beyond_the_end_lies_nothing(store: EventStore, log: EventLog, position: int):
    readers: tuple[EventReader, ...] = (store, store.visitors, log)
    assert [reader.after(position, 10) for reader in readers] == [[], [], []]


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("prefix", ["streamvision.zone", "streamvision.zone.start", "streamvision", "streamvision.rare",
                                    "streamvision.l", "s", "a", "z", "streamvision.zone3"])  # fmt: skip
def test_the_newest_of_a_type_are_what_a_walk_through_all_of_them_finds(store: EventStore, prefix: str, limit: int):
    everything = store.visitors.latest(MANY * 2)
    assert len(everything) == MANY
    expected = [one for one in everything if one.type.startswith(prefix)][:limit]
    assert store.visitors.latest(limit, type_prefix=prefix) == expected


@pytest.mark.parametrize("prefix", ["streamvision.rare", "streamvision.nothing", "zzz"])
def test_a_type_that_is_rare_or_not_there_is_not_searched_for_in_the_whole_file(hasty: EventLog, prefix: str):
    assert len(hasty.latest(10, type_prefix=prefix)) == (prefix == "streamvision.rare")


def test_a_search_ends_with_its_patience_and_says_what_to_ask_instead(hasty: EventLog):
    with pytest.raises(StoreError, match=r"took more than 0 s.*page by page"):
        hasty.latest(10, stream="cam1", type_prefix="streamvision.nothing")
    assert [number_of(one.json) for one in hasty.latest(1)] == [MANY], "the next question has its own time"


def test_a_visitors_search_holds_up_no_sink(store: EventStore):
    """Old events, which lie on the disk only, are read while a visitor's connection is busy."""
    found: list[int] = []
    reading = threading.Thread(target=lambda: found.append(len(store.after(0, 10) + store.latest(5))), daemon=True)
    with store.visitors._log._lock:
        reading.start()
        reading.join(WAIT_S)
        assert found == [15]


def test_visitors_read_until_the_store_is_closed(tmp_path: Path):
    opened = EventStore(tmp_path / "events.db", SystemClock())
    opened.append([event(1)])
    opened.flush(WAIT_S)
    assert len(opened.visitors.latest(5)) == 1
    opened.close()
    with pytest.raises(StoreError):
        opened.visitors.latest(5)
