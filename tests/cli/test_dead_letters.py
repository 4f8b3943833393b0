from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamvision.cli import main
from streamvision.cli.logs import LogFormat, set_up
from streamvision.clock import SystemClock
from streamvision.errors import SinkError
from streamvision.metrics import SinkStats
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.store import EventStore
from tests.harness import wait_until
from tests.sinks.samples import ScriptedSink, event, number_of

WAIT_S = 60.0


class Choosy(ScriptedSink):
    """Refuses some numbers for good until it has changed its mind."""

    def __init__(self, refused: set[int]) -> None:
        super().__init__()
        self.refused = refused

    def deliver(self, events):
        if any(number_of(one.json) in self.refused for one in events):
            raise SinkError("not that one", reason="refused", permanent=True)
        super().deliver(events)


def run(capsys, *arguments: object) -> tuple[int, list[str]]:
    code = 0
    capsys.readouterr()
    try:
        main(["dead-letters", *map(str, arguments)])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().out.splitlines()


def begun(folder: Path, sink: Choosy) -> tuple[EventStore, Delivery, SinkStats]:
    set_up(LogFormat.TEXT)
    store, stats = EventStore(folder / "events.db", SystemClock()), SinkStats("hook")
    delivery = Delivery("hook", sink, store, stats, SystemClock(), lambda stage: None)
    delivery.start()
    return store, delivery, stats


def ended(store: EventStore, delivery: Delivery) -> None:
    delivery.stop(WAIT_S)
    assert delivery.join(WAIT_S)
    assert delivery.crashed is None
    store.close()


def test_letters_are_listed_retried_and_dropped_beside_a_running_daemon(tmp_path, capsys):
    sink = Choosy({3, 7, 40})
    store, delivery, stats = begun(tmp_path, sink)
    store.append([event(number) for number in range(50)])
    store.flush()
    wait_until(lambda: delivery.pending == 0, WAIT_S)
    assert sink.taken == [number for number in range(50) if number not in sink.refused], "only the guilty are missing"
    assert (stats.delivered, stats.dead_letters) == (47, 3)

    code, lines = run(capsys, "list", "--state-dir", tmp_path, "--json")
    letters = [json.loads(line) for line in lines]
    assert (code, [one["id"] for one in letters]) == (0, [event(number).id for number in (3, 7, 40)])
    assert {(one["sink"], one["reason"], one["what"], one["retry"]) for one in letters} == {
        ("hook", "refused", "not that one", False)
    }
    assert run(capsys, "retry", "--state-dir", tmp_path)[0] == 2, "nothing is chosen"
    assert run(capsys, "drop", "--state-dir", tmp_path, "--id", event(7).id) == (0, ["1 dropped"])
    sink.refused = {40}
    assert run(capsys, "retry", "--state-dir", tmp_path, "--sink", "hook", "--json") == (0, ['{"retried": 2}'])
    wait_until(lambda: stats.dead_letters == 4 and stats.letters_kept == 1, WAIT_S)
    assert sink.taken[47:] == [3], "with its own id; the one that is refused again lies there again"
    code, lines = run(capsys, "list", "--state-dir", tmp_path)
    assert code == 0
    assert len(lines) == 1
    assert event(40).id in lines[0]
    assert "to be retried" not in lines[0]
    assert (stats.delivered, stats.dead_letters) == (48, 4)
    ended(store, delivery)


def test_without_a_daemon_the_retry_waits_for_the_next_start(tmp_path, capsys):
    first = begun(tmp_path, Choosy({1}))
    first[0].append([event(1)])
    wait_until(lambda: first[2].dead_letters == 1, WAIT_S)
    ended(*first[:2])
    assert run(capsys, "retry", "--state-dir", tmp_path, "--all") == (0, ["1 retried"])
    assert run(capsys, "list", "--state-dir", tmp_path)[1][0].endswith("to be retried")
    later = Choosy(set())
    store, delivery, stats = begun(tmp_path, later)
    wait_until(lambda: later.taken == [1] and stats.letters_kept == 0, WAIT_S)
    ended(store, delivery)
    assert run(capsys, "list", "--state-dir", tmp_path) == (0, [])


@pytest.mark.parametrize("command", ["list", "retry", "drop"])
def test_without_a_store_it_says_so(tmp_path, capsys, command):
    arguments = [] if command == "list" else ["--all"]
    assert run(capsys, command, "--state-dir", tmp_path, *arguments)[0] == 1


@pytest.mark.parametrize("command", ["list", "retry", "drop"])
def test_a_name_that_the_store_does_not_know_is_refused(tmp_path, capsys, command):
    store, delivery, stats = begun(tmp_path, Choosy({1}))
    store.append([event(1), event(2)])
    wait_until(lambda: stats.dead_letters == 1 and stats.delivered == 1, WAIT_S)
    ended(store, delivery)
    wanted = {"--sink": "other", "--id": event(2).id}
    for option, value in wanted.items():
        with pytest.raises(SystemExit) as end:
            main(["dead-letters", command, "--state-dir", str(tmp_path), option, value])
        assert end.value.code == 2
        assert value in capsys.readouterr().err
    assert len(run(capsys, "list", "--state-dir", tmp_path)[1]) == 1, "nothing was dropped"
