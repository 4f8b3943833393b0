"""Networks that find objects and label every part of the picture at once.

Outputs called ``boxes`` (batch,N,4) and ``scores`` (batch,N,classes) as `dense` reads them, and for each of the
manifest's label maps an output of the map's name, as `semantic` reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.dense import DenseDecoder
from streamvision.engine.decoders.semantic import SemanticDecoder
from streamvision.geometry import Letterbox
from streamvision.types import Perception


class StreetDecoder:
    """Reads outputs called ``boxes``, ``scores`` and as the label maps are."""

    class Options(DenseDecoder.Options, SemanticDecoder.Options):
        """Those of both."""

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` for a network without these outputs, or with others than the manifest says."""
        self._objects = DenseDecoder(options, network)
        self._used = [network.index_of(name) for name in network.segmentation]
        shapes = tuple(network.outputs[index] for index in self._used)
        self._parts = SemanticDecoder(options, dataclasses.replace(network, outputs=shapes, names=()))

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture, with the maps in the manifest's order."""
        found = self._objects.decode(outputs, letterboxes)
        parts = self._parts.decode([outputs[index] for index in self._used], letterboxes)
        return [
            Perception(objects.detections, labelled.segmentation)
            for objects, labelled in zip(found, parts, strict=True)
        ]
