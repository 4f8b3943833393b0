"""The few calls of the CUDA runtime that the TensorRT backend makes, typed, with errors from our own tree.

Over ``cuda.bindings.runtime`` of the package cuda-bindings, 12 or 13; every call there releases the GIL.
Addresses and handles are plain integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamvision.errors import BackendUnavailable, DeviceLost, EngineError, OutOfDeviceMemory, StreamvisionError

SMALLER = "set a smaller batch, contexts or workspace_mb, or stop what else runs on the GPU (nvidia-smi)"
REMEDY = "look at nvidia-smi: it needs an NVIDIA GPU and a driver for CUDA 12 or later"

# Numbers of cudaError_t, the same in every version (CUDA Runtime API, Data types).
_OUT_OF_MEMORY = {2}
_NO_DEVICE = {3, 34, 35, 36, 100, 101, 803, 804}
_LOST = {46, 214, 219, 220, 226, 302, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999}
_CAPTURE_THREAD_LOCAL = 1


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a compiled engine depends on. ``driver`` is the CUDA version that the driver supports."""

    name: str
    capability: str
    driver: str


class Cuda:
    """One GPU. A thread calls `use` before anything else."""

    def __init__(self, runtime: Any, where: str, device: int = 0) -> None:
        """``runtime`` is ``cuda.bindings.runtime`` or a fake. Raises `BackendUnavailable` where no GPU works."""
        self._runtime = runtime
        self._where = where
        self._device = device
        count = self._value(runtime.cudaGetDeviceCount())
        if device >= count:
            found = f"there are {count} GPUs, none of them is number {device}" if count else "there is no GPU"
            raise BackendUnavailable(found, where=where, remedy=REMEDY)
        self.use()

    def use(self) -> None:
        """Make this GPU the calling thread's."""
        self._done(self._runtime.cudaSetDevice(self._device))

    def gpu(self) -> Gpu:
        """Return what kind of GPU it is."""
        properties = self._value(self._runtime.cudaGetDeviceProperties(self._device))
        name = properties.name
        text = name.decode() if isinstance(name, bytes) else str(name)
        driver = self._value(self._runtime.cudaDriverGetVersion())
        return Gpu(
            text.rstrip("\0"), f"{properties.major}.{properties.minor}", f"{driver // 1000}.{driver % 1000 // 10}"
        )

    def stream(self) -> int:
        """Return a new stream, which does not wait for the default one."""
        return int(self._value(self._runtime.cudaStreamCreateWithFlags(1)))

    def end_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._done(self._runtime.cudaStreamDestroy(stream))

    def wait(self, stream: int) -> None:
        """Sleep until all that was asked of the stream is done."""
        self._done(self._runtime.cudaStreamSynchronize(stream))

    def follow(self, stream: int, producer: int) -> None:
        """Let the stream go on only after what another stream has been asked so far."""
        event = self._value(self._runtime.cudaEventCreateWithFlags(2))  # without timing
        try:
            self._done(self._runtime.cudaEventRecord(event, producer))
            self._done(self._runtime.cudaStreamWaitEvent(stream, event, 0))
        finally:
            self._done(self._runtime.cudaEventDestroy(event))

    def allocate(self, size: int) -> int:
        """Return the address of new device memory."""
        return int(self._value(self._runtime.cudaMalloc(size)))

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._done(self._runtime.cudaFree(address))

    def allocate_host(self, size: int) -> int:
        """Return the address of new pinned host memory."""
        return int(self._value(self._runtime.cudaMallocHost(size)))

    def free_host(self, address: int) -> None:
        """Give pinned memory back."""
        self._done(self._runtime.cudaFreeHost(address))

    def up(self, device: int, host: int, size: int, stream: int) -> None:
        """Copy host memory to the device."""
        self._copy(device, host, size, "cudaMemcpyHostToDevice", stream)

    def down(self, host: int, device: int, size: int, stream: int) -> None:
        """Copy device memory to the host."""
        self._copy(host, device, size, "cudaMemcpyDeviceToHost", stream)

    def across(self, target: int, source: int, rows: int, row_bytes: int, pitch: int, stream: int) -> None:
        """Copy ``rows`` of the device's memory that begin ``pitch`` bytes apart to where they lie close together."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._done(self._runtime.cudaMemcpy2DAsync(target, row_bytes, source, pitch, row_bytes, rows, kind, stream))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Return a graph of what ``work`` asks of the stream, without doing it. Raises `EngineError`."""
        runtime = self._runtime
        self._done(runtime.cudaStreamBeginCapture(stream, runtime.cudaStreamCaptureMode(_CAPTURE_THREAD_LOCAL)))
        try:
            work()
        except StreamvisionError:
            runtime.cudaStreamEndCapture(stream)  # it is broken off already; this only ends it
            runtime.cudaGetLastError()  # and its error shall not be taken for the next call's
            raise
        graph = self._value(runtime.cudaStreamEndCapture(stream))
        try:
            return int(self._value(runtime.cudaGraphInstantiate(graph, 0)))
        finally:
            self._done(runtime.cudaGraphDestroy(graph))

    def launch(self, graph: int, stream: int) -> None:
        """Do what was captured."""
        self._done(self._runtime.cudaGraphLaunch(graph, stream))

    def end_graph(self, graph: int) -> None:
        """Destroy a captured graph."""
        self._done(self._runtime.cudaGraphExecDestroy(graph))

    def check(self, otherwise: str) -> StreamvisionError:
        """Return the error behind a failure that TensorRT only said it had."""
        (status,) = self._runtime.cudaGetLastError()
        return EngineError(otherwise, where=self._where) if int(status) == 0 else self._error(status)

    def _copy(self, target: int, source: int, size: int, kind: str, stream: int) -> None:
        direction = getattr(self._runtime.cudaMemcpyKind, kind)
        self._done(self._runtime.cudaMemcpyAsync(target, source, size, direction, stream))

    def _value(self, result: tuple[Any, ...]) -> Any:
        self._done(result[:1])
        return result[1]

    def _done(self, result: tuple[Any, ...]) -> None:
        if int(result[0]) != 0:
            raise self._error(result[0])

    def _error(self, status: Any) -> StreamvisionError:
        _, text = self._runtime.cudaGetErrorString(status)
        what = f"CUDA: {text.decode() if isinstance(text, bytes) else text} (error {int(status)})"
        return typed_error(int(status), what, self._where)


def typed_error(status: int, what: str, where: str) -> StreamvisionError:
    """Return the error of our tree for a number of cudaError_t."""
    if status in _OUT_OF_MEMORY:
        return OutOfDeviceMemory(what, where=where, remedy=SMALLER)
    if status in _LOST:
        remedy = "restart the program; look for Xid in the kernel's log, and at the GPU's power and temperature"
        return DeviceLost(what, where=where, remedy=remedy)
    if status in _NO_DEVICE:
        return BackendUnavailable(what, where=where, remedy=REMEDY)
    return EngineError(what, where=where)


def open_cuda(where: str, device: int = 0) -> Cuda:
    """Return a GPU. Raises `BackendUnavailable` where none works."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendUnavailable(
            f"the CUDA runtime cannot be imported: {error}",
            where=where,
            remedy="pip install 'streamvision[tensorrt]'",
        ) from error
    return Cuda(runtime, where, device)
