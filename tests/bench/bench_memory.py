"""What one more 1080p stream costs in memory, beside one more bare decoder.

    STREAMVISION_TEST_DATA=... python tests/bench/bench_memory.py [ROUNDS]

Every measurement is a fresh process that reads one 1080p H.264 file N times at the pace of life: as the pipeline does,
or with nothing but PyAV (one decoding thread, each picture dropped at once). Its resident memory is taken after some
seconds; the difference between few and many streams, by their number, is what one costs. Exits with 1 if that is more
than 1.5 times a bare decoder's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

FEW, MANY = 2, 10
FPS = 5
SETTLE_S = 12.0
ALLOWED = 1.5


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def bare(video: str, count: int) -> None:
    """Decode ``count`` times and look at nothing."""
    import av

    def decode() -> None:
        while True:
            with av.open(video) as container:
                container.streams.video[0].codec_context.thread_count = 1
                started_s = time.monotonic()
                for number, _ in enumerate(container.decode(video=0)):
                    time.sleep(max(0.0, started_s + number / FPS - time.monotonic()))

    for _ in range(count):
        threading.Thread(target=decode, daemon=True).start()
    time.sleep(SETTLE_S)
    print(resident_mb())


def pipeline(video: str, count: int) -> None:
    from support import data, quiet

    from streamvision.benchmark import NoViewer, bench_settings
    from streamvision.clock import SystemClock
    from streamvision.config import load_settings
    from streamvision.health import Heartbeats
    from streamvision.metrics import Metrics
    from streamvision.pipeline import Pipeline
    from streamvision.sinks.store import EventStore

    quiet()
    data()
    clock, metrics = SystemClock(), Metrics()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bench.yaml"
        text = bench_settings(Path(name), video, manifest="yolox-nano", streams=count, fps=2)
        path.write_text(text.replace("model: m", "model: m, loop: true, pace: realtime"), encoding="utf-8")
        settings = load_settings(path)
        store = EventStore(settings.state_dir / "events.db", clock)
        whole = Pipeline(settings, store, metrics, Heartbeats(clock), NoViewer(), clock)
        whole.start()
        time.sleep(SETTLE_S)
        print(resident_mb())
        whole.stop(20)
        store.close()


def film(path: Path) -> Path:
    from support import data, decoded, write_h264

    frames = decoded(data() / "videos/one-by-one-person-detection.mp4", FPS * 8)
    return write_h264(path, frames, FPS, (1920, 1080), gop=2 * FPS)


def fresh(what: str, video: Path, count: int) -> float:
    command = [sys.executable, __file__, what, str(video), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def per_stream_mb(what: str, video: Path) -> float:
    return (fresh(what, video, MANY) - fresh(what, video, FEW)) / (MANY - FEW)


def main() -> int:
    if len(sys.argv) == 4:
        {"bare": bare, "pipeline": pipeline}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
        return 0
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, list[float]] = {"bare": [], "pipeline": []}
    with tempfile.TemporaryDirectory() as name:
        video = film(Path(name) / "film.mp4")
        for _ in range(rounds):
            for what, values in found.items():
                values.append(per_stream_mb(what, video))
    mine, other = statistics.median(found["pipeline"]), statistics.median(found["bare"])
    print(f"one more 1080p H.264 stream, medians of {rounds} rounds of {FEW} and {MANY} streams")
    print(f"  the pipeline  {mine:6.1f} MB\n  bare decoder  {other:6.1f} MB")
    print(f"{mine / other:.2f} x a bare decoder (allowed {ALLOWED})")
    return 0 if mine <= ALLOWED * other else 1


if __name__ == "__main__":
    sys.exit(main())
