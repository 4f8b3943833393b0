"""``streamvision compress``: a network becomes smaller and faster, and the user sees what that costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.errors import MissingError, UsageError

if TYPE_CHECKING:
    from streamvision.compress.command import Result
    from streamvision.compress.measure import Comparison, Figures

_EPOCHS = 3


def compress(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_MODEL", help="The folder of a training, or a model.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The folder for what is made, a new or an empty one.", show_default=False)],
    data: Annotated[
        str | None, typer.Option(help="[FORMAT:]PATH[@SPLIT] of what is learnt from. [default: the run's]")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="What is measured on; without it a part of the data is kept apart.")
    ] = None,
    prune: Annotated[
        float, typer.Option(min=0, max=0.95, help="The share of the network's cost to be removed with its channels.")
    ] = 0.0,
    prune_of: Annotated[str, typer.Option(help="The cost that is meant: macs or parameters.")] = "macs",
    importance: Annotated[str, typer.Option(help="What a channel is judged by: magnitude, bn, taylor.")] = "magnitude",
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Prune in so many steps, and learn after each.")] = 1,
    quantise: Annotated[
        str | None, typer.Option(help="int8: after training, or aware (the network learns to be in it).")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Learn from this model or run besides from the labels.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How long it learns after each step.")] = _EPOCHS,
    lr: Annotated[
        float | None, typer.Option(min=0, help="Learning rate. [default: a tenth of a new network's]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the new model is called.")] = None,
    backend: Annotated[str, typer.Option(help="What is measured on: auto, tensorrt, openvino, onnxruntime.")] = "auto",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the numbers here, too.")] = None,
) -> None:
    """Prune, quantise or distil a network, and measure it beside what it was. Needs the extra `train`.

    Prints accuracy, size and speed before and after. A result that sees less well and is neither faster nor smaller is
    refused: nothing is written, and the exit code is 1.

    Example: streamvision compress runs/mine --prune 0.3 --quantise aware --out runs/mine-small
    """
    try:
        from streamvision.compress.command import Asked
        from streamvision.compress.command import compress as work
    except ImportError as error:
        raise MissingError(
            f"compressing needs PyTorch and torch-pruning, which cannot be imported: {error}",
            remedy="pip install 'streamvision[train]'",
        ) from error
    from streamvision.cli._progress import count_bar

    plan = _plan(
        prune=prune, of=prune_of, importance=importance, rounds=rounds, quantise=quantise, teacher=teacher
    )  # fmt: skip
    result = work(Asked(source, out, plan, _data(data, val), _checked(name), backend), _tuning(epochs, lr), count_bar)
    _show(result)
    if json_out is not None:
        _write(json_out, result)
    if result.manifest is None:
        typer.secho("REFUSED: it sees less well, and is neither faster nor smaller", err=True, fg="red", bold=True)
        raise typer.Exit(1)
    typer.echo(f"model    {result.manifest}")
    typer.echo(f"next     streamvision detect SOURCE --model {result.manifest}")


_CHOICES = {
    "of": ("--prune-of", ("macs", "parameters")),
    "importance": ("--importance", ("magnitude", "bn", "taylor")),
    "quantise": ("--quantise", ("after", "aware", None)),
}


def _plan(**given: Any) -> Any:
    from streamvision.compress.steps import Plan

    for key, (option, known) in _CHOICES.items():
        if given[key] not in known:
            choices = ", ".join(each for each in known if each)
            raise UsageError(f"{given[key]!r} is not known", where=option, remedy=f"choose from {choices}")
    return Plan(**given)


def _data(train: str | None, val: str | None) -> dict[str, str] | None:
    if train is None and val is not None:
        raise UsageError("what is learnt from?", where="--val", remedy="give --data, too")
    if train is None:
        return None
    return {"train": train} | ({"val": val} if val else {})


def _checked(name: str | None) -> str | None:
    import re

    from streamvision.engine.manifest import NAME

    if name is not None and not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} is no name", where="--name", remedy="use small letters, digits, dots and dashes")
    return name


def _tuning(epochs: int, lr: float | None) -> Any:
    from streamvision.cli._interrupt import ending
    from streamvision.cli._training import reporter
    from streamvision.compress.tune import Tuning

    return Tuning(epochs, lr, reporter, ending, typer.echo)


def _show(result: Result) -> None:
    found = result.comparison
    typer.echo(f"{'':<16}{'before':>14}{'after':>14}{'':>4}change")
    for title, before, after, change in _rows(found):
        typer.echo(f"{title:<16}{before:>14}{after:>14}{'':>4}{change}")
    typer.echo(f"on               {found.before.engine} | {found.after.engine}")


def _rows(found: Comparison) -> list[tuple[str, str, str, str]]:
    before, after = found.before, found.after
    rows = [_accuracy(name, before, after) for name in _shown(before, after)]
    for title, unit, values in (
        ("size", "MB", (before.size.bytes / 1e6, after.size.bytes / 1e6)),
        ("parameters", "M", (before.size.parameters / 1e6, after.size.parameters / 1e6)),
        ("MACs", "M", (before.size.macs / 1e6, after.size.macs / 1e6)),
    ):
        change = f"{values[1] / values[0] - 1:+.1%}" if values[0] else ""
        rows.append((title, f"{values[0]:.2f} {unit}", f"{values[1]:.2f} {unit}", change))
    rates = (before.pictures_per_s, after.pictures_per_s)
    rows.append(("pictures/s", f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"x {found.faster:.2f}"))
    return rows


def _shown(before: Figures, after: Figures) -> list[str]:
    """Return the figures that are shown: the one that decides, and the usual ones."""
    usual = [before.metric, "AP", "AP50", "mask_AP", "mIoU", "top1"]
    return [name for name in dict.fromkeys(usual) if name in before.figures and name in after.figures]


def _accuracy(name: str, before: Figures, after: Figures) -> tuple[str, str, str, str]:
    ours, other = before.figures[name], after.figures[name]
    return name, f"{ours:.4f}", f"{other:.4f}", f"{other - ours:+.4f}"


def _write(path: Path, result: Result) -> None:
    removed = [{"removed": one.removed, "channels": one.channels} for one in result.pruned]
    document = {
        "model": None if result.manifest is None else str(result.manifest), **result.comparison.as_json(),
        "pruned": removed,
    }  # fmt: skip
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from error
