"""Backends: a compiled network on a device. What they share: the network's description and the pool of requests."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from streamvision.engine.manifest import ModelInput
from streamvision.errors import EngineError, ManifestError, StaleEngine
from streamvision.interfaces import Backend
from streamvision.types import UInt8

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""What a network computes with. For fp16 and int8 the network's file has been converted before a backend sees it."""
Outputs = list[NDArray[Any]]
Items = Sequence[UInt8] | NDArray[Any]
"""One submission: pictures of one size, or for a `TensorInput` one array (n, ...)."""
Infer = Callable[[Items], Outputs]
"""One request: checked items in, outputs that belong to the caller out. Never called by two threads at once."""
Progress = Callable[[float], None]
"""Is told how much of a compilation is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class TensorInput:
    """What a second stage is given instead of pictures: arrays that nothing prepares. ``shape`` is one item's."""

    shape: tuple[int, ...]
    dtype: Literal["float32", "float16"] = "float32"
    name: str | None = None
    """What the network calls its input; None takes any name."""


@dataclass(frozen=True, slots=True)
class Network:
    """A verified network file, what is known of its input, and the numbers to compute with.

    ``max_batch`` is the most that anybody will submit at a time. The file of a ``quantised`` one has int8 layers
    already, and is not converted.
    """

    model: str
    path: Path
    input: ModelInput | TensorInput
    precision: Precision = "fp32"
    max_batch: int = 16
    quantised: bool = False

    def check_input(self, name: str, shape: Sequence[int | None], dtype: str) -> None:
        """Compare the network's own input with what is said of it; None fits anything. Raises `ManifestError`."""
        wanted = (1, *self.input.shape)
        fits = len(shape) == len(wanted) and all(have in (None, want) for have, want in zip(shape, wanted, strict=True))
        if not fits:
            found = "x".join("?" if side is None else str(side) for side in shape)
            layout = f" ({self.input.layout})" if isinstance(self.input, ModelInput) else ""
            raise self._lie(f"input {'x'.join(map(str, wanted))}{layout}", found)
        if dtype != self.input.dtype:
            raise self._lie(f"input of {self.input.dtype}", dtype)
        if isinstance(self.input, TensorInput) and self.input.name not in (None, name):
            raise self._lie(f"an input called {self.input.name!r}", repr(name))

    def check_one_input(self, count: int) -> None:
        """Raise `ManifestError` for a network that wants more than a picture."""
        if count != 1:
            raise self._lie("one input", f"{count} inputs")

    def largest_batch(self, axis: int | None, wanted: int | None, *, parallel: bool) -> int:
        """Return how many items one inference takes at most.

        ``axis`` is the network's own batch dimension, None for an open one; ``wanted`` is what the backend's options
        say. Without a word there, a backend that prefers inferences in ``parallel`` takes pictures one at a time; an
        array must come whole. Raises `EngineError` for more than the network can take.
        """
        whole = isinstance(self.input, TensorInput)
        asked = self.max_batch if whole else min(wanted or (1 if parallel else self.max_batch), self.max_batch)
        if axis is None:
            return asked
        if asked > axis and (whole or wanted):
            raise EngineError(
                f"{self.path.name} takes {axis} at a time, not {asked}",
                where=self.model,
                remedy="export the network with an open batch dimension, or leave the option `batch` out",
            )
        return axis

    def intake(self, max_batch: int) -> Intake:
        """Return what a backend accepts in one submission."""
        if isinstance(self.input, TensorInput):
            return Intake(self.input.shape, np.dtype(self.input.dtype), max_batch, "tensor")
        return Intake(picture_shape(self.input), np.dtype(np.uint8), max_batch, "picture")

    def _lie(self, claimed: str, found: str) -> ManifestError:
        return ManifestError(
            f"the manifest says {claimed}, but {self.path.name} has {found}",
            where=self.model,
            remedy="correct the manifest, or take the file that it describes",
        )


@dataclass(frozen=True, slots=True)
class Intake:
    """What one submission may hold: 1 to ``max_batch`` items of one shape and type."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    max_batch: int
    what: Literal["picture", "tensor"]

    def blank(self, count: int) -> Items:
        """Return a submission of zeros."""
        zeros = np.zeros((count, *self.shape), self.dtype)
        return zeros if self.what == "tensor" else list(zeros)

    def checked(self, items: Items, where: str) -> Items:
        """Return the items, contiguous in memory. Raises `EngineError` for any that do not fit."""
        if not 1 <= len(items) <= self.max_batch:
            raise EngineError(f"expected {self._wanted()}, got {len(items)}", where=where)
        if self.what == "tensor":
            return self._fitting(np.asarray(items), (len(items), *self.shape), where)
        return [self._fitting(item, self.shape, where) for item in items]

    def _fitting(self, item: NDArray[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
        if item.shape != shape or item.dtype != self.dtype:
            raise EngineError(
                f"expected a {self.what} of {self.dtype} {shape}, got {item.dtype} {item.shape}", where=where
            )
        return np.ascontiguousarray(item)

    def _wanted(self) -> str:
        return f"one {self.what}" if self.max_batch == 1 else f"1 to {self.max_batch} {self.what}s"


class CompiledNetwork(Backend, Protocol):
    """A `Backend` that also knows its outputs' names, and their real shapes for one item, learned by running it."""

    device: str
    output_names: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]

    def submit(self, pictures: Items) -> Future[Outputs]:
        """Start inference; see `interfaces.Backend.submit`. For a `TensorInput` give one array (n, ...)."""
        ...


