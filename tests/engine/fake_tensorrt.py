"""A CUDA runtime and a TensorRT that live in host memory, so that all but the GPU itself can be tested without one.

Copies and computations happen when a stream is waited for, not before, in the order in which they were asked: who looks
too early sees old bytes. ONNX Runtime computes what the compiler was given, so the prepared graph is tested too.
"""

from __future__ import annotations

import ctypes
import itertools
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from streamvision.engine.backends.tensorrt import TensorRtBackend
from streamvision.engine.backends.tensorrt.cuda import Cuda

Step = Callable[[], object]
DAMAGED = b"not what was measured"
COPIES = IntEnum("COPIES", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2, "cudaMemcpyDeviceToDevice": 3})


class FakeCuda:
    """Stands for ``cuda.bindings.runtime``. ``fail[name]`` holds numbers of cudaError_t that calls will return."""

    def __init__(self, gpus: int = 1) -> None:
        self.cudaMemcpyKind = COPIES
        self.cudaStreamCaptureMode = int
        self.gpus = gpus
        self.fail: dict[str, list[int]] = defaultdict(list)
        self.calls: Counter[str] = Counter()
        self.device: dict[int, Any] = {}
        self.host: dict[int, Any] = {}
        self.streams: dict[int, list[Step]] = {}
        self.capturing: dict[int, list[Step]] = {}
        self.graphs: dict[int, list[Step]] = {}
        self.lost = 0
        self._numbers = itertools.count(100)
        self._last = 0

    def ask(self, stream: int, step: Step) -> None:
        """Do something when the stream gets to it."""
        self.capturing.get(stream, self.streams[stream]).append(step)

    def _status(self, name: str) -> int:
        self.calls[name] += 1
        if self.fail[name]:
            self._last = self.fail[name].pop(0)
            self.lost = self._last if self._last in (700, 719) else self.lost
            return self._last
        return self.lost

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._status("cudaGetDeviceCount"), self.gpus

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        return (self._status("cudaSetDevice"),)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return 0, SimpleNamespace(name=b"Fake GPU\0\0", major=8, minor=9)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return 0, 13000

    def cudaGetErrorString(self, status: int) -> tuple[Any, ...]:
        return 0, f"error number {status}".encode()

    def cudaGetLastError(self) -> tuple[Any, ...]:
        last, self._last = self._last, 0
        return (self.lost or last,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        number = next(self._numbers)
        self.streams[number] = []
        return self._status("cudaStreamCreateWithFlags"), number

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self.streams[stream]
        return (self._status("cudaStreamDestroy"),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        status = self._status("cudaStreamSynchronize")
        steps, self.streams[stream] = self.streams[stream], []
        for step in steps:
            step()
        return (status,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        return 0, SimpleNamespace(producer=None)

    def cudaEventRecord(self, event: Any, producer: int) -> tuple[Any, ...]:
        event.producer = producer
        return (0,)

    def cudaStreamWaitEvent(self, stream: int, event: Any, flags: int) -> tuple[Any, ...]:
        self.calls["cudaStreamWaitEvent"] += 1
        producer = event.producer
        self.ask(stream, lambda: self.cudaStreamSynchronize(producer))
        return (0,)

    def cudaEventDestroy(self, event: Any) -> tuple[Any, ...]:
        return (0,)

    def _allocate(self, where: dict[int, Any], name: str, size: int) -> tuple[Any, ...]:
        status = self._status(name)
        if status:
            return status, None
        block = (ctypes.c_uint8 * size)()
        where[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate(self.device, "cudaMalloc", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate(self.host, "cudaMallocHost", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.device[address]
        return (self._status("cudaFree"),)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        del self.host[address]
        return (self._status("cudaFreeHost"),)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        status = self._status("cudaMemcpyAsync")
        self.calls[COPIES(kind).name] += 1
        self.ask(stream, lambda: ctypes.memmove(target, source, size))
        return (status,)

    def cudaMemcpy2DAsync(
        self, to: int, to_pitch: int, source: int, pitch: int, width: int, rows: int, kind: int, stream: int
    ) -> tuple[Any, ...]:
        self.calls[COPIES(kind).name] += 1
        for row in range(rows):
            self.ask(stream, lambda row=row: ctypes.memmove(to + row * to_pitch, source + row * pitch, width))
        return (self._status("cudaMemcpy2DAsync"),)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        self.capturing[stream] = []
        return (self._status("cudaStreamBeginCapture"),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        return self._status("cudaStreamEndCapture"), self.capturing.pop(stream)

    def cudaGraphInstantiate(self, graph: list[Step], flags: int) -> tuple[Any, ...]:
        number = next(self._numbers)
        status = self._status("cudaGraphInstantiate")
        if not status:
            self.graphs[number] = graph
        return status, number

    def cudaGraphDestroy(self, graph: list[Step]) -> tuple[Any, ...]:
        return (0,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        for step in self.graphs[graph]:
            self.ask(stream, step)
        return (self._status("cudaGraphLaunch"),)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return (0,)


class FakeTensorRt:
    """Stands for the module ``tensorrt``; its engines are ONNX graphs."""

    class ILogger:
        WARNING = 2

        def __init__(self) -> None:
            pass

    class NetworkDefinitionCreationFlag(IntEnum):
        STRONGLY_TYPED = 1

    class TensorIOMode(IntEnum):
        INPUT = 1
        OUTPUT = 2

    class BuilderFlag(IntEnum):
        TF32 = 7

    class MemoryPoolType(IntEnum):
        WORKSPACE = 0

    __name__ = "fake_tensorrt"
    __version__ = "1.0"
    nptype = staticmethod(np.dtype)

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.fail_contexts = 0
        """How many of the next contexts cannot be made."""
        self.fail_runs: list[str] = []
        """What the next computations say when they fail."""
        self.contexts: list[FakeContext] = []

    def Builder(self, log: Any) -> FakeBuilder:
        return FakeBuilder()

    def OnnxParser(self, definition: Any, log: Any) -> FakeParser:
        return FakeParser(definition)

    def Runtime(self, log: Any) -> Any:
        def deserialize(plan: bytes) -> FakeEngine | None:
            try:
                return FakeEngine(self, log, **pickle.loads(plan))
            except (pickle.UnpicklingError, EOFError, TypeError, ValueError, KeyError):
                log.log(1, "the magic number does not match")
                return None

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


def fake_backend(gpus: int = 1) -> Any:
    """Return the TensorRT backend on the two fakes, which are its attributes ``trt`` and ``cuda``."""

    class OnFakes(TensorRtBackend):
        cuda = FakeCuda(gpus)
        trt = FakeTensorRt(cuda)

        @classmethod
        def _library(cls, where: str) -> Any:
            return cls.trt

        @classmethod
        def _gpu(cls, where: str, device: int) -> Cuda:
            return Cuda(cls.cuda, where, device)

    return OnFakes


class TimingCache:
    """Grows by one byte whenever it is saved."""

    def __init__(self, known: bytes) -> None:
        self._known = known

    def serialize(self) -> bytes:
        return self._known + b"."


class FakeBuilder:
    def create_network(self, flags: int) -> Any:
        return SimpleNamespace(model=None)

    def create_builder_config(self) -> Any:
        config = SimpleNamespace(profile=None, workspace=None, clear_flag=lambda flag: None)
        config.add_optimization_profile = lambda profile: setattr(config, "profile", profile)
        config.set_memory_pool_limit = lambda pool, size: setattr(config, "workspace", size)
        config.create_timing_cache = lambda known: None if known == DAMAGED else TimingCache(known)
        config.set_timing_cache = lambda cache, ignore_mismatch: None
        return config

    def create_optimization_profile(self) -> Any:
        profile = SimpleNamespace(shapes=None)
        profile.set_shape = lambda name, *shapes: setattr(profile, "shapes", shapes)
        return profile

    def build_serialized_network(self, definition: Any, config: Any) -> bytes:
        return pickle.dumps({"model": definition.model, "profile": config.profile and config.profile.shapes})


class FakeParser:
    num_errors = 1

    def __init__(self, definition: Any) -> None:
        self._definition = definition

    def parse(self, content: bytes, path: str) -> bool:
        graph = onnx.load_from_string(content).graph
        if not graph.node:
            return False
        given = graph.input[0]
        shape = tuple(side.dim_value or -1 for side in given.type.tensor_type.shape.dim)
        definition = self._definition
        definition.model = content
        definition.get_input = lambda number: SimpleNamespace(name=given.name, shape=shape)
        definition.num_outputs = len(graph.output)
        definition.get_output = lambda number: graph.output[number]
        return True

    def get_error(self, number: int) -> Any:
        return SimpleNamespace(node_operator=lambda: "", node_name=lambda: "", desc=lambda: "there are\nno layers")


class FakeEngine:
    def __init__(self, trt: FakeTensorRt, log: Any, model: bytes, profile: Any) -> None:
        self.trt, self.log = trt, log
        self._profile = profile
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.item = tuple(self.input.shape[1:])
        self.outputs = [output.name for output in self.session.get_outputs()]
        # TensorRT promises no order.
        self.names = [*reversed(self.outputs), self.input.name]
        self.num_io_tensors = len(self.names)

    @property
    def largest(self) -> int:
        return int(self._profile[2][0]) if self._profile else 1

    def get_tensor_name(self, number: int) -> str:
        return self.names[number]

    def get_tensor_mode(self, name: str) -> FakeTensorRt.TensorIOMode:
        return FakeTensorRt.TensorIOMode.INPUT if name == self.input.name else FakeTensorRt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1 if self._profile else 1, *self.item)

    def get_tensor_profile_shape(self, name: str, number: int) -> Any:
        return self._profile

    def get_tensor_dtype(self, name: str) -> Any:
        kinds = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
        return kinds.get(self.input.type, np.float32) if name == self.input.name else np.float32

    def compute(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(None, {self.input.name: values}), strict=True))

    def create_execution_context(self) -> FakeContext | None:
        if self.trt.fail_contexts:
            self.trt.fail_contexts -= 1
            self.log.log(1, "no scratch memory")
            return None
        self.trt.contexts.append(FakeContext(self))
        return self.trt.contexts[-1]


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._count = 1
        self._addresses: dict[str, int] = {}
        self.enqueued = 0
        self.reshaped = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.reshaped += 1
        if shape[0] > self._engine.largest:
            return False
        self._count = shape[0]
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._engine.compute(self._zeros(self._count))[name].shape

    def execute_async_v3(self, stream: int) -> bool:
        self.enqueued += 1
        if self._engine.trt.fail_runs:
            self._engine.log.log(1, self._engine.trt.fail_runs.pop(0))
            return False
        count = self._count
        self._engine.trt.cuda.ask(stream, lambda: self._compute(count))
        return True

    def _zeros(self, count: int) -> np.ndarray:
        return np.zeros((count, *self._engine.item), self._engine.get_tensor_dtype(self._engine.input.name))

    def _compute(self, count: int) -> None:
        values = self._zeros(count)
        ctypes.memmove(values.ctypes.data, self._addresses[self._engine.input.name], values.nbytes)
        for name, output in self._engine.compute(values).items():
            whole = np.ascontiguousarray(output)
            ctypes.memmove(self._addresses[name], whole.ctypes.data, whole.nbytes)
