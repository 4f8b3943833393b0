"""The motion gate on synthetic scenes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from streamvision.capture.gate import MotionGate
from streamvision.types import Colour, UInt8

FPS = 25


def street(rng: np.random.Generator) -> UInt8:
    return np.asarray(rng.integers(60, 190, (10, 10, 3)).repeat(16, 0).repeat(16, 1), np.uint8)


@cache
def grain() -> NDArray[np.float32]:
    """Some pictures of standard noise; shifting one gives another at no cost."""
    return np.random.default_rng(9).standard_normal((8, 160, 160, 3), np.float32)


def noisy(picture: UInt8, sigma: float, rng: np.random.Generator, light: float = 0.0) -> UInt8:
    noise = np.roll(grain()[rng.integers(8)], rng.integers(160, size=2), (0, 1))
    return np.clip(picture + light + sigma * noise, 0, 255).astype(np.uint8)


def with_object(picture: UInt8, x: float, y: float, size: int = 8, contrast: int = 40) -> UInt8:
    shown = picture.copy()
    patch = shown[int(y) : int(y) + size, int(x) : int(x) + size]
    patch[...] = np.where(patch > 128, patch - contrast, patch + contrast)
    return shown


def rested(gate: MotionGate, picture: UInt8, sigma: float, rng: np.random.Generator, frames: int = 100) -> float:
    for index in range(frames):
        gate.wants(noisy(picture, sigma, rng), index / FPS)
    return frames / FPS


@pytest.mark.parametrize("sigma", [0.0, 2.0, 6.0, 12.0])
def test_a_still_scene_is_analysed_twice_a_second(sigma: float) -> None:
    rng = np.random.default_rng(1)
    gate, scene = MotionGate(), street(rng)
    rested(gate, scene, sigma, rng)
    taken = [gate.wants(noisy(scene, sigma, rng), 4 + index / FPS) for index in range(250)]
    assert sum(taken) <= 250 / FPS * 2 + 2
    assert max(np.diff(np.flatnonzero(taken))) <= FPS // 2 + 1


@pytest.mark.parametrize("sigma", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("colour", list(Colour))
def test_the_smallest_object_opens_the_gate_wherever_it_appears(sigma: float, colour: Colour) -> None:
    rng = np.random.default_rng(2)
    scene = street(rng)
    channel = slice(0, 1) if colour is Colour.GRAY else slice(None)
    for trial in range(5):
        gate = MotionGate()
        for index in range(60):
            gate.wants(np.ascontiguousarray(noisy(scene, sigma, rng)[..., channel].squeeze()), index / FPS)
        # between two of the analyses that happen anyway: only the change can open it
        found = []
        for index in range(60, 70):
            x, y = 20 + trial * 18.3 + index - 60, 20 + trial * 24.1
            shown = noisy(with_object(scene, x, y), sigma, rng)[..., channel].squeeze()
            found.append(gate.wants(np.ascontiguousarray(shown), index / FPS))
        assert found[0]
        assert all(found)


def test_the_gate_stays_open_for_a_second_after_motion() -> None:
    rng = np.random.default_rng(3)
    gate, scene = MotionGate(), street(rng)
    start_s = rested(gate, scene, 2.0, rng)
    for index in range(25):
        assert gate.wants(noisy(with_object(scene, 30 + 4 * index, 80), 2.0, rng), start_s + index / FPS)
    after = [gate.wants(noisy(scene, 2.0, rng), start_s + 1 + index / FPS) for index in range(100)]
    assert all(after[:25])
    assert sum(after[30:]) <= 8


def test_slow_light_changes_keep_it_shut() -> None:
    rng = np.random.default_rng(4)
    gate, scene = MotionGate(), street(rng)
    start_s = rested(gate, scene, 2.0, rng)
    taken = [
        gate.wants(noisy(scene, 2.0, rng, light=30 * np.sin(index / 80)), start_s + index / FPS) for index in range(500)
    ]
    assert sum(taken) <= 500 / FPS * 2 + 3


def test_another_size_opens_it() -> None:
    gate = MotionGate()
    assert gate.wants(np.zeros((64, 64, 3), np.uint8), 0.0)
    assert [gate.wants(np.zeros((64, 64, 3), np.uint8), 1.1 + index / 25) for index in range(3)] == [True, False, False]
    assert gate.wants(np.zeros((34, 62, 3), np.uint8), 1.25)
