"""Networks that judge a picture as a whole: one output (batch, classes)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from streamvision.engine.decoders import NetworkShape
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Perception


class ClassificationDecoder:
    """Makes probabilities of scores."""

    class Options(BaseModel):
        """``softmax``: false for a network that gives probabilities already."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        softmax: bool = True

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` for a network whose output does not have one value per label."""
        self._softmax = options.softmax
        shape = network.only_output(rank=2)
        if shape[1] != network.classes:
            raise network.mismatch(f"the manifest has {network.classes} labels, but the network scores {shape[1]}")

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture, with the probability of each label."""
        scores = np.asarray(outputs[0], np.float32)
        shares = softmax(scores) if self._softmax else scores
        return [Perception(Detections.empty(), classification=row) for row, _ in zip(shares, letterboxes, strict=True)]


def softmax(scores: Float32) -> Float32:
    """Return probabilities (batch, classes) of logits, without overflow."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
