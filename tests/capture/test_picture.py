"""Scaling, colours and turns of pictures, against numpy and against known colours."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.capture.picture import ArrayPicture, DecodedPicture, fit_letterbox
from streamvision.interfaces import ScalablePicture
from streamvision.types import Colour, Fit, InputSpec, UInt8

FORMATS = [
    "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "yuv420p10le", "yuv422p10le",
    "p010le", "gbrp", "rgb24", "bgr24", "rgba", "yuva420p", "yuyv422", "gray", "gray10le",
]  # fmt: skip


def scene(width: int, height: int) -> UInt8:
    """A soft picture with a red, a green and a blue corner; the fourth is grey."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    channels = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y]
    return np.stack([40 + 180 * channel for channel in channels], 2).astype(np.uint8)


def decoded(rgb: UInt8, pixel_format: str, *, matrix: int = 5, rotation_deg: int = 0) -> DecodedPicture:
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format=pixel_format, dst_colorspace=matrix, interpolation="BICUBIC", threads=1
    )
    return DecodedPicture(frame, rotation_deg=rotation_deg)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("source_wh", [(640, 360), (333, 211), (1280, 960)])
def test_every_pixel_format_is_scaled_with_its_true_colours(pixel_format: str, source_wh: tuple[int, int]) -> None:
    rgb = scene(*source_wh)
    spec = InputSpec((160, 128))
    pixels, letterbox = decoded(rgb, pixel_format).prepare(spec)
    expected = cv2.resize(rgb, letterbox.inner_wh, interpolation=cv2.INTER_AREA)
    if pixel_format.startswith("gray"):
        expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    left, top = letterbox.offset_xy
    inner = pixels[top : top + letterbox.inner_wh[1], left : left + letterbox.inner_wh[0]]
    assert np.abs(inner.astype(int) - expected).mean() < 3
    assert np.abs(inner.astype(int) - expected).max() < 16
    assert (pixels[0] == 114).all()
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("colour", list(Colour))
@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("make", [lambda rgb: decoded(rgb, "yuv444p"), ArrayPicture])
def test_fit_and_colour_order(colour: Colour, fit: Fit, make: object) -> None:
    picture: ScalablePicture = make(scene(300, 150))  # type: ignore[operator]
    pixels, letterbox = picture.prepare(InputSpec((120, 90), fit, colour, pad=7))
    assert letterbox == fit_letterbox((300, 150), InputSpec((120, 90), fit))
    assert pixels.shape == ((90, 120) if colour is Colour.GRAY else (90, 120, 3))
    corner = pixels[letterbox.offset_xy[1] + 1, letterbox.offset_xy[0] + 1]
    if colour is not Colour.GRAY:
        assert int(corner.argmax()) == (0 if colour is Colour.RGB else 2)
    assert (pixels[-1] == 7).all() == (fit is not Fit.STRETCH)


