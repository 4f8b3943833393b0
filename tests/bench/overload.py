"""More pictures than an engine can take, for real: RTSP cameras, the daemon as a process, an engine of known speed.

    python -m tests.bench.overload [--seconds 60] [--rate 40] [--cameras 8] [--load 1.5]

Twice: cameras of different rates that count alike, and cameras of one rate with three priorities. Fair is what weighted
max-min gives for the rates that were really offered and the pictures that were really analysed. Needs
STREAMVISION_TEST_DATA and Debian's RTSP server. Exit code 1 if a stream is off its share by more than 10 %, a picture
was older than its bound, books do not balance, or a picture was lost for any other reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamvision.batch import WEIGHTS
from tests.bench import sleepy
from tests.harness import Daemon, wait_until
from tests.servers import RtspServer
from tests.test_overload import shares

ROOT = Path(__file__).parents[2]
VIDEO, VIDEO_FPS = "night-square.mp4", 30.0
MAX_AGE_S = 0.5
BATCH = 4
TOLERANCE = 0.1
LOSSES = {"queue/overflow", "batch/max_age", "batch/stopped", "engine/stopped", "capture/shutdown"}
"""Why pictures may be lost: too many of them, and the end."""
_SAMPLE = re.compile(r"streamvision_(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Camera:
    """``fps``: pictures a second that are wanted of it."""

    name: str
    fps: float
    priority: str = "normal"


@dataclass(frozen=True)
class Book:
    """One stream's counts at a moment. ``ages``: analysed pictures by the upper bound of their age in seconds."""

    offered: int
    analysed: int
    dropped: Mapping[str, int]
    ages: Mapping[float, int]


@dataclass(frozen=True)
class Outcome:
    """``rates``: per stream offered, analysed, fair, in pictures a second; ``oldest_s``: no picture was older.

    ``books``: the log's last words on every stream.
    """

    rates: Mapping[str, tuple[float, float, float]]
    dropped: Mapping[str, Mapping[str, int]]
    oldest_s: float
    books: Sequence[Mapping[str, object]]
    code: int

    @property
    def unbalanced(self) -> list[object]:
        """Streams whose books do not balance, or name a cause that there should not be."""
        return [
            book["stream"]
            for book in self.books
            if book["decoded"] != book["analysed"] + book["skipped"] + book["dropped"]  # type: ignore[operator]
            or sum(book["causes"].values()) != book["dropped"]  # type: ignore[attr-defined]
            or not set(book["causes"]) <= LOSSES  # type: ignore[call-overload]
        ]


def mixed(count: int, total_fps: float) -> list[Camera]:
    """Return cameras whose rates are as 1 : 2 : 3 : 4 : 1 ..., so much together."""
    parts = [1 + number % 4 for number in range(count)]
    return [Camera(f"cam{number}", total_fps * part / sum(parts)) for number, part in enumerate(parts)]


def ranked(count: int, total_fps: float) -> list[Camera]:
    """Return cameras of one rate, a third of each priority."""
    names = ("high", "normal", "low")
    return [Camera(f"cam{number}-{names[number % 3]}", total_fps / count, names[number % 3]) for number in range(count)]


def configuration(cameras: Sequence[Camera], server: RtspServer, manifest: Path, rate: float) -> str:
    whole = [[0, 0], [1, 0], [1, 1], [0, 1]]
    streams = [
        {"id": one.name, "url": server.url(one.name), "priority": one.priority,
         "fps": min(VIDEO_FPS, round(one.fps, 3)), "motion_gate": "off",
         "zones": {"all": whole}, "rules": [{"name": "inside", "type": "zone", "zone": "all"}]}
        for one in cameras
    ]  # fmt: skip
    model = {"manifest": str(manifest), "backend": "sleepy", "max_batch": BATCH, "max_age": f"{MAX_AGE_S}s"}
    model["options"] = {"seconds": 1 / rate, "batch": BATCH}
    rest = {"state_dir": "./state", "models": {"slow": model}, "streams": streams}
    return "server: {listen: '127.0.0.1:{port}'}\n" + "".join(f"{key}: {json.dumps(rest[key])}\n" for key in rest)


def books(daemon: Daemon) -> dict[str, Book]:
    """Read every stream's counts."""
    plain: dict[tuple[str, str], int] = defaultdict(int)
    causes: dict[str, dict[str, int]] = defaultdict(dict)
    ages: dict[str, dict[float, int]] = defaultdict(dict)
    for found in _SAMPLE.finditer(daemon.get("/metrics")[1]):
        labels, value = dict(_LABEL.findall(found["labels"])), int(float(found["value"]))
        if "stream" not in labels:
            continue
        if found["name"] == "frame_age_seconds_bucket" and labels["stage"] == "analysis":
            ages[labels["stream"]][float(labels["le"])] = value
        elif found["name"] == "frames_dropped_total":
            causes[labels["stream"]][f"{labels['stage']}/{labels['reason']}"] = value
        else:
            plain[labels["stream"], found["name"]] += value
    return {
        name: Book(
            plain[name, "frames_decoded_total"] - plain[name, "frames_skipped_total"],
            plain[name, "frames_analysed_total"], causes[name], ages[name],
        )
        for name in {stream for stream, _ in plain}
    }  # fmt: skip


