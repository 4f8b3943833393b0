"""What daemon and child hand over: pictures as planes in a memory file, everything else as JSON (`messages`).

The planes are the decoder's own, to the bit. One thing is lost, because PyAV does not show it: where between the
pixels the stream says that its chroma lies. Colours at edges move by half a pixel of the source when it is scaled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import av
import numpy as np
from av.video.plane import VideoPlane

from streamvision.capture.isolated.messages import Described, Nonsense
from streamvision.capture.picture import ArrayPicture, DecodedPicture
from streamvision.errors import UnsupportedMedia
from streamvision.interfaces import ScalablePicture, SourcePicture
from streamvision.types import UInt8

MAX_BYTES: Final = 1 << 30
"""Of one read's pictures together: the largest picture that is decoded at all, in the widest format that there is."""
_RGB: Final = "rgb"
_AT_ONCE: Final = 1 << 22


def packed(message: Mapping[str, Any]) -> bytes:
    """Return a message as one datagram."""
    return json.dumps(message).encode()


def write_pictures(fd: int, pictures: Sequence[SourcePicture]) -> list[dict[str, Any]]:
    """Write the planes of pictures one after the other into a memory file; return what describes them.

    Raises `UnsupportedMedia` if they are more than `read_pictures` takes.
    """
    at, described = 0, []
    for each in pictures:
        planes, facts = _planes_of(each.picture)
        if at + sum(map(len, planes)) > MAX_BYTES:
            raise UnsupportedMedia(
                f"its decoder gives pictures of more than {MAX_BYTES >> 20} MiB at once",
                remedy="scale it down where it comes from",
            )
        places = []
        for plane in planes:
            places.append([at, len(plane)])
            at += _write(fd, plane, at)
        described.append({
            **facts, "planes": places, "pts_s": each.pts_s, "received_s": each.received_s, "corrupt": each.corrupt,
            "sender_utc": each.sender_utc.isoformat() if each.sender_utc else None, "lost_packets": each.lost_packets,
        })  # fmt: skip
    return described


def read_pictures(fd: int, described: Sequence[Described]) -> list[SourcePicture]:
    """Return one read's pictures, with memory of their own. Raises `Nonsense`."""
    try:
        if sum(map(_size, described)) > MAX_BYTES:
            raise Nonsense("more pictures at once than a decoder holds back")
        return [_read_picture(fd, each) for each in described]
    except (ValueError, OverflowError, OSError, av.FFmpegError, MemoryError) as error:
        raise Nonsense(f"a picture that cannot be: {error}") from error


def _size(each: Described) -> int:
    """Return how many bytes a picture takes. Raises `ValueError` for an unknown format."""
    bits = 24 if each.format == _RGB else av.VideoFormat(each.format, *each.size_wh).padded_bits_per_pixel
    return each.pixels * bits // 8


def _read_picture(fd: int, each: Described) -> SourcePicture:
    picture = _picture(fd, each)
    return SourcePicture(picture, each.pts_s, each.received_s, each.sender_utc, each.corrupt, each.lost_packets)


def _planes_of(picture: ScalablePicture) -> tuple[list[memoryview], dict[str, Any]]:
    if not isinstance(picture, DecodedPicture):
        rgb = np.ascontiguousarray(picture.rgb())
        return [rgb.reshape(-1).data], {"format": _RGB, "size_wh": list(picture.size_wh)}
    frame = picture.frame
    facts = {
        "format": frame.format.name, "size_wh": [frame.width, frame.height], "rotation_deg": frame.rotation,
        "colorspace": int(frame.colorspace), "color_range": int(frame.color_range),
        "line_sizes": [abs(plane.line_size) for plane in frame.planes],
    }  # fmt: skip
    return [_from_the_top(plane) for plane in frame.planes], facts


def _from_the_top(plane: VideoPlane) -> memoryview:
    """Return a plane's lines in the order in which they are shown; raw video in AVI files can lie bottom-up."""
    lines = memoryview(plane)
    if plane.line_size >= 0:
        return lines
    return memoryview(np.frombuffer(lines, np.uint8).reshape(-1, -plane.line_size)[::-1].tobytes())


def _write(fd: int, plane: memoryview, at: int) -> int:
    done = 0
    while done < len(plane):
        done += os.pwrite(fd, plane[done:], at + done)
    return done


def _picture(fd: int, described: Described) -> ScalablePicture:
    width, height = described.size_wh
    if described.format == _RGB:
        rgb: UInt8 = np.empty((height, width, 3), np.uint8)
        _read(fd, rgb.reshape(-1).data, described.planes[0][0])
        return ArrayPicture(rgb)
    frame = av.VideoFrame(width, height, described.format)
    for plane, (at, length), line in zip(frame.planes, described.planes, described.line_sizes, strict=True):
        _fill(fd, plane, at, length, line)
    frame.colorspace, frame.color_range = described.colorspace, described.color_range
    return DecodedPicture(frame, rotation_deg=described.rotation_deg)


def _fill(fd: int, plane: Any, at: int, length: int, line: int) -> None:
    own = memoryview(plane)
    if line == plane.line_size and length == len(own):
        _read(fd, own, at)
        return
    if not plane.line_size or line < plane.width:  # a palette has no lines
        raise Nonsense("a plane with lines that are too short")
    rows = len(own) // plane.line_size
    if length < rows * line:
        raise Nonsense("a plane that is too small")
    target = np.frombuffer(own, np.uint8).reshape(rows, plane.line_size)
    width = min(line, plane.line_size)
    target[:, width:] = 0
    step = max(1, _AT_ONCE // line)
    for first in range(0, rows, step):  # piece by piece: lines may be said to be long
        given: UInt8 = np.empty((min(step, rows - first), line), np.uint8)
        _read(fd, given.reshape(-1).data, at + first * line)
        target[first : first + step, :width] = given[:, :width]


def _read(fd: int, into: memoryview, at: int) -> None:
    # Read, not mapped: a file that is cut under a mapping ends the process that looks at it.
    done = 0
    while done < len(into):
        count = os.preadv(fd, [into[done:]], at + done)
        if count == 0:
            raise Nonsense("a memory file that is too short")
        done += count
