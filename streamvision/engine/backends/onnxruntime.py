"""ONNX Runtime, on the CPU or on an NVIDIA GPU (CUDA provider): the reference, and the second choice.

On a CPU several inferences with one thread each, because two threads on one inference are often slower than one:
they spin. A compiled engine is the graph after ONNX Runtime's own optimisations.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.backends import Infer, Items, Network, Outputs, Progress, RequestPool, TensorInput, read_engine
from streamvision.engine.backends.cpus import cpu_name, cpu_workers, on_cpu
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError, StaleEngine
from streamvision.types import UInt8

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_GPU_WORKERS = 2
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Read when the library is loaded; its own function to switch it off comes too late."""


class OnnxRuntimeBackend:
    """A network run by ONNX Runtime; pictures are prepared by numpy, into memory that is used again."""

    class Options(BaseModel):
        """``workers``: inferences at the same time, by default one per usable CPU, or two on a GPU. ``batch``: the
        largest batch, by default one picture on a CPU. ``device`` auto: a GPU where one works."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        device: Literal["cpu", "cuda", "auto"] = "cpu"
        workers: Annotated[int, Field(ge=1)] | None = None
        batch: Annotated[int, Field(ge=1)] | None = None

    name = "onnxruntime"

    def __init__(self, network: Network, options: Options | None = None, engine: Path | None = None) -> None:
        options = options or self.Options()
        session = _open(network, options, engine)
        cuda = check_gpu(network, session, options)
        self.device = "CUDA" if cuda else on_cpu(network.precision)
        self.in_flight = options.workers or (_GPU_WORKERS if cuda else cpu_workers())
        self.max_batch = network.largest_batch(_check(network, session), options.batch, parallel=not cuda)
        requests = [_request(session, network, self.max_batch) for _ in range(self.in_flight)]
        self._pool = RequestPool(f"{network.model} on onnxruntime", network.intake(self.max_batch), requests)
        self.output_names = tuple(output.name for output in session.get_outputs())
        self.output_shapes = self._pool.warm_up()

    @classmethod
    def identity(cls, options: Options | None = None) -> Mapping[str, str]:
        """Return what a compiled engine depends on; see `BackendPlugin.identity`."""
        ort = import_onnxruntime(cls.name)
        device = "cuda" if _wants_cuda(ort, cls.name, options or cls.Options()) else cpu_name()
        return {"backend": cls.name, "version": ort.__version__, "device": device}

    @classmethod
    def compile(cls, network: Network, options: Options | None = None, progress: Progress | None = None) -> bytes:
        """Return the optimised graph as ONNX; see `BackendPlugin.compile`."""
        ort = import_onnxruntime(network.model)
        settings = _settings(ort)
        if _wants_cuda(ort, network.model, options or cls.Options()):
            # What fits one CPU's instructions is nothing for a GPU; the rest happens there, when it is loaded.
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        with tempfile.TemporaryDirectory(prefix="streamvision-") as folder:
            target = Path(folder) / "optimised.onnx"
            settings.optimized_model_filepath = str(target)
            _check(network, _session(ort, network, str(network.path), settings, cuda=False))
            return target.read_bytes()

    def submit(self, pictures: Items) -> Future[Outputs]:
        """Start on a batch; see `interfaces.Backend.submit`."""
        return self._pool.submit(pictures)

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._pool.close()


def _open(network: Network, options: OnnxRuntimeBackend.Options, engine: Path | None) -> Any:
    ort = import_onnxruntime(network.model)
    cuda = _wants_cuda(ort, network.model, options)
    settings = _settings(ort)
    if engine is None:
        return _session(ort, network, str(network.path), settings, cuda=cuda)
    if not cuda:
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _session(ort, network, read_engine(engine, network), settings, cuda=cuda)


def import_onnxruntime(where: str) -> Any:
    """Import ONNX Runtime without its telemetry, which since 1.32 reports to a server unless somebody has opted out.

    Raises `BackendUnavailable`.
    """
    os.environ.setdefault(_NO_TELEMETRY, "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"ONNX Runtime cannot be imported: {error}", where=where, remedy="pip install onnxruntime"
        ) from error
    return onnxruntime


def _wants_cuda(ort: Any, where: str, options: OnnxRuntimeBackend.Options) -> bool:
    """Return whether to ask for a GPU. Raises `BackendUnavailable` if this build knows none."""
    known = _CUDA in ort.get_available_providers()
    if options.device == "cuda" and not known:
        raise BackendUnavailable(
            "this build of ONNX Runtime has no CUDA provider",
            where=where,
            remedy="pip uninstall onnxruntime, pip install onnxruntime-gpu; or set device to cpu",
        )
    return known and options.device != "cpu"


def _settings(ort: Any) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    return settings


def _session(ort: Any, network: Network, source: str | bytes, settings: Any, *, cuda: bool) -> Any:
    if network.precision == "bf16":
        raise BackendUnavailable(
            "ONNX Runtime does not compute in bf16", where=network.model, remedy="set precision to fp32 or auto"
        )
    try:
        return ort.InferenceSession(source, settings, providers=[_CUDA, _CPU] if cuda else [_CPU])
    except Exception as error:  # its exceptions have no common base of their own
        if isinstance(source, bytes):
            raise StaleEngine(f"ONNX Runtime cannot load the compiled engine: {error}", where=network.model) from error
        raise EngineError(f"ONNX Runtime cannot load {network.path}: {error}", where=network.model) from error


def check_gpu(network: Network, session: Any, options: OnnxRuntimeBackend.Options) -> bool:
    """Return whether a GPU really computes: ONNX Runtime goes on without one and only logs it."""
    cuda = _CUDA in session.get_providers()
    if options.device == "cuda" and not cuda:
        raise BackendUnavailable(
            "ONNX Runtime's CUDA provider finds no GPU that works",
            where=network.model,
            remedy="look at nvidia-smi, install the CUDA and cuDNN that onnxruntime-gpu names, or set device to cpu",
        )
    return cuda


def _check(network: Network, session: Any) -> int | None:
    """Compare the network's input with the manifest; return its batch dimension, None for an open one."""
    inputs = session.get_inputs()
    network.check_one_input(len(inputs))
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
    network.check_input(inputs[0].name, shape, _DTYPES.get(inputs[0].type, inputs[0].type))
    return shape[0]


def _request(session: Any, network: Network, max_batch: int) -> Infer:
    name = session.get_inputs()[0].name
    if isinstance(network.input, TensorInput):
        return lambda items: _answers(session, {name: items})
    spec = network.input
    buffer = np.empty((max_batch, *spec.shape), spec.dtype)
    fill = [filler(row, spec) for row in buffer]

    def infer(items: Items) -> Outputs:
        for write, picture in zip(fill, items, strict=False):
            write(picture)
        return _answers(session, {name: buffer[: len(items)]})

    return infer


def _answers(session: Any, feed: dict[str, Any]) -> Outputs:
    return [np.asarray(output) for output in session.run(None, feed)]


def filler(buffer: NDArray[Any], spec: ModelInput) -> Callable[[UInt8], None]:
    """Return the function that writes one picture into ``buffer`` as the network wants it."""
    channels_last = buffer if spec.layout == "nhwc" else buffer.transpose(1, 2, 0)
    mean, std = (np.asarray(values, buffer.dtype) for values in spec.normalisation)
    plain = not mean.any() and bool((std == 1).all())

    def fill(picture: UInt8) -> None:
        channels_last[...] = picture.reshape(channels_last.shape)
        if not plain:
            np.subtract(channels_last, mean, out=channels_last)
            np.divide(channels_last, std, out=channels_last)

    return fill
