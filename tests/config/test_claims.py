from __future__ import annotations

import pytest

from streamvision.config import load_settings
from streamvision.errors import ConfigError

HEAD = "state_dir: ./var\nstreams: [{id: a, url: 'demo:street'}]\nsinks:\n"


def sinks(*paths: str) -> str:
    return HEAD + "".join(f"  - {{name: s{number}, type: jsonl, path: {path}}}\n" for number, path in enumerate(paths))


@pytest.mark.parametrize(
    ("paths", "place", "message"),
    [
        (["events.db"], (4, 35), "belongs to the event store"),
        (["./logs/../events.db-wal"], (4, 35), "belongs to the event store"),
        (["FOLDER/var/events.db"], (4, 35), "belongs to the event store"),
        (["LINK/events.db.lock"], (4, 35), "belongs to the event store"),
        (["a.jsonl", "b.jsonl", "./a.jsonl"], (6, 35), "the sink in line 4 writes this file too"),
        (["a.jsonl", "LINK/a.jsonl"], (5, 35), "the sink in line 4 writes this file too"),
    ],
)
def test_a_file_belongs_to_one(tmp_path, paths, place, message):
    (tmp_path / "var").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "var")
    path = tmp_path / "c.yaml"
    path.write_text(sinks(*paths).replace("FOLDER", str(tmp_path)).replace("LINK", str(tmp_path / "link")))
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    [problem] = caught.value.problems
    assert ((problem.line, problem.column), message in problem.message) == (place, True)


def test_files_of_their_own_are_right(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(sinks("a.jsonl", "b/a.jsonl", "logs/events.db", "/dev/null"))
    assert len(load_settings(path).sinks) == 4


@pytest.mark.parametrize("paths", [["FOLDER/a.jsonl"], ["FOLDER/var/shard-1/a.jsonl"], ["FOLDER/11-21/a.jsonl"]])
def test_all_shards_write_no_single_file(tmp_path, paths):
    path = tmp_path / "c.yaml"
    path.write_text(sinks("mine.jsonl", *paths).replace("FOLDER", str(tmp_path)))
    with pytest.raises(ConfigError, match="every shard would write this file") as caught:
        load_settings(path, env={"STREAMVISION_SHARD": "1-2"})
    [problem] = caught.value.problems
    assert (problem.line, problem.column) == (5, 35)
    assert "${STREAMVISION_SHARD}" in problem.remedy
    assert len(load_settings(path, env={}).sinks) == 2
    assert len(load_settings(path, env={"STREAMVISION_SHARD": "1-1"}).sinks) == 2


def test_files_that_differ_between_shards_are_right(tmp_path):
    path = tmp_path / "c.yaml"
    given = sinks("a.jsonl", '"FOLDER/${STREAMVISION_SHARD}.jsonl"', '"${OWN}"', "/dev/null")
    path.write_text(given.replace("FOLDER", str(tmp_path)))
    env = {"STREAMVISION_SHARD": "2-8", "OWN": "/srv/2-8/events.jsonl"}
    assert len(load_settings(path, env=env).sinks) == 4


@pytest.mark.parametrize("where", ["state_dir", "path"])
@pytest.mark.parametrize("name", [r"\ud83d", r"a\0b"])
def test_a_name_that_no_file_can_have_is_told(tmp_path, where, name):
    path = tmp_path / "c.yaml"
    text = sinks("NAME" if where == "path" else "a.jsonl").replace("./var", "NAME" if where == "state_dir" else "./var")
    path.write_text(text.replace("NAME", f'"{name}"'))
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert [problem.line for problem in caught.value.problems] == [1 if where == "state_dir" else 4]
