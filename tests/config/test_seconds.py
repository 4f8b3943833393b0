"""Second networks of a stream, and rules that ask for what they say."""

from __future__ import annotations

import pytest

from streamvision.config import load_settings
from streamvision.errors import ConfigError
from tests.config.test_load import load_text, problems

LABELS = {"default": ("person", "car"), "colours": ("red", "blue"), "unknown": None}

CONFIG = """\
models:
  street: {{manifest: default}}
  colour: {{manifest: colours}}
  plain: {{manifest: unknown}}
streams:
  - id: gate
    url: /videos/a.mp4
    model: street
    models: [{second}]
    zones: {{yard: [[0.1, 0.4], [0.9, 0.4], [0.9, 1], [0.1, 1]]}}
    rules:
      - {{name: r, type: zone, zone: yard, where: {where}}}
"""


def config(second: str = "{model: colour}", where: str = "{colour: red}") -> str:
    return CONFIG.format(second=second, where=where)


def test_a_second_network_with_all_its_options(tmp_path):
    text = config("{model: colour, name: paint, classes: [car], every: 10s, grow: 2, min_side: 40, margin: 0.2,"
                  " min_score: 0.5}", "{paint: [red, blue]}")  # fmt: skip
    gate = load_text(tmp_path, text, labels_of=LABELS.__getitem__).streams[0]
    (second,) = gate.models
    assert (second.model, second.attribute, second.classes, second.every) == ("colour", "paint", ("car",), 10.0)
    assert (second.grow, second.min_side, second.margin, second.min_score) == (2.0, 40.0, 0.2, 0.5)
    assert gate.rules[0].where == {"paint": ("red", "blue")}


def test_one_value_is_a_list_of_one_and_the_model_names_the_attribute(tmp_path):
    gate = load_text(tmp_path, config(), labels_of=LABELS.__getitem__).streams[0]
    assert gate.models[0].attribute == "colour"
    assert gate.rules[0].where == {"colour": ("red",)}


def test_a_detector_may_find_nothing_and_unknown_labels_are_believed(tmp_path):
    for text in (config(where="{colour: none}"), config("{model: plain}", "{plain: whatever}")):
        assert load_text(tmp_path, text, labels_of=LABELS.__getitem__)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (config("{model: colou}"), (9, 22), "there is no model 'colou'; did you mean 'colour'?"),
        (config("{model: colour, classes: [cat]}"), (9, 40), "the model knows no class 'cat'"),
        (config("{model: colour, evry: 5s}"), (9, 30), "unknown key 'evry'; did you mean 'every'?"),
        (config("{model: colour, grow: 1}"), (9, 36), "grow: expected"),
        (config("{model: colour}, {model: colour}"), (9, 31), "attribute 'colour' is given twice"),
        (config(where="{color: red}"), (12, 51), "nothing gives the attribute 'color' on this stream; did you mean"),
        (config(where="{colour: rde}"), (12, 59), "colour is never 'rde'; did you mean 'red'?"),
        (config(where="{colour: [red, pink]}"), (12, 59), "colour is never 'pink'"),
        (config(where="{colour: []}"), (12, 50), "colour has no value that counts"),
        (config(where="red"), (12, 50), "expected"),
        (config(where="{colour: {red: 1}}"), (12, 59), "expected a list"),
    ],
)
def test_mistakes(tmp_path, text, place, message):
    found = problems(tmp_path, text, labels_of=LABELS.__getitem__)
    assert [(line, column) for line, column, _ in found] == [place]
    assert message in found[0][2]


def test_a_rule_of_label_maps_has_no_tracks_to_ask(tmp_path):
    text = config().replace("type: zone, zone: yard", "type: area, zone: yard, classes: [road]")
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="area is not about tracks, and only they have attributes"):
        load_settings(path, labels_of=LABELS.__getitem__)


def test_classes_are_judged_by_the_manifest_of_a_model_that_is_wrong_elsewhere(tmp_path):
    text = config("{model: colour}").replace("{manifest: colours}", "{manifest: colours, max_batch: many}")
    found = problems(tmp_path, text, labels_of=LABELS.__getitem__)
    assert [message for _, _, message in found] == ["max_batch: expected a whole number, not 'many'"]
