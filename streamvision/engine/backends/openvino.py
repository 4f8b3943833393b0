"""OpenVINO: the default on CPUs. Several requests in flight, one stream per CPU, float32.

Why so, measured with yolox-nano: one-thread streams spend less CPU time per inference than one request over all
threads, and one request more than streams keeps each stream busy while an answer is handed over. Pinning stays
off, because decoding threads and other processes want the same CPUs. The precision is always stated, because the
plug-in would take bfloat16 wherever a CPU has it, and the same model then sees different things on two machines.
Asked for, bfloat16 takes a fifth less CPU time (yolox-nano, AVX-512) and loses half a percent of its AP.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.backends import Infer, Network, Outputs, Precision, RequestPool, picture_shape
from streamvision.engine.backends.cpus import MAX_WORKERS, usable_cpus
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError
from streamvision.types import UInt8

_TELEMETRY = "openvino_telemetry"
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}


class OpenVinoBackend:
    """A network compiled by OpenVINO for the CPU. Layout, type and normalisation are part of the compiled graph."""

    class Options(BaseModel):
        """``workers``: inferences at the same time, by default one per usable CPU."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        workers: Annotated[int, Field(ge=1)] | None = None

    name = "openvino"
    max_batch = 1

    def __init__(self, network: Network, options: Options | None = None) -> None:
        workers = (options or self.Options()).workers or min(usable_cpus(), MAX_WORKERS)
        compiled = _compile(network, workers)
        self.device = "CPU" if network.precision == "fp32" else f"CPU, {network.precision}"
        self.in_flight = workers + 1
        requests = [_request(compiled, network.input) for _ in range(self.in_flight)]
        self._pool = RequestPool(f"{network.model} on openvino", picture_shape(network.input), requests)
        self.output_names = tuple(port.get_any_name() for port in compiled.outputs)
        self.output_shapes = self._pool.warm_up()

    def submit(self, pictures: Sequence[UInt8]) -> Future[Outputs]:
        """Start on one picture; see `interfaces.Backend.submit`."""
        return self._pool.submit(pictures)

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._pool.close()


def _compile(network: Network, workers: int) -> Any:
    ov = _import_openvino(network.model)
    try:
        core = ov.Core()
        check_precision(core, network)
        model = core.read_model(network.path)
        _check(network, model)
        return core.compile_model(
            _with_preprocessing(ov, model, network.input), "CPU", _configuration(network, workers)
        )
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot compile {network.path}: {error}", where=network.model) from error


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
    return openvino


def check_precision(core: Any, network: Network) -> None:
    """Raise `BackendUnavailable` if the CPU would only pretend to compute in the wanted precision."""
    if network.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BackendUnavailable(
            "this CPU does not compute in bfloat16", where=network.model, remedy="set precision to fp32 or auto"
        )


def _configuration(network: Network, workers: int) -> dict[str, Any]:
    return {
        "NUM_STREAMS": workers,
        "INFERENCE_NUM_THREADS": workers,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _HINTS[network.precision],
    }


def _check(network: Network, model: Any) -> None:
    network.check_one_input(len(model.inputs))
    port = model.input(0)
    partial = port.get_partial_shape()
    if partial.rank.is_dynamic:
        shape: list[int | None] = [None] * 4
    else:
        shape = [None if side.is_dynamic else side.get_length() for side in partial]
    kind = port.get_element_type().get_type_name()
    network.check_input(shape, _DTYPES.get(kind, kind))


def _with_preprocessing(ov: Any, model: Any, spec: ModelInput) -> Any:
    """Return the model for one uint8 picture (1, h, w, channels), the rest of its preparation inside the graph."""
    model.reshape([1, *spec.shape])
    steps = ov.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout(spec.layout.upper()))
    mean, std = spec.normalisation
    if any(mean) or set(std) != {1.0}:
        steps.input().preprocess().convert_element_type(ov.Type.f32).mean(list(mean)).scale(list(std))
    return steps.build()


def _request(compiled: Any, spec: ModelInput) -> Infer:
    import openvino as ov

    request = compiled.create_infer_request()
    shape = (1, spec.size[1], spec.size[0], spec.channels)

    def infer(picture: UInt8) -> Outputs:
        # The picture is read in place. The outputs are copied: the request's own memory is overwritten next time.
        request.set_input_tensor(ov.Tensor(picture.reshape(shape), shared_memory=True))
        request.infer()
        return [np.array(tensor.data) for tensor in request.output_tensors]

    return infer
