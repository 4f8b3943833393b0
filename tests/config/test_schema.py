from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from streamvision import plugins
from streamvision.config import load_settings
from streamvision.config.schema import json_schema
from streamvision.config.settings import StreamEntry
from streamvision.engine.manifest import labels_of
from streamvision.resources import shipped
from tests.config.plugin_fakes import load
from tests.config.test_load import TEN_MISTAKES, WHOLE

SHIPPED = sorted(shipped("configs").glob("*.yaml"))


def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def plain(text: str):
    return YAML(typ="safe", pure=True).load(text)


def test_the_committed_schema_is_the_present_one():
    committed = json.loads((shipped("configs") / "config.schema.json").read_text("utf-8"))
    assert committed == json_schema(), "streamvision schema > configs/config.schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configurations_fit_the_schema_and_are_right(path: Path):
    validator().validate(plain(path.read_text("utf-8")))
    found = load_settings(path, env={"CAM_USER": "u", "CAM_PASSWORD": "p"}, labels_of=labels_of)
    assert found.streams


def test_the_schema_accepts_the_contract_and_refuses_mistakes():
    validator().validate(plain(WHOLE))
    assert len(list(validator().iter_errors(plain(TEN_MISTAKES.replace("${CAM_USER}:${CAM_PASSWORD}@", ""))))) >= 5


def test_the_contract_is_right_with_the_real_plug_ins(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(WHOLE)
    env = {"CAM_USER": "u", "CAM_PASSWORD": "p"}
    real = load_settings(path, env=env)
    assert real.streams[0].rules[0].options.min_dwell == 2.0
    assert load_settings(path, env=env, load_plugin=load).streams[0].zones == real.streams[0].zones


IN_THE_URL = {"demo": {"fps"}}


@pytest.mark.parametrize("name", plugins.names("source"))
def test_every_option_of_a_source_can_be_given(name):
    """A key that all streams have never reaches the source."""
    taken = {*StreamEntry.model_fields, "rules", "tracker"}
    assert set(plugins.load("source", name).Options.model_fields) & taken == IN_THE_URL.get(name, set())
