"""Compiled engines on the disk: what is found, what is not believed, and what happens where nothing can be written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from structlog.testing import capture_logs

from streamvision.engine.cache import ENGINE, META, EngineCache, Entry, Key, default_folder

KEY = Key("toy", {"onnx": "1", "precision": "fp32"})
OTHER = Key("toy", {"onnx": "2", "precision": "fp32"})


def fill(content: bytes = b"engine") -> Callable[[Path], None]:
    return lambda file: (file.write_bytes(content), None)[1]


def stored(cache: EngineCache, key: Key = KEY, content: bytes = b"engine") -> Entry:
    entry = cache.store(key, fill(content), {"seconds": 1.5})
    assert entry is not None
    return entry


def content_of(entry: Entry | None) -> bytes:
    assert entry is not None
    assert entry.engine is not None
    return entry.engine.read_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", extra=())


def test_what_was_stored_is_found_and_describes_itself(cache: EngineCache) -> None:
    assert cache.find(KEY) is None
    stored(cache)
    entry = cache.find(KEY)
    assert content_of(entry) == b"engine"
    assert entry is not None
    assert (entry.size, entry.digest, entry.facts) == (6, KEY.digest, {"seconds": 1.5})
    meta = json.loads((entry.folder / META).read_text())
    assert (meta["model"], meta["key"]) == ("toy", {"onnx": "1", "precision": "fp32"})
    assert cache.find(OTHER) is None
    assert [each.digest for each in cache.entries()] == [KEY.digest]


def test_the_name_of_a_model_is_not_part_of_its_key_but_everything_else_is() -> None:
    assert Key("other", KEY.parts).digest == KEY.digest
    assert Key("toy", {**KEY.parts, "driver": "580"}).digest != KEY.digest


def test_facts_are_added_later_and_stay(cache: EngineCache) -> None:
    entry = cache.note(stored(cache), parity={"ok": True})
    assert entry.facts == {"seconds": 1.5, "parity": {"ok": True}}
    found = cache.find(KEY)
    assert found is not None
    assert found.facts == entry.facts


def test_an_entry_may_remember_facts_alone(cache: EngineCache) -> None:
    cache.store(KEY, None, {"refused": "too far off"})
    entry = cache.find(KEY)
    assert entry is not None
    assert (entry.engine, entry.size, entry.facts) == (None, 0, {"refused": "too far off"})


def test_a_newer_engine_takes_the_place_of_an_older_one(cache: EngineCache) -> None:
    stored(cache)
    stored(cache, content=b"another")
    assert content_of(cache.find(KEY)) == b"another"
    assert [path.name for path in cache.folder.iterdir()] == [KEY.digest]


def truncate(entry: Path) -> None:
    (entry / ENGINE).write_bytes(b"eng")


def flip(entry: Path) -> None:
    (entry / ENGINE).write_bytes(b"enginf")


def remove(entry: Path) -> None:
    (entry / ENGINE).unlink()


def no_meta(entry: Path) -> None:
    (entry / META).unlink()


def half_meta(entry: Path) -> None:
    (entry / META).write_text((entry / META).read_text()[:40])


def other_meta(entry: Path) -> None:
    (entry / META).write_text("[]")


def another_key(entry: Path) -> None:
    meta = json.loads((entry / META).read_text())
    meta["key"]["precision"] = "fp16"
    (entry / META).write_text(json.dumps(meta))


@pytest.mark.parametrize("damage", [truncate, flip, remove, no_meta, half_meta, other_meta, another_key])
def test_a_damaged_entry_is_not_believed_and_goes_away(cache: EngineCache, damage: Callable[[Path], None]) -> None:
    place = stored(cache).folder
    damage(place)
    with capture_logs() as logs:
        assert cache.find(KEY) is None
    assert [(log["event"], log["log_level"]) for log in logs] == [("cached_engine_damaged", "warning")]
    assert not place.exists()
    assert content_of(stored(cache)) == b"engine"


def test_folders_that_are_named_are_read_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = EngineCache(tmp_path / "theirs", extra=())
    place = stored(theirs).folder
    monkeypatch.setenv("STREAMVISION_ENGINES", f"{tmp_path / 'nothing'}:{tmp_path / 'theirs'}")
    cache = EngineCache(tmp_path / "own")
    entry = cache.find(KEY)
    assert content_of(entry) == b"engine"
    assert entry is not None
    before = (place / META).read_bytes()
    cache.drop(entry)
    own = cache.note(entry, parity=1)  # what is learnt of it is kept beside a copy
    assert own.facts == {"seconds": 1.5, "parity": 1}
    assert content_of(own) == b"engine"
    assert own.folder.parent == tmp_path / "own"
    assert (place / META).read_bytes() == before
    cache.drop(own)
    truncate(place)
    assert cache.find(KEY) is None
    assert place.exists()
    assert content_of(stored(cache)) == b"engine"


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"CACHE_DIRECTORY": "/var/cache/streamvision:/other"}, "/var/cache/streamvision/engines"),
        ({"XDG_CACHE_HOME": "/home/me/.cache"}, "/home/me/.cache/streamvision/engines"),
    ],
)
def test_engines_are_kept_where_caches_belong(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str
) -> None:
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(folder)


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = EngineCache(tmp_path / "file" / "engines", extra=())
    with capture_logs() as logs:
        for key in (KEY, OTHER):
            assert cache.find(key) is None
            with cache.building(key):
                assert cache.store(key, fill(), {}) is None
    assert [(log["event"], log["log_level"]) for log in logs] == [("engine_cache_not_written", "warning")]


def test_a_disk_that_fills_up_leaves_nothing_behind(cache: EngineCache) -> None:
    def full(file: Path) -> None:
        file.write_bytes(b"eng")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with capture_logs() as logs:
        assert cache.store(KEY, full, {}) is None
    assert [log["error"] for log in logs] == ["No space left on device"]
    assert list(cache.folder.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, where this process may make one."""
    place = tmp_path / "tiny"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this process may not mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_real_full_disk_is_no_error_and_what_fits_is_kept(tiny_disk: Path) -> None:
    cache = EngineCache(tiny_disk, extra=())
    stored(cache)
    assert cache.store(OTHER, fill(bytes(100_000)), {}) is None
    assert [path.name for path in tiny_disk.iterdir()] == [KEY.digest]
    assert content_of(cache.find(KEY)) == b"engine"


