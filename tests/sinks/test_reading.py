"""Reading the event store: whoever searches holds up nobody, no search is endless, and any position may be asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from streamvision.clock import SystemClock
from streamvision.errors import StoreError
from streamvision.interfaces import MAX_POSITION, EventReader
from streamvision.sinks import database
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


def test_a_visitor_waits_for_other_searches_no_longer_than_for_its_own(hasty: EventLog):
    found: list[str] = []

    def ask() -> None:
        try:
            hasty.latest(1)
        except StoreError as error:
            found.append(str(error))

    visitor = threading.Thread(target=ask, daemon=True)
    with hasty._lock:
        visitor.start()
        visitor.join(WAIT_S)
        assert ["other searches took more than 0 s" in text for text in found] == [True]
    assert len(hasty.latest(1)) == 1


def test_the_time_that_a_visitor_has_waited_counts(store: EventStore, monkeypatch: pytest.MonkeyPatch):
    now_s = [0.0]
    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    log = EventLog(store._path, patience_s=WAIT_S)

    class Slow:
        """A lock that is had after all of the patience."""

        def acquire(self, timeout: float) -> bool:
            now_s[0] += timeout + 1
            return True

        def release(self) -> None:
            pass

    real, log._lock = log._lock, cast("threading.Lock", Slow())
    with pytest.raises(StoreError, match="the search took more than 60 s"):
        log.latest(10, stream="cam1", type_prefix="streamvision.nothing")
    log._lock = real
    log.close()


def test_visitors_read_until_the_store_is_closed(tmp_path: Path):
    opened = EventStore(tmp_path / "events.db", SystemClock())
    opened.append([event(1)])
    opened.flush(WAIT_S)
    assert len(opened.visitors.latest(5)) == 1
    opened.close()
    with pytest.raises(StoreError):
        opened.visitors.latest(5)
