"""Folders of pictures that are bright everywhere and differ from each other, and configurations that watch them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.explain.engines import quadrant_network


def bright_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        blocks = np.random.default_rng(number).integers(190, 256, (9, 16, 3)).repeat(20, 0).repeat(20, 1)
        cv2.imwrite(str(folder / f"{number:02}.png"), blocks.astype(np.uint8))
    return folder


def watching(folder: Path, pictures: int = 6, *, rule: str = "", extra: str = "") -> str:
    """A configuration of the network that looks at one quadrant, on an endless folder of pictures."""
    manifest = quadrant_network(folder)
    shots = bright_pictures(folder / "shots", pictures)
    return f"""
state_dir: {folder / "state"}
server: {{listen: "127.0.0.1:0"}}
models: {{toy: {{manifest: {manifest}, backend: onnxruntime}}}}
{extra}
streams:
  - id: gate
    url: {shots}
    rate: 20
    loop: true
    pace: realtime
    privacy_masks: {{door: [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]}}
    zones: {{all: [[0, 0], [1, 0], [1, 1], [0, 1]]}}
    rules: [{{name: anyone, type: zone, zone: all, min_dwell: 0{rule}}}]
"""
