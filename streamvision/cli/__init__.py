"""argv -> one command. Each command lives in a module of its own and imports what is heavy when it is called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from streamvision import __version__
from streamvision.cli import (
    bench,
    check,
    collect,
    compress,
    data,
    dead_letters,
    demo,
    detect,
    draw,
    events,
    explain,
    export,
    install_service,
    label,
    models,
    probe,
    run,
    schema,
    track,
    train,
)  # fmt: skip
from streamvision.cli import compile as compiling
from streamvision.cli import eval as evaluate
from streamvision.cli._process import whole_process
from streamvision.cli.logs import LogFormat, LogFormatOption, set_up
from streamvision.errors import StreamvisionError

app = typer.Typer(
    name="streamvision",
    help="Real-time video analytics: camera streams in, events and metrics out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamvision {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has done the work


def _with_logging(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option --log-format, and set up logging before it runs."""
    signature = inspect.signature(command)
    option = inspect.Parameter(
        "log_format", inspect.Parameter.KEYWORD_ONLY, default=LogFormat.AUTO, annotation=LogFormatOption
    )

    @wraps(command)
    def wrapped(*args: Any, log_format: LogFormat = LogFormat.AUTO, **kwargs: Any) -> Any:
        set_up(log_format)
        return command(*args, **kwargs)

    hints = get_type_hints(command, include_extras=True) | {"log_format": LogFormatOption}
    parameters = [one.replace(annotation=hints[one.name]) for one in signature.parameters.values()]
    wrapped.__annotations__ = hints
    wrapped.__signature__ = signature.replace(parameters=[*parameters, option])  # type: ignore[attr-defined]
    return wrapped


_NAMES = {evaluate.evaluate: "eval", compiling.compile_model: "compile"}
"""The commands whose functions cannot have their names: those are Python's own."""

for _command in (
    compiling.compile_model,
    demo.demo, run.run, check.check, detect.detect, probe.probe, track.track, evaluate.evaluate, bench.bench,
    events.events, schema.schema, export.export, train.train, label.label, explain.explain, collect.collect,
    draw.draw, compress.compress, install_service.install_service,
):  # fmt: skip
    app.command(name=_NAMES.get(_command))(_with_logging(_command))
for _group in (models.app, data.app, dead_letters.app):
    for _registered in _group.registered_commands:
        if _registered.callback is not None:
            _registered.callback = _with_logging(_registered.callback)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(dead_letters.app, name="dead-letters")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; an error of ours is one message and an exit code, never a traceback."""
    try:
        app(args=None if arguments is None else list(arguments))
    except StreamvisionError as error:
        typer.secho(f"streamvision: {error}" if error.exit_code != 2 else str(error), err=True, fg="red")
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk under what a command writes, for example
        place = f"{error.filename}: " if error.filename else ""
        typer.secho(f"streamvision: {place}{error.strerror or error}", err=True, fg="red")
        sys.exit(1)


def program() -> None:
    """Run the command that the process was started with: the entry point."""
    whole_process(main)
