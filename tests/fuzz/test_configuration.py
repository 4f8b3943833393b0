"""A configuration that is wrong is refused with file, line and column of every mistake, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.config import load_settings
from streamvision.config.document import MAX_BYTES, read_document
from streamvision.engine.manifest import labels_of, maps_of
from streamvision.errors import ConfigError
from streamvision.resources import shipped
from tests.fuzz.texts import HOSTILE, altered, bomb, damaged, sized

SHIPPED = {path.name: path.read_bytes() for path in sorted(shipped("configs").glob("*.yaml"))}
PLAIN = {name: read_document(name, raw).data for name, raw in SHIPPED.items()}
NAMES = st.sampled_from(sorted(SHIPPED))
ENV = {"CAM_USER": "a-user-of-the-environment", "CAM_PASSWORD": "a-secret-of-the-environment"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration") / "config.yaml"


def judge(path: Path, raw: bytes) -> ConfigError | None:
    """Load a configuration as ``check`` does; a refusal has to tell the places of all that is wrong."""
    path.write_bytes(raw)
    try:
        load_settings(path, env=ENV, labels_of=labels_of, maps_of=maps_of)
    except ConfigError as error:
        refusal = error
    else:
        return None
    placed(path, raw, refusal)
    return refusal


def placed(path: Path, raw: bytes, refusal: ConfigError) -> None:
    """Fail unless every problem has a place in the file, and none tells a secret."""
    lines = len(raw.decode("utf-8", "replace").splitlines()) + 1
    assert refusal.problems
    for problem in refusal.problems:
        assert problem.file == str(path)
        assert 1 <= problem.line <= lines, problem
        assert problem.column >= 1, problem
        assert problem.message, problem
        assert str(problem).startswith(f"{path}:{problem.line}:{problem.column}: ")
        assert ENV["CAM_PASSWORD"] not in str(problem)


def test_what_is_shipped_is_right(path: Path):
    assert len(SHIPPED) >= 3
    assert all(judge(path, raw) is None for raw in SHIPPED.values())


@sized(30, 10_000)
@given(NAMES.flatmap(lambda name: damaged(SHIPPED[name])))
def test_damaged_bytes(path: Path, raw: bytes):
    judge(path, raw)


@sized(30, 10_000)
@given(NAMES.flatmap(lambda name: altered(PLAIN[name])))
def test_another_value_anywhere(path: Path, tree: Any):
    judge(path, json.dumps(tree).encode())


@sized(40, 5_000)
@given(HOSTILE)
def test_hostile_yaml(path: Path, text: str):
    assert judge(path, text.encode("utf-8", "surrogatepass")) is not None


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (bomb(20, 10), "1:1", "through aliases"),
        ("streams: &a [*a]\n", "1:1", "through aliases"),
        ("streams: " + "[" * 60 + "]" * 60, "1:1", "nested too deeply"),
        ("streams: " + "[" * 2_000, "1:1", "too deeply nested"),
        ("streams: []\nstreams: []\n", "2:1", "given twice"),
        ("state_dir: a\n\nserver: {x\0}\n", "3:1", "not allowed"),
        ("state_dir: !!python/name:os.system x\n", "1:12", "tag"),
        ("#" * (MAX_BYTES + 1), "1:1", "larger than"),
    ],
    ids=["aliases", "itself", "depth", "brackets", "twice", "nul", "tag", "size"],
)
def test_what_hurts_a_reader_is_named(path: Path, text: str, place: str, words: str):
    refusal = judge(path, text.encode())
    assert refusal is not None
    assert f"{path}:{place}: " in str(refusal)
    assert words in str(refusal)
