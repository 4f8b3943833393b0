from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from streamvision.distort import KINDS, STRENGTHS, distort
from streamvision.distort.linear import by_table, to_linear, to_srgb
from streamvision.types import UInt8


def scene(size_wh: tuple[int, int] = (256, 144)) -> UInt8:
    """A picture with sky, ground, edges and texture."""
    rng = np.random.default_rng(0)
    width, height = size_wh
    ramp = np.linspace(200, 70, height).astype(np.uint8)[:, None, None]
    rgb = np.broadcast_to(ramp, (height, width, 3)).copy()
    for _ in range(25):
        x, y = int(rng.integers(0, width - 20)), int(rng.integers(height // 3, height - 20))
        colour = tuple(int(one) for one in rng.integers(0, 256, 3))
        cv2.rectangle(rgb, (x, y), (x + int(rng.integers(5, 40)), y + int(rng.integers(5, 30))), colour, -1)
    return rgb


def psnr(one: UInt8, other: UInt8) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_step_does_more_damage(kind: str, seed: int):
    rgb = scene()
    quality = [psnr(rgb, distort(rgb, kind, strength, np.random.default_rng(seed))) for strength in STRENGTHS]
    assert all(first > second + 0.2 for first, second in pairwise(quality)), quality
    assert quality[0] > 11
    assert 4 < quality[-1] < 28


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_give_the_same_picture_and_leave_the_old_one(kind: str):
    rgb = scene()
    before = rgb.copy()
    first, second = (distort(rgb, kind, 3, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(rgb, before)
    assert (first.shape, first.dtype) == (rgb.shape, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_wh", [(1, 1), (33, 17), (3, 200)])
def test_any_size_will_do(kind: str, size_wh: tuple[int, int]):
    rgb = np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)
    assert distort(rgb, kind, 5, np.random.default_rng(0)).shape == rgb.shape


def test_fog_is_thicker_far_away():
    rgb = np.zeros((200, 100, 3), np.uint8)
    foggy = distort(rgb, "fog", 4, np.random.default_rng(0)).astype(float)
    assert foggy[60:90].mean() > foggy[180:].mean() + 15


def test_the_dark_is_dark_and_noise_is_not():
    rgb = scene()
    assert distort(rgb, "dark", 3, np.random.default_rng(0)).mean() < 0.5 * rgb.mean()
    assert distort(rgb, "noise", 3, np.random.default_rng(0)).mean() == pytest.approx(rgb.mean(), rel=0.03)


def test_shot_noise_grows_with_the_light():
    """Its variance is that of the counted electrons (Poisson), and of three electrons from reading them out."""
    light = np.broadcast_to(np.linspace(0.05, 0.9, 8, dtype=np.float32)[:, None, None], (8, 4000, 3))
    noisy = to_linear(distort(to_srgb(np.ascontiguousarray(light)), "noise", 2, np.random.default_rng(0)))
    assert np.var(noisy, axis=(1, 2)) == pytest.approx(light[:, 0, 0] / 400 + (3 / 400) ** 2, rel=0.15)


def test_exposure_goes_both_ways():
    rgb = scene()
    means = {distort(rgb, "exposure", 3, np.random.default_rng(seed)).mean() > rgb.mean() for seed in range(8)}
    assert means == {True, False}


def test_blur_keeps_the_mean_and_takes_the_edges():
    rgb = scene()
    for seed in range(4):
        blurred = distort(rgb, "blur", 4, np.random.default_rng(seed))
        assert blurred.mean() == pytest.approx(rgb.mean(), abs=1.5)
        assert roughness(blurred) < 0.6 * roughness(rgb)


def roughness(rgb: UInt8) -> float:
    return float(np.square(np.diff(rgb.astype(float), axis=1)).mean())


def test_light_survives_its_curve():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.abs(to_srgb(to_linear(levels)).astype(int) - levels).max() <= 1
    assert by_table(levels, 1.0).tolist() == to_srgb(to_linear(levels)).tolist()


@pytest.mark.parametrize(
    ("rgb", "kind", "strength", "said"),
    [
        (np.zeros((4, 4, 3), np.uint8), "snow", 1, "no distortion"),
        (np.zeros((4, 4, 3), np.uint8), "fog", 6, "from 1 to 5"),
        (np.zeros((4, 4), np.uint8), "fog", 1, "expected uint8"),
        (np.zeros((4, 4, 3), np.float32), "fog", 1, "expected uint8"),
    ],
)
def test_what_cannot_be_done_is_refused(rgb: UInt8, kind: str, strength: int, said: str):
    with pytest.raises(ValueError, match=said):
        distort(rgb, kind, strength, np.random.default_rng(0))
