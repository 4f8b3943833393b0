"""Who asks for a reload gets an answer; reloads never overlap; what goes wrong is said and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamvision.changes import Plan, plan
from streamvision.config import Settings, load_settings
from streamvision.errors import EngineError
from streamvision.metrics import Metrics
from streamvision.notify import Notifier
from streamvision.pipeline import Abandoned, Broken
from streamvision.reload import Reloader
from streamvision.web import ReloadReport
from tests.fakes import FakeClock

BOUND_S = 60.0
CONFIG = "streams: [{id: a, url: 'demo:street'}]\n"


class Recorder(Notifier):
    def __init__(self) -> None:
        super().__init__(None, None)
        self.sent: list[str] = []

    def _send(self, message: str) -> None:
        self.sent.append(message.split("=")[0])


@dataclass
class FakeService:
    """Goes over to whatever it is given, after a gate has opened."""

    settings: Settings
    started: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    at_once: int = 0
    most: int = 0

    def change(self, new: Settings) -> Plan:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.entered.set()
        try:
            assert self.gate.wait(BOUND_S)
            if self.error is not None:
                raise self.error
            found = plan(self.settings, new)
            self.settings = found.apply(self.settings)
            return found
        finally:
            self.at_once -= 1


class Bench:
    """A reloader over a file and a fake service."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(CONFIG)
        self.service = FakeService(load_settings(self.path))
        self.service.started.set()
        self.service.gate.set()
        self.told: list[Settings] = []
        self.metrics, self.notifier, self.reads = Metrics(), Recorder(), 0
        self.clock = FakeClock()
        self.reloader = Reloader(
            self.read, self.service, self.told.append, self.metrics.reloads, self.notifier, self.clock
        )

    def read(self) -> Settings:
        self.reads += 1
        return load_settings(self.path)

    def reload(self, text: str | None = None) -> ReloadReport:
        if text is not None:
            self.path.write_text(text)
        return self.reloader.ask("test").result(BOUND_S)


@pytest.fixture
def bench(tmp_path: Path):
    made = Bench(tmp_path)
    made.reloader.start()
    yield made
    made.service.gate.set()
    assert made.reloader.stop(BOUND_S)


def sample(metrics: Metrics, name: str) -> float:
    (line,) = [line for line in metrics.render().decode().splitlines() if line.startswith(f"streamvision_{name}")]
    return float(line.rsplit(" ", 1)[1])


def test_what_differs_is_applied_and_told(bench: Bench):
    started = bench.clock.utcnow().timestamp()
    assert sample(bench.metrics, "config_last_reload_success_timestamp_seconds") == started
    bench.clock.advance(60)
    report = bench.reload(CONFIG.replace("street'", "street', fps: 5"))
    assert report.as_json() == {
        "result": "applied", "changed": {"streams": {"changed": {"a": ["fps"]}}},
        "kept": {"models": ["default"], "streams": [], "sinks": []}, "needs_restart": [], "problems": [], "error": "",
        "seconds": 0.0,
    }  # fmt: skip
    assert bench.told[-1].streams[0].fps == 5
    assert bench.notifier.sent == ["RELOADING", "EXTEND_TIMEOUT_USEC", "READY"]
    assert sample(bench.metrics, 'reloads_total{result="applied"}') == 1
    assert sample(bench.metrics, "config_last_reload_success_timestamp_seconds") == started + 60
    assert bench.reload().result == "unchanged"


def test_keys_that_need_a_restart_are_named_and_the_rest_is_applied(bench: Bench):
    report = bench.reload(CONFIG.replace("street'", "street', fps: 5") + "state_dir: ./elsewhere\n")
    assert (report.result, list(report.needs_restart)) == ("applied", ["state_dir"])
    report = bench.reload()
    assert (report.result, list(report.needs_restart)) == ("unchanged", ["state_dir"])


@pytest.mark.parametrize(
    ("text", "place"),
    [("streams: [{id: a, url: 'demo:street', fsp: 5}]\n", (1, 39)), ("streams: [{id: a,\n", None), ("", None)],
    ids=["mistake", "half written", "empty"],
)
def test_a_file_with_mistakes_is_refused_with_their_places(text: str, place: tuple[int, int] | None, bench: Bench):
    report = bench.reload(text)
    assert report.result == "refused"
    assert report.problems
    assert report.problems[0].file == str(bench.path)
    if place is not None:
        assert (report.problems[0].line, report.problems[0].column) == place
    assert not bench.told
    assert sample(bench.metrics, "config_last_reload_successful") == 0
    assert bench.notifier.sent[-1] == "READY"
    assert bench.reload(CONFIG).good
    assert sample(bench.metrics, "config_last_reload_successful") == 1


