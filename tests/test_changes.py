"""The difference of two settings: a table of what each change amounts to, and that applying it gives the new ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from streamvision.changes import Difference, Plan, plan
from streamvision.config import Settings, Shard, load_settings
from tests.scale import scaled

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]]
ZONE = {"name": "r", "type": "zone", "zone": "z"}
STREAM: dict[str, Any] = {
    "id": "a", "url": "rtsp://192.0.2.1/one", "model": "m",
    "zones": {"z": SQUARE, "y": SQUARE}, "lines": {"l": [[0, 0], [1, 1]]},
    "rules": [ZONE, {"name": "s", "type": "line", "line": "l"}],
}  # fmt: skip
WHOLE: dict[str, Any] = {
    "models": {"m": {}, "n": {}, "c": {}},
    "streams": [STREAM, {"id": "b", "url": "demo:street", "model": "n"}],
    "sinks": [{"name": "log", "type": "jsonl", "path": "x.jsonl"}],
}


def load(document: Mapping[str, Any], folder: Path) -> Settings:
    path = folder / "config.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(dict(document), file)
    return load_settings(path)


def with_stream(**changes: Any) -> dict[str, Any]:
    return WHOLE | {"streams": [STREAM | changes, *WHOLE["streams"][1:]]}


def change_to(document: Mapping[str, Any], folder: Path) -> Plan:
    old, new = load(WHOLE, folder), load(document, folder)
    found = plan(old, new)
    assert found.apply(old) == new
    assert plan(new, new).as_json() == {}
    assert not plan(new, new)
    return found


SECOND = {"model": "c", "name": "colour"}

# what changes in stream a; then: keys told, capture anew, another scene, tracker anew, rules changed, looks
TABLE = [
    ({"url": "rtsp://192.0.2.1/two"}, ["url"], "capture scene tracker", {"r", "s"}),
    ({"url": "rtsp://u:p@192.0.2.1/one"}, ["url"], "capture scene tracker", {"r", "s"}),
    ({"transport": "udp"}, ["source"], "capture scene tracker", {"r", "s"}),
    ({"fps": 5}, ["fps"], "capture", set()),
    ({"motion_gate": "off"}, ["motion_gate"], "capture", set()),
    ({"privacy_masks": {"w": SQUARE}}, ["privacy_masks"], "capture", set()),
    ({"min_score": 0.7}, ["min_score"], "tracker", {"r", "s"}),
    ({"tracker": {"type": "bytetrack", "high_score": 0.55}}, ["tracker"], "tracker", {"r", "s"}),
    ({"zones": {"z": SQUARE[:3], "y": SQUARE}}, ["zones"], "", {"r"}),
    ({"zones": {"z": SQUARE, "y": SQUARE[:3]}}, ["zones"], "", set()),
    ({"lines": {"l": [[0, 0.5], [1, 0.5]]}}, ["lines"], "", {"s"}),
    ({"rules": [ZONE | {"min_dwell": "2s"}, STREAM["rules"][1]]}, ["rules"], "", {"r"}),
    ({"rules": [ZONE | {"explain": True}, STREAM["rules"][1]]}, ["rules"], "", set()),
    ({"rules": [STREAM["rules"][1], ZONE]}, ["rules"], "", set()),
    ({"models": [SECOND]}, ["models"], "colour", set()),
    ({"models": [SECOND], "rules": [ZONE | {"where": {"colour": ["red"]}}, STREAM["rules"][1]]},
     ["models", "rules"], "colour", {"r"}),
    ({"model": "n"}, ["model"], "model", set()),
]  # fmt: skip


def short(value: Any) -> str:
    """A name that is the same in every process: the order of a set is not."""
    return str(sorted(value) if isinstance(value, set) else value)[:40]


@pytest.mark.parametrize(("changes", "keys", "what", "rules"), TABLE, ids=short)
def test_what_a_change_of_a_stream_amounts_to(
    changes: dict[str, Any], keys: list[str], what: str, rules: set[str], tmp_path: Path
):
    found = change_to(with_stream(**changes), tmp_path)
    change = found.details["a"]
    assert set(found.details) == {"a"}
    assert found.as_json() == {"streams": {"changed": {"a": list(change.keys)}}}
    assert sorted(change.keys) == sorted(keys)
    told = [name for name in ("capture", "scene", "model", "tracker") if getattr(change, name)] + list(change.looks)
    assert told == what.split()
    assert set(change.rules.changed) == rules
    assert found.kept["streams"] == ["b"]


def test_rules_that_come_and_go(tmp_path: Path):
    rules = [{"name": "t", "type": "zone", "zone": "y"}, ZONE]
    change = change_to(with_stream(rules=rules), tmp_path).details["a"]
    assert set(change.rules.added) == {"t"}
    assert change.rules.removed == ("s",)
    assert change.rules.kept == ("r",)


@pytest.mark.parametrize(
    ("document", "told", "asides"),
    [
        (WHOLE | {"sinks": []}, {"sinks": {"removed": ["log"]}}, False),
        (WHOLE | {"sinks": [{"name": "log", "type": "stdout"}]}, {"sinks": {"changed": {"log": []}}}, False),
        (
            WHOLE | {"models": WHOLE["models"] | {"n": {"max_batch": 3}}},
            {"models": {"changed": {"n": []}}, "streams": {"changed": {"b": ["model"]}}},
            False,
        ),
        (WHOLE | {"models": WHOLE["models"] | {"k": {}}}, {"models": {"added": ["k"]}}, False),
        (WHOLE | {"streams": WHOLE["streams"][:1]}, {"streams": {"removed": ["b"]}}, False),
        (WHOLE | {"collect": {"streams": ["b"]}}, {"sections": ["collect"]}, True),
        (WHOLE | {"explain": {"masks": 90}}, {"sections": ["explain"]}, False),
        (
            with_stream(rules=[ZONE | {"explain": True}, STREAM["rules"][1]]),
            {"streams": {"changed": {"a": ["rules"]}}},
            True,
        ),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_what_a_change_of_a_section_amounts_to(
    document: dict[str, Any], told: dict[str, Any], asides: bool, tmp_path: Path
):
    found = change_to(document, tmp_path)
    assert found.as_json() == told
    assert found.asides == asides
    assert not found.waiting


def test_what_is_collected_is_collected_anew_where_its_stream_changes(tmp_path: Path):
    base = WHOLE | {"collect": {"streams": ["b"]}}
    old = load(base, tmp_path)
    assert not plan(old, load(with_stream(fps=5) | {"collect": {"streams": ["b"]}}, tmp_path)).asides
    other = base | {
        "streams": [STREAM, {"id": "b", "url": "demo:street", "model": "n", "privacy_masks": {"w": SQUARE}}]
    }
    assert plan(old, load(other, tmp_path)).asides


def test_some_keys_wait_for_the_next_start_and_the_rest_does_not(tmp_path: Path):
    old = load(WHOLE, tmp_path)
    new = load(with_stream(fps=5) | {"state_dir": "elsewhere", "server": {"listen": "127.0.0.1:9"}}, tmp_path)
    found = plan(old, new)
    assert set(found.waiting) == {"state_dir", "server.listen"}
    ran = found.apply(old)
    assert (ran.state_dir, ran.server) == (old.state_dir, old.server)
    assert ran.streams == new.streams
    assert set(plan(ran, new).waiting) == {"state_dir", "server.listen"}
    assert not plan(ran, new)


def test_tokens_change_at_once_but_never_without_the_address_that_they_protect(tmp_path: Path):
    def served(listen: str, admin: str | None) -> dict[str, Any]:
        tokens = {} if admin is None else {"tokens": {"admin": admin * 8, "read": "reader" * 4}}
        return WHOLE | {"server": {"listen": listen} | tokens}

    old = load(served("0.0.0.0:8080", "one"), tmp_path)
    other = load(served("0.0.0.0:8080", "two"), tmp_path)
    assert plan(old, other).as_json() == {"sections": ["server"]}
    assert plan(old, other).apply(old) == other
    inside = plan(old, load(served("127.0.0.1:8080", None), tmp_path))
    assert set(inside.waiting) == {"server.listen", "server.tokens"}
    assert inside.apply(old).server == old.server


def test_a_renewed_manifest_is_another_model(tmp_path: Path):
    old = load(WHOLE, tmp_path)
    found = plan(old, old, frozenset({"n"}))
    assert set(found.models.changed) == {"n"}
    assert set(found.details) == {"b"}


def test_streams_of_other_shards_come_and_go_with_the_rest(tmp_path: Path):
    parts = [
        Shard(1, 2).of(load({"streams": [{"id": f"s{n}", "url": "demo:street"} for n in range(count)]}, tmp_path))
        for count in (20, 40)
    ]
    assert plan(*parts).apply(parts[0]).elsewhere == parts[1].elsewhere > parts[0].elsewhere


def test_no_secret_is_told(tmp_path: Path):
    old = load(WHOLE, tmp_path)
    new = load(with_stream(url="rtsp://user:hunter2@192.0.2.1/one"), tmp_path)
    assert "hunter2" not in str(plan(old, new).as_json())
    assert "hunter2" not in repr(plan(old, new).details)


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 2)), st.dictionaries(st.text(max_size=2), st.integers(0, 2)))
def test_a_difference_leads_from_one_to_the_other(old: dict[str, int], new: dict[str, int]):
    difference = Difference.of(old, new)
    assert list(difference.apply(old).items()) == list(new.items())
    assert bool(difference) == (old != new)
    assert {*difference.kept, *difference.added, *difference.changed} == set(new)
    assert set(difference.removed) == old.keys() - new.keys()


NAMES = st.sampled_from(["a", "b", "c", "d"])
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        key: st.sampled_from([each[key] for each, *_ in TABLE if key in each]) for each, *_ in TABLE for key in each
    },
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, min_size=1, unique=True))
    streams = [STREAM | {"id": name} | draw(CHANGES) for name in names]
    for stream in streams:
        stream["models"] = [SECOND]  # so that every `where` has its attribute
    models = {name: {"max_batch": draw(st.integers(1, 3))} for name in ("m", "n", "c")}
    sinks = [{"name": name, "type": "jsonl", "path": f"{name}.jsonl"} for name in draw(st.lists(NAMES, unique=True))]
    return {"models": models, "streams": streams, "sinks": sinks}


@settings(max_examples=scaled(25, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=documents(), after=documents())
def test_applying_a_plan_to_the_old_settings_gives_the_new_ones(
    before: dict[str, Any], after: dict[str, Any], tmp_path: Path
):
    old, new = load(before, tmp_path), load(after, tmp_path)
    there = plan(old, new)
    assert there.apply(old) == new
    assert not plan(there.apply(old), new)
    assert plan(new, old).apply(new) == old
    assert set(there.details) <= {stream.id for stream in old.streams} & {stream.id for stream in new.streams}
