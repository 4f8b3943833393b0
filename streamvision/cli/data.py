"""``streamvision data``: is a set of labelled pictures fit to be trained on, and the same set in another form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.cli._progress import count_bar

if TYPE_CHECKING:
    from streamvision.dataset import DataOptions, Dataset
    from streamvision.dataset.checks import Checked, Report
    from streamvision.dataset.findings import Found

app = typer.Typer(no_args_is_help=True, help="Labelled pictures: check them, convert them.")

Spec = Annotated[str, typer.Argument(metavar="DATA", help="[FORMAT:]PATH[@SPLIT]: coco, voc, yolo, labels, classes.")]
Split = Annotated[str | None, typer.Option(help="A given split, such as trainval.")]
Images = Annotated[Path | None, typer.Option(help="Where the pictures lie, if not in the usual place.")]
Labels = Annotated[Path | None, typer.Option(help="Where the labels lie, if not in the usual place.")]
Names = Annotated[str | None, typer.Option(metavar="A,B,...", help="Classes in order, where no file tells them.")]
Ignore = Annotated[str | None, typer.Option(metavar="N,...", help="Indices of label pictures that mean nothing.")]
Group = Annotated[str | None, typer.Option(help="Metadata column, or regular expression on the file name.")]
Drop = Annotated[bool, typer.Option("--drop-broken", help="Leave objects with mistakes out, rather than refuse.")]


@app.command()
def check(
    data: Spec,
    val: Annotated[str | None, typer.Option(metavar="DATA", help="What is measured on: compared with DATA.")] = None,
    split: Split = None,
    images: Images = None,
    labels: Labels = None,
    names: Names = None,
    ignore: Ignore = None,
    group: Group = None,
    drop_broken: Drop = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Look for everything that would spoil a training: files, boxes, classes, label pictures, splits.

    Exits with 2 if there are errors; warnings are only told.

    Example: streamvision data check plates/train.json --val plates/valid.json
    """
    from streamvision.dataset.checks import check as checked

    first = _options(data, split=split, images=images, labels=labels, names=names, ignore=ignore, group=group,
                     drop_broken=drop_broken)  # fmt: skip
    second = None if val is None else _options(val, names=names, ignore=ignore, group=group, drop_broken=drop_broken)
    with count_bar("checking pictures", None) as seen:
        report = checked([first], [] if second is None else [second], seen)
    if as_json:
        typer.echo(json.dumps(_as_json(report), indent=2))
    else:
        show(report)
    if not report.usable:
        raise typer.Exit(2)


@app.command()
def convert(
    data: Spec,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder; other splits may lie there already.")],
    to: Annotated[str, typer.Option(metavar="coco|voc|yolo", help="What to write.")] = "coco",
    name: Annotated[str, typer.Option(help="What the split is called in OUT.")] = "train",
    val_share: Annotated[float | None, typer.Option(help="Write this share of the groups as the split val.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which groups these are.")] = 0,
    split: Split = None,
    images: Images = None,
    labels: Labels = None,
    names: Names = None,
    ignore: Ignore = None,
    group: Group = None,
    drop_broken: Drop = False,
) -> None:
    """Write a set in another form; the pictures are copied.

    Example: streamvision data convert coco/instances_val2017.json VOCdevkit/VOC2007 --to voc --name test
    """
    from streamvision.dataset import load
    from streamvision.dataset import split as divided
    from streamvision.dataset.write import FORMS, write
    from streamvision.errors import UsageError

    if to not in FORMS:
        raise UsageError(f"{to!r} is no format that can be written", where="--to", remedy=f"one of {', '.join(FORMS)}")
    dataset = load(_options(data, split=split, images=images, labels=labels, names=names, ignore=ignore, group=group,
                            drop_broken=drop_broken))  # fmt: skip
    parts: dict[str, Dataset] = {name: dataset}
    if val_share is not None:
        parts[name], parts["val"] = divided(dataset, val_share, seed)
    for each, part in parts.items():
        written = write(part, out, to, each)
        typer.echo(f"{written.file}: {written.pictures} pictures, {written.objects} objects")
        for what, count in written.lost.items():
            typer.echo(f"  left out, since {to} has no place for it: {count} {what}")


def _options(spec: str, *, names: str | None, ignore: str | None, drop_broken: bool, **others: object) -> DataOptions:
    """Return what the command line says of a set. Raises `UsageError` for what it cannot be."""
    from streamvision.dataset.options import options_of

    given: dict[str, Any] = {key: value for key, value in others.items() if value is not None}
    if names is not None:
        given["names"] = [one.strip() for one in names.split(",")]
    if ignore is not None:
        given["ignore"] = [one.strip() for one in ignore.split(",")]
    if drop_broken:
        given["broken"] = "drop"
    return options_of(spec, **given)


def _sides(report: Report) -> list[tuple[str, Checked]]:
    return [("data", one) for one in report.train] + [("val", one) for one in report.val]


def _as_json(report: Report) -> dict[str, Any]:
    from streamvision.dataset.checks import class_counts

    sets = [
        {"role": role, "origin": one.dataset.origin, "pictures": len(one.dataset),
         "classes": dict(class_counts(one.dataset)), "maps": {k: list(v) for k, v in one.dataset.maps.items()}}
        for role, one in _sides(report)
    ]  # fmt: skip
    found = [
        {"kind": each.kind.name, "severity": str(each.severity), "count": each.count, "remedy": each.kind.remedy,
         "examples": [{"where": where, "what": what} for where, what in each.places]}
        for each in report.findings
    ]  # fmt: skip
    return {"usable": report.usable, "sets": sets, "findings": found}


def show(report: Report) -> None:
    """Print a line about each set, and the findings as a table."""
    from rich.console import Console
    from rich.table import Table

    from streamvision.dataset.checks import class_counts

    for role, one in _sides(report):
        counts = class_counts(one.dataset)
        maps = "".join(f", map {name} of {len(classes)} classes" for name, classes in one.dataset.maps.items())
        typer.echo(
            f"{role}: {one.dataset.origin}: {len(one.dataset)} pictures, "
            f"{sum(counts.values())} objects of {len(counts)} classes{maps}"
        )
    if not len(report.findings):
        typer.echo("nothing is wrong")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "count", "for example, and the remedy"):
        table.add_column(column, overflow="fold", no_wrap=column in ("", "what", "count"))
    for found in report.findings:
        table.add_row(found.severity, found.kind.name, str(found.count), _example(found))
    Console().print(table)


def _example(found: Found) -> str:
    where, what = found.places[0]
    return f"{where}: {what}\n-> {found.kind.remedy}"
