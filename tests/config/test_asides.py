"""The sections ``explain`` and ``collect``, and rules that ask to be explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.config import CollectSettings, ExplainSettings, Settings, load_settings
from streamvision.errors import ConfigError

PLAIN = """
streams:
  - id: gate
    url: demo:street
    zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]]}
    rules:
      - {name: anyone, type: zone, zone: all, EXPLAIN}
      - {name: other, type: zone, zone: all}
"""


def load(folder: Path, text: str = "", explain: str = "explain: true") -> Settings:
    path = folder / "c.yaml"
    path.write_text(PLAIN.replace("EXPLAIN", explain) + text)
    return load_settings(path)


def test_a_rule_asks_to_be_explained(tmp_path: Path):
    settings = load(tmp_path)
    assert [rule.explain for rule in settings.stream("gate").rules] == [True, False]
    assert (settings.explain, settings.collect) == (ExplainSettings(), None)


@pytest.mark.parametrize("text", ["collect:\n", "collect: {}\n"])
def test_collecting_needs_no_more_than_its_name(tmp_path: Path, text: str):
    assert load(tmp_path, text).collect == CollectSettings()


def test_everything_can_be_said(tmp_path: Path):
    text = """
explain: {masks: 300, share: 0.1, side: 640, backlog: 8, max_mb: 100, max_age: 7d}
collect: {folder: more, streams: [gate], low: 0.1, high: 0.4, every: 5s, sample: 1h, min_score: 0.3, duplicates: 0,
          pictures_per_day: 10, mb_per_day: 5, max_pictures: 1000, max_mb: 50}
"""
    settings = load(tmp_path, text)
    assert settings.explain.max_age == 7 * 86400
    assert settings.collect is not None
    assert (settings.collect.every, settings.collect.sample, settings.collect.written_from) == (5, 3600, 0.3)


@pytest.mark.parametrize(
    ("text", "explain", "said"),
    [
        ("", "explain: maybe", "explain: expected true or false"),
        ("collect: {streams: [gat]}\n", "explain: true", "there is no stream 'gat'; did you mean 'gate'?"),
        ("collect: {low: 0.5, high: 0.5}\n", "explain: true", "low (0.5) is not below high (0.5)"),
        ("collect: {lows: 0.5}\n", "explain: true", "unknown key 'lows'; did you mean 'low'?"),
        ("explain: {mask: 100}\n", "explain: true", "unknown key 'mask'; did you mean 'masks'?"),
        ("explain: {share: 0}\n", "explain: true", "share"),
        ("collects: {}\n", "explain: true", "unknown key 'collects'; did you mean 'collect'?"),
    ],
)
def test_mistakes_are_told_at_their_place(tmp_path: Path, text: str, explain: str, said: str):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, explain)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/c.yaml:")
