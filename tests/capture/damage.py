"""Reads damaged videos, one per seed: ``python damage.py FIRST LAST FOLDER [--isolated]``; prints a line of each.

A program of its own, so that a crash or a hang is seen from outside and the last line before it names the seed.
"""

from __future__ import annotations

import faulthandler
import json
import random
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from streamvision.capture.file import FileSource
from streamvision.capture.isolated import IsolatedSource
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError
from streamvision.interfaces import Source
from streamvision.types import InputSpec

HANG_S = 120
FORMATS = {
    "h264": ("libx264", "h264"), "h265": ("libx265", "hevc"), "mjpeg": ("mjpeg", "mjpeg"),
    "mp4": ("libx264", "mp4"), "mkv": ("libx265", "matroska"), "ts": ("libx264", "mpegts"),
}  # fmt: skip


def drawn(path: Path, codec: str, container: str, size_wh: tuple[int, int] = (96, 64)) -> bytes:
    """Return a small film: 12 pictures, three key frames."""
    with av.open(str(path), "w", format=container) as film:
        options = {"x265-params": "log-level=none:keyint=4:pools=none"} if codec == "libx265" else {"bf": "2"}
        stream = film.add_stream(codec, rate=10, options={} if codec == "mjpeg" else options)
        stream.width, stream.height = size_wh
        stream.pix_fmt, stream.gop_size = "yuvj420p" if codec == "mjpeg" else "yuv420p", 4
        for number in range(12):
            rgb = np.full((size_wh[1], size_wh[0], 3), 20 * number, np.uint8)
            rgb[number * 2 : number * 2 + 20, 10:60] = (255, 10 * number, 0)
            frame = av.VideoFrame.from_ndarray(rgb).reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path.read_bytes()


def flip(data: bytes, rng: random.Random, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 10, 100))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def remove(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 2000) :]


def duplicate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at : at + rng.randrange(1, 2000)] * 2 + data[at:]


def reorder(data: bytes, rng: random.Random, other: bytes) -> bytes:
    size = rng.choice((16, 188, 500))
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    one, two = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    chunks[one], chunks[two] = chunks[two], chunks[one]
    return b"".join(chunks)


def break_header(data: bytes, rng: random.Random, other: bytes) -> bytes:
    length = min(len(data), rng.choice((8, 64, 400)))
    return bytes(rng.randrange(256) if rng.random() < 0.2 else each for each in data[:length]) + data[length:]


def change_size(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) // 2, len(data))] + other


def declare_huge(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(max(1, min(len(data), 1500) - 4))
    return data[:at] + rng.choice((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x40\x00\x40\x00")) + data[at + 4 :]


def empty_chunk(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes(rng.choice((4, 64, 1000))) + data[at + rng.choice((0, 4, 64)) :]


def nothing(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return b"" if rng.random() < 0.2 else rng.randbytes(rng.randrange(1, 4000))


Mutation = Callable[[bytes, random.Random, bytes], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    flip, truncate, remove, duplicate, reorder, break_header, change_size, declare_huge, empty_chunk, nothing,
)  # fmt: skip


def damaged(seed: int, films: dict[str, tuple[bytes, bytes]]) -> tuple[str, str, bytes]:
    """Return the format, the kind of damage and the file of a seed; every pair comes once in 60 seeds."""
    rng = random.Random(seed)
    kind = list(FORMATS)[seed % len(FORMATS)]
    mutation = MUTATIONS[seed // len(FORMATS) % len(MUTATIONS)]
    return kind, mutation.__name__, mutation(films[kind][0], rng, films[kind][1])


def read(source: Source) -> tuple[int, int, str]:
    """Return how many pictures came, how many of them cannot be scaled, and what ended it."""
    pictures = unusable = 0
    try:
        source.open()
        while True:
            for each in source.read():
                pictures += 1
                try:
                    each.picture.prepare(InputSpec((32, 32)))
                except BrokenMedia:
                    unusable += 1
    except CaptureError as error:
        return pictures, unusable, type(error).__name__
    finally:
        source.close()


def main(first: int, last: int, folder: Path, *, isolated: bool) -> None:
    av.logging.set_level(None)
    films = {
        kind: (drawn(folder / f"a.{kind}", *how), drawn(folder / f"b.{kind}", *how, size_wh=(128, 48)))
        for kind, how in FORMATS.items()
    }
    me, clock, options = psutil.Process(), SystemClock(), FileSource.Options()
    for seed in range(first, last):
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        kind, mutation, data = damaged(seed, films)
        path = folder / f"damaged.{kind}"
        path.write_bytes(data)
        print(json.dumps({"begun": seed}), flush=True)
        source = (
            IsolatedSource("file", str(path), options, clock) if isolated else FileSource(str(path), options, clock)
        )
        pictures, unusable, end = read(source)
        usage = {"threads": me.num_threads(), "fds": me.num_fds(), "rss": me.memory_info().rss}
        row = {"seed": seed, "kind": kind, "mutation": mutation, "pictures": pictures, "unusable": unusable}
        print(json.dumps({**row, "end": end, **usage}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), isolated="--isolated" in sys.argv)
