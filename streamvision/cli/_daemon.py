"""From settings to a running daemon and back to an exit code; shared by ``run`` and ``demo``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

import structlog
import typer

from streamvision import __version__
from streamvision.clock import SystemClock
from streamvision.config import ServerSettings, Settings, Shard
from streamvision.daemon import Signals, serve
from streamvision.health import Heartbeats
from streamvision.metrics import Metrics
from streamvision.notify import Notifier
from streamvision.pipeline import Pipeline
from streamvision.reload import Reloader
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from streamvision.web import Tokens, WebServer, create_app

log = structlog.get_logger()

STORE_ALLOWANCE_S = 60.0
"""How long one commit may take on a disk that is about to fail."""

WEB_STOP_S = 3.0

RELOAD_STOP_S = 2.0
"""How long a reload under way is waited for at the end; it changes nothing any more."""


def run_settings(settings: Settings, reread: Callable[[], Settings], shard: Shard | None = None) -> None:
    """Run the daemon; returns when finite work is done, else raises `typer.Exit` or what went wrong.

    ``reread`` reads and validates the configuration again when somebody asks, by SIGHUP or over HTTP.
    """
    clock, metrics = SystemClock(), Metrics()
    metrics.shard = "" if shard is None else str(shard)
    with ExitStack() as stack:
        heartbeats = Heartbeats(clock)
        store = EventStore(settings.state_dir / "events.db", clock, beat=heartbeats.beat)
        stack.callback(store.close)
        heartbeats.register(store.STAGE, STORE_ALLOWANCE_S)
        board = StatusBoard(settings, metrics, heartbeats, store, clock)
        pipeline = Pipeline(settings, store, metrics, heartbeats, board, clock)
        server = settings.server
        notifier = Notifier.from_environment()
        reloader = Reloader(reread, pipeline, board.revise, metrics.reloads, notifier, clock)
        web = WebServer(create_app(board, _tokens(server), reloader.ask), server.host, server.port)
        web.start()
        reloader.start()
        stack.callback(reloader.stop, RELOAD_STOP_S)
        stack.callback(web.stop, WEB_STOP_S)
        pipeline.companions.append(web)
        page = f"http://{server.listen.rpartition(':')[0]}:{web.port}/"
        log.info("started", version=__version__, page=page, streams=len(settings.streams), **_as_shard(shard))
        pipeline.companions.append(reloader)
        code = serve(pipeline, notifier, Signals(), lambda: reloader.ask("SIGHUP"))
    if pipeline.compiling:
        _leave(pipeline.failure.exit_code if pipeline.failure else code)
    if pipeline.failure is not None:
        raise pipeline.failure
    if code:
        raise typer.Exit(code)


def _as_shard(shard: Shard | None) -> dict[str, str]:
    return {} if shard is None else {"shard": str(shard)}


def _leave(code: int) -> None:
    """End at once: a compiler's own threads are at work, and the interpreter would crash when it ends under them."""
    log.info("left an engine half built; it is built at the next start")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tokens(server: ServerSettings) -> Tokens:
    admin, read = (
        None if token is None else token.get_secret_value() for token in (server.tokens.admin, server.tokens.read)
    )
    return Tokens(admin, read)
