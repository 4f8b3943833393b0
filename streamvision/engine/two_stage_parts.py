"""The parts of a two-stage network, checked against each other: what each output is called, and that the shapes fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.engine.backends import CompiledNetwork, Outputs, TensorInput
from streamvision.engine.manifest import Head
from streamvision.engine.roi_align import Features, Pyramid
from streamvision.errors import ManifestError
from streamvision.types import Float32

REGIONS = 128
"""Most regions in one request of a head; more of them come in several requests."""


@dataclass(frozen=True, slots=True)
class Seer:
    """The stage that sees pictures.

    Outputs ``features_0`` ... (n, height, width, channels), finest first, and with a region proposal network
    ``objectness_0`` ... (n, A) logits and ``proposals_0`` ... (n, A, 4) xyxy in input px, one pair per level.
    """

    network: CompiledNetwork
    pyramid: Pyramid
    channels: int
    features: tuple[int, ...]
    objectness: tuple[int, ...]
    proposals: tuple[int, ...]

    @classmethod
    def of(cls, model: str, network: CompiledNetwork, input_wh: tuple[int, int]) -> Seer:
        """Raises `ManifestError` for a network that has no such outputs."""
        features, objectness, proposals = (_series(network, kind) for kind in ("features", "objectness", "proposals"))
        shapes = [network.output_shapes[index] for index in features]
        if not shapes or any(len(shape) != 4 or min(shape) < 1 or shape[3] != shapes[0][3] for shape in shapes):
            raise mismatch(
                model, "the first stage has no outputs features_0 ... of (1, height, width, channels)", network
            )
        pairs = [
            (network.output_shapes[a], network.output_shapes[b]) for a, b in zip(objectness, proposals, strict=False)
        ]
        fits = all(len(scores) == 2 and boxes == (*scores, 4) for scores, boxes in pairs)
        if not fits or len(objectness) != len(proposals):
            raise mismatch(
                model, "the first stage's outputs objectness_i (1, A) and proposals_i (1, A, 4) differ", network
            )
        pyramid = Pyramid.of(input_wh, tuple((shape[1], shape[2]) for shape in shapes))
        return cls(network, pyramid, shapes[0][3], features, objectness, proposals)

    def gather(self, outputs: Outputs) -> Features:
        """Return the features of all pictures of a batch."""
        return Features.gather(self.pyramid, [outputs[index] for index in self.features])

    def proposed(self, outputs: Outputs, picture: int) -> tuple[list[Float32], list[Float32]]:
        """Return objectness and boxes of one picture, per level."""
        objectness = [np.asarray(outputs[index][picture], np.float32) for index in self.objectness]
        return objectness, [np.asarray(outputs[index][picture], np.float32) for index in self.proposals]


@dataclass(frozen=True, slots=True)
class Looker:
    """A head: regions (n, side, side, channels) in, its outputs in the order that this program wants them."""

    network: CompiledNetwork
    side: int
    order: tuple[int, ...]

    @classmethod
    def of(
        cls, model: str, network: CompiledNetwork, head: Head, wanted: Sequence[tuple[str, tuple[int | None, ...]]]
    ) -> Looker:
        """``wanted``: names and shapes for one region, None for any length. Raises `ManifestError`."""
        order = []
        for name, shape in wanted:
            found = dict(zip(network.output_names, network.output_shapes, strict=True)).get(name, ())
            fits = len(found) == len(shape) and all(
                want in (None, have) for want, have in zip(shape, found, strict=True)
            )
            if not fits:
                sides = "x".join("?" if side is None else str(side) for side in shape)
                raise mismatch(model, f"{head.file.name} has no output {name!r} of {sides}", network)
            order.append(network.output_names.index(name))
        return cls(network, head.side, tuple(order))

    def look(self, features: Features, xyxy: Float32, picture: NDArray[np.intp]) -> list[Float32]:
        """Return the outputs for regions (N,4) of N pictures; N is at least 1.

        While some regions are looked at, the features of the next are gathered.
        """
        most = min(REGIONS, self.network.max_batch)
        futures = []
        for start in range(0, len(xyxy), most):
            part = slice(start, start + most)
            futures.append(self.network.submit(features.crop(xyxy[part], picture[part], self.side)))
        parts = [future.result() for future in futures]
        return [np.concatenate([np.asarray(part[index], np.float32) for part in parts]) for index in self.order]


def region_input(head: Head, channels: int) -> TensorInput:
    """Return what a head is given."""
    return TensorInput((head.side, head.side, channels))


def mismatch(model: str, what: str, network: CompiledNetwork) -> ManifestError:
    """Return the error for files that are not the parts of one network; it lists what there is."""
    found = ", ".join(
        f"{name} {'x'.join(map(str, shape))}"
        for name, shape in zip(network.output_names, network.output_shapes, strict=True)
    )
    return ManifestError(
        f"{what}; it has {found}", where=model, remedy="correct the manifest, or take the files of one export"
    )


def _series(network: CompiledNetwork, kind: str) -> tuple[int, ...]:
    """Return the positions of the outputs ``kind_0``, ``kind_1`` ... as far as they go."""
    found: list[int] = []
    while (name := f"{kind}_{len(found)}") in network.output_names:
        found.append(network.output_names.index(name))
    return tuple(found)
