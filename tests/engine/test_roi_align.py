"""RoIAlign against torchvision's own, and against what it must be by its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamvision.engine.roi_align import Features, Pyramid

INPUT_WH = (128, 96)
SIZES = ((24, 32), (12, 16), (6, 8), (3, 4))
CHANNELS = 5
PICTURES = 2

BOXES = {
    "somewhere": (20.3, 11.7, 60.9, 50.2),
    "the whole picture": (0, 0, 128, 96),
    "larger than the picture": (-40, -30, 300, 200),
    "at the left and top border": (0, 0, 9, 7),
    "at the right and bottom border": (119.5, 88.5, 128, 96),
    "half outside": (110, 80, 150, 130),
    "wholly outside": (400, 400, 450, 460),
    "tiny": (50.1, 40.1, 50.2, 40.15),
    "a line": (10, 30, 90, 30),
    "a point": (64, 48, 64, 48),
    "in the corner beyond the last cell's centre": (127.9, 95.9, 128, 96),
    "huge": (-4000, -4000, 4000, 4000),
    "tall": (60, 0, 64, 96),
    "wide": (0, 40, 128, 43),
}


@pytest.fixture(scope="module")
def maps() -> list[Any]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal((PICTURES, *size, CHANNELS)).astype(np.float32) for size in SIZES]


@pytest.fixture(scope="module")
def features(maps: list[Any]) -> Features:
    return Features.gather(Pyramid.of(INPUT_WH, SIZES), maps)


def torchvision_crop(maps: list[Any], xyxy: Any, picture: Any, side: int) -> Any:
    pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'streamvision[train]'")
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    pool = MultiScaleRoIAlign([str(level) for level in range(len(maps))], side, 2)
    named = {str(level): torch.from_numpy(one).permute(0, 3, 1, 2) for level, one in enumerate(maps)}
    boxes = [torch.from_numpy(xyxy[picture == number]) for number in range(PICTURES)]
    cropped = pool(named, boxes, [(INPUT_WH[1], INPUT_WH[0])] * PICTURES)
    rows = np.argsort(picture, kind="stable")
    answer = np.empty((len(xyxy), side, side, CHANNELS), np.float32)
    answer[rows] = cropped.permute(0, 2, 3, 1).numpy()
    return answer


@pytest.mark.parametrize("side", [1, 7, 14])
@pytest.mark.parametrize("name", BOXES)
def test_a_region_is_cut_as_torchvision_cuts_it(maps: list[Any], features: Features, name: str, side: int):
    xyxy = np.asarray([BOXES[name]], np.float32)
    for number in range(PICTURES):
        picture = np.asarray([number])
        expected = torchvision_crop(maps, xyxy, picture, side)
        np.testing.assert_allclose(features.crop(xyxy, picture, side), expected, atol=1e-4)


def test_many_regions_of_all_pictures_at_once_keep_their_order(maps: list[Any], features: Features):
    rng = np.random.default_rng(9)
    low = rng.uniform(-10, 110, (200, 2))
    xyxy = np.concatenate([low, low + rng.exponential(40, (200, 2))], axis=1).astype(np.float32)
    picture = rng.integers(0, PICTURES, 200)
    assert len(set(features.pyramid.level_of(xyxy).tolist())) > 1
    expected = torchvision_crop(maps, xyxy, picture, 7)
    np.testing.assert_allclose(features.crop(xyxy, picture, 7), expected, atol=1e-4)


def sample(level: Any, y: float, x: float) -> Any:
    """One sample of a map (h,w,channels) by the definition."""
    height, width = level.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(level.shape[2])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = level[top, left] * (1 - (x - left)) + level[top, right] * (x - left)
    lower = level[bottom, left] * (1 - (x - left)) + level[bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


@pytest.mark.parametrize("name", BOXES)
def test_a_region_is_the_mean_of_four_samples_per_bin(maps: list[Any], features: Features, name: str):
    xyxy = np.asarray([BOXES[name]], np.float32)
    index = int(features.pyramid.level_of(xyxy)[0])
    x1, y1, x2, y2 = (side / features.pyramid.strides[index] for side in BOXES[name])
    down, across = max(y2 - y1, 1) / 2, max(x2 - x1, 1) / 2
    expected = np.zeros((2, 2, CHANNELS))
    for row, column, i, j in np.ndindex(2, 2, 2, 2):
        y, x = y1 + (row + (i + 0.5) / 2) * down, x1 + (column + (j + 0.5) / 2) * across
        expected[row, column] += sample(maps[index][1], y, x) / 4
    np.testing.assert_allclose(features.crop(xyxy, np.asarray([1]), 2)[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "level"), [(0, 0), (1, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (448, 3), (5000, 3)]
)
def test_large_regions_are_looked_at_on_coarse_levels(side: float, level: int):
    pyramid = Pyramid.of(INPUT_WH, SIZES)
    assert pyramid.strides == (4, 8, 16, 32)
    assert pyramid.level_of(np.asarray([[3, 5, 3 + side, 5 + side]], np.float32)).tolist() == [level]


def test_levels_of_one_stride_are_all_looked_at_on_the_first():
    """Torchvision's MobileNetV3 has two such levels."""
    pyramid = Pyramid.of(INPUT_WH, ((3, 4), (3, 4)))
    assert pyramid.strides == (32, 32)
    assert pyramid.level_of(np.asarray([[0, 0, 4, 4], [0, 0, 900, 900]], np.float32)).tolist() == [0, 0]
