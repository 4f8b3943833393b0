"""What daemon and child say to each other: pictures as planes in a memory file, everything else as JSON.

The planes are the decoder's own, to the bit. One thing is lost, because PyAV does not show it: where between the
pixels the stream says that its chroma lies. Colours at edges move by half a pixel of the source when it is scaled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import av
import numpy as np

from streamvision import errors
from streamvision.capture.picture import ArrayPicture, DecodedPicture
from streamvision.errors import CaptureError
from streamvision.interfaces import ScalablePicture, SourcePicture
from streamvision.types import UInt8

FILES: Final = 2
"""How many reads the child may be ahead."""
MAX_MESSAGE: Final = 1 << 17
MAX_SIDE: Final = 16384
_RGB: Final = "rgb"


class Nonsense(Exception):  # noqa: N818
    """A message or a memory file that no honest child makes."""


def packed(message: Mapping[str, Any]) -> bytes:
    """Return a message as one datagram."""
    return json.dumps(message).encode()


def unpacked(datagram: bytes) -> dict[str, Any]:
    """Return a message. Raises `Nonsense`."""
    try:
        message = json.loads(datagram)
    except ValueError as error:
        raise Nonsense("a message that is no JSON") from error
    if not isinstance(message, dict):
        raise Nonsense("a message without a name")
    return message


def write_pictures(fd: int, pictures: Sequence[SourcePicture]) -> list[dict[str, Any]]:
    """Write the planes of pictures one after the other into a memory file; return what describes them."""
    at, described = 0, []
    for each in pictures:
        planes, facts = _planes_of(each.picture)
        places = []
        for plane in planes:
            places.append([at, len(plane)])
            at += _write(fd, plane, at)
        described.append({
            **facts, "planes": places, "pts_s": each.pts_s, "received_s": each.received_s, "corrupt": each.corrupt,
            "sender_utc": each.sender_utc.isoformat() if each.sender_utc else None, "lost_packets": each.lost_packets,
        })  # fmt: skip
    return described


def read_picture(fd: int, described: Mapping[str, Any]) -> SourcePicture:
    """Return a picture with memory of its own. Raises `Nonsense`."""
    try:
        utc = described["sender_utc"]
        return SourcePicture(
            _picture(fd, described),
            None if described["pts_s"] is None else float(described["pts_s"]),
            float(described["received_s"]),
            None if utc is None else datetime.fromisoformat(utc),
            bool(described["corrupt"]),
            int(described["lost_packets"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError, av.FFmpegError, MemoryError) as error:
        raise Nonsense(f"a picture that cannot be: {error}") from error


def describe_error(error: CaptureError) -> dict[str, Any]:
    """Return a typed error as values."""
    return {"kind": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy}


def read_error(described: Mapping[str, Any]) -> CaptureError:
    """Return the typed error that a child tells of."""
    kind = getattr(errors, str(described.get("kind")), CaptureError)
    if not (isinstance(kind, type) and issubclass(kind, CaptureError)):
        kind = CaptureError
    where, remedy = (None if described.get(key) is None else str(described[key]) for key in ("where", "remedy"))
    return kind(str(described.get("what")), where=where, remedy=remedy)


def _planes_of(picture: ScalablePicture) -> tuple[list[memoryview], dict[str, Any]]:
    if not isinstance(picture, DecodedPicture):
        rgb = np.ascontiguousarray(picture.rgb())
        return [rgb.reshape(-1).data], {"format": _RGB, "size_wh": list(picture.size_wh)}
    frame = picture.frame
    facts = {
        "format": frame.format.name, "size_wh": [frame.width, frame.height], "rotation_deg": frame.rotation,
        "colorspace": int(frame.colorspace), "color_range": int(frame.color_range),
        "line_sizes": [plane.line_size for plane in frame.planes],
    }  # fmt: skip
    return [memoryview(plane) for plane in frame.planes], facts


def _write(fd: int, plane: memoryview, at: int) -> int:
    done = 0
    while done < len(plane):
        done += os.pwrite(fd, plane[done:], at + done)
    return done


def _picture(fd: int, described: Mapping[str, Any]) -> ScalablePicture:
    width, height = (_within(each, 1, MAX_SIDE) for each in described["size_wh"])
    if described["format"] == _RGB:
        rgb: UInt8 = np.empty((height, width, 3), np.uint8)
        _read(fd, rgb.reshape(-1).data, int(described["planes"][0][0]))
        return ArrayPicture(rgb)
    frame = av.VideoFrame(width, height, str(described["format"]))
    for plane, place, line in zip(frame.planes, described["planes"], described["line_sizes"], strict=True):
        _fill(fd, plane, int(place[0]), int(place[1]), int(line))
    frame.colorspace, frame.color_range = int(described["colorspace"]), int(described["color_range"])
    return DecodedPicture(frame, rotation_deg=int(described["rotation_deg"]))


def _fill(fd: int, plane: Any, at: int, length: int, line: int) -> None:
    own = memoryview(plane)
    if line == plane.line_size and length == len(own):
        _read(fd, own, at)
        return
    rows = len(own) // plane.line_size
    if line < plane.width or length // line < rows:
        raise Nonsense("a plane that is too small")
    given: UInt8 = np.empty((rows, line), np.uint8)
    _read(fd, given.reshape(-1).data, at)
    width = min(line, plane.line_size)
    np.frombuffer(own, np.uint8).reshape(rows, plane.line_size)[:, :width] = given[:, :width]


def _read(fd: int, into: memoryview, at: int) -> None:
    # Read, not mapped: a file that is cut under a mapping ends the process that looks at it.
    done = 0
    while done < len(into):
        count = os.preadv(fd, [into[done:]], at + done)
        if count == 0:
            raise Nonsense("a memory file that is too short")
        done += count


def _within(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise Nonsense(f"{value!r} is not within {least} and {most}")
    return value
