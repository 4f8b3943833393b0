from __future__ import annotations

import pytest

from streamvision.config import load_settings
from streamvision.errors import ConfigError
from streamvision.sinks.outlets import retention_of
from streamvision.sinks.retention import Retention

CONFIG = """
streams: [{{id: gate, url: "demo:street"}}, {{id: yard, url: "demo:street"}}]
sinks: [{{name: log, type: jsonl, path: a.jsonl, streams: [{stream}], types: [{kind}]}}]
outbox: {{max_age: {age}, max_mb: 5, max_dead_letters: 9}}
"""


def test_bounds_and_a_sinks_choice(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(stream="yard", kind="zone, streamvision.line.instant, outage", age="7d"))
    settings = load_settings(path)
    assert retention_of(settings) == Retention(7 * 86400.0, 5 << 20, 9)
    assert settings.sinks[0].streams == ("yard",)
    assert settings.sinks[0].types == ("zone", "streamvision.line.instant", "outage")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stream": "yrd"}, "there is no stream 'yrd'; did you mean 'yard'?"),
        ({"kind": "zona"}, "there are no events of type 'zona'; did you mean 'zone'?"),
        ({"age": "0s"}, "max_age"),
    ],
)
def test_mistakes_are_named(tmp_path, change, said):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(**({"stream": "yard", "kind": "zone", "age": "7d"} | change)))
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert len(caught.value.problems) == 1
    assert said in str(caught.value)