def test_a_file_that_vanished_is_refused(bench: Bench):
    bench.path.unlink()
    report = bench.reload()
    assert report.result == "refused"
    assert "cannot be read" in report.problems[0].message


@pytest.mark.parametrize(
    ("error", "result", "crashed"),
    [
        (EngineError("it does not compile"), "failed", False),
        (KeyError("a bug"), "failed", False),
        (Abandoned("going down"), "stopping", False),
        (Broken("no way back"), "broken", True),
    ],
)
def test_what_fails_is_told(error: BaseException, result: str, crashed: bool, bench: Bench):
    bench.service.error = error
    report = bench.reload()
    assert report.result == result
    assert report.error
    assert (bench.reloader.crashed is not None) == crashed
    assert not bench.told
    assert (bench.notifier.sent[-1] == "READY") == (result != "stopping")
    if not crashed:
        bench.service.error = None
        assert bench.reload().good


def test_who_asks_during_a_reload_gets_the_next_one(bench: Bench):
    bench.service.gate.clear()
    first = bench.reloader.ask("test")
    assert bench.service.entered.wait(BOUND_S)
    bench.path.write_text(CONFIG.replace("street'", "street', fps: 7"))  # after the first has read the file
    others = [bench.reloader.ask("test") for _ in range(5)]
    bench.service.gate.set()
    assert first.result(BOUND_S).result == "unchanged"
    assert {other.result(BOUND_S).result for other in others} == {"applied"}
    assert bench.reads == 2
    assert bench.service.most == 1
    assert bench.service.settings.streams[0].fps == 7


def test_a_reload_asked_for_during_the_start_waits_for_its_end(bench: Bench):
    bench.service.started.clear()
    answer = bench.reloader.ask("test")
    assert not bench.service.entered.wait(0.3)
    bench.service.started.set()
    assert answer.result(BOUND_S).good


@pytest.mark.parametrize("hold", [lambda service: service.started.clear(), lambda service: None])
def test_the_end_answers_everybody(hold: Callable[[FakeService], None], tmp_path: Path):
    bench = Bench(tmp_path)
    hold(bench.service)
    bench.service.gate.clear()
    bench.reloader.start()
    first = bench.reloader.ask("test")
    if bench.service.started.is_set():
        assert bench.service.entered.wait(BOUND_S)
    others = [bench.reloader.ask("test") for _ in range(3)]
    assert bench.reloader.stop(0.1) == (not bench.service.started.is_set())
    bench.service.gate.set()
    assert bench.reloader.stop(BOUND_S)
    assert first.result(BOUND_S).result == ("unchanged" if bench.service.started.is_set() else "stopping")
    assert {other.result(BOUND_S).result for other in others} == {"stopping"}
    assert bench.reloader.ask("test").result(0).result == "stopping"


def boom(*_: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("where", ["told", "notifier", "stats", "clock"])
def test_a_bug_outside_the_change_is_told_and_leaves_nobody_waiting(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bench = Bench(tmp_path)
    bench.service.gate.clear()
    bench.reloader.start()
    first = bench.reloader.ask("test")
    assert bench.service.entered.wait(BOUND_S)
    later = [bench.reloader.ask("test") for _ in range(3)]
    part, name = {
        "told": (bench.reloader, "_told"), "notifier": (bench.notifier, "ready"),
        "stats": (type(bench.metrics.reloads), "succeeded"), "clock": (bench.clock, "utcnow"),
    }[where]  # fmt: skip
    monkeypatch.setattr(part, name, boom)
    bench.service.gate.set()
    assert {answer.result(BOUND_S).result for answer in (first, *later)} == {"broken"}
    assert isinstance(bench.reloader.crashed, RuntimeError)
    assert bench.reloader.ask("test").result(BOUND_S).result == "broken"
    assert bench.reloader.stop(BOUND_S)


def test_who_has_gone_needs_no_answer(bench: Bench):
    bench.service.gate.clear()
    first = bench.reloader.ask("test")
    assert bench.service.entered.wait(BOUND_S)
    assert first.cancel()
    bench.service.gate.set()
    assert bench.reload().good
