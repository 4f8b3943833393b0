"""Manifest -> engine: find the file, choose a backend, compile, and check that network and manifest agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from streamvision import plugins
from streamvision.engine import models
from streamvision.engine.backends import CompiledNetwork, Network, Precision
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.manifest import Manifest
from streamvision.engine.network import NetworkEngine
from streamvision.errors import BackendUnavailable, EngineError, ManifestError, UsageError
from streamvision.interfaces import Decoder, Engine

AUTO = "auto"
PREFERENCE = ("openvino", "onnxruntime")
"""What ``auto`` tries, fastest on a CPU first."""
PRECISIONS: dict[str, Precision] = {AUTO: "fp32", "fp32": "fp32", "bf16": "bf16"}
"""What ``precision`` may be. ``auto`` never trades accuracy for speed unasked."""

_log = structlog.get_logger(__name__)


def build_engine(
    manifest: Manifest,
    *,
    backend: str = AUTO,
    precision: str = AUTO,
    backend_options: Mapping[str, Any] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
) -> Engine:
    """Return an engine that is compiled, warm, and checked against its manifest.

    ``decoder_options`` go over the manifest's own, for example ``{"min_score": 0.001}`` for an evaluation.
    Raises `ModelMissing`, `ManifestError`, `BackendUnavailable`, `PluginError`, `EngineError` or `UsageError`.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is not supported", remedy=f"choose from {', '.join(PRECISIONS)}")
    if manifest.kind == "motion":
        if backend != AUTO:
            raise UsageError(f"{manifest.name} is an algorithm: there is nothing that {backend!r} could run")
        from streamvision.engine.motion import MotionEngine

        return MotionEngine(manifest)
    network = Network(manifest.name, models.require(manifest), manifest.input, PRECISIONS[precision])
    compiled = _first_usable(network, PREFERENCE if backend == AUTO else (backend,), backend_options or {})
    try:
        decoder = _decoder(manifest, compiled, decoder_options or {})
    except BaseException:
        compiled.close()
        raise
    return NetworkEngine(manifest, compiled, decoder)


def _first_usable(network: Network, names: tuple[str, ...], options: Mapping[str, Any]) -> CompiledNetwork:
    failures: list[Exception] = []
    for name in names:
        try:
            return _compile(network, name, options)
        except (BackendUnavailable, EngineError) as error:
            if len(names) == 1:
                raise
            failures.append(error)
            _log.warning("backend_not_usable", model=network.model, backend=name, error=str(error))
    raise BackendUnavailable(
        f"no backend can run this model: {'; '.join(map(str, failures))}", where=network.model
    ) from failures[-1]


def _compile(network: Network, name: str, options: Mapping[str, Any]) -> CompiledNetwork:
    backend = plugins.load("backend", name)
    compiled: CompiledNetwork = backend(network, _options(backend, options, f"backend {name!r}"))
    return compiled


def _decoder(manifest: Manifest, compiled: CompiledNetwork, options: Mapping[str, Any]) -> Decoder:
    if manifest.decoder is None:
        raise ManifestError("a network needs a decoder", where=manifest.name)
    plugin = plugins.load("decoder", manifest.decoder.type)
    chosen = _options(plugin, {**manifest.decoder.options, **options}, f"decoder {manifest.decoder.type!r}")
    shape = NetworkShape(
        manifest.name, manifest.input.size, len(manifest.labels), compiled.output_shapes, compiled.output_names,
        manifest.labels, manifest.segmentation,
    )  # fmt: skip
    decoder: Decoder = plugin(chosen, shape)
    return decoder


def _options(plugin: Any, values: Mapping[str, Any], whose: str) -> Any:
    try:
        return plugin.Options.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"option {key!r} of {whose}: {first['msg']}") from error
