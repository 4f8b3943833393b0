from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.dataset import rgb
from streamvision.errors import BrokenMedia
from streamvision.header import read_header


def with_orientation(file: Path, orientation: int) -> None:
    """Put an EXIF block behind a JPEG's start."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    data = file.read_bytes()
    file.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_sizes_are_read_without_decoding(tmp_path: Path, suffix: str):
    file = tmp_path / f"picture{suffix}"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8))
    header = read_header(file)
    assert header is not None
    assert (header.size_wh, header.orientation) == ((53, 37), 1)


def test_a_turned_jpeg_is_read_as_it_is_stored(tmp_path: Path):
    file = tmp_path / "turned.jpg"
    cv2.imwrite(str(file), np.zeros((30, 50, 3), np.uint8))
    with_orientation(file, 6)
    header = read_header(file)
    assert header is not None
    assert (header.size_wh, header.turned_wh, header.orientation) == ((50, 30), (30, 50), 6)
    assert rgb(file).shape == (30, 50, 3)


def test_a_jpeg_may_be_decoded_smaller_but_never_below_what_is_asked(tmp_path: Path):
    file = tmp_path / "large.jpg"
    cv2.imwrite(str(file), np.zeros((400, 800, 3), np.uint8))
    assert rgb(file, (200, 100)).shape == (100, 200, 3)
    assert rgb(file, (201, 100)).shape == (200, 400, 3)
    assert rgb(file, (900, 100)).shape == (400, 800, 3)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF0000WEBPVP8 ", b"GIF89a", b"x" * 99],
)  # fmt: skip
def test_what_is_no_picture_has_no_header(tmp_path: Path, data: bytes):
    file = tmp_path / "x.jpg"
    file.write_bytes(data)
    assert read_header(file) is None
    with pytest.raises(BrokenMedia, match=r"x\.jpg"):
        rgb(file)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_header(tmp_path / "pipe.jpg") is None


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path):
    file = tmp_path / "bomb.png"
    cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    file.write_bytes(data)
    with pytest.raises(BrokenMedia, match="100000x100000"):
        rgb(file)
