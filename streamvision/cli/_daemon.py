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
from streamvision.config import ServerSettings, Settings
from streamvision.daemon import Signals, serve
from streamvision.errors import ConfigError
from streamvision.health import Heartbeats
from streamvision.metrics import Metrics
from streamvision.notify import Notifier
from streamvision.pipeline import Pipeline
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from streamvision.web import Tokens, WebServer, create_app

log = structlog.get_logger()

STORE_ALLOWANCE_S = 60.0
"""How long one commit may take on a disk that is about to fail."""

WEB_STOP_S = 3.0


def run_settings(settings: Settings, reread: Callable[[], Settings]) -> None:
    """Run the daemon; returns when finite work is done, else raises `typer.Exit` or what went wrong.

    ``reread`` validates the configuration again when the operator asks with SIGHUP.
    """
    clock, metrics = SystemClock(), Metrics()
    with ExitStack() as stack:
        heartbeats = Heartbeats(clock)
        store = EventStore(settings.state_dir / "events.db", clock, beat=heartbeats.beat)
        stack.callback(store.close)
        heartbeats.register(store.STAGE, STORE_ALLOWANCE_S)
        board = StatusBoard(settings, metrics, heartbeats, store, clock)
        pipeline = Pipeline(settings, store, metrics, heartbeats, board, clock)
        server = settings.server
        web = WebServer(create_app(board, _tokens(server)), server.host, server.port)
        web.start()
        stack.callback(web.stop, WEB_STOP_S)
        pipeline.companions.append(web)
        page = f"http://{server.listen.rpartition(':')[0]}:{web.port}/"
        log.info("started", version=__version__, page=page, streams=len(settings.streams))
        code = serve(pipeline, Notifier.from_environment(), Signals(), lambda: _check_again(reread))
    if pipeline.compiling:
        _leave(pipeline.failure.exit_code if pipeline.failure else code)
    if pipeline.failure is not None:
        raise pipeline.failure
    if code:
        raise typer.Exit(code)


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


def _check_again(reread: Callable[[], Settings]) -> None:
    """Answer SIGHUP: say whether the configuration on disk is right. It takes effect with the next start."""
    try:
        reread()
    except ConfigError as error:
        log.error("the configuration on disk has mistakes; the one in use stays", problems=str(error))
    else:
        log.warning("the configuration on disk is right; it takes effect when the service is restarted")
