"""``streamvision models``: which models there are, where their files lie, and how to get them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.cli._adopt import add, remove
from streamvision.cli._progress import download_bar

if TYPE_CHECKING:
    from streamvision.engine.manifest import Manifest
    from streamvision.engine.models import Found

app = typer.Typer(no_args_is_help=True, help="Models: list, describe, download, verify and add them.")
app.command()(add)
app.command()(remove)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Model = Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or the path of its manifest.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models and say where their files are.

    Example: streamvision models list
    """
    rows = [_facts(name) for name in _names()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _print_table(rows)


@app.command()
def info(name: Model, as_json: Json = False) -> None:
    """Describe one model: input, decoder, labels, licence, file, and what is compiled of it.

    Example: streamvision models info yolox-nano
    """
    from streamvision.engine import manifest, models

    model = manifest.load(name)
    facts = _description(model, models.inspect(model))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        typer.echo(f"{key:<{width}}  {_as_text(value)}")


@app.command()
def pull(name: Model) -> None:
    """Download a model's file, or go on with a download that broke off, and verify it.

    Example: streamvision models pull yolox-nano
    """
    from streamvision.engine import manifest
    from streamvision.engine import pull as downloads

    model = manifest.load(name)
    with download_bar(f"pulling {model.name}") as report:
        path = downloads.pull(model, report)
    typer.echo(str(path))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One model; all without it.")] = None,
) -> None:
    """Check the files that are on this machine against their manifests.

    Exits with 1 if a file is another one than its manifest says, or a manifest cannot be read. With NAME, a file that
    is missing is an error too.

    Example: streamvision models verify
    """
    from streamvision.engine import manifest, models
    from streamvision.errors import ManifestError

    if name is not None:
        typer.echo(f"{name}: {models.require(manifest.load(name))} is right")
        return
    right = True
    for each in manifest.names():
        try:
            found = models.inspect(manifest.load(each))
        except ManifestError as error:
            typer.echo(f"{each}: {error}")
            right = False
            continue
        typer.echo(f"{each}: {_file_words(found)}")
        right = right and found.state is not models.FileState.WRONG
    if not right:
        raise typer.Exit(1)


def _names() -> list[str]:
    from streamvision.engine import manifest

    return manifest.names()


def _facts(name: str) -> dict[str, Any]:
    """Return what the list says of one model."""
    from streamvision.engine import manifest, models
    from streamvision.errors import ManifestError

    try:
        model = manifest.load(name)
    except ManifestError as error:  # one of the user's own; the others are to be seen all the same
        blank = dict.fromkeys(("task", "input", "licence", "file"))
        return {"name": name, "summary": str(error), "default": False, "state": "broken manifest"} | blank
    found = models.inspect(model)
    return {
        "name": name,
        "summary": model.summary,
        "default": name == manifest.DEFAULT_MODEL,
        "task": model.task,
        "input": list(model.input.size),
        "licence": model.licence,
        "state": str(found.state),
        "file": str(found.path) if found.path else None,
    }


def _description(model: Manifest, found: Found) -> dict[str, Any]:
    described = model.model_dump(mode="json", exclude_none=True)
    described["manifest"] = str(model.path)
    described["state"] = str(found.state)
    if found.path:
        described["found"] = str(found.path)
    described["engines"] = _engines(model)
    return described


def _engines(model: Manifest) -> list[str]:
    """Return what is compiled of a model on this machine, and whether it was proven."""
    from streamvision.engine.cache import EngineCache

    own = {file.sha256 for file in model.files}
    found = []
    for entry in EngineCache().entries():
        key = entry.meta["key"]
        if key.get("onnx") in own and "backend" in key:
            parity = entry.facts.get("parity")
            verdict = "not verified" if parity is None else "verified" if parity["ok"] else "refused"
            found.append(f"{key['backend']} {key['precision']} {verdict} {entry.folder}")
    return found


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_as_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(_as_text, value)) or "-"
    return str(value)


def _file_words(found: Found) -> str:
    from streamvision.engine.models import FileState

    if found.state is FileState.WRONG:
        return f"{found.path} is another file (sha256 {found.sha256})"
    return f"{found.path} is right" if found.path else str(found.state)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "task", "input", "licence", "file", "summary"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for row in rows:
        name = f"{row['name']} (default)" if row["default"] else row["name"]
        size = "x".join(map(str, row["input"] or ()))
        table.add_row(name, row["task"], size, row["licence"], row["file"] or row["state"], row["summary"])
    Console().print(table)
