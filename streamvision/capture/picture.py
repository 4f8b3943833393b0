"""Pictures as they come from a decoder or an array, scaled and converted only when somebody asks.

A decoded picture stays in the decoder's format. For a network its planes are halved as long as they stay large
enough, and what is left is scaled and converted to the wanted colour order in one pass of swscale, all on the
calling thread. Every source pixel counts, so nothing small flickers, and it is the cheapest way too: measured on one
core, 1080p to 416x234 takes 0.47 ms; swscale alone 0.86 (FAST_BILINEAR, which skips pixels), 1.26 (AREA) or 1.16
(BILINEAR). The AP of yolox-nano is the same within the noise for all of them.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from streamvision.errors import BrokenMedia
from streamvision.geometry import Letterbox
from streamvision.types import Colour, Crop, Fit, InputSpec, UInt8

_FORMATS: Final = {Colour.RGB: "rgb24", Colour.BGR: "bgr24", Colour.GRAY: "gray"}

# H.273 MatrixCoefficients -> swscale; everything else is guessed from the size, as players do.
_MATRICES: Final = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_FIRST_HD_HEIGHT: Final = 720

# Formats whose planes can be halved one by one: (horizontal, vertical) chroma subsampling.
_PLANAR: Final = {
    "gray": (1, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
    "yuv422p": (2, 1),
    "yuvj422p": (2, 1),
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "nv12": (2, 2),
}

# Streams are the parallelism here: OpenCV's own pool would only make their threads wait for each other.
cv2.setNumThreads(1)

_local = threading.local()


def _reformatter() -> VideoReformatter:
    """Return this thread's own swscale context: building its tables anew for every picture would cost more."""
    try:
        return _local.reformatter  # type: ignore[no-any-return]
    except AttributeError:
        _local.reformatter = VideoReformatter()
        return _local.reformatter  # type: ignore[no-any-return]


def fit_letterbox(source_wh: tuple[int, int], spec: InputSpec) -> Letterbox:
    """Return the map from a source picture to the input that ``spec`` asks for."""
    if spec.fit is Fit.STRETCH:
        return Letterbox.stretch(source_wh, spec.size_wh)
    return Letterbox.fit(source_wh, spec.size_wh, centre=spec.fit is Fit.LETTERBOX)


def _padded(inner: UInt8, letterbox: Letterbox, pad: int) -> UInt8:
    """Return a contiguous array of the model's size with ``inner`` in its place."""
    if letterbox.inner_wh == letterbox.model_wh:
        return np.array(inner, order="C")  # never a view: the picture itself must not change with its copy
    (width, height), (left, top) = letterbox.inner_wh, letterbox.offset_xy
    full = np.empty((letterbox.model_wh[1], letterbox.model_wh[0], *inner.shape[2:]), np.uint8)
    full[:top] = full[top + height :] = pad
    full[top : top + height, :left] = full[top : top + height, left + width :] = pad
    full[top : top + height, left : left + width] = inner
    return full


def encode_jpeg(bgr: UInt8, quality: int) -> bytes:
    """Return a (h,w,3) BGR array as a JPEG file."""
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:  # the arguments are ours, so this is a bug and not a misfortune
        raise RuntimeError(f"a picture of {bgr.shape} cannot be encoded as JPEG")
    return bytes(data)


