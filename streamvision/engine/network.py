"""A network as an engine: a backend that computes, and a decoder that reads its outputs."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from numpy.typing import NDArray

from streamvision.engine.backends import CompiledNetwork
from streamvision.engine.manifest import Manifest
from streamvision.interfaces import Decoder
from streamvision.types import Batch, Perception


class NetworkEngine:
    """Implements `interfaces.Engine`. It remembers nothing of a stream."""

    def __init__(self, manifest: Manifest, backend: CompiledNetwork, decoder: Decoder) -> None:
        self.input = manifest.input.spec()
        self.labels = manifest.labels
        self.in_flight = backend.in_flight
        self.max_batch = backend.max_batch
        self.description = f"{manifest.name} on {backend.name} ({backend.device}, {backend.in_flight} requests)"
        self._backend = backend
        self._decoder = decoder

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        """Start inference; the frames' pixels must stay as they are until the future is done."""
        return self._backend.submit([frame.pixels for frame in batch.frames])

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        """Turn raw outputs into one `Perception` per frame, in source pixels."""
        return self._decoder.decode(outputs, [frame.letterbox for frame in batch.frames])

    def forget(self, stream: str) -> None:
        """Do nothing: a network keeps no state between pictures."""

    def close(self) -> None:
        """Release the device; idempotent."""
        self._backend.close()
