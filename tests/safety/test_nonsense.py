"""No input, however broken, shows anybody a traceback: configurations, manifests, detections, labels, stores, URLs."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from streamvision.config import load_settings
from streamvision.dataset.outlines import runs_problem
from streamvision.engine.manifest import labels_of, load, maps_of
from streamvision.errors import ConfigError, DataError, ManifestError, StreamvisionError
from streamvision.resources import shipped
from streamvision.track.motchallenge import read_detections
from tests.safety.nonsense import VALUES, as_json, assert_orderly, mutated_bytes, mutated_tree, outcome, spread
from tests.scale import scaled

CASES = scaled(100, 10_000)
RICH = b"""
state_dir: ./var
server:
  listen: 127.0.0.1:8080
  tokens: {admin: "0123456789abcdef", read: "${READ}"}
  allowed_hosts: [cameras.example]
models:
  street: {manifest: default, backend: auto, max_batch: 16, max_wait: 20ms, max_age: 500ms, options: {}}
  faces: {manifest: yunet}
streams:
  - id: gate
    url: rtsp://user:word@127.0.0.1/stream1
    transport: tcp
    fps: 10
    priority: high
    isolation: thread
    model: street
    models: [{model: faces, name: face, classes: [person], every: 5s}]
    min_score: 0.4
    motion_gate: auto
    tracker: {type: bytetrack, high_score: 0.5}
    privacy_masks: {window: [[0, 0], [0.2, 0], [0.2, 0.3]]}
    zones: {yard: [[0.1, 0.4], [0.9, 0.4], [0.9, 1], [0.1, 1]]}
    lines: {fence: [[0.2, 0.5], [0.8, 0.5]]}
    rules:
      - {name: intruder, type: zone, zone: yard, classes: [person], min_dwell: 2s, where: {face: [face]}, explain: true}
      - {name: fence, type: line, line: fence, classes: [person, car], direction: both}
  - {id: street, url: "demo:street?seed=5&size=640x360", model: street}
  - {id: film, url: film.mp4, loop: true, pace: realtime, model: street}
sinks:
  - {name: log, type: jsonl, path: events.jsonl}
  - {name: out, type: stdout}
