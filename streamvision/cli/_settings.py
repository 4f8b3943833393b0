"""A configuration file, or one shard's part of it, as a command reads it; shared by ``run`` and ``check``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamvision.config import Settings, Shard

ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="INDEX/COUNT", show_default=False,
        help="Only this shard's share of the streams: 2/8 is the second of eight processes.",
    ),
]  # fmt: skip


def read_settings(config: Path, shard: Shard | None) -> Settings:
    """Read and validate all of a configuration, and return what a shard runs of it.

    ``${STREAMVISION_SHARD}`` is the shard as ``2-8``, for what must differ between the processes.
    """
    from streamvision.cli.logs import hide
    from streamvision.config import load_settings
    from streamvision.engine.manifest import labels_of, maps_of

    own = {} if shard is None else {"STREAMVISION_SHARD": str(shard).replace("/", "-")}
    settings = load_settings(config, env={**os.environ, **own}, labels_of=labels_of, maps_of=maps_of)
    hide(settings.secrets - set(own.values()))
    return settings if shard is None else shard.of(settings)


def parse_shard(given: str | None) -> Shard | None:
    """Return what ``--shard`` says. Raises `UsageError`."""
    from streamvision.config import Shard

    return None if given is None else Shard.parse(given)
