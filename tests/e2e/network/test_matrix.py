"""Every row of the matrix: what is seen of the fault, that it ends, and that neighbours do not notice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness import read_events, wait_until
from tests.scale import full, scaled
from tests.servers import requires_rtsp
from tests.servers.links import need_links

from .recording import ages
from .rows import ROWS, Row
from .scene import FPS, NEIGHBOURS, Books, Scene, scene

pytestmark = [pytest.mark.e2e, pytest.mark.slow, requires_rtsp]

BOUND_S = 240.0
TIMEOUT_S = scaled(2.0, 5.0)
CLEAN_S = scaled(0.0, 60.0)
FAULT_S = scaled(0.0, 60.0)
DOWN_S = scaled(0.0, 30.0)


def seen(row: Row, before: Books, now: Books) -> bool:
    """Whether the daemon says of a row what it must say, or goes on where it must."""
    analysed = now.count(row.id, "frames_analysed_total") - before.count(row.id, "frames_analysed_total")
    reasons = set(now.of(row.id, "stream_reconnects_total"))
    if row.seen == "nothing":
        return analysed >= 5 * FPS
    if row.seen == "damage":
        lost = now.count(row.id, "stream_packets_lost_total")
        corrupt = now.of(row.id, "frames_dropped_total")["corrupt"]
        return bool(lost and corrupt) and "packets were lost" in now.streams[row.id]["cause"]
    if row.seen == "slow":
        return bool(reasons) or analysed >= 5 * FPS
    return bool(reasons)


def assert_named(row: Row, books: Books) -> None:
    """Reasons are those of the row, and none where nothing is to be noticed."""
    reasons = set(books.of(row.id, "stream_reconnects_total"))
    if row.seen == "damage":  # without a whole picture for half a minute it is an outage, too
        assert reasons <= {"loss"} | row.reasons, (row.id, reasons)
    else:
        assert reasons <= row.reasons, (row.id, reasons)
        assert not books.of(row.id, "frames_dropped_total")["corrupt"] or reasons, row.id


def suffer(stage: Scene, before: Books) -> dict[str, str]:
    """Let all faults happen, until each is seen; return the states and causes that came with them."""
    told: dict[str, str] = {}
    for row in stage.rows:
        stage.strike(row)
    since_s = time.monotonic()

    def done() -> bool:
        now = stage.books()
        for row in stage.rows:
            if seen(row, before, now) and not told.get(row.id):
                state, cause = (now.streams[row.id][what] for what in ("state", "cause"))
                told[row.id] = f"seen after {time.monotonic() - since_s:.1f} s: {state}, {cause or '-'}"
        return len(told) == len(stage.rows) and time.monotonic() - since_s >= max(FAULT_S, DOWN_S)

    wait_until(done, BOUND_S)
    return told


def recover(stage: Scene) -> dict[str, float]:
    """End all faults; return after how many seconds each stream was live with new pictures."""
    for row in stage.rows:
        if row.event in ("cut", "link"):
            stage.network.heal(row.id)
    since_s, start = time.monotonic(), stage.books()
    took: dict[str, float] = {}

    def done() -> bool:
        now = stage.books()
        for row in stage.rows:
            gained = now.count(row.id, "frames_analysed_total") - start.count(row.id, "frames_analysed_total")
            if now.streams[row.id]["state"] == "live" and gained >= 3:
                took.setdefault(row.id, time.monotonic() - since_s)
        well = all(row["state"] == "live" and not row["cause"] for row in now.streams.values())
        return well and len(took) == len(stage.rows)

    wait_until(done, BOUND_S)
    return took


def assert_balanced(books: Books) -> None:
    for name, row in books.streams.items():
        counts = row["counts"]
        fates = sum(counts[fate] for fate in ("analysed", "skipped", "dropped", "in_flight"))
        assert counts["decoded"] == fates, (name, counts)


def assert_told(rows: Sequence[Row], state_dir: Path, books: Books) -> None:
    """Each outage has a start with its cause, and an end; neighbours have none."""
    outages: dict[str, list[str]] = {}
    for event in read_events(state_dir):
        if event["type"].startswith("streamvision.outage."):
            outages.setdefault(event["data"]["stream"], []).append(event["data"]["phase"])
            if event["data"]["phase"] == "start":
                assert event["data"]["cause"]
                assert event["data"]["reason"]
    for row in rows:
        phases = outages.get(row.id, [])
        assert phases == ["start", "end"] * (len(phases) // 2), (row.id, phases)
        assert bool(phases) == bool(books.of(row.id, "stream_reconnects_total")), row.id
    assert not outages.keys() & set(NEIGHBOURS)


def test_each_fault_is_named_and_recovered_from_and_neighbours_do_not_notice(data: Path, tmp_path: Path):
    need_links()
    with scene(data / "videos" / "car-detection.mp4", tmp_path, ROWS, TIMEOUT_S) as stage:
        wait_until(stage.ready, BOUND_S)
        before, start_s = stage.books(), time.monotonic()
        wait_until(lambda: time.monotonic() - start_s >= CLEAN_S, BOUND_S)
        struck_s = time.monotonic()
        told = suffer(stage, before)
        healed_s = time.monotonic()
        struck = {row.id: stage.network.counts(row.id) for row in ROWS}
        took = recover(stage)
        books = stage.books()
        assert stage.daemon.end() == 0
    report(books, told, took)
    if full():
        compare(tmp_path / "ages", start_s, struck_s, healed_s)
    for row in ROWS:
        assert_named(row, books)
        if row.fault:
            assert struck[row.id]["lost"] or struck[row.id]["overflowed"] or "delay_s" in row.fault or row.fault == {
                "reorder": 0.2, "reorder_s": 0.03,
            }, "the fault did something"  # fmt: skip
    for name in NEIGHBOURS:
        assert not books.of(name, "stream_reconnects_total")
        assert not books.of(name, "frames_dropped_total")["corrupt"]
    assert_balanced(books)
    assert_told(ROWS, tmp_path / "state", books)


def report(books: Books, told: dict[str, str], took: dict[str, float]) -> None:
    """Print the table."""
    for row in ROWS:
        lost, corrupt = books.count(row.id, "stream_packets_lost_total"), books.of(row.id, "frames_dropped_total")
        reasons = dict(books.of(row.id, "stream_reconnects_total"))
        print(f"{row.id:17} back after {took[row.id]:5.1f} s, reconnects {reasons}, packets lost {lost},", end=" ")
        print(f"pictures dropped {dict(corrupt)}, {told[row.id]}")


def compare(notebook: Path, start_s: float, struck_s: float, healed_s: float) -> None:
    """Print the neighbours' frame age without and with the faults."""
    clean = ages(notebook, set(NEIGHBOURS), start_s, struck_s)
    faulty = ages(notebook, set(NEIGHBOURS), struck_s, healed_s)
    for name, part in (("median", 0.5), ("p99", 0.99)):
        one, two = (statistics.quantiles(each, n=1000)[round(part * 1000) - 1] for each in (clean, faulty))
        print(f"neighbours' {name}: {one * 1e3:.2f} ms clean, {two * 1e3:.2f} ms under faults, ratio {two / one:.3f}")
    print(len(clean), "and", len(faulty), "pictures")
