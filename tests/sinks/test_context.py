"""What sinks are told beside their options, and what they ask for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streamvision import plugins
from streamvision.clock import SystemClock
from streamvision.config import Shard, SinkSettings, load_settings
from streamvision.errors import ConfigError, PluginError
from streamvision.interfaces import RuleInfo
from streamvision.metrics import SinkStats
from streamvision.options import sink_context
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.stdout import StdoutOptions
from streamvision.sinks.store import EventStore
from tests.sinks.samples import ScriptedSink

SINK = SinkSettings(name="out", type="stdout", options=StdoutOptions())
CONFIG = """
streams:
  - id: gate
    url: demo:street
    zones: {yard: [[0, 0], [1, 0], [1, 1]]}
    lines: {fence: [[0, 0], [1, 1]]}
    rules: [{name: intruder, type: zone, zone: yard}, {name: fence, type: line, line: fence}]
  - {id: porch, url: demo:street}
"""


def test_a_sink_is_told_the_streams_with_their_rules_and_can_give_signs_of_life(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    given = [load_settings(path)]
    beats: list[str] = []
    context = sink_context(SINK, lambda: given[0], beats.append)
    rules = (RuleInfo("intruder", "zone"), RuleInfo("fence", "line", lasting=False))
    assert context.streams() == {"gate": rules, "porch": ()}
    path.write_text("streams: [{id: yard, url: 'demo:street'}]")
    given[0] = load_settings(path)
    assert context.streams() == {"yard": ()}
    context.beat()
    assert beats == ["sink.out"]


def test_only_streams_that_are_chosen_are_told(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    context = sink_context(SINK.model_copy(update={"streams": ("porch",)}), lambda: load_settings(path), str)
    assert set(context.streams()) == {"porch"}


def test_a_shard_tells_which_streams_are_watched_elsewhere(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("streams: [" + ", ".join(f"{{id: cam-{number}, url: 'demo:street'}}" for number in range(12)) + "]")
    whole = load_settings(path)
    part = Shard(1, 3).of(whole)
    context = sink_context(SINK, lambda: part, str)
    everything = {stream.id for stream in whole.streams}
    assert set(context.streams())
    assert set(context.elsewhere()) == everything - set(context.streams())
    elsewhere = sorted(context.elsewhere())[0]
    chosen = sink_context(SINK.model_copy(update={"streams": (elsewhere,)}), lambda: part, str)
    assert (set(chosen.streams()), set(chosen.elsewhere())) == (set(), {elsewhere})
    assert not sink_context(SINK, lambda: whole, str).elsewhere()


TWO = """
streams: [{id: gate, url: 'demo:street'}, {id: yard, url: 'demo:street'}, {id: porch, url: 'demo:street'}]
sinks:
  - {name: one, type: mqtt, url: 'mqtt://127.0.0.1:1', streams: [gate]OWN}
  - {name: two, type: mqtt, url: 'mqtt://localhost:1', streams: [yard]OTHER}
  - {name: file, type: stdout}
"""


@pytest.mark.parametrize(
    ("own", "other", "one", "two"),
    [
        ("", "", {"yard"}, {"gate"}),
        (", prefix: a", ", prefix: a", {"yard"}, {"gate"}),
        (", prefix: a", "", set(), set()),
        ("", ", state: false", set(), {"gate"}),
    ],
)
def test_a_sink_is_told_what_another_one_shows_in_the_same_place(tmp_path, own, other, one, two):
    path = tmp_path / "c.yaml"
    path.write_text(TWO.replace("OWN", own).replace("OTHER", other))
    whole = load_settings(path)
    parts = [whole, *(Shard(index, 3).of(whole) for index in (1, 2, 3))]
    for now in parts:
        told = [set(sink_context(sink, lambda now=now: now, str).elsewhere()) for sink in whole.sinks]
        here = {stream.id for stream in now.streams}
        assert told[0] == one | ({"gate"} - here)
        assert told[1] == two | (set() if "false" in other else {"yard"} - here)
        assert told[2] == set(now.elsewhere)


def test_a_sink_that_shows_nothing_any_more_leaves_what_another_one_shows(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(TWO.replace("OWN", "").replace(", streams: [yard]OTHER", ", state: false"))
    whole = load_settings(path)
    assert sink_context(whole.sinks[1], lambda: whole, str).elsewhere() == {"gate"}


@pytest.mark.parametrize(("sink", "library"), [("webhook", "httpx"), ("mqtt", "paho")])
def test_a_library_that_is_missing_is_told_by_check(tmp_path, monkeypatch, sink, library):
    monkeypatch.setattr(plugins, "find_spec", lambda name: None if name == library else object())
    path = tmp_path / "c.yaml"
    path.write_text(f"streams: [{{id: a, url: 'demo:street'}}]\nsinks:\n  - {{name: h, type: {sink}, url: 'x://h'}}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    [problem] = caught.value.problems
    assert (problem.line, library in problem.message) == (3, True)
    assert f"streamvision[{sink}]" in problem.remedy


def test_what_needs_nothing_is_never_refused():
    plugins.demand("sink", "x", object())
    with pytest.raises(PluginError):
        plugins.demand("sink", "x", type("X", (), {"requires": ("no_such_library",)}))


def test_a_sink_that_wants_to_be_open_before_an_event_is(tmp_path: Path):
    opened = threading.Event()

    class Opening(ScriptedSink):
        def open(self) -> None:
            opened.set()

    store = EventStore(tmp_path / "events.db", SystemClock())
    delivery = Delivery("out", Opening(), store, SinkStats("out"), SystemClock(), lambda stage: None)
    delivery.start()
    assert opened.wait(60)
    delivery.stop(1.0)
    assert delivery.join(60)
    store.close()
