"""A manifest that is wrong is refused with its file's name, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.config.document import read_document
from streamvision.engine.manifest import load
from streamvision.errors import ManifestError, PluginError
from streamvision.resources import shipped
from tests.fuzz.texts import HOSTILE, altered, bomb, damaged, sized

SHIPPED = {path.name: path.read_bytes() for path in sorted(shipped("engines").glob("*.yaml"))}
PLAIN = {name: read_document(name, raw).data for name, raw in SHIPPED.items()}
NAMES = st.sampled_from(sorted(SHIPPED))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifest") / "model.yaml"


def judge(path: Path, raw: bytes) -> ManifestError | None:
    """Load a manifest; only a refusal that names the file, or a decoder that is missing, may come of it."""
    path.write_bytes(raw)
    refusal = None
    try:
        load(path)
    except ManifestError as error:
        refusal = error
    except PluginError:  # it names a decoder that nobody has
        return None
    assert refusal is None or str(path) in str(refusal)
    return refusal


def test_what_is_shipped_is_right(path: Path):
    assert len(SHIPPED) >= 4
    assert all(judge(path, raw) is None for raw in SHIPPED.values())


@sized(25, 5_000)
@given(NAMES.flatmap(lambda name: damaged(SHIPPED[name])))
def test_damaged_bytes(path: Path, raw: bytes):
    judge(path, raw)


@sized(25, 5_000)
@given(NAMES.flatmap(lambda name: altered(PLAIN[name])))
def test_another_value_anywhere(path: Path, tree: Any):
    judge(path, json.dumps(tree).encode())


@sized(40, 5_000)
@given(HOSTILE)
def test_hostile_yaml(path: Path, text: str):
    assert judge(path, text.encode("utf-8", "surrogatepass")) is not None


@pytest.mark.parametrize(
    "text",
    [
        bomb(20, 10),
        "a: &a [*a]\n",
        "[" * 3000,
        "? " * 45 + "1",
        "? &a {b: 1}\n: 1\n? *a\n: 2\n",
        "a: 1\na: 2\n",
        "a: &b 1\nc: &b 2\n",
    ],
    ids=["aliases", "itself", "depth", "keys of keys", "alias as key", "twice", "anchors"],
)
def test_what_hurts_a_reader_is_refused(path: Path, text: str):
    assert judge(path, text.encode()) is not None
