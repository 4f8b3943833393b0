"""What of the own vehicle is in the picture: bonnet or dashboard, reflections in the windscreen, a wiper."""

from __future__ import annotations

import cv2
import numpy as np

from streamvision.capture.drive.noise import blotches
from streamvision.capture.drive.scene import Cabin, Scene
from streamvision.types import UInt8


def cabin_mask(size_wh: tuple[int, int], cabin: Cabin) -> UInt8:
    """Return where (h,w) bonnet and wiper hide the road, 0-255 with soft edges."""
    width, height = size_wh
    mask = np.zeros((height, width), np.uint8)
    if cabin.bonnet > 0:
        x = np.linspace(-1.05, 1.05, 40)
        edge = height * (1 - cabin.bonnet * (1 - cabin.sag * x**2 - 0.1 * x**6))
        outline = np.concatenate([np.column_stack([(x + 1) / 2 * width, edge]), [(width * 1.1, height * 1.1),
                                  (-width * 0.1, height * 1.1)]])  # fmt: skip
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if cabin.wiper is not None:
        _wiper(mask, size_wh, cabin.wiper)
    return mask


def _wiper(mask: UInt8, size_wh: tuple[int, int], angle: float) -> None:
    width, height = size_wh
    foot = np.array([width * 0.35, height * 1.06])
    along = np.array([np.cos(angle), -np.sin(angle)]) * height * 0.85
    across = np.array([-along[1], along[0]]) * 0.012
    blade = np.array([foot + across, foot + along + across * 0.6, foot + along - across * 0.6, foot - across])
    cv2.fillConvexPoly(mask, np.round(blade * 16).astype(np.int32), 255, cv2.LINE_AA, 4)


def paint_cabin(picture: UInt8, mask: UInt8, scene: Scene, rng: np.random.Generator) -> UInt8:
    """Lay the own vehicle over the picture (h,w,3), and what its windscreen mirrors."""
    cabin = scene.cabin
    canvas = picture
    if cabin.reflection > 0:
        canvas = _reflected(canvas, cabin.reflection, rng)
    if not mask.any():
        return canvas
    height = mask.shape[0]
    lift = np.clip((np.arange(height, dtype=np.float32) / height - (1 - cabin.bonnet)) / max(cabin.bonnet, 0.05), 0, 1)
    gain = np.asarray(scene.light.sky) + 0.5 * np.asarray(scene.light.sun)
    shine = np.asarray(scene.light.above, np.float32) * np.float32(0.25)
    flat = np.asarray(cabin.ink, np.float32) * gain.astype(np.float32)
    inside = flat * (0.75 + 0.25 * lift[:, None, None]) + shine * (1 - lift[:, None, None]) ** 3
    top = int(np.argmax(mask.any(axis=1)))
    share = mask[top:, :, None] * np.float32(1 / 255)
    mixed = canvas[top:] + (np.broadcast_to(inside, canvas.shape)[top:] - canvas[top:]) * share
    canvas = canvas.copy()
    canvas[top:] = np.clip(mixed, 0, 255)
    return canvas


def _reflected(picture: UInt8, strength: float, rng: np.random.Generator) -> UInt8:
    """Add what the dashboard throws onto the glass: pale smooth shapes, most in the lower half."""
    height, width = picture.shape[:2]
    shift = rng.integers(0, 128, 2)
    tile = blotches()[shift[0] : shift[0] + 72, shift[1] : shift[1] + 128]
    field = cv2.resize(tile, (width, height), interpolation=cv2.INTER_CUBIC)
    field = np.clip(field * 30 + 12, 0, 80) * np.linspace(0.1, 1, height, dtype=np.float32)[:, None]
    return np.asarray(np.clip(picture + (field * strength)[..., None], 0, 255), np.uint8)
