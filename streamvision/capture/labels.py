"""Label pictures: one class index per pixel, as data sets for semantic segmentation come."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from streamvision.capture.allowed import LABEL_FILE
from streamvision.errors import BrokenMedia, UnsupportedMedia
from streamvision.types import UInt8


def read_labels(path: Path) -> UInt8:
    """Return the class indices (h,w) of a picture of 8 bits: grey levels, or numbers of colours in a palette.

    Raises `BrokenMedia` for a file that cannot be read, `UnsupportedMedia` for a picture that holds no indices.
    """
    try:
        with av.open(f"file:{path}", options=dict(LABEL_FILE)) as container:
            picture = next(iter(container.decode(video=0)))
    except (av.FFmpegError, StopIteration, IndexError) as error:
        raise BrokenMedia(f"cannot be read as a picture: {error}", where=str(path)) from error
    if picture.format.name not in ("gray", "pal8"):
        raise UnsupportedMedia(
            f"a label picture has one class index of 8 bits per pixel, this one is {picture.format.name}",
            where=str(path),
            remedy="convert it to a grey PNG whose levels are the classes",
        )
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return np.array(rows[: picture.height, : picture.width])
