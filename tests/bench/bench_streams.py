"""What a picture costs when it comes in one of sixteen streams, beside one stream that has all of them.

    STREAMVISION_TEST_DATA=... python tests/bench/bench_streams.py [ROUNDS]

A real video is encoded anew, once whole and once in sixteen pieces, with a key frame at the start of each piece in
both, so that every picture costs its decoder the same. Sixteen streams read a piece each while one reads the whole;
the runs alternate. Exits with 1 if the sixteen need more than 1.10 times the CPU time per picture.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from support import data, decoded, describe, quiet, write_h264

from streamvision.benchmark import bench_settings, interleaved, median_ratio, run_pipeline
from streamvision.config import Settings, load_settings

STREAMS = 16
PIECE = 48
ALLOWED = 1.10


def clips(folder: Path) -> tuple[Path, list[Path]]:
    """Return the whole and its pieces."""
    frames = decoded(data() / "videos/one-by-one-person-detection.mp4", STREAMS * PIECE)
    write = partial(write_h264, fps=10, size_wh=(768, 432), gop=PIECE)
    pieces = [
        write(folder / f"piece{number}.mp4", frames[number * PIECE : (number + 1) * PIECE]) for number in range(STREAMS)
    ]
    return write(folder / "whole.mp4", frames), pieces


def settings_of(folder: Path, name: str, videos: list[Path]) -> Settings:
    text = bench_settings(folder / name, "FILM", manifest="yolox-nano", streams=len(videos))
    for video in videos:
        text = text.replace("FILM", str(video), 1)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def main() -> int:
    quiet()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, pieces = clips(folder)
        works = {
            "one stream": partial(run_pipeline, settings_of(folder, "one", [whole])),
            f"{STREAMS} streams": partial(run_pipeline, settings_of(folder, "many", pieces)),
        }
        samples = interleaved(works, rounds)
    print(f"{STREAMS * PIECE} pictures, yolox-nano, medians of {rounds} rounds")
    for what, measured in samples.items():
        print(describe(what, measured))
    one, many = ([sample.cpu_ms for sample in measured] for measured in samples.values())
    ratio = median_ratio(many, one)
    print(f"CPU per picture: {ratio:.3f} x that of one stream (allowed {ALLOWED})")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
