"""The soak's short form, and that its judgements can fail. Long: ``python -m tests.bench.soak --minutes 30``."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.soak.__main__ import soak
from tests.bench.soak.measure import Sample, trend
from tests.bench.soak.settings import wanted
from tests.bench.soak.timetable import Actor, Timetable
from tests.e2e.delivery.ledger import Ledger
from tests.servers import requires_rtsp

LOOK = Sample(0.0, 0, "first", 300.0, 0.0, 30, 40, 6, 2, 0.1)


@requires_rtsp
@pytest.mark.e2e
@pytest.mark.slow
def test_a_daemon_survives_storms_reloads_and_flapping_sinks(data: Path, tmp_path: Path):
    rows = soak(0.1, None, 5, tmp_path, lambda sample: None)
    assert not [str(row) for row in rows if not row.holds]
    assert {"storms", "books of pictures", "books of events", "sink webhook", "sink log"} <= {row.what for row in rows}


def looks(growth_per_hour: float, minutes: int = 30) -> list[Sample]:
    """Two looks a minute at a process that grows, needs 20 MB more in every second configuration, and trembles."""
    chance = random.Random(3)
    return [
        replace(
            LOOK, at_s=30.0 * number, term=number // 2, variant=str(number // 2 % 2),
            rss_mb=300 + growth_per_hour * number / 120 + 20 * (number // 2 % 2) + chance.gauss(0, 1),
        )
        for number in range(2 * minutes)
    ]  # fmt: skip


@pytest.mark.parametrize("growth", [0.0, 3.0, 40.0])
def test_growth_is_told_from_what_comes_and_goes(growth: float):
    found = trend(looks(growth), "rss_mb")
    assert abs(found.per_hour - growth) < found.within < 5
    assert found.exceeds(10.0) == (growth > 10)


def test_a_short_look_claims_nothing():
    assert not trend(looks(1000.0, minutes=4), "rss_mb").exceeds(10.0)


def test_the_ledger_sees_what_is_missing_made_up_repeated_and_out_of_order():
    due = [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b")]
    assert Ledger(due, [("2", "b"), ("1", "a"), ("3", "a"), ("1", "a"), ("4", "b")]).holds
    assert Ledger(due, due[:3]).missing == {("4", "b")}
    assert Ledger(due, [*due, ("5", "a")]).alien == {("5", "a")}
    assert Ledger(due, [due[2], due[0], due[1], due[3]]).disordered == ["a"]
    assert Ledger(due, [*due, due[1], due[1]]).repeats() == [(1, 4), (4, 5)]
    for arrived in (due[:3], [*due, ("5", "a")], [due[2], due[0], due[1], due[3]]):
        assert not Ledger(due, arrived).holds


def test_sinks_are_due_what_they_want():
    assert wanted("mqtt", "hall", "streamvision.zone.start")
    assert not wanted("mqtt", "hall", "streamvision.outage.start")
    assert not wanted("redis", "square", "streamvision.zone.start")
    assert wanted("redis", "streamvision", "streamvision.outbox.instant")


def test_actors_act_in_turn_and_mend_what_they_have_broken():
    told: list[str] = []

    def actor(name: str, rest_s: float) -> Actor:
        try:
            while True:
                told.append(name)
                yield rest_s
        finally:
            told.append(f"{name} mends")

    timetable = Timetable([actor("quick", 0.001), actor("slow", 3600.0)])
    began_s = time.monotonic()
    timetable.run(0.0, lambda: told.count("quick") >= 3, 60.0)
    timetable.close()
    assert told == ["quick", "slow", "quick", "quick", "quick mends", "slow mends"]
    assert time.monotonic() - began_s < 60