def overload(cameras: Sequence[Camera], rate: float, seconds: float, folder: Path) -> Outcome:
    """Run cameras into an engine that takes ``rate`` pictures a second; measure for so long once all are analysed."""
    folder.mkdir(parents=True, exist_ok=True)
    site = sleepy.install(folder / "site")
    video = Path(os.environ["STREAMVISION_TEST_DATA"]) / "videos" / VIDEO
    with RtspServer({one.name: video for one in cameras}) as server:
        text = configuration(cameras, server, sleepy.manifest(folder), rate)
        daemon = Daemon(text, folder, {"PYTHONPATH": f"{site}:{ROOT}"})
        try:
            daemon.wait_ready()
            wait_until(lambda: daemon.alive() and _all_lose(daemon, len(cameras)), 120)
            first, began_s = books(daemon), time.monotonic()
            wait_until(lambda: daemon.alive() and time.monotonic() >= began_s + seconds, seconds + 60)
            last, spent_s = books(daemon), time.monotonic() - began_s
            code = daemon.end()
        finally:
            if daemon.process.poll() is None:
                daemon.end(signal.SIGKILL)
        log = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    return Outcome(
        _rates(cameras, first, last, spent_s), {name: _since(first[name], last[name]) for name in last},
        max(_oldest_s(first[name], last[name]) for name in last), [row for row in log if row["event"] == "books"], code,
    )  # fmt: skip


def _all_lose(daemon: Daemon, count: int) -> bool:
    """Whether every stream is analysed and the engine is known to have too much to do."""
    now = books(daemon)
    return len(now) == count and all(one.analysed for one in now.values()) and any(one.dropped for one in now.values())


def _rates(
    cameras: Sequence[Camera], first: Mapping[str, Book], last: Mapping[str, Book], spent_s: float
) -> dict[str, tuple[float, float, float]]:
    offered = {name: (last[name].offered - first[name].offered) / spent_s for name in last}
    analysed = {name: (last[name].analysed - first[name].analysed) / spent_s for name in last}
    weights = {one.name: WEIGHTS[one.priority] for one in cameras}
    fair = shares(offered, weights, min(sum(analysed.values()), 0.999 * sum(offered.values())))
    return {name: (offered[name], analysed[name], fair[name]) for name in sorted(last)}


def _since(first: Book, last: Book) -> dict[str, int]:
    counts = {cause: count - first.dropped.get(cause, 0) for cause, count in last.dropped.items()}
    return {cause: count for cause, count in counts.items() if count}


def _oldest_s(first: Book, last: Book) -> float:
    """Return the upper bound of the highest bucket of ages that anything fell into."""
    grown = {bound: count - first.ages.get(bound, 0) for bound, count in last.ages.items()}
    return min(bound for bound, count in grown.items() if count == max(grown.values()))


def told(title: str, outcome: Outcome, rate: float) -> bool:
    """Print a table; return whether everything holds."""
    offered = sum(row[0] for row in outcome.rates.values())
    print(f"\n{title}: {offered:.1f} pictures/s offered to an engine of {rate:g}/s: {100 * offered / rate:.0f} %")
    print("| stream       | offered/s | analysed/s | fair/s | off by | lost, by cause")
    fair = True
    for name, (wanted, got, share) in outcome.rates.items():
        off = got / share - 1
        fair &= abs(off) <= TOLERANCE
        print(
            f"| {name:12} | {wanted:9.2f} | {got:10.2f} | {share:6.2f} | {100 * off:+5.1f}% | {outcome.dropped[name]}"
        )
    bound_s = next(bound for bound in (1.0, 2.5) if bound >= MAX_AGE_S + 3 * BATCH / rate)
    rows = {
        "shares within 10 %": fair,
        f"no analysed picture older than {bound_s:g} s (in fact: {outcome.oldest_s:g} s)": outcome.oldest_s <= bound_s,
        f"books of {len(outcome.books)} streams balance, causes named": not outcome.unbalanced,
        "the daemon ended with 0": outcome.code == 0,
    }
    for what, holds in rows.items():
        print(f"{'holds' if holds else 'FAILS'}: {what}")
    return all(rows.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=40.0, help="pictures a second that the engine takes")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--load", type=float, default=1.5)
    given = parser.parse_args()
    total = given.rate * given.load
    holds = []
    with tempfile.TemporaryDirectory() as folder:
        for title, make in (("different rates", mixed), ("priorities", ranked)):
            outcome = overload(make(given.cameras, total), given.rate, given.seconds, Path(folder) / make.__name__)
            holds.append(told(title, outcome, given.rate))
    return int(not all(holds))


if __name__ == "__main__":
    sys.exit(main())
