"""``streamvision export``: a PyTorch network becomes ONNX files and a manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.export.recipes import Recipe
    from streamvision.export.registry import Weights

_PUBLISHED = "DEFAULT"


def export(
    source: Annotated[
        str, typer.Argument(help="torchvision:NAME, or the name of a recipe in engines/recipes.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The folder for the ONNX file and the manifest.", show_default=False)],
    weights: Annotated[
        str | None, typer.Option(help="DEFAULT for the published weights, or a state file; random without it.")
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="How many classes the weights are for, a background class included.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Names of the classes without the background: a,b,c or a FILE.txt of lines.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="The pictures' size; a multiple of 32 is best.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the model shall be called; as its recipe without it.")] = None,
) -> None:
    """Export a network from PyTorch as ONNX with a manifest. Needs the extra `train`.

    Example: streamvision export torchvision:resnet18 --weights mine.pth --num-classes 2 --labels dog,cat --out models
    """
    from streamvision.export import recipes, registry

    recipe = recipes.find(source)
    request = registry.Request(
        recipe=recipe,
        out=out,
        name=recipe.name if name is None else _checked_name(name),
        size_wh=recipe.size if size is None else _size(size),
        weights=_weights(weights),
        num_classes=num_classes,
        labels=None if labels is None else _labels(labels),
    )
    try:
        path = registry.export(request)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(out)) from error
    _report(path, recipe, request.weights)


def _weights(text: str | None) -> Weights:
    if text is None or text == _PUBLISHED:
        return "DEFAULT" if text else None
    return Path(text).expanduser()


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})[xX](\d{2,4})", text)
    if match is None:
        raise UsageError(f"{text!r} is no size", where="--size", remedy="write width x height, such as 640x384")
    return int(match[1]), int(match[2])


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UsageError(f"{name!r} is no name", where="--name", remedy="use small letters, digits, dots and dashes")
    return name


def _labels(text: str) -> tuple[str, ...]:
    """Return the names: separated by commas, or the lines of a text file. Raises `UsageError`."""
    if not text.endswith(".txt"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        lines = Path(text).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the labels cannot be read: {error}", where=text) from error
    return tuple(line.strip() for line in lines if line.strip())


def _report(path: Path, recipe: Recipe, weights: Weights) -> None:
    from streamvision.engine.manifest import load

    model = load(path)
    if weights is None:
        typer.secho(
            f"RANDOM WEIGHTS: this {recipe.network} has learned nothing and will see nonsense; "
            "give --weights DEFAULT or a state file",
            err=True, fg="yellow", bold=True,
        )  # fmt: skip
    typer.echo(f"manifest  {path}")
    for file in sorted(path.parent.glob(f"{path.stem}*.onnx")):
        typer.echo(f"network   {file} ({file.stat().st_size / 1e6:.1f} MB)")
    typer.echo(f"input     {model.input.size[0]}x{model.input.size[1]}")
    for classes in [*([("", model.labels)] if model.labels else []), *model.segmentation.items()]:
        typer.echo(f"knows     {_classes(*classes)}")
    typer.echo(f"next      streamvision detect SOURCE --model {path}")


def _classes(label_map: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    of_map = f" of {label_map}" if label_map else ""
    return f"{len(names)} classes{of_map}: {', '.join(names[:5])}{more}"
