"""OpenVINO: the default on CPUs. Several requests in flight, one stream per CPU, float32.

Why so, measured with yolox-nano: one-thread streams spend less CPU time per inference than one request over all
threads, and one request more than streams keeps each stream busy while an answer is handed over. Pinning stays
off, because decoding threads and other processes want the same CPUs. The precision is always stated, because the
plug-in would take bfloat16 wherever a CPU has it, and the same model then sees different things on two machines.
Asked for, bfloat16 takes a fifth less CPU time (yolox-nano, AVX-512) and loses half a percent of its AP.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.backends import (
    Infer,
    Items,
    Network,
    Outputs,
    Precision,
    Progress,
    RequestPool,
    channels_last,
    read_engine,
)
from streamvision.engine.backends.cpus import cpu_name, cpu_workers, on_cpu
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError, StaleEngine

_TELEMETRY = "openvino_telemetry"
_FIRST_USE = threading.Lock()
_CORES: list[Any] = []
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f32", "int8": "f32"}
"""Of fp16 only the weights are kept: few CPUs compute in it. The int8 parts of a network say so themselves."""
_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}


class OpenVinoBackend:
    """A network compiled by OpenVINO for the CPU. Layout, type and normalisation are part of the compiled graph."""

    class Options(BaseModel):
        """``workers``: inferences at the same time, by default one per usable CPU. ``batch``: the largest batch."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        workers: Annotated[int, Field(ge=1)] | None = None
        batch: Annotated[int, Field(ge=1)] | None = None

    name = "openvino"

    def __init__(self, network: Network, options: Options | None = None, engine: Path | None = None) -> None:
        options = options or self.Options()
        compiled = _imported(network, options, engine) if engine else _compiled(network, options)
        self.device = on_cpu(network.precision)
        self.in_flight = _workers(options) + 1
        self.max_batch = _max_batch(compiled)
        requests = [_request(compiled, self.max_batch, channels_last(network)) for _ in range(self.in_flight)]
        self._pool = RequestPool(f"{network.model} on openvino", network.intake(self.max_batch), requests)
        self.output_names = tuple(_output_name(port) for port in compiled.outputs)
        self.output_shapes = self._pool.warm_up()

    @classmethod
    def identity(cls, options: Options | None = None) -> Mapping[str, str]:
        """Return what a compiled engine depends on; see `BackendPlugin.identity`."""
        ov = _import_openvino(cls.name)
        options = options or cls.Options()
        return {
            "backend": cls.name,
            "version": ov.__version__,
            "device": cpu_name(),
            "workers": str(_workers(options)),
            "batch": str(options.batch or "auto"),
        }

    @classmethod
    def compile(cls, network: Network, options: Options | None = None, progress: Progress | None = None) -> bytes:
        """Return OpenVINO's own blob; see `BackendPlugin.compile`."""
        blob: bytes = _compiled(network, options or cls.Options()).export_model().getvalue()
        return blob

    def submit(self, pictures: Items) -> Future[Outputs]:
        """Start on a batch; see `interfaces.Backend.submit`."""
        return self._pool.submit(pictures)

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._pool.close()


def _output_name(port: Any) -> str:
    """Return what the network's file calls an output: compiling adds names of what was fused into it."""
    own = str(port.node.get_friendly_name()).removesuffix("/sink_port_0")
    return own if own in port.get_names() else str(port.get_any_name())


def _workers(options: OpenVinoBackend.Options) -> int:
    return options.workers or cpu_workers()


def _compiled(network: Network, options: OpenVinoBackend.Options) -> Any:
    ov = _import_openvino(network.model)
    try:
        core = shared_core(ov)
        check_precision(core, network)
        model = core.read_model(network.path)
        batch = network.largest_batch(_check(network, model), options.batch, parallel=True)
        model.reshape([ov.Dimension(1, batch) if batch > 1 else 1, *network.input.shape])
        if isinstance(network.input, ModelInput):
            model = _with_preprocessing(ov, model, network.input)
        return core.compile_model(model, "CPU", _configuration(network, options))
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot compile {network.path}: {error}", where=network.model) from error


def _imported(network: Network, options: OpenVinoBackend.Options, engine: Path) -> Any:
    ov = _import_openvino(network.model)
    try:
        core = shared_core(ov)
        check_precision(core, network)
        compiled = core.import_model(io.BytesIO(read_engine(engine, network)), "CPU", _configuration(network, options))
    except RuntimeError as error:
        raise StaleEngine(f"OpenVINO cannot load {engine}: {error}", where=network.model) from error
    found, wanted = _item_shape(compiled), channels_last(network)
    if found != wanted:
        raise StaleEngine(f"{engine} is an engine for items of {found}, not {wanted}", where=network.model)
    return compiled