class BackendPlugin(Protocol):
    """What a backend's class offers before there is a network on a device."""

    Options: type[BaseModel]
    name: str

    def identity(self, options: Any = None) -> Mapping[str, str]:
        """Return all that a compiled engine depends on besides its network: versions, device, driver, options.

        Raises `BackendUnavailable`.
        """
        ...

    def compile(self, network: Network, options: Any = None, progress: Progress | None = None) -> bytes:
        """Return the engine: what `__call__` loads from a file. Raises `EngineError`, `ManifestError` or
        `BackendUnavailable`."""
        ...

    def __call__(self, network: Network, options: Any = None, engine: Path | None = None) -> CompiledNetwork:
        """Load a compiled engine, or compile in memory if there is none, and run it once.

        Raises `StaleEngine` for a file that is no engine, or one of another version, device or network.
        """
        ...


class RequestPool:
    """Keeps N requests busy with one thread each; the threads sleep inside native code that releases the GIL.

    Threads that wait, instead of the runtime's completion callbacks, because a runtime that fails may never call
    back, and a future that is never done would hang the pipeline. Measured beside callbacks it costs no more.
    """

    def __init__(self, name: str, intake: Intake, requests: Sequence[Infer]) -> None:
        self._name = name
        self._intake = intake
        self._size = len(requests)
        self._idle: queue.SimpleQueue[Infer] = queue.SimpleQueue()
        for request in requests:
            self._idle.put(request)
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix=f"{name}-request")

    def submit(self, items: Items) -> Future[Outputs]:
        """Start on a batch; blocks while every request is busy. Failures are `EngineError` in the future."""
        request = self._idle.get()
        try:
            future = self._threads.submit(self._run, request, items)
        except RuntimeError as error:
            self._idle.put(request)
            raise EngineError("the engine is closed", where=self._name) from error
        future.add_done_callback(lambda _: self._idle.put(request))
        return future

    def warm_up(self) -> tuple[tuple[int, ...], ...]:
        """Run every request with one item and with as many as it takes, so that no real picture is a slow first one.

        Returns the shapes of the outputs for one item. Closes the pool if anything fails.
        """
        try:
            for count in sorted({self._intake.max_batch, 1}, reverse=True):
                blank = self._intake.blank(count)
                results = [future.result() for future in [self.submit(blank) for _ in range(self._size)]]
        except EngineError:
            self.close()
            raise
        return tuple(output.shape for output in results[0])

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._threads.shutdown(wait=True)

    def _run(self, infer: Infer, items: Items) -> Outputs:
        try:
            return infer(self._intake.checked(items, self._name))
        except EngineError:
            raise
        except Exception as error:  # border of a thread: every failure must reach the future, typed
            raise EngineError(f"inference failed: {error}", where=self._name) from error


def picture_shape(spec: ModelInput) -> tuple[int, ...]:
    """Return the shape of the pictures that a network with this input is given: (h,w,3), or (h,w) for gray."""
    width, height = spec.size
    return (height, width) if spec.channels == 1 else (height, width, spec.channels)


def channels_last(network: Network) -> tuple[int, ...]:
    """Return the shape of one item as a compiled graph takes it: (h,w,channels), or a tensor's own."""
    spec = network.input
    return spec.shape if isinstance(spec, TensorInput) else (spec.size[1], spec.size[0], spec.channels)


def gatherer(intake: Intake, item_shape: tuple[int, ...]) -> Callable[[Items], NDArray[Any]]:
    """Return the function that makes items one array (n, *item_shape), without a copy where there is but one.

    Several pictures go into memory that the next call uses again.
    """
    several = intake.what == "picture" and intake.max_batch > 1
    buffer = np.empty((intake.max_batch, *intake.shape), intake.dtype) if several else None

    def gather(items: Items) -> NDArray[Any]:
        if isinstance(items, np.ndarray):
            return items
        if len(items) == 1 or buffer is None:
            return items[0].reshape(1, *item_shape)
        for row, picture in zip(buffer, items, strict=False):
            row[...] = picture
        return buffer[: len(items)].reshape(len(items), *item_shape)

    return gather


def read_engine(path: Path, network: Network) -> bytes:
    """Return a compiled engine's bytes. Raises `StaleEngine`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StaleEngine(f"the compiled engine cannot be read: {error}", where=network.model) from error
