"""Privacy masks: nothing hidden may be had, by any way."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from streamvision.capture.masks import MaskedPicture, PrivacyMasks
from streamvision.capture.picture import ArrayPicture, DecodedPicture
from streamvision.interfaces import ScalablePicture
from streamvision.types import Colour, Fit, InputSpec, UInt8

LEFT_HALF = {"neighbour": [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]}


def secret(width: int = 320, height: int = 200) -> UInt8:
    rgb = np.full((height, width, 3), 90, np.uint8)
    rgb[:, : width // 2] = 250
    return rgb


def yuv(rgb: UInt8) -> DecodedPicture:
    return DecodedPicture(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p", dst_colorspace=5))


@pytest.fixture(params=[ArrayPicture, yuv])
def masked(request: pytest.FixtureRequest) -> MaskedPicture:
    inner: ScalablePicture = request.param(secret())
    return MaskedPicture(inner, PrivacyMasks(LEFT_HALF))


@pytest.mark.parametrize("size_wh", [None, (80, 50), (33, 21), (640, 400)])
def test_rgb_and_jpeg_hide_it(masked: MaskedPicture, size_wh: tuple[int, int] | None) -> None:
    rgb = masked.rgb(size_wh)
    width = rgb.shape[1]
    assert not rgb[:, : width // 2].any()
    assert (rgb[:, width // 2 + 3 :] > 60).all()
    shown = cv2.imdecode(np.frombuffer(masked.jpeg(95, size_wh), np.uint8), cv2.IMREAD_COLOR)
    assert shown[:, : width // 2 - 8].max(initial=0) < 12
    assert masked.rgb().max() < 150


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("colour", list(Colour))
def test_the_networks_input_hides_it_and_keeps_its_padding(masked: MaskedPicture, fit: Fit, colour: Colour) -> None:
    pixels, letterbox = masked.prepare(InputSpec((96, 96), fit, colour))
    (left, top), (width, height) = letterbox.offset_xy, letterbox.inner_wh
    inner = pixels[top : top + height, left : left + width]
    assert not inner[:, : width // 2].any()
    assert inner[:, width // 2 + 3 :].min() > 60
    assert fit is Fit.STRETCH or (pixels[-1] == 114).all()


def test_the_pictures_own_memory_is_untouched() -> None:
    rgb = secret(96, 96)
    masked = MaskedPicture(ArrayPicture(rgb), PrivacyMasks(LEFT_HALF))
    masked.prepare(InputSpec((96, 96)))
    masked.rgb()
    assert (rgb == secret(96, 96)).all()


def test_a_border_pixel_that_is_partly_hidden_is_hidden() -> None:
    pixels = np.full((10, 10), 255, np.uint8)
    PrivacyMasks({"a": [(0.21, 0.21), (0.79, 0.21), (0.79, 0.79), (0.21, 0.79)]}).paint(pixels)
    assert not pixels[2:8, 2:8].any()
    assert pixels[0].all()


def test_corners_outside_the_picture_are_cut_off() -> None:
    pixels = np.full((20, 30, 3), 255, np.uint8)
    PrivacyMasks({"a": [(-5.0, -5.0), (0.5, -5.0), (0.5, 9.0), (-5.0, 9.0)]}).paint(pixels)
    assert not pixels[:, :15].any()
    assert pixels[:, 18:].all()


def test_many_sizes_do_not_grow_memory() -> None:
    masks = PrivacyMasks(LEFT_HALF)
    for width in range(10, 60):
        masks.paint(np.zeros((10, width), np.uint8))
    assert len(masks._visible) <= 8


@pytest.mark.parametrize("polygon", [[], [(0.0, 0.0), (1.0, 1.0)], [(0.0, 0.0), (1.0, float("nan")), (1.0, 1.0)]])
def test_a_polygon_that_hides_nothing_is_refused(polygon: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="privacy mask 'window'"):
        PrivacyMasks({"window": polygon})


def test_a_crop_hides_it_too(masked: MaskedPicture) -> None:
    crop = masked.crop((140, 20, 181, 60), InputSpec((82, 80), Fit.STRETCH))
    hidden = (160 - crop.origin_xy[0]) * 82 // crop.letterbox.source_wh[0]
    assert not crop.pixels[:, : hidden - 1].any()
    assert crop.pixels[:, hidden + 4 :].min() > 60
