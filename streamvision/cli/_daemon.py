"""From settings to a running daemon and back to an exit code; shared by ``run`` and ``demo``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import structlog
import typer

from streamvision import __version__
from streamvision.clock import SystemClock
from streamvision.config import ServerSettings, Settings, Shard
from streamvision.daemon import Signals, serve
from streamvision.errors import StoreError, StreamvisionError
from streamvision.health import Heartbeats
from streamvision.metrics import Metrics
from streamvision.notify import Notifier
from streamvision.paths import STORE_FILE
from streamvision.pipeline import Pipeline
from streamvision.reload import Reloader
from streamvision.sinks.outlets import retention_of
from streamvision.sinks.standin import StandInStore, open_or_stand_in
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from streamvision.timesync import TimeSync, TimeSyncWatch
from streamvision.web import TlsFiles, Tokens, WebServer, create_app

log = structlog.get_logger()

STORE_ALLOWANCE_S = 60.0
"""How long one commit may take on a disk that is about to fail."""

WEB_STOP_S = 3.0

WATCH_STOP_S = 0.5
"""An answer on the clock that is still waited for at the end is not worth more."""

RELOAD_STOP_S = 2.0
"""How long a reload under way is waited for at the end; it changes nothing any more."""


def run_settings(settings: Settings, reread: Callable[[], Settings], shard: Shard | None = None) -> None:
    """Run the daemon; returns when finite work is done, else raises `typer.Exit` or what went wrong.

    ``reread`` reads and validates the configuration again when somebody asks, by SIGHUP or over HTTP.
    """
    clock, metrics = SystemClock(), Metrics()
    metrics.shard = "" if shard is None else str(shard)
    notifier, signals = Notifier.from_environment(), Signals()
    watch = _time_sync_watch(clock, metrics)
    watch.start()
    try:
        while _serve(settings, reread, clock, metrics, notifier, signals, watch):
            settings = _reread(reread, settings)
    finally:
        watch.stop(WATCH_STOP_S)


def _serve(
    settings: Settings,
    reread: Callable[[], Settings],
    clock: SystemClock,
    metrics: Metrics,
    notifier: Notifier,
    signals: Signals,
    watch: TimeSyncWatch,
) -> bool:
    """Serve until the end, or until a store in memory can move to its place: then True, and all begins anew on it."""
    with ExitStack() as stack:
        heartbeats = Heartbeats(clock)
        store = open_or_stand_in(
            settings.state_dir / STORE_FILE,
            clock,
            metrics=metrics,
            beat=heartbeats.beat,
            retention=retention_of(settings),
        )
        stack.push(partial(_close, store, clock))
        heartbeats.register(store.STAGE, STORE_ALLOWANCE_S)
        board = StatusBoard(settings, metrics, heartbeats, store, clock)
        pipeline = Pipeline(settings, store, metrics, heartbeats, board, clock)
        server = settings.server
        tokens = _tokens(server)

        def told(new: Settings) -> None:
            board.revise(new)
            store.retain(retention_of(new))
            tokens.renew(_tokens(new.server))

        reloader = Reloader(reread, pipeline, told, metrics.reloads, notifier, clock)
        app = create_app(board, tokens, reloader.ask, hosts=server.allowed_hosts, clock=clock)
        web = WebServer(app, server.host, server.port, tls=_tls(server))
        web.start()
        reloader.start()
        stack.callback(reloader.stop, RELOAD_STOP_S)
        stack.callback(web.stop, WEB_STOP_S)
        pipeline.companions += [web, watch, reloader]
        page = f"{server.scheme}://{server.listen.rpartition(':')[0]}:{web.port}/"
        log.info("started", version=__version__, page=page, streams=len(settings.streams), **_as_shard(metrics.shard))
        moves = partial(_moves, store, signals)
        code = serve(pipeline, notifier, signals, lambda: reloader.ask("SIGHUP"), moves)
    if moves() and not code:
        return True
    if pipeline.compiling:
        log.info("left an engine half built; it is built at the next start")
        _leave(pipeline.failure.exit_code if pipeline.failure else code)
    if pipeline.failure is not None:
        raise pipeline.failure
    if pipeline.left_behind:
        _leave(code)
    if code:
        raise typer.Exit(code)
    return False


def _moves(store: EventStore, signals: Signals) -> bool:
    """Whether a store in memory can go to its place, and nobody wants an end."""
    return isinstance(store, StandInStore) and store.usable and not signals.stop.is_set()


def _close(store: EventStore, clock: SystemClock, _: object, error: BaseException | None, __: object) -> None:
    """Close the store at the end. What cannot be written is told, but never in place of ``error``, the end's cause."""
    try:
        store.close()
        if isinstance(store, StandInStore):
            store.move(clock)
    except StoreError as lost:
        if error is None:
            raise
        log.error("the event store could not be closed in order", error=str(lost))


def _reread(reread: Callable[[], Settings], settings: Settings) -> Settings:
    """Return what the file says now; what ran until now where it has mistakes."""
    try:
        return reread()
    except StreamvisionError as error:
        log.error("the configuration on disk has mistakes; the one in use stays", problems=str(error))
        return settings


def _time_sync_watch(clock: SystemClock, metrics: Metrics) -> TimeSyncWatch:
    def tell(found: TimeSync) -> None:
        metrics.clock_synchronised, metrics.clock_uncertainty_s = found.synchronised, found.error_s

    return TimeSyncWatch(clock, tell)


def _as_shard(shard: str) -> dict[str, str]:
    return {"shard": shard} if shard else {}


def _leave(code: int) -> None:
    """End at once: threads are at work that the interpreter would wait for, or crash when it ends under them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tls(server: ServerSettings) -> TlsFiles | None:
    if server.tls is None:
        return None
    client_ca = None if server.tls.client_ca is None else Path(server.tls.client_ca)
    return TlsFiles(Path(server.tls.certificate), Path(server.tls.key), client_ca)


def _tokens(server: ServerSettings) -> Tokens:
    admin, read = (
        None if token is None else token.get_secret_value() for token in (server.tokens.admin, server.tokens.read)
    )
    return Tokens(admin, read)