def test_gray_is_full_range() -> None:
    black = av.VideoFrame(64, 64, "yuv420p")
    for plane, value in zip(black.planes, (16, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    assert DecodedPicture(black).prepare(InputSpec((32, 32), colour=Colour.GRAY))[0].max() <= 1


@pytest.mark.parametrize(
    ("tag", "height", "matrix"),
    [(1, 64, 1), (5, 64, 5), (6, 1080, 5), (2, 64, 5), (2, 1080, 1), (9, 64, 9), (3, 64, 5), (200, 64, 5)],
)
def test_the_stated_matrix_is_used_and_a_missing_one_guessed(tag: int, height: int, matrix: int) -> None:
    rgb = np.full((height, 128, 3), (30, 180, 60), np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv444p", dst_colorspace=matrix, threads=1)
    frame.colorspace = tag
    assert np.abs(DecodedPicture(frame).rgb((16, 16)).astype(int) - (30, 180, 60)).max() <= 3


@pytest.mark.parametrize("size_wh", [(32, 32), (333, 211)])
def test_full_range_that_is_only_stated_beside_the_format_is_respected(size_wh: tuple[int, int]) -> None:
    """AV1 and HEVC decoders give yuv420p with a range tag where H.264's gives yuvj420p."""
    rgb = np.full((480, 640, 3), (250, 250, 5), np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p", dst_colorspace=5, dst_color_range=2)
    assert frame.planes[0].width == 640
    assert np.abs(DecodedPicture(frame).rgb(size_wh).astype(int) - (250, 250, 5)).max() <= 3


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (-90, 3), (180, 2), (-180, 2), (-2147483648, 0)])
def test_a_picture_lying_on_its_side_is_put_upright(degrees: int, turns: int) -> None:
    rgb = scene(160, 96)
    picture = decoded(rgb, "yuv444p", rotation_deg=degrees)
    upright = np.rot90(rgb, turns)
    assert picture.size_wh == (upright.shape[1], upright.shape[0])
    assert np.abs(picture.rgb().astype(int) - upright).max() < 8
    pixels, letterbox = picture.prepare(InputSpec((64, 64), Fit.LETTERBOX_TOP_LEFT))
    small = cv2.resize(upright, letterbox.inner_wh, interpolation=cv2.INTER_AREA)
    inner = pixels[: letterbox.inner_wh[1], : letterbox.inner_wh[0]]
    assert np.abs(inner.astype(int) - small).max() < 10


def test_the_display_matrix_of_a_file_is_respected(data: Path) -> None:
    with av.open(data / "media_edge/mp4parse_video_rotation_90.mp4") as container:
        picture = DecodedPicture(next(container.decode(video=0)))
    assert picture.size_wh == (60, 100)
    assert picture.rgb().shape == (100, 60, 3)


@pytest.mark.parametrize(
    "name",
    [
        "torchcodec_h264_10bits.mp4",
        "torchcodec_bt709_full_range.mp4",
        "imageio_cockatoo.mp4",
        "mediamtx_offline_av1.mp4",
    ],
)
def test_real_pictures_look_like_ffmpegs_own_conversion(data: Path, name: str) -> None:
    with av.open(data / "media_edge" / name) as container:
        frame = next(container.decode(video=0))
    picture = DecodedPicture(frame)
    reference = frame.to_ndarray(format="rgb24", interpolation="AREA")
    pixels, letterbox = picture.prepare(InputSpec((100, 100), Fit.STRETCH))
    expected = cv2.resize(reference, letterbox.inner_wh, interpolation=cv2.INTER_AREA)
    assert np.abs(picture.rgb().astype(int) - reference).mean() < 3
    assert np.abs(pixels.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("make", [lambda rgb: decoded(rgb, "yuv420p"), ArrayPicture])
def test_jpeg_shows_the_picture(make: object) -> None:
    rgb = scene(320, 200)
    picture: ScalablePicture = make(rgb)  # type: ignore[operator]
    full = cv2.imdecode(np.frombuffer(picture.jpeg(95), np.uint8), cv2.IMREAD_COLOR)
    small = cv2.imdecode(np.frombuffer(picture.jpeg(60, (80, 50)), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(full[..., ::-1].astype(int) - rgb).mean() < 3
    assert small.shape == (50, 80, 3)
    assert len(picture.jpeg(30)) < len(picture.jpeg(95))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(8, 128), st.integers(8, 128)),
    st.sampled_from(["yuv420p", "yuv422p", "nv12", "gray"]),
)
def test_any_size_fits_any_input(source_wh: tuple[int, int], model_wh: tuple[int, int], pixel_format: str) -> None:
    frame = av.VideoFrame(*source_wh, pixel_format)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    pixels, letterbox = DecodedPicture(frame).prepare(InputSpec(model_wh))
    left, top = letterbox.offset_xy
    inner = pixels[top : top + letterbox.inner_wh[1], left : left + letterbox.inner_wh[0]]
    assert pixels.shape == (model_wh[1], model_wh[0], 3)
    assert np.abs(inner.astype(int) - 130).max() <= 4  # mid-grey of limited range


def test_fine_detail_is_averaged_and_not_skipped() -> None:
    """A pattern of single lines must become grey: sampling every fourth line would give black or white."""
    rgb = np.zeros((1088, 1920, 3), np.uint8)
    rgb[::4] = 255
    pixels, _ = decoded(rgb, "yuv420p", matrix=1).prepare(InputSpec((400, 226), Fit.STRETCH))
    assert pixels.min() > 40
    assert pixels.max() < 90


def test_a_wrong_array_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        ArrayPicture(np.zeros((4, 4), np.uint8))


WINDOWS = [(0, 0, 64, 48), (101, 53, 202, 152), (300, 100, 333, 211), (7, 9, 8, 10)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("pixel_format", [*FORMATS, "turned", "array"])
def test_a_crop_shows_that_part_and_knows_where_it_lies(pixel_format: str, window: tuple[int, int, int, int]) -> None:
    rgb = scene(333, 211)
    if pixel_format == "array":
        picture: ScalablePicture = ArrayPicture(rgb)
    elif pixel_format == "turned":
        picture = decoded(np.ascontiguousarray(np.rot90(rgb, -1)), "yuv444p", rotation_deg=90)
    else:
        picture = decoded(rgb, pixel_format)
    spec = InputSpec((96, 96), pad=0)
    crop = picture.crop(window, spec)
    (left, top), (width, height) = crop.origin_xy, crop.letterbox.source_wh
    assert left <= window[0] <= left + 1
    assert top <= window[1] <= top + 1
    assert window[2] <= left + width <= window[2] + 1
    assert window[3] <= top + height <= window[3] + 1
    expected, letterbox = ArrayPicture(rgb[top : top + height, left : left + width]).prepare(spec)
    assert crop.letterbox == letterbox
    if pixel_format.startswith("gray"):
        expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    assert np.abs(crop.pixels.astype(int) - expected).mean() < 6
