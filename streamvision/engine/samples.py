"""Pictures to try an engine on: those that ship with the program, or a folder's, prepared as a network wants them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from streamvision.errors import UsageError
from streamvision.geometry import Letterbox
from streamvision.resources import shipped
from streamvision.types import Batch, ClockSource, Colour, Crop, Fit, Frame, FrameInfo, InputSpec, UInt8

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def files(folder: Path | None = None) -> list[Path]:
    """Return the picture files of a folder (of the shipped samples without one), sorted by name.

    Raises `UsageError` if there are none.
    """
    place = folder if folder is not None else shipped("engines") / "samples"
    found = sorted(path for path in place.glob("*") if path.suffix.lower() in SUFFIXES) if place.is_dir() else []
    if not found:
        raise UsageError("there are no pictures", where=str(place), remedy=f"expected {', '.join(sorted(SUFFIXES))}")
    return found


def pictures(spec: InputSpec, folder: Path | None = None, limit: int | None = None) -> list[UInt8]:
    """Return pictures as ``spec`` asks for: uint8 (h,w,3), or (h,w) for gray; at most ``limit``, evenly chosen.

    Raises `UsageError` where the folder has no pictures or holds one that cannot be read.
    """
    return [fitted(read(path), spec)[0] for path in _spread(files(folder), limit)]


def fitted(rgb: UInt8, spec: InputSpec) -> tuple[UInt8, Letterbox]:
    """Return an RGB picture (h,w,3) fitted to a network's input, and the map between them."""
    source_wh = (rgb.shape[1], rgb.shape[0])
    if spec.fit is Fit.STRETCH:
        letterbox = Letterbox.stretch(source_wh, spec.size_wh)
    else:
        letterbox = Letterbox.fit(source_wh, spec.size_wh, centre=spec.fit is Fit.LETTERBOX)
    shrinks = min(letterbox.scale_xy) < 1
    inner: Any = cv2.resize(rgb, letterbox.inner_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if spec.colour is Colour.GRAY:
        inner = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
    elif spec.colour is Colour.BGR:
        inner = inner[..., ::-1]
    full = np.full((spec.size_wh[1], spec.size_wh[0], *inner.shape[2:]), spec.pad, np.uint8)
    (width, height), (left, top) = letterbox.inner_wh, letterbox.offset_xy
    full[top : top + height, left : left + width] = inner
    return full, letterbox


def batch_of(prepared: Sequence[UInt8]) -> Batch:
    """Return pictures that are already prepared as a batch for an engine; its source pixels are the network's."""
    return Batch(tuple(_frame(pixels, seq) for seq, pixels in enumerate(prepared)))


class _Still:
    """A picture whose pixels are already a network's input, whatever the order of their channels."""

    def __init__(self, pixels: UInt8) -> None:
        self._pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)

    @property
    def size_wh(self) -> tuple[int, int]:
        return self._pixels.shape[1], self._pixels.shape[0]

    def rgb(self, size_wh: tuple[int, int] | None = None) -> UInt8:
        return np.asarray(cv2.resize(self._pixels, size_wh or self.size_wh), np.uint8)

    def jpeg(self, quality: int = 85, size_wh: tuple[int, int] | None = None) -> bytes:
        bgr = cv2.cvtColor(self.rgb(size_wh), cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])

    def crop(self, window: tuple[int, int, int, int], spec: InputSpec) -> Crop:
        left, top, right, bottom = window
        return Crop(*fitted(self._pixels[top:bottom, left:right], spec), (left, top))


def _frame(pixels: UInt8, seq: int) -> Frame:
    size_wh = (pixels.shape[1], pixels.shape[0])
    info = FrameInfo(
        stream=f"sample-{seq}", epoch=0, seq=seq, media_s=0.0, received_s=0.0, captured_at=datetime.now(UTC),
        clock=ClockSource.FILE, uncertainty_s=0.0, size_wh=size_wh,
    )  # fmt: skip
    return Frame(info, _Still(pixels), pixels, Letterbox.stretch(size_wh, size_wh), 0.0)


def read(path: Path) -> UInt8:
    """Return a picture file as RGB, upright. Raises `UsageError`."""
    try:
        bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise UsageError(f"this picture cannot be read: {error}", where=str(path)) from error
    if bgr is None:
        raise UsageError("this is no picture", where=str(path), remedy="remove it from the folder")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _spread(paths: Sequence[Path], limit: int | None) -> list[Path]:
    if limit is None or len(paths) <= limit:
        return list(paths)
    return [paths[index] for index in np.linspace(0, len(paths) - 1, limit).round().astype(int)]
