"""Four real RTSP cameras on one daemon for as long as you like: is memory flat, do the books balance?

    python tests/bench/soak.py --minutes 30 --model yolox-nano

Needs the test data (STREAMVISION_TEST_DATA) and Debian's RTSP server. Prints a line per minute and a verdict; exit code
1 if memory grew, a thread or descriptor leaked, no event was delivered, or the books do not balance.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.harness import Daemon, wait_until
from tests.servers import RtspServer

VIDEOS = {
    "hall": ("one-by-one-person-detection.mp4", "tcp"),
    "yard": ("car-detection.mp4", "udp"),
    "square": ("night-square.mp4", "tcp"),
    "belt": ("bottle-detection.mp4", "udp"),
}
GROWTH_MB = 25.0


def configuration(server: RtspServer, model: str) -> str:
    rows = [
        f"  - {{id: {name}, url: '{server.url(name)}', transport: {transport}, model: net, fps: 10,\n"
        f"     zones: {{middle: [[0.2, 0.3], [0.8, 0.3], [0.8, 0.98], [0.2, 0.98]]}},\n"
        f"     lines: {{half: [[0, 0.5], [1, 0.5]]}},\n"
        f"     rules: [{{name: inside, type: zone, zone: middle}}, {{name: across, type: line, line: half}}]}}\n"
        for name, (_, transport) in VIDEOS.items()
    ]
    return (
        "state_dir: ./state\nserver: {listen: '127.0.0.1:{port}'}\n"
        f"models: {{net: {{manifest: {model}}}}}\nstreams:\n{''.join(rows)}"
        "sinks: [{name: log, type: jsonl, path: events.jsonl}]\n"
    )


def look(process: psutil.Process) -> dict[str, float]:
    with process.oneshot():
        cpu = process.cpu_times()
        return {
            "rss_mb": process.memory_info().rss / 2**20,
            "threads": process.num_threads(),
            "fds": process.num_fds(),
            "cpu_s": cpu.user + cpu.system,
        }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--model", default="yolox-nano")
    options = parser.parse_args()
    data = Path(os.environ["STREAMVISION_TEST_DATA"])
    os.environ.setdefault("STREAMVISION_MODELS", str(data / "models"))
    mounts = {name: data / "videos" / file for name, (file, _) in VIDEOS.items()}
    with tempfile.TemporaryDirectory() as folder, RtspServer(mounts) as server:
        daemon = Daemon(configuration(server, options.model), Path(folder))
        try:
            daemon.wait_ready()
            samples = watch(daemon, options.minutes)
            code = daemon.end()
        finally:
            daemon.process.kill()
        return verdict(samples, code, Path(folder), daemon.log.read_text())


def watch(daemon: Daemon, minutes: float) -> list[dict[str, float]]:
    process = psutil.Process(daemon.process.pid)
    until_s = time.monotonic() + 60 * minutes
    samples = []
    while time.monotonic() < until_s:
        next_s = min(time.monotonic() + 60, until_s)
        wait_until(lambda: time.monotonic() >= next_s and daemon.alive(), 70)  # noqa: B023
        sample = look(process)
        streams = daemon.streams().values()
        sample["age_ms"] = 1e3 * max(row["frame_age_s"] or 0 for row in streams)
        sample["live"] = sum(row["state"] == "live" for row in streams)
        sample["analysed"] = sum(row["counts"]["analysed"] for row in streams)
        sample["dropped"] = sum(row["counts"]["dropped"] for row in streams)
        samples.append(sample)
        print(" ".join(f"{key}={value:.0f}" for key, value in sample.items()), flush=True)
    return samples


def verdict(samples: list[dict[str, float]], code: int, folder: Path, log: str) -> int:
    books = [row for row in map(json.loads, log.splitlines()) if row["event"] == "books"]
    for book in books:
        print({key: book[key] for key in ("stream", "decoded", "analysed", "skipped", "dropped", "causes")})
    third = max(1, len(samples) // 3)
    first, last = (statistics.median(row["rss_mb"] for row in part) for part in (samples[:third], samples[-third:]))
    delivered = len((folder / "state" / "events.jsonl").read_text().splitlines())
    faults = {
        "exit code": code,
        "memory grew (MB)": max(0.0, last - first - GROWTH_MB),
        "threads": max(0.0, samples[-1]["threads"] - samples[0]["threads"]),
        "descriptors": max(0.0, samples[-1]["fds"] - samples[0]["fds"] - 2),
        "not balanced": sum(row["decoded"] != row["analysed"] + row["skipped"] + row["dropped"] for row in books),
        "streams without books": len(VIDEOS) - len(books),
        "no event": int(delivered == 0),
    }
    found = {name: count for name, count in faults.items() if count} or "none"
    print(f"RSS {first:.0f} -> {last:.0f} MB, {delivered} events, faults: {found}")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
