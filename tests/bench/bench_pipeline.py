"""The pipeline beside its parts and beside the plain loop, on one file with yolox-nano, in one interleaved run.

    STREAMVISION_TEST_DATA=... python tests/bench/bench_pipeline.py [VIDEO] [ROUNDS] [BACKEND]

Exits with 1 if the pipeline's CPU time per picture is more than 1.10 times the sum of its parts measured alone
(decoding, scaling, inference), or its throughput less than twice that of ``plain_loop.py``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from support import data, describe, quiet, shipped_network

from streamvision.benchmark import Sample, bench_settings, interleaved, limit_works, limits_of, median_ratio
from streamvision.config import load_settings

ALLOWED_CPU = 1.10
WANTED_THROUGHPUT = 2.0


def plain_loop(video: Path, network: Path) -> Sample:
    command = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), str(video), str(network)]
    pictures, _, wall_s, cpu_s = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Sample(int(pictures), float(wall_s), float(cpu_s))


def main() -> int:
    quiet()
    video = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else data() / "videos/car-detection.mp4"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    backend = sys.argv[3] if len(sys.argv) > 3 else "auto"
    network = shipped_network("yolox_nano.onnx")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bench.yaml"
        text = bench_settings(Path(name) / "state", str(video), manifest="yolox-nano", backend=backend)
        path.write_text(text, encoding="utf-8")
        settings = load_settings(path)
        with limit_works(settings, str(video)) as works:
            samples = interleaved(works | {"plain loop": partial(plain_loop, video, network)}, rounds)
    print(f"{video.name}, backend {backend}, medians of {rounds} rounds")
    for part, measured in samples.items():
        print(describe(part, measured))
    cpu = limits_of(samples, settings).cpu_ratio
    faster = median_ratio([one.fps for one in samples["pipeline"]], [one.fps for one in samples["plain loop"]])
    print(f"CPU per picture: {cpu:.3f} x the sum of the parts (allowed {ALLOWED_CPU})")
    print(f"throughput: {faster:.2f} x the plain loop (wanted {WANTED_THROUGHPUT})")
    return 0 if cpu <= ALLOWED_CPU and faster >= WANTED_THROUGHPUT else 1


if __name__ == "__main__":
    sys.exit(main())
