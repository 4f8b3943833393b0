"""TensorRT, or TensorRT for RTX: the production backend on NVIDIA GPUs.

Needs an extra: ``pip install 'streamvision[tensorrt]'``. The preparation of pictures is part of the engine, so bytes go
up and answers come down, by way of memory that is pinned and allocated once. Pictures that are on the GPU already stay
there. TensorRT for RTX compiles without a GPU; nothing here runs without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from streamvision.engine.backends import Intake, Items, Network, Outputs, Progress, RequestPool, read_engine
from streamvision.engine.backends.tensorrt import options as _options
from streamvision.engine.backends.tensorrt.cuda import Cuda, Gpu, open_cuda
from streamvision.engine.backends.tensorrt.device import on_device
from streamvision.engine.backends.tensorrt.library import import_tensorrt
from streamvision.engine.backends.tensorrt.plan import Plan, unpack
from streamvision.errors import BackendUnavailable

_NO_GPU = Gpu("none: compiled ahead of time", "any", "none")


class TensorRtBackend:
    """A network compiled by TensorRT, with several batches in the GPU at the same time."""

    Options = _options.Options
    name = "tensorrt"
    ahead: Mapping[str, str] = {
        "device": _NO_GPU.name,
        "compute_capability": _NO_GPU.capability,
        "driver": _NO_GPU.driver,
    }
    """Those parts of `identity` that an engine has which was compiled without a GPU; any GPU may take it."""

    def __init__(self, network: Network, options: _options.Options | None = None, engine: Path | None = None) -> None:
        from streamvision.engine.backends.tensorrt.loading import Loaded

        options = options or self.Options()
        trt = self._library(network.model)
        cuda = self._gpu(network.model, options.device)
        content = read_engine(engine, network) if engine else self.compile(network, options)
        self._loaded = Loaded(trt, cuda, unpack(content, trt, network.model), network, options)
        layout = self._loaded.layout
        self.device = cuda.gpu().name
        self.in_flight = options.contexts
        self.max_batch = layout.max_batch
        self.output_names = tuple(output.name for output in layout.outputs)
        self._pool = RequestPool(
            f"{network.model} on {self.name}", device_intake(network, layout.max_batch), self._loaded.contexts
        )
        try:
            self.output_shapes = self._pool.warm_up()
        except BaseException:
            self._loaded.close()
            raise

    @classmethod
    def identity(cls, options: _options.Options | None = None) -> Mapping[str, str]:
        """Return what a compiled engine depends on; see `BackendPlugin.identity`. Works without a GPU."""
        options = options or cls.Options()
        trt = cls._library(cls.name)
        try:
            gpu = cls._gpu(cls.name, options.device).gpu()
        except BackendUnavailable:
            gpu = _NO_GPU
        return {
            "backend": cls.name,
            "module": trt.__name__,
            "version": trt.__version__,
            "device": gpu.name,
            "compute_capability": gpu.capability,
            "driver": gpu.driver,
            "batch": f"{options.batch or 'auto'}, best at {options.opt_batch or 'most'}",
            "tf32": str(options.tf32),
            "workspace_mb": str(options.workspace_mb or "all"),
        }

    @classmethod
    def require_gpu(cls, options: _options.Options | None = None) -> None:
        """Raise `BackendUnavailable` where engines can be compiled at most."""
        cls._library(cls.name)
        cls._gpu(cls.name, (options or cls.Options()).device)

    @classmethod
    def compile(
        cls, network: Network, options: _options.Options | None = None, progress: Progress | None = None
    ) -> bytes:
        """Return TensorRT's plan; see `BackendPlugin.compile`."""
        from streamvision.engine.backends.tensorrt.compiler import build

        trt = cls._library(network.model)
        outputs, engine = build(trt, network, options or cls.Options(), progress)
        return Plan(trt.__name__, trt.__version__, outputs, engine).pack()

    def submit(self, pictures: Items) -> Future[Outputs]:
        """Start on a batch; see `interfaces.Backend.submit`. Pictures may lie on the GPU."""
        return self._pool.submit(pictures)

    def close(self) -> None:
        """Wait for what is running and give the GPU's memory back; idempotent."""
        self._pool.close()
        self._loaded.close()

    @classmethod
    def _library(cls, where: str) -> Any:
        return import_tensorrt(where)

    @classmethod
    def _gpu(cls, where: str, device: int) -> Cuda:
        return open_cuda(where, device)


@dataclass(frozen=True, slots=True)
class DeviceIntake(Intake):
    """Also takes items on the GPU, whose shape and type are checked where their memory is looked at."""

    def checked(self, items: Items, where: str) -> Items:
        """Return the items; those in host memory contiguous. Raises `EngineError` for any that do not fit."""
        if self.what == "tensor" and on_device(items):
            return items
        return Intake.checked(self, items, where)

    def _fitting(self, item: NDArray[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
        return item if on_device(item) else Intake._fitting(self, item, shape, where)


def device_intake(network: Network, max_batch: int) -> DeviceIntake:
    """Return what the TensorRT backend accepts in one submission."""
    plain = network.intake(max_batch)
    return DeviceIntake(plain.shape, plain.dtype, plain.max_batch, plain.what)
