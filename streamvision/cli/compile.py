"""``streamvision compile``: a model's networks as engines, proven, where the daemon finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.cli._progress import share_bar

if TYPE_CHECKING:
    from streamvision.engine.build import Builder, Order, Workshop
    from streamvision.engine.cache import Entry
    from streamvision.engine.manifest import Manifest


def compile_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or the path of its manifest.")],
    backend: Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime, torch.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, bf16, int8.")] = "auto",
    calibration: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of typical pictures, which int8 is fitted to.")
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, max=1024, help="The largest batch that the engine shall take.")] = 16,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write here instead of the cache; for $STREAMVISION_ENGINES.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compile anew what is there already.")] = False,
) -> None:
    """Compile a model for this machine, and compare the engine with the reference backend on sample pictures.

    The engine lies in the cache, where the daemon finds it at its next start; with --out in a folder of its own, that
    another machine of the same kind can name in $STREAMVISION_ENGINES. An engine that deviates from the reference is
    refused, with the numbers, and the exit code is 1. On a machine without a GPU, tensorrt compiles ahead of time, and
    the comparison is made where the engine is loaded first.

    Example: streamvision compile yolox-nano --backend tensorrt --precision fp16
    """
    from streamvision.engine import manifest as manifests
    from streamvision.engine.build import Order, Workshop
    from streamvision.engine.cache import EngineCache
    from streamvision.engine.compile import calibration_of

    manifest = manifests.load(model)
    pictures = calibration_of(calibration) if calibration else None
    order = Order(backend, precision, calibration=pictures, max_batch=max_batch, force=force)
    workshop = Workshop(EngineCache(out, extra=()) if out else EngineCache())
    _compile(manifest, order, workshop)


def _compile(manifest: Manifest, order: Order, workshop: Workshop) -> None:
    from streamvision.engine.build import Builder
    from streamvision.errors import UsageError

    if manifest.kind == "motion":
        raise UsageError(f"{manifest.name} is an algorithm: there is nothing to compile")
    with share_bar(f"compiling {manifest.name}") as show:
        builder = Builder(
            manifest, order, workshop, lambda step: show(f"{step.state} {step.backend}", step.done)
        )  # fmt: skip
        ahead = order.backend in workshop.slow and order.backend not in workshop.on_gpu
        entries = builder.ahead(order.backend) if ahead else _built(builder)
    for entry in entries:
        _print(_written(entry, workshop))
    if ahead:
        typer.echo("parity   not checked: it can only be where the engine runs; it is when the engine is loaded first")


def _built(builder: Builder) -> list[Entry | None]:
    builder.build().close()
    return [] if builder.compiler is None else [one.entry for one in builder.compiler.opened]


def _written(entry: Entry | None, workshop: Workshop) -> Entry:
    from streamvision.errors import EngineError

    if entry is None:
        raise EngineError(
            "the engine could not be written",
            where=str(workshop.cache.folder),
            remedy="make room there, or choose another folder with --out",
        )
    return entry


def _print(entry: Entry) -> None:
    facts, key = entry.facts, entry.meta["key"]
    typer.echo(f"engine   {entry.engine}")
    typer.echo(f"key      {entry.digest} ({key['precision']}, {', '.join(_identity(key))})")
    typer.echo(f"size     {entry.size / 1e6:.1f} MB, built in {facts['seconds']:.1f} s on {entry.meta['written']}")
    if "parity" in facts:
        typer.echo(f"parity   with {facts['reference']}: {facts['parity_summary']}")


def _identity(key: dict[str, str]) -> list[str]:
    """Return what an engine is bound to besides its network."""
    return [f"{name} {key[name]}" for name in sorted(key.keys() - {"onnx", "precision", "input", "calibration"})]
