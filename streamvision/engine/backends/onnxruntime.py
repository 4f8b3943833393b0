"""ONNX Runtime on the CPU: the reference, and the second choice. An extra: ``pip install 'streamvision[onnxruntime]'``.

Several inferences with one thread each, because two threads on one inference are often slower than one: they spin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.backends import Infer, Network, Outputs, RequestPool, picture_shape
from streamvision.engine.backends.cpus import MAX_WORKERS, usable_cpus
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError
from streamvision.types import UInt8

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


class OnnxRuntimeBackend:
    """A network run by ONNX Runtime; pictures are prepared by numpy, into memory that is used again."""

    class Options(BaseModel):
        """``workers``: inferences at the same time, by default one per usable CPU."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        workers: Annotated[int, Field(ge=1)] | None = None

    name = "onnxruntime"
    device = "CPU"
    max_batch = 1

    def __init__(self, network: Network, options: Options | None = None) -> None:
        workers = (options or self.Options()).workers or min(usable_cpus(), MAX_WORKERS)
        session = _session(network)
        self.in_flight = workers
        requests = [_request(session, network.input) for _ in range(workers)]
        self._pool = RequestPool(f"{network.model} on onnxruntime", picture_shape(network.input), requests)
        self.output_names = tuple(output.name for output in session.get_outputs())
        self.output_shapes = self._pool.warm_up()

    def submit(self, pictures: Sequence[UInt8]) -> Future[Outputs]:
        """Start on one picture; see `interfaces.Backend.submit`."""
        return self._pool.submit(pictures)

    def close(self) -> None:
        """Wait for what is running; idempotent."""
        self._pool.close()


def _session(network: Network) -> Any:
    if network.precision != "fp32":
        raise BackendUnavailable(
            f"ONNX Runtime does not compute in {network.precision} on CPUs",
            where=network.model,
            remedy="set precision to fp32 or auto",
        )
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendUnavailable(
            f"ONNX Runtime cannot be imported: {error}",
            where=network.model,
            remedy="pip install 'streamvision[onnxruntime]'",
        ) from error
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(network.path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base of their own
        raise EngineError(f"ONNX Runtime cannot load {network.path}: {error}", where=network.model) from error
    _check(network, session)
    return session


def _check(network: Network, session: Any) -> None:
    inputs = session.get_inputs()
    network.check_one_input(len(inputs))
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
    network.check_input(shape, _DTYPES.get(inputs[0].type, inputs[0].type))


def _request(session: Any, spec: ModelInput) -> Infer:
    name = session.get_inputs()[0].name
    buffer = np.empty((1, *spec.shape), spec.dtype)
    fill = filler(buffer, spec)

    def infer(picture: UInt8) -> Outputs:
        fill(picture)
        return [np.asarray(output) for output in session.run(None, {name: buffer})]

    return infer


def filler(buffer: NDArray[Any], spec: ModelInput) -> Callable[[UInt8], None]:
    """Return the function that writes a picture into ``buffer`` (1, ...) as the network wants it."""
    channels_last = buffer[0] if spec.layout == "nhwc" else buffer[0].transpose(1, 2, 0)
    mean, std = (np.asarray(values, buffer.dtype) for values in spec.normalisation)
    plain = not mean.any() and bool((std == 1).all())

    def fill(picture: UInt8) -> None:
        channels_last[...] = picture.reshape(channels_last.shape)
        if not plain:
            np.subtract(channels_last, mean, out=channels_last)
            np.divide(channels_last, std, out=channels_last)

    return fill
