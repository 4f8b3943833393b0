"""``streamvision run``: the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    config: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)],
) -> None:
    """Watch the streams of a configuration until told to stop (SIGTERM, Ctrl-C).

    If every source is finite (files without `loop`), it ends by itself when the last one has been analysed.

    Example: streamvision run /etc/streamvision/config.yaml
    """
    from streamvision.cli._daemon import run_settings
    from streamvision.config import load_settings
    from streamvision.engine.manifest import labels_of, maps_of

    run_settings(
        load_settings(config, labels_of=labels_of, maps_of=maps_of),
        reread=lambda: load_settings(config, labels_of=labels_of, maps_of=maps_of),
    )