explain: {masks: 600, share: 0.2}
collect: {folder: collected, low: 0.2, high: 0.5}
"""


def plain(text: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def configurations() -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in shipped("configs").glob("*.yaml")}
    assert len(found) >= 3
    return found | {"rich": RICH}


@pytest.fixture(scope="module")
def manifests() -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in shipped("engines").glob("*.yaml")}
    assert len(found) >= 4
    return found


def read_configuration(path: Path) -> None:
    """Read as ``check`` does; only problems with their places may come of it."""
    try:
        found = load_settings(path, env={"READ": "fedcba9876543210"}, labels_of=labels_of, maps_of=maps_of)
    except ConfigError as error:
        if not error.problems or not all(each.message and each.line >= 0 for each in error.problems):
            raise AssertionError("a refusal without a place or words") from error
    else:
        assert "fedcba9876543210" not in repr(found)


def test_mutated_bytes_of_configurations(tmp_path: Path, configurations: dict[str, bytes]):
    path = tmp_path / "config.yaml"
    for case, source, rng in spread(CASES, configurations):
        path.write_bytes(mutated_bytes(source, rng))
        try:
            read_configuration(path)
        except Exception as error:
            raise AssertionError(f"{case}: {path.read_bytes()!r}") from error


def test_mutated_structures_of_configurations(tmp_path: Path, configurations: dict[str, bytes]):
    path, trees = tmp_path / "config.yaml", {name: as_json(plain(text)) for name, text in configurations.items()}
    for case, source, rng in spread(CASES, trees):
        path.write_bytes(as_json(mutated_tree(json.loads(source), rng)))
        try:
            read_configuration(path)
        except Exception as error:
            raise AssertionError(f"{case}: {path.read_bytes()!r}") from error


@pytest.mark.parametrize(
    "text", [b"%YAML 9.9\n---\na: 1\n", b"%YAML 1.999999999999\n---\n", b"%TAG ! !\n---\n!x a\n", b"%X\n"]
)
def test_directives_that_trip_the_parser(tmp_path: Path, text: bytes):
    for read in (read_configuration, read_manifest):
        (tmp_path / "a.yaml").write_bytes(text)
        read(tmp_path / "a.yaml")


TREES = st.recursive(
    st.sampled_from(VALUES) | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SECTIONS = ["state_dir", "server", "models", "streams", "sinks", "explain", "collect"]


@settings(max_examples=scaled(60, 3000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(SECTIONS), TREES, max_size=4) | TREES)
def test_configurations_of_any_shape(tmp_path: Path, tree: Any):
    path = tmp_path / "config.yaml"
    path.write_bytes(as_json(tree))
    read_configuration(path)


@settings(max_examples=scaled(60, 3000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_configurations_of_any_bytes(tmp_path: Path, data: bytes):
    path = tmp_path / "config.yaml"
    path.write_bytes(data)
    read_configuration(path)


def test_check_says_it_in_words(tmp_path: Path, configurations: dict[str, bytes]):
    path = tmp_path / "config.yaml"
    for case, source, rng in spread(scaled(20, 300), configurations):
        path.write_bytes(mutated_bytes(source, rng))
        assert_orderly(outcome("check", path), (0, 2), case)


def read_manifest(path: Path) -> None:
    try:
        load(path)
    except StreamvisionError as error:
        if error.exit_code != 2 or not str(error):
            raise AssertionError("a refusal that is no ManifestError") from error


def test_mutated_manifests(tmp_path: Path, manifests: dict[str, bytes]):
    path = tmp_path / "model.yaml"
    trees = {name: as_json(plain(text)) for name, text in manifests.items()}
    for case, source, rng in spread(CASES // 2, manifests):
        path.write_bytes(mutated_bytes(source, rng))
        try:
            read_manifest(path)
        except Exception as error:
            raise AssertionError(f"{case}: {path.read_bytes()!r}") from error
    for case, source, rng in spread(CASES // 2, trees):
        path.write_bytes(as_json(mutated_tree(json.loads(source), rng)))
        try:
            read_manifest(path)
        except Exception as error:
            raise AssertionError(f"{case}: {path.read_bytes()!r}") from error


def test_models_info_says_it_in_words(tmp_path: Path, manifests: dict[str, bytes]):
    path = tmp_path / "model.yaml"
    for case, source, rng in spread(scaled(20, 300), manifests):
        path.write_bytes(mutated_bytes(source, rng))
        assert_orderly(outcome("models", "info", path), (0, 2, 3), case)


DETECTIONS = b"1,-1,10.5,20,30,60,0.9,-1,-1,-1\n1,-1,100,20,31.5,62,0.8,-1,-1,-1\n2,-1,12,21,30,60,0.85,-1,-1,-1\n" * 4


def test_mutated_detections(tmp_path: Path):
    path, tracks = tmp_path / "det.txt", tmp_path / "tracks.txt"
    for case, source, rng in spread(CASES, {"det.txt": DETECTIONS}):
        path.write_bytes(mutated_bytes(source, rng))
        try:
            read_detections(path)
        except StreamvisionError as error:
            if str(path) not in str(error):
                raise AssertionError(f"{case}: no place is named") from error
    for case, source, rng in spread(scaled(20, 300), {"det.txt": DETECTIONS}):
        path.write_bytes(mutated_bytes(source, rng))
        assert_orderly(outcome("track", path, "--out", tracks), (0, 1, 2, 3), case)


COCO = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48},
        {"id": 2, "file_name": "b.jpg", "width": 64, "height": 48},
    ],
    "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12], "area": 120, "iscrowd": 0,
         "segmentation": [[1, 2, 11, 2, 11, 14]]},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 1,
         "segmentation": {"counts": [0, 5, 3067], "size": [48, 64]}},
    ],
}  # fmt: skip


def test_mutated_labels(tmp_path: Path):
    import cv2
    import numpy as np

    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((48, 64, 3), np.uint8))
    path = tmp_path / "labels.json"
    for case, source, rng in spread(scaled(60, 3000), {"coco": as_json(COCO)}):
        mutant = mutated_bytes(source, rng) if rng.random() < 0.5 else as_json(mutated_tree(json.loads(source), rng))
        path.write_bytes(mutant)
        try:
            result = outcome("data", "check", path, "--images", tmp_path)
        except Exception as error:
            raise AssertionError(f"{case}: {mutant!r}") from error
        assert_orderly(result, (0, 1, 2, 3), f"{case}: {mutant!r}")


@pytest.mark.parametrize(
    "runs", [{"counts": [2**62] * 4 + [3072]}, {"counts": [10**30]}, {"counts": [3072], "size": 5}]
)
def test_run_lengths_that_wrap_around(runs: dict[str, Any]):
    assert runs_problem({"size": [48, 64], **runs}, (64, 48)) is not None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with events, closed."""
    from streamvision.clock import SystemClock
    from streamvision.sinks.store import EventStore
    from tests.sinks.samples import event

    folder = tmp_path_factory.mktemp("store")
    kept = EventStore(folder / "events.db", SystemClock())
    for number in range(50):
        kept.append([event(number)])
    kept.flush(60)
    kept.close()
    return folder


