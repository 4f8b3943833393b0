"""ONNX -> a serialised TensorRT engine. TensorRT for RTX does it without a GPU; the GPU finishes it on loading.

Strongly typed: the numbers that a network computes with are those written in its ONNX file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from streamvision.engine import graphs
from streamvision.engine.backends import Network, Progress
from streamvision.engine.backends.tensorrt import prepare
from streamvision.engine.backends.tensorrt.library import RTX, Said, logger, monitor
from streamvision.engine.backends.tensorrt.options import Options
from streamvision.errors import BackendUnavailable, EngineError

_MEGABYTE = 1 << 20
_EXPLICIT_BATCH = 1


def build(trt: Any, network: Network, options: Options, progress: Progress | None) -> tuple[tuple[str, ...], bytes]:
    """Return the outputs' names in the network's order, and the engine's bytes.

    Raises `EngineError` with all that TensorRT's parser or builder says.
    """
    if network.precision == "bf16":
        raise BackendUnavailable(
            "TensorRT computes in bf16 only where the ONNX file says so",
            where=network.model,
            remedy="set precision to auto, fp32, fp16 or int8",
        )
    said = Said()
    log = logger(trt, said)
    builder = _builder(trt, log, said, network)
    model = graphs.read(network.path, network.model)
    batch = prepare.check(prepare.real_input(model, network), network)
    max_batch = network.largest_batch(batch, options.batch, parallel=False)
    definition = _parsed(trt, builder, log, prepare.prepared(model, network, max_batch), network)
    config = _configuration(trt, builder, definition, max_batch, options)
    watcher = monitor(trt, progress) if progress else None
    if watcher is not None:
        config.progress_monitor = watcher
    cache = _timing_cache(trt, config, options.timing_cache)
    plan = builder.build_serialized_network(definition, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot compile {network.path}: {said.text()}", where=network.model)
    if cache is not None and options.timing_cache:
        _save(bytes(cache.serialize()), options.timing_cache)
    names = tuple(definition.get_output(number).name for number in range(definition.num_outputs))
    return names, bytes(plan)


def _builder(trt: Any, log: Any, said: Said, network: Network) -> Any:
    try:
        builder = trt.Builder(log)
    except (RuntimeError, TypeError) as error:  # TypeError: the binding got a null pointer
        said.hear("error", str(error))
        builder = None
    if builder is None:
        raise BackendUnavailable(
            f"TensorRT cannot compile here: {said.text()}",
            where=network.model,
            remedy="compile where there is a GPU with its driver, or with tensorrt-rtx, which needs none",
        )
    return builder


def _parsed(trt: Any, builder: Any, log: Any, model: Any, network: Network) -> Any:
    definition = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(definition, log)
    if not parser.parse(model.SerializeToString(), str(network.path)):
        faults = [_fault(parser.get_error(number)) for number in range(parser.num_errors)]
        raise EngineError(
            f"TensorRT cannot read {network.path}: {'; '.join(faults)}",
            where=network.model,
            remedy="export only the network's dense part, with a fixed picture size; or use another backend",
        )
    return definition


def _network_flags(trt: Any) -> int:
    """Return the flags of `create_network`: some versions know batches only when told, some do so without."""
    flags = trt.NetworkDefinitionCreationFlag.__members__
    explicit = 1 << int(flags["EXPLICIT_BATCH"]) if "EXPLICIT_BATCH" in flags else 0
    return explicit | 1 << int(flags["STRONGLY_TYPED"]) if "STRONGLY_TYPED" in flags else explicit


def _fault(error: Any) -> str:
    """Return a parser's error with the node it is about."""
    node = f"{error.node_operator()} {error.node_name()}".strip()
    words = " ".join(str(error.desc()).split())
    return f"{node}: {words}" if node else words


def _configuration(trt: Any, builder: Any, definition: Any, max_batch: int, options: Options) -> Any:
    config = builder.create_builder_config()
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # is set by default
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * _MEGABYTE)
    if max_batch > 1:
        profile = builder.create_optimization_profile()
        given = definition.get_input(0)
        usual = min(options.opt_batch or max_batch, max_batch)
        item = tuple(given.shape)[1:]
        profile.set_shape(given.name, (1, *item), (usual, *item), (max_batch, *item))
        config.add_optimization_profile(profile)
    return config


def _timing_cache(trt: Any, config: Any, path: Path | None) -> Any:
    """Give the builder what earlier builds measured; None where that is not wanted, or nothing is measured."""
    if path is None or trt.__name__ == RTX:
        return None
    try:
        known = path.read_bytes()
    except OSError:
        known = b""
    cache = config.create_timing_cache(known) or config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _save(content: bytes, path: Path) -> None:
    """Write the measurements whole or not at all: another process may read them now."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)
