"""One execution context: its stream, its memory, and what it does for one batch. Nothing is allocated per batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from streamvision.engine.backends import Items, Outputs
from streamvision.engine.backends.tensorrt.cuda import SMALLER, Cuda
from streamvision.engine.backends.tensorrt.device import DevicePicture, device_picture, on_device
from streamvision.engine.backends.tensorrt.library import Said
from streamvision.engine.backends.tensorrt.memory import Answers, view
from streamvision.errors import DeviceLost, EngineError, OutOfDeviceMemory, StreamvisionError

_ALIGNMENT = 256

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of an engine. ``shape`` is an input's for one item, an output's for the largest batch."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0
    """Where an output begins in a block of answers."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """The engine's input and outputs, and the largest batch."""

    where: str
    input: Tensor
    outputs: tuple[Tensor, ...]
    max_batch: int
    open_batch: bool

    @property
    def answer_bytes(self) -> int:
        """Size of a block that holds all outputs of the largest batch."""
        last = self.outputs[-1]
        return last.offset + last.nbytes


def packed(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs with offsets one after the other, aligned for copies."""
    placed, offset = [], 0
    for output in outputs:
        placed.append(Tensor(output.name, output.dtype, output.shape, offset))
        offset += math.ceil(output.nbytes / _ALIGNMENT) * _ALIGNMENT
    return tuple(placed)


class Context:
    """Computes batches one at a time. Called by one thread at a time, by any thread."""

    def __init__(self, cuda: Cuda, context: Any, layout: Layout, answers: Answers, said: Said, graphs: bool) -> None:
        self._cuda = cuda
        self._context = context
        self._layout = layout
        self._answers = answers
        self._said = said
        self._graphs_wanted = graphs
        self._graphs: dict[int, int] = {}
        self._shapes: dict[int, list[tuple[int, ...]]] = {}
        self._batch = 0
        with contextlib.ExitStack() as undo:
            self._stream = cuda.stream()
            undo.callback(cuda.end_stream, self._stream)
            size = layout.input.nbytes * layout.max_batch
            self._host = cuda.allocate_host(size)
            undo.callback(cuda.free_host, self._host)
            self._pinned = view(self._host, size).view(layout.input.dtype).reshape(-1, *layout.input.shape)
            self._input = cuda.allocate(size)
            undo.callback(cuda.free, self._input)
            self._outputs = []
            for output in layout.outputs:
                self._outputs.append(cuda.allocate(output.nbytes))
                undo.callback(cuda.free, self._outputs[-1])
            self._bind()
            self._undo = undo.pop_all()

    def __call__(self, items: Items) -> Outputs:
        """Return the outputs for a batch, as views of memory that is the caller's as long as it looks at it."""
        self._cuda.use()
        address, block = self._answers.take()
        try:
            count, held = self._bring(items)
            self._shape(count)
            self._compute(count)
            for output, device, shape in zip(self._layout.outputs, self._outputs, self._shapes[count], strict=True):
                size = math.prod(shape) * output.dtype.itemsize
                self._cuda.down(address + output.offset, device, size, self._stream)
            self._cuda.wait(self._stream)
        except StreamvisionError:
            # Nothing may still write into memory that goes to somebody else.
            with contextlib.suppress(StreamvisionError):
                self._cuda.wait(self._stream)
            raise
        del held
        self._record(count)
        return [
            block[output.offset :][: math.prod(shape) * output.dtype.itemsize].view(output.dtype).reshape(shape)
            for output, shape in zip(self._layout.outputs, self._shapes[count], strict=True)
        ]

    def close(self) -> None:
        """Give everything back, as far as the device still answers; idempotent."""
        with contextlib.suppress(StreamvisionError):
            self._cuda.use()
        for graph in self._graphs.values():
            with contextlib.suppress(StreamvisionError):
                self._cuda.end_graph(graph)
        self._graphs.clear()
        self._context = None
        with contextlib.suppress(StreamvisionError):
            self._undo.close()

    def _bind(self) -> None:
        names = [self._layout.input.name, *(output.name for output in self._layout.outputs)]
        for name, address in zip(names, [self._input, *self._outputs], strict=True):
            if not self._context.set_tensor_address(name, address):
                raise self._failure(f"TensorRT does not take memory for {name}")

    def _bring(self, items: Items) -> tuple[int, list[DevicePicture]]:
        """Ask for the items to be copied to the input; return how many, and what must live until that is done."""
        if on_device(items):
            whole = device_picture(items, self._stream, self._layout.where)
            if not 1 <= whole.shape[0] <= self._layout.max_batch:
                what = f"expected 1 to {self._layout.max_batch} at a time, got {whole.shape[0]}"
                raise EngineError(what, where=self._layout.where)
            self._copy(whole, self._input, (whole.shape[0], *self._layout.input.shape))
            return whole.shape[0], [whole]
        size = self._layout.input.nbytes
        held: list[DevicePicture] = []
        for place, item in enumerate(items):
            if on_device(item):
                held.append(device_picture(item, self._stream, self._layout.where))
                self._copy(held[-1], self._input + place * size, self._layout.input.shape)
            else:
                self._pinned[place] = item.reshape(self._layout.input.shape)
                self._cuda.up(self._input + place * size, self._host + place * size, size, self._stream)
        return len(items), held

    def _copy(self, picture: DevicePicture, target: int, shape: tuple[int, ...]) -> None:
        """Copy on the device; a gray picture may come without its channel dimension."""
        fits = picture.dtype == self._layout.input.dtype and picture.shape in (shape, shape[:-1] * (shape[-1] == 1))
        if not fits or not picture.rows >= 1:
            raise EngineError(
                f"expected {self._layout.input.dtype} {shape}, got {picture.dtype} {picture.shape} on the GPU",
                where=self._layout.where,
            )
        if picture.stream is not None:
            self._cuda.follow(self._stream, picture.stream)
        self._cuda.across(target, picture.address, picture.rows, picture.row_bytes, picture.pitch, self._stream)

    def _shape(self, count: int) -> None:
        """Tell the context the batch; learn the shapes that its outputs then have."""
        if self._layout.open_batch and count != self._batch and count not in self._graphs:
            if not self._context.set_input_shape(self._layout.input.name, (count, *self._layout.input.shape)):
                raise self._failure(f"TensorRT does not take a batch of {count}")
            self._batch = count
        if count not in self._shapes:
            names = (output.name for output in self._layout.outputs)
            self._shapes[count] = [tuple(self._context.get_tensor_shape(name)) for name in names]

    def _compute(self, count: int) -> None:
        if count in self._graphs:
            self._cuda.launch(self._graphs[count], self._stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise self._failure("TensorRT failed to compute")

    def _record(self, count: int) -> None:
        """Capture what was just computed, so that next time it is one launch. Not being able to is no failure."""
        if not self._graphs_wanted or count in self._graphs:
            return
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._stream):
            return
        try:
            self._graphs[count] = self._cuda.capture(self._stream, self._enqueue)
        except DeviceLost:
            raise
        except EngineError as error:
            self._graphs_wanted = False
            _log.warning("cuda_graphs_off", where=self._layout.where, error=str(error))

    def _failure(self, what: str) -> StreamvisionError:
        """Return the error behind what TensorRT calls false."""
        said = self._said.text()
        error = self._cuda.check(f"{what}: {said}")
        if type(error) is EngineError and "out of memory" in said.lower():
            return OutOfDeviceMemory(error.what, where=error.where, remedy=SMALLER)
        return error
