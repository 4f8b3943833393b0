"""A running pipeline explains the events of rules that ask for it, and the API says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.clock import SystemClock
from streamvision.config import load_settings
from streamvision.errors import UsageError
from streamvision.explain.background import decoded
from streamvision.explain.shelf import Shelf, State
from streamvision.health import Heartbeats
from streamvision.metrics import Metrics
from streamvision.pipeline import Pipeline
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from tests.explain.scenes import watching
from tests.harness import NoViewer, assert_balanced, read_events, running, wait_until


def test_an_event_of_a_rule_that_asks_for_it_is_explained(tmp_path: Path):
    config = watching(tmp_path, rule=", explain: true", extra="explain: {masks: 60, share: 1}")
    with running(config, tmp_path) as pipeline:
        stats = pipeline.metrics.stream("gate")
        wait_until(lambda: stats.explained["anyone"] >= 1, 60, pipeline)
        board = StatusBoard(
            pipeline.settings, pipeline.metrics, Heartbeats(SystemClock()), pipeline.store, SystemClock()
        )
        known = [one for one in map(Shelf(tmp_path / "state").find, _events(tmp_path)) if one is not None]
        (done,) = (one for one in known if one.state is State.DONE)
        assert board.explanation(done.event).jpeg is not None
        assert "no explanation" in board.explanation("01NOBODY").reason
    assert_balanced(stats)
    told = [one for one in read_events(tmp_path / "state") if one["type"] == "streamvision.zone.start"]
    assert told[0]["data"]["evidence"]["explanation"] == f"explanations/{told[0]['id']}.jpg"
    kept = decoded((tmp_path / "state" / f"explanations/{told[0]['id']}.picture.jpg").read_bytes())
    assert kept[96:, 168:].max() <= 8  # the privacy mask
    assert done.numbers["score"] > 0.3
    assert {"insertion", "deletion", "energy_in_box", "agreement"} <= set(done.numbers)


def _events(folder: Path) -> list[str]:
    return [path.name.partition(".")[0] for path in (folder / "state" / "explanations").glob("*.json")]


def test_what_moves_cannot_be_explained(tmp_path: Path):
    path = tmp_path / "config.yaml"
    config = watching(tmp_path, 1, rule=", explain: true")
    manifest = next(line for line in config.splitlines() if line.startswith("models:"))
    path.write_text(config.replace(manifest, "models: {toy: {manifest: motion}}"))
    settings, metrics, clock = load_settings(path), Metrics(), SystemClock()
    store = EventStore(settings.state_dir / "events.db", clock)
    pipeline = Pipeline(settings, store, metrics, Heartbeats(clock), NoViewer(), clock)
    try:
        with pytest.raises(UsageError, match="stream gate, rule anyone: `explain: true`: it sees what moves"):
            pipeline.load()
    finally:
        store.close()
