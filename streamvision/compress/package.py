"""Networks in int8 and their manifests, which say so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamvision.engine import models
from streamvision.engine.manifest import Manifest
from streamvision.engine.models import sha256_of
from streamvision.engine.precision import convert
from streamvision.errors import UsageError
from streamvision.export.package import write_manifest
from streamvision.types import UInt8


def quantised(manifest: Manifest, name: str, folder: Path, pictures: Sequence[UInt8]) -> Path:
    """Write a model in int8, fitted to pictures as its input says, as ``name``; return the manifest's path.

    Raises `UsageError` for a model that is in int8 already or for too few pictures, and what `convert` raises.
    """
    refuse(manifest)
    source = models.require(manifest)
    heads = _heads(manifest, name, folder)
    renamed = Manifest.model_validate(manifest.model_dump(mode="json", exclude_unset=True) | {"name": name} | heads)
    return marked(
        renamed, folder, lambda path: convert(source, path, "int8", input=manifest.input, calibration=pictures)
    )


def refuse(manifest: Manifest) -> None:
    """Raise `UsageError` for a model that is in int8 already, or that is no network."""
    if manifest.quantised:
        raise UsageError(
            "this network is in int8 already", where=manifest.name, remedy="give the one that it was made from"
        )
    if manifest.kind == "motion":
        raise UsageError(f"{manifest.name} is an algorithm: there is nothing to compress")


def marked(manifest: Manifest, folder: Path, save: Callable[[Path], Any]) -> Path:
    """Save the network that sees the picture by ``save``, and the model's manifest, which says that it is in int8."""
    path = folder / f"{manifest.name}.onnx"
    save(path)
    file = {"name": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
    document = manifest.model_dump(mode="json", exclude_unset=True)
    return write_manifest(folder, document | {"file": file, "quantised": True})


def _heads(manifest: Manifest, name: str, folder: Path) -> dict[str, Any]:
    """Copy the files that look at regions, which stay as they are; return what the manifest says of them."""
    if manifest.heads is None:
        return {}
    heads = manifest.heads.model_dump(mode="json", exclude_none=True)
    for place, head in heads.items():
        file = getattr(manifest.heads, place).file
        head["file"]["name"] = f"{name}-{place}.onnx"
        shutil.copyfile(models.require(manifest, file), folder / head["file"]["name"])
    return {"heads": heads}