class DecodedPicture:
    """A frame of PyAV: any pixel format, turned upright if the container says that it lies on its side.

    May be used by several threads at a time. The matrix is the one that the stream states; where it states none,
    BT.709 from 720 lines on and BT.601 below.
    """

    __slots__ = ("_frame", "_matrix", "_quarter_turns", "_range")

    def __init__(self, frame: av.VideoFrame, *, rotation_deg: int | None = None) -> None:
        """``rotation_deg`` counter-clockwise replaces what the frame itself says (rounded to quarter turns)."""
        self._frame = frame
        rotation_deg = frame.rotation if rotation_deg is None else rotation_deg
        self._quarter_turns = round(rotation_deg / 90) % 4 if abs(rotation_deg) <= 180 else 0  # broken matrices exist
        guess = Colorspace.ITU709 if frame.height >= _FIRST_HD_HEIGHT else Colorspace.ITU601
        self._matrix = _MATRICES.get(frame.colorspace, guess)
        self._range = frame.color_range

    @property
    def frame(self) -> av.VideoFrame:
        """The decoder's own frame, not turned."""
        return self._frame

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self._turned_wh((self._frame.width, self._frame.height))

    def rgb(self, size_wh: tuple[int, int] | None = None) -> UInt8:
        """Return an (height, width, 3) RGB array, scaled to ``size_wh`` if given; a copy of its own."""
        return np.array(self._scaled(size_wh or self.size_wh, "rgb24"), order="C")

    def jpeg(self, quality: int = 85, size_wh: tuple[int, int] | None = None) -> bytes:
        """Return the picture as a JPEG file."""
        return encode_jpeg(np.ascontiguousarray(self._scaled(size_wh or self.size_wh, "bgr24")), quality)

    def prepare(self, spec: InputSpec) -> tuple[UInt8, Letterbox]:
        """Return (h,w,3) or (h,w) pixels as ``spec`` asks for, and their map to the upright source picture."""
        letterbox = fit_letterbox(self.size_wh, spec)
        return _padded(self._scaled(letterbox.inner_wh, _FORMATS[spec.colour]), letterbox, spec.pad), letterbox

    def crop(self, window: tuple[int, int, int, int], spec: InputSpec) -> Crop:
        """Return a part of the picture as a network wants it; see `types.Picture.crop`."""
        steps = _PLANAR.get(self._frame.format.name)
        if steps is None or self._quarter_turns:
            return ArrayPicture(self.rgb()).crop(window, spec)
        cut, origin_xy = _cut(self._frame, window, steps)
        part = DecodedPicture(cut, rotation_deg=0)
        part._matrix, part._range = self._matrix, self._range
        return Crop(*part.prepare(spec), origin_xy)

    def _turned_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        return (size_wh[1], size_wh[0]) if self._quarter_turns % 2 else size_wh

    def _scaled(self, upright_wh: tuple[int, int], pixel_format: str) -> UInt8:
        """Return an upright view of the picture at that size; valid as long as somebody holds it."""
        width, height = self._turned_wh(upright_wh)
        try:
            small = _reformatter().reformat(
                _halved(self._frame, width, height),
                width,
                height,
                pixel_format,
                src_colorspace=self._matrix,
                src_color_range=self._range,
                interpolation=Interpolation.AREA,
                threads=1,  # the default starts a thread per core, and is slower for it
            )
        except (av.FFmpegError, ValueError) as error:  # whatever a sender puts into a picture's header
            raise BrokenMedia(f"a picture in {self._frame.format.name} cannot be converted: {error}") from error
        pixels = _as_array(small.planes[0], 1 if pixel_format == "gray" else 3)
        return np.rot90(pixels, self._quarter_turns) if self._quarter_turns else pixels


