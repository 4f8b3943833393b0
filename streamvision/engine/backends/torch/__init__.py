"""PyTorch as a backend, on the CPU or an NVIDIA GPU: the reference that shares no kernel with the others.

Needs an extra: ``pip install 'streamvision[torch]'``. A compiled engine is the graph with its weights in one file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine import graphs
from streamvision.engine.backends import (
    Infer,
    Items,
    Network,
    Outputs,
    Progress,
    RequestPool,
    channels_last,
    gatherer,
    read_engine,
)
from streamvision.engine.backends.cpus import cpu_name
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, StaleEngine


class TorchBackend:
    """A network computed by PyTorch, operator by operator."""

    class Options(BaseModel):
        """``workers``: inferences at the same time. ``batch``: the largest batch, by default one picture on a CPU.
        ``device`` auto: a GPU where one works."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        device: Literal["cpu", "cuda", "auto"] = "cpu"
        workers: Annotated[int, Field(ge=1)] = 1
        batch: Annotated[int, Field(ge=1)] | None = None

    name = "torch"

    def __init__(self, network: Network, options: Options | None = None, engine: Path | None = None) -> None:
        options = options or self.Options()
        torch = _import_torch(network.model)
        device = _device(torch, network.model, options)
        model = _parse(read_engine(engine, network), network) if engine else graphs.read(network.path, network.model)
        batch = _check(network, model)
        graph = _graph(network, model, device)
        numbers = "" if network.precision == "fp32" else f", {network.precision}"  # as the file says, here too
        self.device = f"{device.upper()}{numbers}"
        self.in_flight = options.workers
        self.max_batch = network.largest_batch(batch, options.batch, parallel=device == "cpu")
        requests = [_request(torch, graph, network, device, self.max_batch) for _ in range(self.in_flight)]
        self._pool = RequestPool(f"{network.model} on torch", network.intake(self.max_batch), requests)
        self.output_names: tuple[str, ...] = graph.outputs
        self.output_shapes = self._pool.warm_up()

    @classmethod
    def identity(cls, options: Options | None = None) -> Mapping[str, str]:
        """Return what a compiled engine depends on; see `BackendPlugin.identity`."""
        torch = _import_torch(cls.name)
        device = _device(torch, cls.name, options or cls.Options())
        name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
        return {"backend": cls.name, "version": torch.__version__, "device": name}

    @classmethod
    def compile(cls, network: Network, options: Options | None = None, progress: Progress | None = None) -> bytes:
        """Return the graph with its weights; see `BackendPlugin.compile`."""
        _import_torch(network.model)
        model = graphs.read(network.path, network.model)
        _check(network, model)
        _graph(network, model, "cpu")
        whole: bytes = model.SerializeToString()
        return whole

    def submit(self, pictures: Items) -> Future[Outputs]:
        """Start on a batch; see `interfaces.Backend.submit`."""
        return self._pool.submit(pictures)

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._pool.close()


def _import_torch(where: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(
            f"PyTorch cannot be imported: {error}", where=where, remedy="pip install 'streamvision[torch]'"
        ) from error
    return torch


def _device(torch: Any, where: str, options: TorchBackend.Options) -> Literal["cpu", "cuda"]:
    if options.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if options.device == "auto":
        return "cpu"
    raise BackendUnavailable(
        "PyTorch finds no GPU that works",
        where=where,
        remedy="look at nvidia-smi, install a PyTorch built for that driver's CUDA, or set device to cpu",
    )


def _parse(content: bytes, network: Network) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own, which differs between its implementations
        raise StaleEngine(f"the compiled engine is no graph: {error}", where=network.model) from error
    if not model.graph.node:
        raise StaleEngine("the compiled engine is an empty file", where=network.model)
    return model


def _graph(network: Network, model: onnx.ModelProto, device: str) -> Any:
    from streamvision.engine.backends.torch.graph import Graph

    if network.precision == "bf16":
        raise BackendUnavailable(
            "the torch backend does not compute in bf16", where=network.model, remedy="set precision to fp32 or auto"
        )
    return Graph(model, device, network.model)


def _check(network: Network, model: onnx.ModelProto) -> int | None:
    """Compare the network's input with the manifest; return its batch dimension, None for an open one."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    network.check_one_input(len(inputs))
    tensor = inputs[0].type.tensor_type
    shape = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    network.check_input(inputs[0].name, shape, dtype)
    return shape[0]


def _request(torch: Any, graph: Any, network: Network, device: str, max_batch: int) -> Infer:
    gather = gatherer(network.intake(max_batch), channels_last(network))
    prepare = _preparation(torch, network.input, device) if isinstance(network.input, ModelInput) else None
    # TF32 would make a GPU see other things than every other backend.
    exact = torch.backends.cudnn.flags

    def infer(items: Items) -> Outputs:
        with torch.inference_mode(), exact(allow_tf32=False):
            values = torch.from_numpy(gather(items)).to(device)
            outputs = graph(prepare(values) if prepare else values)
            return [np.array(output.cpu().numpy()) for output in outputs]

    return infer


def _preparation(torch: Any, spec: ModelInput, device: str) -> Callable[[Any], Any]:
    """Return the function that makes pictures (n, h, w, channels) what the network wants to see."""
    dtype = getattr(torch, spec.dtype)
    mean, std = (torch.tensor(values, device=device) for values in spec.normalisation)
    plain = not bool(mean.any()) and bool((std == 1).all())

    def prepare(pictures: Any) -> Any:
        values = pictures if plain else (pictures.float() - mean) / std
        values = values if spec.layout == "nhwc" else values.permute(0, 3, 1, 2)
        return values.to(dtype)

    return prepare
