"""What the daemon says of itself."""

from __future__ import annotations

from pathlib import Path

from streamvision.config import load_settings
from streamvision.health import Heartbeats
from streamvision.metrics import Metrics
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from streamvision.types import StreamState
from tests.fakes import FakeClock


def board(tmp_path: Path, clock: FakeClock) -> tuple[StatusBoard, Metrics, EventStore, Heartbeats]:
    path = tmp_path / "c.yaml"
    path.write_text("streams: [{id: gate, url: 'rtsp://me:secret@192.0.2.1/x'}]\n")
    settings = load_settings(path)
    metrics, heartbeats = Metrics(), Heartbeats(clock)
    store = EventStore(tmp_path / "events.db", clock)
    return StatusBoard(settings, metrics, heartbeats, store, clock), metrics, store, heartbeats


def test_rates_and_ages_are_right_also_for_the_first_who_asks(tmp_path: Path):
    clock = FakeClock()
    status, metrics, store, _ = board(tmp_path, clock)
    stats = metrics.stream("gate")
    stats.state = StreamState.LIVE
    for _ in range(12):
        status.tick()
        clock.advance(0.25)
        stats.decoded += 5
        stats.analysed += 2
    stream = status.streams()[0]
    store.close()
    assert stream.state is StreamState.LIVE
    assert abs(stream.decoded_fps - 20) < 1
    assert abs(stream.analysed_fps - 8) < 1
    assert stream.since_s == 3.0
    assert "secret" not in stream.url


def test_frame_age_grows_when_a_camera_dies(tmp_path: Path):
    clock = FakeClock()
    status, metrics, store, _ = board(tmp_path, clock)
    stats = metrics.stream("gate")
    stats.last_analysed_s, stats.last_age_s = clock.monotonic(), 0.05
    clock.advance(60)
    age_s = status.streams()[0].frame_age_s
    store.close()
    assert age_s is not None
    assert abs(age_s - 60.05) < 1e-6


def test_it_is_ready_when_every_engine_is_and_alive_while_every_stage_is(tmp_path: Path):
    clock = FakeClock()
    status, metrics, store, heartbeats = board(tmp_path, clock)
    metrics.engine("default")
    heartbeats.register("analysis", 5.0)
    assert not status.readiness().ready
    metrics.engine("default").state = "ready"
    assert status.readiness().ready
    assert status.health().alive
    clock.advance(6)
    assert list(status.health().silent) == ["analysis"]
    store.close()


def test_who_looks_at_events_does_not_use_what_sinks_read_with(tmp_path: Path):
    status, _, store, _ = board(tmp_path, FakeClock())
    assert status.events is store.visitors
    store.close()


def test_it_tells_of_other_streams_from_a_reload_on_and_of_those_that_stay_without_a_break(tmp_path: Path):
    clock = FakeClock()
    status, metrics, store, _ = board(tmp_path, clock)
    metrics.stream("gate").state = StreamState.LIVE
    for _ in range(12):
        status.tick()
        clock.advance(0.25)
        metrics.stream("gate").decoded += 5
    (tmp_path / "c.yaml").write_text(
        "streams: [{id: yard, url: 'demo:street'},\n"
        "  {id: gate, url: 'demo:drive', lines: {l: [[0.1, 0.1], [0.9, 0.9]]}}]\n"
    )
    status.revise(load_settings(tmp_path / "c.yaml"))
    yard, gate = status.streams()
    assert (yard.id, gate.id, gate.url, gate.lines) == ("yard", "gate", "demo:drive", ("l",))
    assert abs(gate.decoded_fps - 20) < 1
    assert gate.since_s == 3.0
    watcher = status.live.watch("yard")
    (tmp_path / "c.yaml").write_text("streams: [{id: gate, url: 'demo:drive'}]\n")
    metrics.streams.pop("yard")
    status.revise(load_settings(tmp_path / "c.yaml"))
    assert [stream.id for stream in status.streams()] == ["gate"]
    assert not status.wanted("yard")
    watcher.close()
    assert set(metrics.streams) == {"gate"}
    store.close()