def _halved(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """Return the frame box-filtered to a half, a quarter ... that still holds ``width`` x ``height`` pixels."""
    pixel_format = frame.format.name
    steps = _PLANAR.get(pixel_format)
    while steps and frame.width >= 2 * width and frame.height >= 2 * height and _halves_evenly(frame, steps):
        half = av.VideoFrame(frame.width // 2, frame.height // 2, pixel_format)
        for source, target in zip(frame.planes, half.planes, strict=True):
            channels = 2 if pixel_format == "nv12" and source.width < frame.width else 1
            size_wh = (target.width, target.height)
            cv2.resize(_as_array(source, channels), size_wh, _as_array(target, channels), interpolation=cv2.INTER_AREA)
        frame = half
    return frame


def _halves_evenly(frame: av.VideoFrame, steps: tuple[int, int]) -> bool:
    """Whether chroma still lies where it belongs after halving every plane."""
    return frame.width % (2 * steps[0]) == 0 and frame.height % (2 * steps[1]) == 0


def _cut(
    frame: av.VideoFrame, window: tuple[int, int, int, int], steps: tuple[int, int]
) -> tuple[av.VideoFrame, tuple[int, int]]:
    """Return a copy of a window, widened to where chroma allows to cut, and its top left corner."""
    left, top = window[0] // steps[0] * steps[0], window[1] // steps[1] * steps[1]
    right = min(-(-window[2] // steps[0]) * steps[0], frame.width)
    bottom = min(-(-window[3] // steps[1]) * steps[1], frame.height)
    part = av.VideoFrame(right - left, bottom - top, frame.format.name)
    for index, (source, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
        across, down = steps if index else (1, 1)
        channels = 2 if frame.format.name == "nv12" and index else 1
        x, y = left // across, top // down
        _as_array(target, channels)[:] = _as_array(source, channels)[y : y + target.height, x : x + target.width]
    return part, (left, top)


def _as_array(plane: VideoPlane, channels: int) -> UInt8:
    """Return a plane's pixels without copying; the array keeps the frame's memory alive."""
    rows: UInt8 = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
    rows = rows[::-1] if plane.line_size < 0 else rows  # bottom-up, as raw video in AVI files can be
    pixels = rows[: plane.height, : plane.width * channels]
    return pixels if channels == 1 else pixels.reshape(plane.height, plane.width, channels)


class ArrayPicture:
    """A picture that is an (h,w,3) uint8 RGB array already: picture files, tests."""

    __slots__ = ("_rgb",)

    def __init__(self, rgb: UInt8) -> None:
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ValueError(f"expected uint8 (h, w, 3), got {rgb.dtype} {rgb.shape}")
        self._rgb = rgb

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._rgb.shape[1], self._rgb.shape[0]

    def rgb(self, size_wh: tuple[int, int] | None = None) -> UInt8:
        """Return an (height, width, 3) RGB array, scaled to ``size_wh`` if given; a copy of its own."""
        return _resized(self._rgb, size_wh or self.size_wh).copy()

    def jpeg(self, quality: int = 85, size_wh: tuple[int, int] | None = None) -> bytes:
        """Return the picture as a JPEG file."""
        return encode_jpeg(cv2.cvtColor(_resized(self._rgb, size_wh or self.size_wh), cv2.COLOR_RGB2BGR), quality)

    def prepare(self, spec: InputSpec) -> tuple[UInt8, Letterbox]:
        """Return (h,w,3) or (h,w) pixels as ``spec`` asks for, and their map to the source picture."""
        letterbox = fit_letterbox(self.size_wh, spec)
        inner: Any = _resized(self._rgb, letterbox.inner_wh)
        if spec.colour is Colour.BGR:
            inner = inner[..., ::-1]
        elif spec.colour is Colour.GRAY:
            inner = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
        return _padded(inner, letterbox, spec.pad), letterbox

    def crop(self, window: tuple[int, int, int, int], spec: InputSpec) -> Crop:
        """Return a part of the picture as a network wants it; see `types.Picture.crop`."""
        left, top, right, bottom = window
        return Crop(*ArrayPicture(self._rgb[top:bottom, left:right]).prepare(spec), (left, top))


def _resized(rgb: UInt8, size_wh: tuple[int, int]) -> UInt8:
    """Scale as the networks' own authors do; large steps by averaging, which they leave out and small objects miss."""
    height, width = rgb.shape[:2]
    if size_wh == (width, height):
        return rgb
    halves = width >= 2 * size_wh[0] and height >= 2 * size_wh[1]
    return np.asarray(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA if halves else cv2.INTER_LINEAR))