def test_damaged_stores_are_read_or_refused(tmp_path: Path, store: Path):
    whole = (store / "events.db").read_bytes()
    for case, source, rng in spread(scaled(60, 2000), {"events.db": whole}):
        damaged = bytearray(source)
        for _ in range(rng.choice((1, 5, 60))):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.choice((1, 16, 300))] = rng.randbytes(rng.choice((1, 16, 300)))
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "events.db").write_bytes(
            damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))]
        )
        if rng.random() < 0.3:
            (tmp_path / "state" / "events.db-wal").write_bytes(rng.randbytes(rng.choice((0, 31, 5000))))
        assert_orderly(
            outcome("events", "--state-dir", tmp_path / "state", *rng.choice(((), ("--json",)))), (0, 1, 3), case
        )


def test_events_that_are_not_what_they_should_be(tmp_path: Path, store: Path):
    path = tmp_path / "events.db"
    for number in range(scaled(30, 1000)):
        rng = random.Random(number)
        shutil.copy(store / "events.db", path)
        with sqlite3.connect(path) as connection:
            (position, text) = connection.execute("SELECT position, json FROM events LIMIT 1").fetchone()
            strange = rng.choice((
                mutated_bytes(text.encode(), rng), as_json(mutated_tree(json.loads(text), rng)).decode(), None, 7,
                b"\xff", "null", "[]", "{}", '{"data": []}', "[" * 5000,
            ))  # fmt: skip
            column = rng.choice(("json", "json", "json", "type", "stream", "time_us"))
            connection.execute("PRAGMA ignore_check_constraints=ON")
            try:
                connection.execute(f"UPDATE events SET {column} = ? WHERE position = ?", (strange, position))
            except sqlite3.IntegrityError:  # not null
                continue
        connection.close()
        for options in ((), ("--json",), ("--type", "zone"), ("--since", "1h")):
            assert_orderly(
                outcome("events", "--state-dir", tmp_path, *options), (0, 1, 3), f"seed {number} {strange!r}"
            )


URLS = [
    "", " ", ":", "::", "//", "http://", "http:///", "http://[", "http://[::1", "http://127.0.0.1:0/x",
    "http://127.0.0.1:99999/", "http://127.0.0.1:x/", "rtsp://", "rtsp://@/", "rtsp://:@127.0.0.1:1/",
    "rtsp://a:b@127.0.0.1:1/\u202e", "rtsp://127.0.0.1:1/%00", "concat:/etc/passwd|/etc/hosts",
    "subfile,,start,0,end,9,,:/etc/passwd", "crypto:/etc/passwd", "async:/etc/passwd", "data:,x", "pipe:0", "fd:0",
    "tcp://127.0.0.1:1", "udp://127.0.0.1:1", "rtp://127.0.0.1:1", "ftp://127.0.0.1/", "gopher://127.0.0.1/",
    "lavfi:testsrc", "hls+http://127.0.0.1:1/x", "file:", "file://", "file:///", "file://host/etc/passwd",
    "file:/dev/null", "/etc/passwd", "/dev/null", "/proc/self/environ", "/proc/self/mem", "images:", "images:/",
    "images:/etc/*", "v4l2:", "v4l2:/etc/passwd", "demo:", "demo:street?size=0x0", "demo:street?size=99999x99999",
    "demo:street?seed=99999999999999999999999999999999999999999999999999", "demo:street?fps=nan", "demo:nowhere",
    "\ud800", "x" * 5000, "http://" + "a" * 5000, "http://a..b/", "http://xn--/", "rtsp://127.0.0.1:1/" + "/" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("command", ["probe", "detect"])
def test_urls_of_any_kind_are_answered_in_words(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for url in URLS:
        options = ("--seconds", "0.1") if command == "probe" else ("--seconds", "0.1", "--model", "motion")
        assert_orderly(outcome(command, url, *options), (1, 2, 3), repr(url))


def test_mutated_urls_are_answered_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    sources = {
        "rtsp": b"rtsp://user:word@127.0.0.1:1/stream?x=1",
        "http": b"http://127.0.0.1:1/video.mp4",
        "file": b"file:///nowhere/a.mp4",
    }
    for case, source, rng in spread(scaled(30, 1000), sources):
        url = mutated_bytes(source, rng).decode("utf-8", "surrogateescape").replace("\0", "")  # no argument holds one
        scheme, _, rest = url.partition("://")
        if rest and not rest.partition("@")[2].startswith("127.") and not rest.startswith("127.") and scheme != "file":
            continue  # another host: whether that can be reached is not the question
        assert_orderly(outcome("probe", url, "--seconds", "0.1"), (0, 1, 2, 3), f"{case}: {url!r}")


def test_the_kinds_of_errors_are_those_that_users_are_told():
    assert {kind.exit_code for kind in (ConfigError, ManifestError, DataError)} == {2}
