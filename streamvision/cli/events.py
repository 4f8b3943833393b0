"""`streamvision events`: read the local event store, also while the daemon writes it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.cli._settings import ShardOption, parse_shard
from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.interfaces import StoredEvent
    from streamvision.sinks.database import EventLog

_USUAL_LIMIT = 100
_PAGE = 500
_POLL_S = 0.3


def events(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The daemon's configuration file.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Its state_dir instead; without both: $STATE_DIRECTORY or ./var.")
    ] = None,
    shard: ShardOption = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="SPAN", help="Not older than this: 10m, 1h, 7d.")
    ] = None,
    kind: Annotated[str, typer.Option("--type", help="Only such events: zone, zone.start, line ...")] = "",
    stream: Annotated[str | None, typer.Option("--stream", help="Only those of one stream.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, help="The newest so many; by default 100, with --since all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new ones happen, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="CloudEvents in JSON, one a line.")] = False,
) -> None:
    """Show what happened, oldest first.

    Example: streamvision events --config config.yaml --since 1h --type zone --follow
    """
    from streamvision.interfaces import full_event_type
    from streamvision.paths import STORE_FILE
    from streamvision.sinks.database import EventLog

    query = _Query(stream, full_event_type(kind), _start(since), limit)
    log = EventLog(store_folder(config, state_dir, shard) / STORE_FILE)
    try:
        newest = log.last_position()
        seen = max(newest, _show(query.past(log), as_json))
        while follow:
            seen = _show(query.after(log, seen), as_json, seen)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return
    finally:
        log.close()


class _Query:
    """What was asked for."""

    def __init__(self, stream: str | None, type_prefix: str, since: datetime | None, limit: int | None) -> None:
        self._stream = stream
        self._type_prefix = type_prefix
        self._since = since
        self._limit = _USUAL_LIMIT if limit is None and since is None else limit

    def past(self, log: EventLog) -> Iterator[StoredEvent]:
        if self._limit is None:
            yield from self.after(log, 0)
            return
        newest = log.select(
            self._limit, stream=self._stream, type_prefix=self._type_prefix, since=self._since, newest_first=True
        )
        yield from reversed(newest)

    def after(self, log: EventLog, position: int) -> Iterator[StoredEvent]:
        while page := log.select(
            _PAGE, after=position, stream=self._stream, type_prefix=self._type_prefix, since=self._since
        ):
            yield from page
            position = page[-1].position


def _show(found: Iterator[StoredEvent], as_json: bool, seen: int = 0) -> int:
    from streamvision.sinks.stdout import readable

    coloured = os.isatty(1)
    for event in found:
        typer.echo(event.json if as_json else readable(event.json, coloured=coloured))
        seen = event.position
    return seen


def store_folder(config: Path | None, state_dir: Path | None, shard: str | None) -> Path:
    """Return the folder of the store that is meant. Raises `UsageError` and `ConfigError`."""
    from streamvision.config import state_dir_of

    if config is not None and state_dir is not None:
        raise UsageError("--config and --state-dir say the same thing", remedy="give one of them")
    usual = Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "./var")
    whole = state_dir_of(config) if config is not None else state_dir or usual
    part = parse_shard(shard)
    return whole if part is None else part.state_dir(whole)


def _start(since: str | None) -> datetime | None:
    from streamvision.units import parse_seconds

    if since is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_seconds(since))
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error
    except OverflowError:  # longer ago than there are dates: everything
        return None
