"""A compiled engine becomes execution contexts on a GPU."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from streamvision.engine.backends import Network, channels_last
from streamvision.engine.backends.tensorrt.context import Context, Layout, Tensor, packed
from streamvision.engine.backends.tensorrt.cuda import SMALLER, Cuda
from streamvision.engine.backends.tensorrt.library import Said, logger
from streamvision.engine.backends.tensorrt.memory import Answers
from streamvision.engine.backends.tensorrt.options import Options
from streamvision.engine.backends.tensorrt.plan import Plan
from streamvision.errors import EngineError, OutOfDeviceMemory, StaleEngine, StreamvisionError

_REMEDY = "compile it again on this machine"


class Loaded:
    """An engine on a GPU: its contexts, and the layout of what goes in and comes out."""

    def __init__(self, trt: Any, cuda: Cuda, plan: Plan, network: Network, options: Options) -> None:
        """Raises `StaleEngine`, `OutOfDeviceMemory` or another `EngineError`; then nothing stays on the GPU."""
        self._said = Said()
        self._log = logger(trt, self._said)  # must outlive all that it was given to
        self._runtime = trt.Runtime(self._log)
        self._engine = self._deserialised(trt, plan, network)
        with contextlib.ExitStack() as undo:
            made = [self._context(trt, network) for _ in range(options.contexts)]
            self.layout = _layout(trt, self._engine, made[0], plan, network)
            answers = Answers(self.layout.answer_bytes, cuda.allocate_host, cuda.free_host)
            undo.callback(answers.close)
            self.contexts: list[Context] = []
            for context in made:
                self.contexts.append(Context(cuda, context, self.layout, answers, self._said, options.cuda_graphs))
                undo.callback(self.contexts[-1].close)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Give the GPU's memory back, as far as it still answers; idempotent."""
        with contextlib.suppress(StreamvisionError):
            self._undo.close()
        self.contexts = []
        self._engine = self._runtime = None

    def _deserialised(self, trt: Any, plan: Plan, network: Network) -> Any:
        engine = self._runtime.deserialize_cuda_engine(plan.engine)
        if engine is None:
            reasons = "; ".join([*_diagnosis(trt, self._runtime, plan), self._said.text()])
            if "memory" in reasons.lower():
                raise OutOfDeviceMemory(f"TensorRT cannot load it: {reasons}", where=network.model, remedy=SMALLER)
            raise StaleEngine(f"TensorRT does not take this engine: {reasons}", where=network.model, remedy=_REMEDY)
        return engine

    def _context(self, trt: Any, network: Network) -> Any:
        context = self._engine.create_execution_context(*_runtime_config(trt, self._engine))
        if context is None:
            # With an engine that was loaded, its scratch memory is all that is still missing.
            what = f"TensorRT cannot make an execution context: {self._said.text()}"
            raise OutOfDeviceMemory(what, where=network.model, remedy=SMALLER)
        return context


def _diagnosis(trt: Any, runtime: Any, plan: Plan) -> list[str]:
    """Return what TensorRT for RTX knows of why an engine does not fit."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, flags = runtime.get_engine_validity(plan.engine)
    known = trt.EngineInvalidityDiagnostics.__members__
    return [name.lower().replace("_", " ") for name, flag in known.items() if int(flag) & int(flags)]


def _runtime_config(trt: Any, engine: Any) -> list[Any]:
    """Let TensorRT for RTX compile its kernels for a batch when it first comes, so that graphs hold the fast ones."""
    if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
        return []
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    return [config]


def _layout(trt: Any, engine: Any, context: Any, plan: Plan, network: Network) -> Layout:
    given = _input(trt, engine, network)
    open_batch = engine.get_tensor_shape(given.name)[0] == -1
    max_batch = int(engine.get_tensor_profile_shape(given.name, 0)[2][0]) if open_batch else 1
    if open_batch:
        context.set_input_shape(given.name, (max_batch, *given.shape))
    outputs = [_output(trt, engine, context, name, network) for name in plan.outputs]
    return Layout(network.model, given, packed(outputs), max_batch, open_batch)


def _input(trt: Any, engine: Any, network: Network) -> Tensor:
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    name = next(name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)
    shape = tuple(engine.get_tensor_shape(name))[1:]
    dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
    wanted = (channels_last(network), network.intake(1).dtype)
    if (shape, dtype) != wanted:
        raise StaleEngine(
            f"an engine for items of {dtype} {shape}, not {wanted[1]} {wanted[0]}", where=network.model, remedy=_REMEDY
        )
    return Tensor(name, dtype, shape)


def _output(trt: Any, engine: Any, context: Any, name: str, network: Network) -> Tensor:
    shape = tuple(context.get_tensor_shape(name))
    if any(side < 0 for side in shape):
        raise EngineError(
            f"the size of output {name} depends on what the network sees ({shape})",
            where=network.model,
            remedy="export the network without its own NMS, so that every output has a fixed size",
        )
    try:
        return Tensor(name, np.dtype(trt.nptype(engine.get_tensor_dtype(name))), shape)
    except TypeError as error:
        raise EngineError(
            f"output {name} is of a type that numpy does not know: {error}", where=network.model
        ) from error
