"""Writing what an export consists of: network files and the manifest that describes them."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from streamvision.engine import manifest
from streamvision.engine.models import sha256_of
from streamvision.errors import EngineError, UsageError
from streamvision.export.registry import Built, Request

OPSET = 17
"""Understood by every backend; the newest that the tracing exporter writes without conversions."""
_MAX_BYTES = 2**31 - 2**20
"""Above this a network does not fit into one protobuf file."""


def save_network(
    module: Any,
    examples: Sequence[Any],
    path: Path,
    outputs: Sequence[str],
    inputs: Sequence[str] = ("input",),
) -> dict[str, object]:
    """Trace a module into an ONNX file and return its ``name``, ``sha256`` and ``bytes`` for the manifest.

    The first axis of every input and output is the batch, of any length; all other sides are those of ``examples``.
    Written atomically. Raises `EngineError` for a module that cannot be exported.
    """
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    with _atomic(path) as draft, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that is meant to be constant
        try:
            torch.onnx.export(
                module.eval(), tuple(examples), str(draft), input_names=list(inputs), output_names=list(outputs),
                dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise EngineError(f"PyTorch cannot export this network: {reason}", where=path.name) from error
        if draft.stat().st_size > _MAX_BYTES:
            raise EngineError("the network does not fit into one ONNX file of 2 GiB", where=path.name)
    return {"name": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def write_manifest(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write ``folder/NAME.yaml`` atomically, read it back the way every command will, and return its path.

    Raises `ManifestError` for a document that is no manifest.
    """
    path = folder / f"{document['name']}.yaml"
    writer = YAML()
    writer.default_flow_style = None
    writer.width = 120
    with _atomic(path) as draft:
        with draft.open("w", encoding="utf-8") as file:
            writer.dump(_plain(document), file)
        manifest.load(draft)
    return path


def header(request: Request, built: Built) -> dict[str, Any]:
    """Return the keys of a manifest that are the same for every exporter."""
    recipe = request.recipe
    return {
        "name": request.name,
        "summary": recipe.summary,
        "task": recipe.task,
        "licence": recipe.licence,
        "source": f"{recipe.source}, {built.origin}",
        "input": {"size": list(request.size_wh), **recipe.input},
    }


def labels_for(request: Request, built: Built, count: int) -> list[str]:
    """Return ``count`` names: the user's, those of the weights, the recipe's, or class_1 ... where nobody knows.

    Raises `UsageError` where the user gives another number of names.
    """
    if request.labels is not None and len(request.labels) != count:
        raise UsageError(
            f"{len(request.labels)} labels for a network of {count} classes",
            where=request.recipe.name,
            remedy=f"name {count} of them, without the background, in the network's order",
        )
    for known in (request.labels, built.labels, request.recipe.labels):
        if known is not None and len(known) == count:
            return list(known)
    return [f"class_{number}" for number in range(1, count + 1)]


def example(request: Request) -> Any:
    """Return a picture tensor (1,3,h,w) float32 to trace a network with."""
    width, height = request.size_wh
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` that takes its place when all went well, and is gone when not."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Return tuples as lists, which is what YAML has."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
