"""``streamvision events`` on a store and its write-ahead log that a disk has damaged."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.clock import SystemClock
from streamvision.sinks.store import EventStore
from tests.fuzz.commands import ask
from tests.fuzz.texts import damaged, sized
from tests.sinks.samples import event

EVENTS = 40
SUFFIXES = ("", "-wal")
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a store whose daemon lost its power: events in the file, and more in the log beside it."""
    path = tmp_path_factory.mktemp("living") / "events.db"
    store = EventStore(path, SystemClock())
    store.append([event(number) for number in range(EVENTS)])
    store.flush(60)
    store.close()
    store = EventStore(path, SystemClock())
    store.append([event(number) for number in range(EVENTS, 2 * EVENTS)])
    store.flush(60)
    files = {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in SUFFIXES}
    store.close()
    assert len(files["-wal"]) > 4096
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores") / "state"


def laid(folder: Path, files: Files) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for suffix, raw in files.items():
        (folder / f"events.db{suffix}").write_bytes(raw)
    return folder


def test_what_is_in_the_log_is_read(living: Files, folder: Path, capsys: pytest.CaptureFixture[str]):
    from streamvision.sinks.database import EventLog

    log = EventLog(laid(folder, living) / "events.db")
    assert log.last_position() == 2 * EVENTS
    log.close()


@st.composite
def harm(draw: st.DrawFn) -> list[tuple[str, int, int, bytes]]:
    """Return (file, place in ten thousandths, what is done, bytes) for one to five places."""
    one = st.tuples(
        st.sampled_from(SUFFIXES),
        st.integers(0, 9_999),
        st.sampled_from((0, 0, 0, 1)),
        st.binary(min_size=1, max_size=300),
    )
    return draw(st.lists(one, min_size=1, max_size=5))


def test_damaged_files(living: Files, folder: Path):
    seen: Counter[int] = Counter()

    @sized(30, 3_000)
    @given(harm(), st.sampled_from(((), ("--json",), ("--type", "zone"), ("--stream", "gate"), ("--since", "1h"))))
    def one(places: list[tuple[str, int, int, bytes]], options: tuple[str, ...]) -> None:
        files = {suffix: bytearray(raw) for suffix, raw in living.items()}
        for suffix, share, kind, raw in places:
            at = len(files[suffix]) * share // 10_000
            files[suffix][at : None if kind else at + len(raw)] = b"" if kind else raw
        laid(folder, {suffix: bytes(raw) for suffix, raw in files.items()})
        seen[ask("events", "--state-dir", folder, *options, codes=(0, 1, 3))] += 1

    one()
    assert seen[0], "no damage was small enough to be read through"
    assert seen[1], "no damage was large enough to be told"


def test_an_empty_file_and_one_of_another_program_are_no_stores(folder: Path):
    import sqlite3

    ask("events", "--state-dir", laid(folder, {"": b""}), codes=(1,))
    connection = sqlite3.connect(laid(folder, {}) / "events.db")
    connection.execute("CREATE TABLE letters(a)")
    connection.close()
    ask("events", "--state-dir", folder, codes=(1,))


def test_a_layout_that_is_no_text_is_refused_and_by_its_writer_moved_aside(living: Files, folder: Path):
    raw = living[""].replace(b"CREATE TABLE events", b"CREATE T\x80BLE events", 1)
    assert raw != living[""]
    ask("events", "--state-dir", laid(folder, {"": raw}), codes=(1,))
    store = EventStore(laid(folder, {"": raw}) / "events.db", SystemClock())
    store.append([event(1)])
    store.flush(60)
    store.close()
    assert list(folder.glob("events.db.broken-*"))
    ask("events", "--state-dir", folder, codes=(0,))


@sized(10, 500)
@given(st.binary(max_size=400), st.binary(max_size=200))
def test_files_of_anything(folder: Path, raw: bytes, log: bytes):
    laid(folder, {"": raw, "-wal": log})
    ask("events", "--state-dir", folder, codes=(0, 1, 3))


def test_json_that_is_damaged_inside_a_sound_file(living: Files, folder: Path):
    import sqlite3

    @sized(15, 1_000)
    @given(damaged(b'{"specversion": "1.0", "id": "a", "type": "streamvision.zone.start", "data": {"rule": "b"}}'))
    def one(text: bytes) -> None:
        connection = sqlite3.connect(laid(folder, living) / "events.db")
        try:
            with connection:
                connection.execute("UPDATE events SET json = CAST(? AS TEXT) WHERE position % 7 = 0", (text,))
        finally:
            connection.close()
        ask("events", "--state-dir", folder, codes=(0, 1, 3))
        ask("events", "--json", "--state-dir", folder, codes=(0, 1, 3))

    one()