def _import_openvino(model: str) -> Any:
    """Import OpenVINO without its telemetry, which reports every import to a server unless somebody has opted out."""
    blocked = _TELEMETRY not in sys.modules
    if blocked:
        # None makes importing it fail, and OpenVINO then does without.
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise BackendUnavailable(
            f"OpenVINO cannot be imported: {error}", where=model, remedy="pip install openvino"
        ) from error
    finally:
        if blocked:
            del sys.modules[_TELEMETRY]
    # Its binding prepares something when an array is first asked for. Two threads that do so at once wait for each
    # other for ever, one with Python's lock and one with the binding's; so it is done before there are threads.
    _ = openvino.Tensor(np.zeros(1, np.float32)).data
    _use_once(openvino)
    return openvino


def shared_core(ov: Any) -> Any:
    """Return OpenVINO's one core, which lives as long as the process.

    Each core's CPU plug-in gives the thread that loads it a stack for signal handlers, and puts back the one before
    when it goes. Of two that go in the order in which they came, the second puts back the unmapped stack of the first:
    the next signal to Python then ends the process with a segmentation fault (seen with OpenVINO 2026.4).
    """
    with _FIRST_USE:
        if not _CORES:
            _CORES.append(ov.Core())
        return _CORES[0]


def _use_once(ov: Any) -> None:
    """Make the binding fill its tables of types before two threads can both be the first to need them.

    It fills them in a C++ static while it lets go of the GIL: of two threads that ask at once, one then holds the GIL
    and waits for the table, the other fills the table and waits for the GIL, for ever (seen with OpenVINO 2026.4).
    """
    with _FIRST_USE:
        np.array(ov.Tensor(np.zeros(1, np.float32)).data)


def check_precision(core: Any, network: Network) -> None:
    """Raise `BackendUnavailable` if the CPU would only pretend to compute in the wanted precision."""
    if network.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BackendUnavailable(
            "this CPU does not compute in bfloat16", where=network.model, remedy="set precision to fp32 or auto"
        )


def _configuration(network: Network, options: OpenVinoBackend.Options) -> dict[str, Any]:
    workers = _workers(options)
    return {
        "NUM_STREAMS": workers,
        "INFERENCE_NUM_THREADS": workers,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _HINTS[network.precision],
    }


def _check(network: Network, model: Any) -> int | None:
    """Compare the network's input with the manifest; return its batch dimension, None for an open one."""
    network.check_one_input(len(model.inputs))
    port = model.input(0)
    partial = port.get_partial_shape()
    if partial.rank.is_dynamic:
        shape: list[int | None] = [None] * (1 + len(network.input.shape))
    else:
        shape = [None if side.is_dynamic else side.get_length() for side in partial]
    kind = port.get_element_type().get_type_name()
    network.check_input(port.get_any_name(), shape, _DTYPES.get(kind, kind))
    return shape[0]


def _with_preprocessing(ov: Any, model: Any, spec: ModelInput) -> Any:
    """Return the model for uint8 pictures (n, h, w, channels), the rest of their preparation inside the graph."""
    steps = ov.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout(spec.layout.upper()))
    mean, std = spec.normalisation
    if any(mean) or set(std) != {1.0}:
        steps.input().preprocess().convert_element_type(ov.Type.f32).mean(list(mean)).scale(list(std))
    return steps.build()


def _max_batch(compiled: Any) -> int:
    batch: int = compiled.input(0).get_partial_shape()[0].get_max_length()
    return batch


def _item_shape(compiled: Any) -> tuple[int, ...]:
    return tuple(side.get_max_length() for side in list(compiled.input(0).get_partial_shape())[1:])


def _request(compiled: Any, max_batch: int, item_shape: tuple[int, ...]) -> Infer:
    """Outputs are copied: the request's own memory is overwritten next time. One picture is read in place."""
    import openvino as ov

    request = compiled.create_infer_request()

    def infer(items: Items) -> Outputs:
        if max_batch == 1:
            picture = np.asarray(items[0]).reshape(1, *item_shape)
            request.set_input_tensor(ov.Tensor(picture, shared_memory=True))
        else:
            _fill(request.get_input_tensor(), items, item_shape)
        request.infer()
        return [np.array(tensor.data) for tensor in request.output_tensors]

    return infer


def _fill(tensor: Any, items: Items, item_shape: tuple[int, ...]) -> None:
    """Copy a batch into the request's own memory.

    Lending it ours is for fixed shapes alone: with an open batch, OpenVINO 2026.4 gives wrong rows and damages the heap
    where an output is the input itself and a batch is smaller than the one before.
    """
    tensor.shape = [len(items), *item_shape]
    for row, item in zip(tensor.data, items, strict=True):
        row[...] = item.reshape(item_shape)
