"""The pixels of examples: pictures as RGB, label pictures as class indices, and what a file's first bytes say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from streamvision.capture.labels import read_labels
from streamvision.dataset.values import UNLABELLED, Dataset, Example
from streamvision.errors import BrokenMedia
from streamvision.header import Header, read_header
from streamvision.types import UInt8

MAX_PIXELS = 200_000_000
"""A picture that claims more is refused before it is decoded: it would take more than 600 MB."""

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def rgb(path: Path, at_least_wh: tuple[int, int] | None = None) -> UInt8:
    """Return a picture (h,w,3) uint8 RGB as it is stored: labels count its pixels before any EXIF rotation.

    With ``at_least_wh`` the JPEG decoder may halve it up to three times, as long as it stays that large, which is
    faster. Raises `BrokenMedia` for a file that is missing, no picture, or one of absurd size.
    """
    header = header_of(path)
    flags = _AS_STORED
    if at_least_wh is not None and header.format == "jpeg":
        steps = min(header.size_wh[0] // max(1, at_least_wh[0]), header.size_wh[1] // max(1, at_least_wh[1]))
        factor = next((step for step in (8, 4, 2) if step <= steps), 1)
        flags = _REDUCED.get(factor, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imread(str(path), flags)
    if bgr is None:
        raise BrokenMedia("cannot be decoded as a picture", where=str(path), remedy="replace the file or leave it out")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def header_of(path: Path) -> Header:
    """Return what a picture's first bytes say. Raises `BrokenMedia` where they say nothing, or a bomb's size."""
    header = read_header(path)
    if header is None:
        raise BrokenMedia(
            "is missing, empty or not a JPEG, PNG, BMP or WebP picture", where=str(path), remedy="replace the file"
        )
    width, height = header.size_wh
    if width * height > MAX_PIXELS or not width or not height:
        raise BrokenMedia(f"claims to be {width}x{height}", where=str(path), remedy="no such picture is read")
    return header


def label_map(dataset: Dataset, example: Example, name: str) -> UInt8:
    """Return one label picture (h,w) uint8 as indices into ``dataset.maps[name]``, `UNLABELLED` where there is none.

    Raises `BrokenMedia` or `UnsupportedMedia` where the file holds no indices, KeyError where the example has no such
    map.
    """
    return np.asarray(cv2.LUT(indices(example.label_maps[name]), lookup(dataset, name)), np.uint8)


def indices(path: Path) -> UInt8:
    """Return the indices (h,w) uint8 of a label picture as they stand in the file; raises as `label_map`."""
    if header_of(path).grey:
        grey = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if grey is not None and grey.ndim == 2:
            return np.asarray(grey, np.uint8)
    return read_labels(path)  # palettes, other depths, and what is broken


def lookup(dataset: Dataset, name: str) -> UInt8:
    """Return the class (256,) of each index in a map's label pictures; indices that mean nothing are `UNLABELLED`."""
    table = np.asarray(dataset.lookups.get(name, range(256)), np.uint8)
    return np.where(table < len(dataset.maps[name]), table, np.uint8(UNLABELLED)).astype(np.uint8)
