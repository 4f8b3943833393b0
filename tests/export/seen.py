"""What our engines make of pictures, to be compared with what the eager network makes of the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamvision import plugins
from streamvision.engine import manifest, models
from streamvision.engine.backends import Network
from streamvision.engine.decoders import NetworkShape
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Perception, UInt8

BACKENDS = ("openvino", "onnxruntime")
PIXELS = 0.5
SCORE = 1e-3


def pictures(size_wh: tuple[int, int], count: int) -> list[UInt8]:
    """Coloured noise on gradients, each different."""
    rng = np.random.default_rng(7)
    width, height = size_wh
    slope = np.linspace(0, 90, width, dtype=np.float32)[None, :, None]
    return [
        np.clip(rng.normal(60 + 20 * number, 50, (height, width, 3)) + slope, 0, 255).astype(np.uint8)
        for number in range(count)
    ]


def prepared(spec: manifest.ModelInput, shown: Sequence[UInt8]) -> Any:
    """The tensor (n,3,h,w) that the network sees, by the manifest's word."""
    import torch

    mean, std = (np.asarray(values, np.float32) for values in spec.normalisation)
    return torch.from_numpy(((np.stack(shown).astype(np.float32) - mean) / std).transpose(0, 3, 1, 2).copy())


def perceived(
    path: Path, backend: str, batches: Sequence[Sequence[UInt8]], **decoder_options: Any
) -> list[list[Perception]]:
    """Run a manifest's network on batches of pictures that are as large as its input."""
    model = manifest.load(path)
    assert model.decoder is not None
    plugin, reader = plugins.load("backend", backend), plugins.load("decoder", model.decoder.type)
    network = Network(model.name, models.require(model), model.input)
    compiled = plugin(network, plugin.Options(workers=1, batch=max(map(len, batches))))
    try:
        decoder = reader(
            reader.Options(**model.decoder.options | decoder_options),
            NetworkShape(
                model.name, model.input.size, len(model.labels), compiled.output_shapes, compiled.output_names,
                model.labels, model.segmentation,
            ),
        )  # fmt: skip
        letterbox = Letterbox.stretch(model.input.size, model.input.size)
        outputs = [compiled.submit(list(shown)).result(300) for shown in batches]
        return [
            decoder.decode(output, [letterbox] * len(shown)) for output, shown in zip(outputs, batches, strict=True)
        ]
    finally:
        compiled.close()


def assert_same(ours: Detections, theirs: Detections) -> None:
    """Match detections one to one: of one class, boxes within `PIXELS`, scores within `SCORE`."""
    assert len(ours) == len(theirs)
    free = np.ones(len(ours), np.bool_)
    for xyxy, score, class_id in zip(theirs.xyxy, theirs.score, theirs.class_id, strict=True):
        off = np.abs(ours.xyxy - xyxy).max(axis=1)
        fits = free & (ours.class_id == class_id) & (np.abs(ours.score - score) <= SCORE) & (off <= PIXELS)
        assert fits.any(), f"nothing of ours is class {class_id} with {score:.4f} at {xyxy}"
        free[np.flatnonzero(fits)[off[fits].argmin()]] = False
