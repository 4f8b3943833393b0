"""`streamvision check`: is this configuration right, and if not, everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.cli._settings import ShardOption

if TYPE_CHECKING:
    from streamvision.config import Settings


def check(
    config: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)],
    shard: ShardOption = None,
) -> None:
    """Check a configuration without running it; every problem is told with line, column and remedy (exit code 2).

    Environment variables and credentials that it names must be set. Certificates of sinks may come later: where they
    cannot be used yet, a warning says so. With --shard the whole file is checked, and what that shard would run is
    shown.

    Example: streamvision check /etc/streamvision/config.yaml
    """
    from streamvision.cli._settings import parse_shard, read_settings

    part = parse_shard(shard)
    settings = read_settings(config, part)
    typer.echo(f"{config}: OK")
    if part is not None:
        typer.echo(f"  shard {part}: {_count(len(settings.streams), 'stream')}")
    for line in _summary(settings):
        typer.echo(line)
    for warning in _warnings(settings):
        typer.echo(f"warning: {warning}", err=True)


def _summary(settings: Settings) -> list[str]:
    lines = [
        f"  stream {stream.id}: {stream.shown_url} -> {stream.model}, {_count(len(stream.rules), 'rule')}"
        for stream in settings.streams
    ]
    lines += [f"  model {name}: {model.manifest}, backend {model.backend}" for name, model in settings.models.items()]
    lines += [f"  sink {sink.name}: {sink.type}" for sink in settings.sinks]
    return [*lines, f"  server {settings.server.listen}", f"  state in {settings.state_dir}"]


def _warnings(settings: Settings) -> list[str]:
    """What may come before the daemon runs, or while it runs, and is not there yet."""
    from streamvision.sinks.encryption import unusable_tls

    found = [(sink.name, unusable_tls(sink.options, settings.state_dir)) for sink in settings.sinks]
    return [f"sink {name} cannot deliver: {error}" for name, error in found if error is not None]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
