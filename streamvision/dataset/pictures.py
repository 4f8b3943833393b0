"""Looks at every picture file of a set: is it there, whole, what the labels were made for, and one of its kind?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Kind
from streamvision.dataset.pixels import MAX_PIXELS
from streamvision.dataset.values import Example
from streamvision.header import Header, read_header
from streamvision.types import UInt8

_MAX_BYTES = 256 << 20
_HASH_WH = (9, 8)
_REDUCE_FROM_PX = 256
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Look:
    """What one file showed: what is wrong with it, its sha256, and a hash of 64 bits that similar pictures share.

    ``alike`` is the difference hash: does each pixel of an 9x8 thumbnail get darker to the right? None for a picture
    without any structure, which resembles every other.
    """

    problems: tuple[tuple[Kind, str], ...]
    sha256: str | None = None
    alike: int | None = None


def look_at_all(examples: Sequence[Example], seen: Callable[[], None] | None = None) -> Iterator[Look]:
    """Yield what each example's picture file shows; ``seen`` is called after each. Decoding runs in threads."""
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        for start in range(0, len(examples), _AHEAD):
            for found in pool.map(look_at, examples[start : start + _AHEAD]):
                yield found
                if seen is not None:
                    seen()


def look_at(example: Example) -> Look:
    """Return what an example's picture file shows."""
    path = example.path
    try:
        size = path.stat().st_size
        if not path.is_file():
            return Look(((kinds.MISSING_PICTURE, "it is no file"),))
        if size > _MAX_BYTES:
            return Look(((kinds.BOMB_PICTURE, f"the file has {size} bytes"),))
        data = path.read_bytes()
    except OSError as error:
        return Look(((kinds.MISSING_PICTURE, error.strerror or str(error)),))
    if not data:
        return Look(((kinds.EMPTY_PICTURE, "the file has no byte"),))
    digest = hashlib.sha256(data).hexdigest()
    header = read_header(path)
    if header is None:
        return Look(((kinds.BROKEN_PICTURE, "it is no JPEG, PNG, BMP or WebP picture"),), digest)
    problems = tuple(_of_header(example, header, data))
    fatal = any(kind in (kinds.BOMB_PICTURE, kinds.TRUNCATED_PICTURE) for kind, _ in problems)
    grey = None if fatal else decoded(data, header)
    if not fatal and grey is None:
        problems += ((kinds.BROKEN_PICTURE, "it cannot be decoded"),)
    return Look(problems, digest, None if grey is None else difference_hash(grey))


def _of_header(example: Example, header: Header, data: bytes) -> Iterator[tuple[Kind, str]]:
    width, height = header.size_wh
    if width * height > MAX_PIXELS or not width * height:
        yield kinds.BOMB_PICTURE, f"it claims to be {width}x{height}"
        return
    if _ends_early(data, header):
        yield kinds.TRUNCATED_PICTURE, "the file ends in the middle of the picture"
    if header.size_wh == example.size_wh:
        if header.orientation != 1:
            yield kinds.EXIF_PICTURE, f"EXIF orientation {header.orientation}"
    elif header.turned_wh == example.size_wh:
        said = f"labelled as {example.size_wh[0]}x{example.size_wh[1]}, stored as {width}x{height}"
        yield kinds.TURNED_PICTURE, said
    else:
        yield kinds.WRONG_SIZE, f"labelled as {example.size_wh[0]}x{example.size_wh[1]}, it is {width}x{height}"


def _ends_early(data: bytes, header: Header) -> bool:
    """Tell whether the end is missing. A JPEG's comes after its last scan; its thumbnail has an end of its own."""
    if header.format == "jpeg":
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    if header.format == "png":
        return b"IEND" not in data[-4096:]
    if header.format == "webp":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    return False


def decoded(data: bytes, header: Header) -> UInt8 | None:
    """Return a picture (h,w) in grey, perhaps an eighth as wide; None if it cannot be decoded."""
    small = header.format == "jpeg" and min(header.size_wh) >= _REDUCE_FROM_PX
    how = cv2.IMREAD_REDUCED_GRAYSCALE_8 if small else cv2.IMREAD_GRAYSCALE
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if grey is None else np.asarray(grey, np.uint8)


def difference_hash(grey: UInt8) -> int | None:
    """Return 64 bits that hardly change when a picture is scaled, brightened or compressed; None for a blank one."""
    small = cv2.resize(grey, _HASH_WH, interpolation=cv2.INTER_AREA).astype(np.int16)
    steps = np.diff(small, axis=1)
    if np.count_nonzero(np.abs(steps) > 1) < steps.size // 8:
        return None
    return int.from_bytes(np.packbits(steps < 0).tobytes(), "big")


def near(first: Sequence[int], second: Sequence[int], bits: int) -> NDArray[np.int64]:
    """Return the pairs (P,2) of positions whose hashes differ in at most so many bits."""
    a, b = np.array(first, np.uint64), np.array(second, np.uint64)
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, len(a), 1024):
        apart = np.bitwise_count(a[start : start + 1024, None] ^ b[None])
        pairs.append(np.argwhere(apart <= bits) + np.array([start, 0]))
    return np.concatenate(pairs)


def relative(path: Path, origin: str) -> str:
    """Return a path as it is shown: without the part that all have in common, where there is one."""
    root = Path(origin) if Path(origin).is_dir() else Path(origin).parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