def test_what_was_not_used_for_longest_goes_first_and_the_newest_never(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, extra=(), limit_bytes=3000)
    keys = [Key("toy", {"number": str(number)}) for number in range(4)]
    for age, key in zip((100, 200, 50), keys[:3], strict=True):
        place = stored(cache, key, bytes(700)).folder
        os.utime(place, (1_000_000 - age, 1_000_000 - age))
    assert cache.find(keys[1]) is not None  # used now: no longer the oldest
    stored(cache, keys[3], bytes(700))
    assert [cache.find(key) is not None for key in keys] == [False, True, True, True]
    stored(cache, OTHER, bytes(9000))
    assert [entry.digest for entry in cache.entries()] == [OTHER.digest]


def test_what_a_killed_builder_left_goes_and_the_folder_of_one_at_work_stays(cache: EngineCache) -> None:
    stored(cache)
    orphan = cache.folder / ".part-orphan"
    orphan.mkdir()
    (orphan / ENGINE).write_bytes(b"half")
    at_work: list[Path] = []

    def fill(engine: Path) -> None:
        at_work.extend(cache.folder.glob(".part-*"))
        os.utime(engine.parent, (1_000_000, 1_000_000))  # the clock has jumped by half a century
        EngineCache(cache.folder, extra=()).prune()
        engine.write_bytes(b"whole")

    assert cache.store(OTHER, fill, {}) is not None
    assert orphan in at_work
    assert len(at_work) == 2
    assert not list(cache.folder.glob(".part-*"))
    assert cache.find(OTHER) is not None


def test_threads_build_one_after_the_other(cache: EngineCache) -> None:
    builds: list[int] = []
    inside = threading.Semaphore(1)

    def build() -> None:
        with cache.building(KEY):
            assert inside.acquire(blocking=False)
            if cache.find(KEY) is None:
                builds.append(1)
                stored(cache)
            inside.release()

    threads = [threading.Thread(target=build) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert builds == [1]
    assert [path.name for path in cache.folder.iterdir()] == [KEY.digest]


BUILDER = """
import sys
from pathlib import Path
from streamvision.engine.cache import EngineCache, Key

cache, key = EngineCache(Path(sys.argv[1]), extra=()), Key("toy", {"onnx": "1", "precision": "fp32"})

def fill(file):
    file.write_bytes(b"half")
    print("building", flush=True)
    sys.stdin.readline()
    file.write_bytes(b"engine")

with cache.building(key):
    found = cache.find(key) is not None
    if not found:
        cache.store(key, fill, {})
print("found" if found else "built", flush=True)
"""


def builder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def until(stream: IO[str] | None, words: str) -> None:
    """Read lines until one has the words; the process's end is the bound."""
    assert stream is not None
    assert any(words in line for line in stream), f"it ended without saying {words!r}"


def finish(process: subprocess.Popen[str], words: str) -> None:
    assert words in process.communicate("\n", timeout=20)[0].splitlines()


def test_two_processes_build_one_engine(tmp_path: Path) -> None:
    with builder(tmp_path) as first:
        until(first.stdout, "building")
        with builder(tmp_path) as second:
            until(second.stdout, "engine_is_being_built_elsewhere")
            finish(first, "built")
            finish(second, "found")
    assert content_of(EngineCache(tmp_path, extra=()).find(KEY)) == b"engine"


def test_a_builder_that_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    with builder(tmp_path) as first:
        until(first.stdout, "building")
        with builder(tmp_path) as second:
            until(second.stdout, "engine_is_being_built_elsewhere")
            first.send_signal(signal.SIGKILL)
            until(second.stdout, "building")
            finish(second, "built")
    assert content_of(EngineCache(tmp_path, extra=()).find(KEY)) == b"engine"


def test_facts_that_are_no_json_are_a_mistake_of_the_caller(cache: EngineCache) -> None:
    unserialisable: Any = object()
    with pytest.raises(TypeError):
        cache.store(KEY, fill(), {"what": unserialisable})
    assert list(cache.folder.iterdir()) == []
