"""From settings to a running daemon and back to an exit code; shared by ``run`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import structlog
import typer

from streamvision import __version__
from streamvision.clock import SystemClock
from streamvision.config import Settings
from streamvision.daemon import Signals, serve
from streamvision.errors import ConfigError
from streamvision.health import Heartbeats
from streamvision.metrics import Metrics
from streamvision.notify import Notifier
from streamvision.pipeline import Pipeline
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from streamvision.web.server import WebServer

log = structlog.get_logger()


def run_settings(settings: Settings, reread: Callable[[], Settings]) -> None:
    """Run the daemon; returns when finite work is done, else raises `typer.Exit` or what went wrong.

    ``reread`` validates the configuration again when the operator asks with SIGHUP.
    """
    clock, metrics = SystemClock(), Metrics()
    with ExitStack() as stack:
        store = EventStore(settings.state_dir / "events.db", clock)
        stack.callback(store.close)
        heartbeats = Heartbeats(clock)
        board = StatusBoard(settings, metrics, heartbeats, store, clock)
        pipeline = Pipeline(settings, store, metrics, heartbeats, board, clock)
        web = WebServer(board, settings.server)
        web.start()
        stack.callback(web.stop)
        log.info("started", version=__version__, page=web.url, streams=len(settings.streams))
        code = serve(pipeline, Notifier.from_environment(), Signals(), lambda: _check_again(reread))
    if pipeline.failure is not None:
        raise pipeline.failure
    if code:
        raise typer.Exit(code)


def _check_again(reread: Callable[[], Settings]) -> None:
    """Answer SIGHUP: say whether the configuration on disk is right. It takes effect with the next start."""
    try:
        reread()
    except ConfigError as error:
        log.error("the configuration on disk has mistakes; the one in use stays", problems=str(error))
    else:
        log.warning("the configuration on disk is right; it takes effect when the service is restarted")
