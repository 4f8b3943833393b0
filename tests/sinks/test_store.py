from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.clock import SystemClock
from streamvision.errors import StoreError
from streamvision.metrics import Metrics
from streamvision.sinks.ages import Age
from streamvision.sinks.database import _LAYOUT, EventLog
from streamvision.sinks.letters import DeadLetters
from streamvision.sinks.retention import GivenUp, Pruned, Retention, prune
from streamvision.sinks.store import EventStore
from streamvision.sinks.wanted import EVERYTHING, Wanted
from tests.harness import wait_until
from tests.sinks.samples import START, event, number_of

WAIT_S = 20.0


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state" / "events.db"


@pytest.fixture
def store(path) -> Iterator[EventStore]:
    opened = EventStore(path, SystemClock(), host="HOST")
    yield opened
    opened.close()


def numbers(store: EventStore | EventLog) -> list[int]:
    return [number_of(one.json) for one in store.after(0, 100_000)]


def fill_disk(store: EventStore) -> None:
    """Let SQLite itself refuse to grow the file: the error of a full disk."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")


def free_disk(store: EventStore) -> None:
    store._connection.execute("PRAGMA max_page_count=1000000")


def test_events_come_back_in_order(store):
    store.append([event(1), event(2)])
    store.append([event(3, stream="yard", kind="line")])
    store.flush()

    found = store.after(0, 10)
    assert [one.position for one in found] == [1, 2, 3]
    assert numbers(store) == [1, 2, 3]
    assert store.position == 3
    assert (found[0].id, found[0].stream, found[0].type) == (event(1).id, "gate", "streamvision.zone.start")
    assert found[0].time == event(1).time
    assert [one.position for one in store.latest(2)] == [3, 2]
    assert [one.position for one in store.latest(5, stream="gate")] == [2, 1]
    assert [one.position for one in store.latest(5, type_prefix="streamvision.line.")] == [3]
    assert [one.position for one in store.after(1, 1)] == [2]


def test_a_reader_selects_by_time(store, path):
    store.append([event(number) for number in range(10)])
    store.flush()
    log = EventLog(path)
    assert [one.position for one in log.select(9, since=START + timedelta(seconds=7))] == [8, 9, 10]
    assert log.last_position() == 10
    log.close()


def test_everything_is_there_after_a_restart(path):
    first = EventStore(path, SystemClock())
    first.append([event(number) for number in range(2500)])
    first.close()
    second = EventStore(path, SystemClock())
    assert numbers(second) == list(range(2500))
    second.append([event(2500)])
    second.close()
    log = EventLog(path)
    assert log.after(2500, 5)[0].position == 2501
    log.close()


@settings(max_examples=15, deadline=None)
@given(batches=st.lists(st.integers(0, 40), max_size=12), writers=st.integers(1, 3))
def test_positions_grow_and_each_writers_order_is_kept(tmp_path_factory, batches, writers):
    store = EventStore(tmp_path_factory.mktemp("store") / "events.db", SystemClock(), max_waiting=50)

    def write(writer: int) -> None:
        number = 0
        for size in batches:
            store.append([event(writer * 10_000 + number + i) for i in range(size)])
            number += size

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    store.flush()
    found = store.after(0, 100_000)
    store.close()
    positions = [one.position for one in found]
    assert positions == list(range(1, sum(batches) * writers + 1))
    for writer in range(writers):
        own = [n % 10_000 for one in found if (n := number_of(one.json)) // 10_000 == writer]
        assert own == list(range(sum(batches)))


def test_track_ids_are_never_given_twice(path):
    store = EventStore(path, SystemClock())
    assert store.reserve_ids("gate", 64) == 1
    assert store.reserve_ids("gate", 10) == 65
    assert store.reserve_ids("yard", 1) == 1
    store.close()
    again = EventStore(path, SystemClock())
    assert again.reserve_ids("gate", 1) == 75
    again.close()


def test_track_ids_do_not_wait_for_a_full_disk_and_are_durable_before_their_events(path):
    store = EventStore(path, SystemClock())
    assert store.reserve_ids("gate", 10) == 1
    store.append([event(number) for number in range(50)])
    store.flush()
    fill_disk(store)
    store.append([event(number) for number in range(50, 350)])
    assert [store.reserve_ids("gate", 10) for _ in range(3)] == [11, 21, 31]
    store.append([event(350)])
    free_disk(store)
    assert store.wait_beyond(350, WAIT_S)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT following FROM track_ids").fetchall() == [(41,)]
    connection.close()
    store.close()


@pytest.mark.parametrize("again", [False, True])
def test_the_first_track_of_a_stream_does_not_wait_for_a_full_disk(path, again):
    """Also where the disk is full from the start, and where another run has given ids of that stream before."""
    store = EventStore(path, SystemClock())
    store.reserve_ids("gate", 10)
    store.append([event(number) for number in range(50)])
    store.flush()
    if again:
        store.close()
        store = EventStore(path, SystemClock())
    fill_disk(store)
    store.append([event(number) for number in range(50, 350)])
    wait_until(lambda: store.failing is not None, WAIT_S)
    assert store.reserve_ids("gate", 10) == 11
    assert store.reserve_ids("yard", 10) == 1
    assert store.reserve_ids("yard", 10) == 11
    free_disk(store)
    assert store.wait_beyond(349, WAIT_S)
    store.close()
    after = EventStore(path, SystemClock())
    assert (after.reserve_ids("gate", 1), after.reserve_ids("yard", 1)) == (21, 21)
    after.close()


def test_a_new_sink_starts_at_the_end_and_a_known_one_where_it_was(path):
    store = EventStore(path, SystemClock())
    assert store.register("early") == 0
    store.append([event(1), event(2)])
    store.flush()
    assert store.register("late") == 2
    store.advance("early", 1)
    store.advance("early", 0)
    store.close()
    again = EventStore(path, SystemClock())
    assert again.register("early") == 1
    assert again.register("late") == 2
    again.close()


def test_waiting_for_news(store):
    assert not store.wait_beyond(0, 0.0)
    store.append([event(1)])
    assert store.wait_beyond(0, WAIT_S)
    assert not store.wait_beyond(1, 0.0)


def test_one_writer_at_a_time(store, path):
    with pytest.raises(StoreError, match="another streamvision uses this store"):
        EventStore(path, SystemClock())


def test_the_lock_ends_with_the_store(path):
    EventStore(path, SystemClock()).close()
    again = EventStore(path, SystemClock())
    assert again.reserve_ids("gate", 1) == 1
    again.close()


@pytest.mark.parametrize("damage", ["text", "middle"])
def test_a_broken_file_is_moved_aside(path, damage):
    store = EventStore(path, SystemClock())
    store.append([event(number) for number in range(300)])
    store.reserve_ids("gate", 1000)
    store.close()
    raw = bytearray(path.read_bytes())
    raw[0 if damage == "text" else 4096 : 4096 * 6] = b"not a page " * 100
    path.write_bytes(raw)

    again = EventStore(path, SystemClock())
    again.append([event(7)])
    again.flush()
    assert numbers(again) == [7]
    assert again.reserve_ids("gate", 1) > 1_700_000_000
    again.close()
    aside = [one for one in path.parent.iterdir() if ".broken-" in one.name]
    assert [one.read_bytes() for one in aside] == [bytes(raw)]


def test_a_store_of_another_version_is_left_alone(path):
    EventStore(path, SystemClock()).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(StoreError, match="layout 9"):
        EventStore(path, SystemClock())
    assert not list(path.parent.glob("*broken*"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        EventStore(tmp_path / "file" / "events.db", SystemClock())


def test_nothing_is_lost_while_the_disk_is_full(store):
    store.append([event(number) for number in range(50)])
    store.flush()
    fill_disk(store)
    store.append([event(number) for number in range(50, 500)])
    with pytest.raises(StoreError, match="full"):
        store.flush(0.5)
    assert "full" in str(store.failing)
    assert numbers(store) == list(range(50))
    free_disk(store)
    store.flush(WAIT_S)
    assert store.failing is None
    assert numbers(store) == list(range(500))


def test_a_full_memory_holds_the_producer_and_loses_nothing(path):
    store = EventStore(path, SystemClock(), max_waiting=100)
    store.append([event(number) for number in range(50)])
    store.flush()
    fill_disk(store)
    producer = threading.Thread(target=lambda: [store.append([event(50 + number)]) for number in range(1000)])
    producer.start()
    producer.join(0.5)
    assert producer.is_alive()
    free_disk(store)
    producer.join(WAIT_S)
    assert not producer.is_alive()
    store.close()
    log = EventLog(path)
    assert numbers(log) == list(range(1050))
    log.close()


def test_a_close_that_must_lose_events_says_how_many(path):
    store = EventStore(path, SystemClock())
    store.append([event(number) for number in range(50)])
    store.flush()
    fill_disk(store)
    store.append([event(number) for number in range(50, 350)])
    with pytest.raises(StoreError, match=r"300 events could not be stored: .*full"):
        store.close(0.3)
    with pytest.raises(StoreError, match="closed"):
        store.append([event(1)])


def test_closed_is_closed(path):
    store = EventStore(path, SystemClock())
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.append([event(1)])
    with pytest.raises(StoreError, match="closed"):
        store.reserve_ids("gate", 1)
    assert store.wait_beyond(0, WAIT_S), "who waits is told of the end"


def test_readers_see_whole_commits_while_the_store_is_written(store, path):
    torn: list[list[int]] = []
    done = threading.Event()

    def read() -> None:
        log = EventLog(path)
        while not done.is_set():
            found = numbers(log)
            if found != list(range(len(found))):
                torn.append(found)
        log.close()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for first in range(0, 2000, 40):
        store.append([event(number) for number in range(first, first + 40)])
    store.flush(WAIT_S)
    done.set()
    for reader in readers:
        reader.join(WAIT_S)
    assert torn == []


def test_reading_where_nothing_was_ever_written(tmp_path):
    with pytest.raises(StoreError, match="there is no event store"):
        EventLog(tmp_path / "events.db")
    (tmp_path / "events.db").touch()
    with pytest.raises(StoreError, match="cannot be read: no such table"):
        EventLog(tmp_path / "events.db")


def test_old_events_go_first_when_they_are_delivered_and_the_rest_is_counted(path):
    store = EventStore(path, SystemClock())
    store.register("slow")
    store.append([event(number, stream=f"s{number % 2}") for number in range(100)])
    store.flush()
    store.advance("slow", 30)
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    now, later = Age(0), Age(40 * 86_400_000_000)
    try:
        assert prune(connection, Retention(), {"slow": EVERYTHING}, now) == Pruned()
        first = prune(connection, Retention(), {"slow": EVERYTHING}, later, chunk=(30, 60))
        assert first == Pruned(30, 30)
        second = prune(connection, Retention(), {"slow": Wanted(["s1"])}, later, chunk=(30, 40))
        lost = GivenUp("slow", "max_age", 20, event(31).time, event(69).time)
        assert second == Pruned(40, 70, (lost,)), "only what the sink wanted is lost to it"
        third = prune(connection, Retention(max_bytes=1), {}, now)
        assert (third.deleted, third.given_up) == (30, ()), "the cursor of a sink that is not configured holds nothing"
    finally:
        connection.close()
    again = EventStore(path, SystemClock())
    again.append([event(7)])
    again.flush()
    assert again.after(0, 5)[0].position == 101, "a position is never used twice"
    again.close()


def told(store: EventStore) -> list[dict]:
    """What the outbox told of itself."""
    found = (json.loads(one.json)["data"] for one in store.latest(100, type_prefix="streamvision.outbox"))
    return [{key: data[key] for key in ("sink", "reason", "events") if key in data} for data in found]


def test_large_dead_letters_go_before_events_that_nobody_was_offered(path):
    store = EventStore(path, SystemClock())
    store.register("slow")
    store.append([event(number) for number in range(20)])
    store.flush()
    for stored in store.after(0, 20):
        store.bury("hook", replace(stored, json=json.dumps({"id": stored.id, "text": "x" * 20_000})), "refused", "no")
    store.close()
    connection = sqlite3.connect(path)
    try:
        retention = Retention(max_bytes=200_000)
        pruned = prune(connection, retention, {"slow": EVERYTHING}, Age(0))
        [lost] = pruned.given_up
        assert (pruned.deleted, lost.sink, lost.reason, lost.count) == (0, "hook", "dead_letters", 18)
        assert connection.execute("SELECT min(position), count(*) FROM dead_letters").fetchone() == (19, 2)
        assert prune(connection, retention, {"slow": EVERYTHING}, Age(0)) == Pruned(), "now it fits"
    finally:
        connection.close()


def test_a_store_beyond_its_size_gives_up_what_a_sink_lacks_and_tells_it(path, monkeypatch):
    monkeypatch.setattr("streamvision.sinks.writer.FIRST_PRUNE_S", 0.0)
    metrics = Metrics()
    store = EventStore(path, SystemClock(), retention=Retention(max_bytes=100_000), metrics=metrics)
    store.register("gone")
    for first in range(0, 1000, 50):
        store.append([event(number) for number in range(first, first + 50)])
        store.flush()
        store._writer.prune_at_s = 0.0
    wait_until(lambda: bool(told(store)), WAIT_S)
    store.close()
    again = EventStore(path, SystemClock(), metrics=metrics)
    assert again.register("gone") == again.after(0, 1)[0].position - 1, (
        "the cursor is at the edge: nothing is told twice"
    )
    stories = told(again)
    assert {(one["sink"], one["reason"]) for one in stories} == {("gone", "max_size")}
    assert stories
    counted = metrics.sink("gone").given_up["max_size"]
    assert counted + len(again.after(0, 5000)) == again.position, "every event is there or was counted"
    again.close()


def test_what_went_while_a_sink_was_not_configured_is_told_when_it_comes_back(path):
    store = EventStore(path, SystemClock())
    store.register("back")
    store.append([event(number) for number in range(50)])
    store.flush()
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM events WHERE position <= 20")
    connection.commit()
    connection.close()
    again = EventStore(path, SystemClock())
    assert again.register("back") == 20
    again.flush()
    assert told(again) == [{"sink": "back", "reason": "absent", "events": 20}]
    again.close()


def test_a_disk_that_stays_full_costs_the_oldest_events_which_are_counted_and_told(path, monkeypatch):
    monkeypatch.setattr("streamvision.sinks.backlog.PATIENCE_S", 0.2)
    metrics = Metrics()
    store = EventStore(path, SystemClock(), max_waiting=100, metrics=metrics)
    store.append([event(number) for number in range(50)])
    store.flush()
    fill_disk(store)
    for number in range(50, 1050):
        store.append([event(number)])
    assert metrics.outbox.failing
    free_disk(store)
    store.flush(WAIT_S)
    kept = [number_of(one.json) for one in store.after(0, 5000) if one.type != "streamvision.outbox.instant"]
    lost = 1050 - len(kept)
    assert lost > 0
    assert kept[-100:] == list(range(950, 1050)), "the newest are kept"
    assert metrics.outbox.lost == {"memory": lost}
    assert told(store) == [{"reason": "memory", "events": lost}]
    assert (store.failing, metrics.outbox.failing) == (None, False)
    store.close()


def test_a_store_of_the_first_layout_is_migrated_with_its_dead_letters(path):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(f"{_LAYOUT} PRAGMA user_version=1;")
    text = '{"data": {"stream": "gate"}, "type": "streamvision.zone.start", "time": "2026-01-02T03:04:05.678Z"}'
    for _ in range(2):
        connection.execute("INSERT INTO dead_letters VALUES('out', 3, 'an id', 'refused', 'too large', 5, ?)", (text,))
    connection.commit()
    connection.close()
    store = EventStore(path, SystemClock())
    assert store.letters("out", 5) == (1, [])
    assert DeadLetters(path).retry() == 1
    kept, asked = store.letters("out", 5)
    assert (kept, [(one.position, one.id, one.stream) for one in asked]) == (1, [(3, "an id", "gate")])
    store.close()


def test_when_a_position_was_stored():
    class Ticking(SystemClock):
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    import tempfile

    clock = Ticking()
    with tempfile.TemporaryDirectory() as folder:
        store = EventStore(Path(folder) / "events.db", clock)
        for number in range(1, 4):
            clock.now += 10
            store.append([event(number)])
            store.flush()
        assert [store.stored_at_s(position) for position in range(5)] == [100, 110, 120, 130, 130]
        store.close()
