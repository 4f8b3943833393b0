"""Backends: a compiled network on a device. What they share: the network's description and the pool of requests."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from streamvision.engine.manifest import ModelInput
from streamvision.errors import EngineError, ManifestError
from streamvision.interfaces import Backend
from streamvision.types import UInt8

Precision = Literal["fp32", "bf16"]
Outputs = list[NDArray[Any]]
Infer = Callable[[UInt8], Outputs]
"""One request: a picture in, outputs that belong to the caller out. Never called by two threads at once."""


@dataclass(frozen=True, slots=True)
class Network:
    """A verified network file, the manifest's word on its input, and the numbers to compute with."""

    model: str
    path: Path
    input: ModelInput
    precision: Precision = "fp32"

    def check_input(self, shape: Sequence[int | None], dtype: str) -> None:
        """Compare the network's own input with the manifest; None fits anything. Raises `ManifestError`."""
        wanted = (1, *self.input.shape)
        fits = len(shape) == 4 and all(have in (None, want) for have, want in zip(shape, wanted, strict=True))
        if not fits:
            found = "x".join("?" if side is None else str(side) for side in shape)
            raise self._lie(f"input {'x'.join(map(str, wanted))} ({self.input.layout})", found)
        if dtype != self.input.dtype:
            raise self._lie(f"input of {self.input.dtype}", dtype)

    def check_one_input(self, count: int) -> None:
        """Raise `ManifestError` for a network that wants more than a picture."""
        if count != 1:
            raise self._lie("one input", f"{count} inputs")

    def _lie(self, claimed: str, found: str) -> ManifestError:
        return ManifestError(
            f"the manifest says {claimed}, but {self.path.name} has {found}",
            where=self.model,
            remedy="correct the manifest, or take the file that it describes",
        )


class CompiledNetwork(Backend, Protocol):
    """A `Backend` that also knows its outputs' names, and their real shapes, learned by running it once."""

    device: str
    output_names: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]


class RequestPool:
    """Keeps N requests busy with one thread each; the threads sleep inside native code that releases the GIL.

    Threads that wait, instead of the runtime's completion callbacks, because a runtime that fails may never call
    back, and a future that is never done would hang the pipeline. Measured beside callbacks it costs no more.
    """

    def __init__(self, name: str, shape: tuple[int, ...], requests: Sequence[Infer]) -> None:
        self._name = name
        self._shape = shape
        self._size = len(requests)
        self._idle: queue.SimpleQueue[Infer] = queue.SimpleQueue()
        for request in requests:
            self._idle.put(request)
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix=f"{name}-request")

    def submit(self, pictures: Sequence[UInt8]) -> Future[Outputs]:
        """Start on one picture; blocks while every request is busy. Failures are `EngineError` in the future."""
        request = self._idle.get()
        try:
            future = self._threads.submit(self._run, request, pictures)
        except RuntimeError as error:
            self._idle.put(request)
            raise EngineError("the engine is closed", where=self._name) from error
        future.add_done_callback(lambda _: self._idle.put(request))
        return future

    def warm_up(self) -> tuple[tuple[int, ...], ...]:
        """Run every request once, so that the first real picture is not the slow one; return the output shapes.

        Closes the pool if that fails.
        """
        blank = np.zeros(self._shape, np.uint8)
        try:
            results = [future.result() for future in [self.submit([blank]) for _ in range(self._size)]]
        except EngineError:
            self.close()
            raise
        return tuple(output.shape for output in results[0])

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._threads.shutdown(wait=True)

    def _run(self, infer: Infer, pictures: Sequence[UInt8]) -> Outputs:
        try:
            return infer(self._the_picture(pictures))
        except EngineError:
            raise
        except Exception as error:  # border of a thread: every failure must reach the future, typed
            raise EngineError(f"inference failed: {error}", where=self._name) from error

    def _the_picture(self, pictures: Sequence[UInt8]) -> UInt8:
        if len(pictures) != 1:
            raise EngineError(f"expected one picture per request, got {len(pictures)}", where=self._name)
        picture = pictures[0]
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise EngineError(
                f"expected a picture of uint8 {self._shape}, got {picture.dtype} {picture.shape}", where=self._name
            )
        return np.ascontiguousarray(picture)


def picture_shape(spec: ModelInput) -> tuple[int, ...]:
    """Return the shape of the pictures that a network with this input is given: (h,w,3), or (h,w) for gray."""
    width, height = spec.size
    return (height, width) if spec.channels == 1 else (height, width, spec.channels)
