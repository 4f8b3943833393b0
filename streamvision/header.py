"""What the first bytes of a picture file say, without decoding it: format, size, EXIF orientation.

JPEG (ITU-T T.81 annex B, Exif 2.3 for the orientation), PNG (ISO/IEC 15948), BMP and WebP (RFC 9649).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_ORIENTATION = 0x0112
_MAX_SEGMENTS = 4096
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_TIFF_MAGIC, _WIDTH, _HEIGHT, _SHORT, _MAX_ENTRIES = 42, 256, 257, 3, 64


@dataclass(frozen=True, slots=True)
class Header:
    """``orientation`` is EXIF's: 1 for upright, 5 to 8 where width and height change places.

    ``grey``: a PNG of 8 bits of grey and nothing else.
    """

    format: str
    size_wh: tuple[int, int]
    orientation: int = 1
    grey: bool = False

    @property
    def turned_wh(self) -> tuple[int, int]:
        """The size after the rotation that EXIF asks for."""
        return self.size_wh[::-1] if self.orientation >= 5 else self.size_wh


def read_header(path: Path) -> Header | None:
    """Return what a picture file says of itself; None for a file that is missing, empty, or of another kind."""
    try:
        if not path.is_file():  # to open a pipe would wait for its other end
            return None
        with path.open("rb") as file:
            start = file.read(32)
            if start[:2] == b"\xff\xd8":
                file.seek(2)
                return _jpeg(file)
    except OSError:
        return None
    try:
        return _png(start) or _bmp(start) or _webp(start)
    except struct.error:
        return None


def tiff_wh(path: Path) -> tuple[int, int] | None:
    """Return the width and height that a TIFF file (TIFF 6.0, not BigTIFF) states for its first picture, else None."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            order = _BYTE_ORDERS.get(start[:2])
            if order is None or struct.unpack_from(f"{order}H", start, 2)[0] != _TIFF_MAGIC:
                return None
            file.seek(struct.unpack_from(f"{order}I", start, 4)[0])
            return _tiff_entries(file.read(2 + 12 * _MAX_ENTRIES), order)
    except (OSError, struct.error):
        return None


def _tiff_entries(directory: bytes, order: str) -> tuple[int, int] | None:
    found = {}
    count = min(struct.unpack_from(f"{order}H", directory)[0], _MAX_ENTRIES)
    for place in range(2, 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", directory, place)
        if tag in (_WIDTH, _HEIGHT):
            found[tag] = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", directory, place + 8)[0]
    return (found[_WIDTH], found[_HEIGHT]) if len(found) == 2 else None


def _png(start: bytes) -> Header | None:
    if not start.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack_from(">II", start, 16)
    return Header("png", (width, height), grey=start[24:26] == b"\x08\x00")  # bit depth, colour type


def _bmp(start: bytes) -> Header | None:
    if not start.startswith(b"BM"):
        return None
    width, height = struct.unpack_from("<ii", start, 18)
    return Header("bmp", (abs(width), abs(height)))


def _webp(start: bytes) -> Header | None:
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return None
    kind = start[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", start, 26)
        return Header("webp", (width & 0x3FFF, height & 0x3FFF))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", start, 21)[0]
        return Header("webp", ((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
    if kind != b"VP8X":
        return None
    return Header("webp", (int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1))


def _jpeg(file: BinaryIO) -> Header | None:
    orientation = 1
    for _ in range(_MAX_SEGMENTS):
        segment = _segment(file)
        if segment is None:
            return None
        marker, body = segment
        if marker in _SIZES:
            if len(body) < 5:
                return None
            height, width = struct.unpack_from(">HH", body, 1)
            return Header("jpeg", (width, height), orientation)
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
    return None


def _segment(file: BinaryIO) -> tuple[int, bytes] | None:
    """Return the next marker of a JPEG file and its body; None at the end, at pixels, or for nonsense."""
    mark = file.read(2)
    while len(mark) == 2 and mark == b"\xff\xff":  # fill bytes
        mark = mark[1:] + file.read(1)
    if len(mark) < 2 or mark[0] != 0xFF or mark[1] in (0xD9, 0xDA):
        return None
    if mark[1] in _ALONE:
        return mark[1], b""
    length = file.read(2)
    if len(length) < 2:
        return None
    return mark[1], file.read(max(0, int.from_bytes(length, "big") - 2))


def _orientation(tiff: bytes) -> int:
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return 1
    try:
        place = struct.unpack_from(f"{order}I", tiff, 4)[0]
        count = struct.unpack_from(f"{order}H", tiff, place)[0]
        for index in range(min(count, 64)):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, place + 2 + 12 * index)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
