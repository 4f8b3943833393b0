"""``streamvision demo``: the main job with no camera and no download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def demo(
    listen: Annotated[str, typer.Option(help="HOST:PORT of the page, the API and the metrics.")] = "127.0.0.1:8080",
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed draws another street.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where events are kept.", show_default="$XDG_STATE_HOME/streamvision/demo")
    ] = None,
) -> None:
    """Watch a moving street that the program draws itself, encodes to H.264 and reads back as a live stream.

    Events appear here; page, API and metrics are on http://127.0.0.1:8080. Ctrl-C ends it.

    Example: streamvision demo --listen 127.0.0.1:9000
    """
    from streamvision.cli._daemon import run_settings
    from streamvision.config import Settings, load_settings, server_at
    from streamvision.engine.manifest import labels_of, maps_of
    from streamvision.resources import shipped

    def read() -> Settings:
        return load_settings(shipped("configs") / "demo.yaml", labels_of=labels_of, maps_of=maps_of)

    server = server_at(listen, where="--listen")
    settings = read()
    streams = tuple(
        one if seed is None else one.model_copy(update={"url": f"demo:street?seed={seed}"}) for one in settings.streams
    )
    changes = {
        "server": server,
        "state_dir": (state_dir or _state_home() / "streamvision" / "demo").absolute(),
        "streams": streams,
    }
    settings = settings.model_copy(update=changes)
    typer.secho(f"Page and metrics: http://{listen}/ (Ctrl-C ends the demo)", err=True, bold=True)
    run_settings(settings, read)


def _state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
