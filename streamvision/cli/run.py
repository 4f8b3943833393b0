"""``streamvision run``: the daemon."""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path
from typing import Annotated

import typer

from streamvision.cli._settings import ShardOption


def run(
    config: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)],
    shard: ShardOption = None,
) -> None:
    """Watch the streams of a configuration until told to stop (SIGTERM, Ctrl-C).

    If every source is finite (files without `loop`), it ends by itself when the last one has been analysed.

    With --shard several processes divide the streams among them: each stream belongs to one shard by its id, shard N
    keeps its state in state_dir/shard-N and serves HTTP at the configured port + N - 1.

    Example: streamvision run /etc/streamvision/config.yaml
    """
    from streamvision.cli._heap import few_arenas, give_back_regularly

    few_arenas()  # before a library starts a thread
    from streamvision.cli._daemon import run_settings
    from streamvision.cli._settings import parse_shard, read_settings

    # A watchdog's abort, or a crash in native code, leaves the stacks of all threads in the log.
    faulthandler.enable(sys.__stderr__ or 2, all_threads=True)
    give_back_regularly()
    part = parse_shard(shard)
    run_settings(read_settings(config, part), reread=lambda: read_settings(config, part), shard=part)
