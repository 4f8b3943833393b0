"""The connection of the sink ``postgresql``; see the package for what it promises."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, sql

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.bounded import cut_off
from streamvision.sinks.idle import once_more
from streamvision.sinks.postgresql.migrations import ensure
from streamvision.sinks.postgresql.options import PostgresqlOptions
from streamvision.sinks.tls import TlsOptions, secret, without

_LATE_S = 2.0
"""How much later than the server itself this side gives up."""
# https://www.postgresql.org/docs/current/errcodes-appendix.html; the longest beginning counts.
_REASONS = {
    "08": "connect", "22": "refused", "23": "refused", "25006": "read_only", "28": "auth", "3D": "missing",
    "3F": "missing", "40": "conflict", "42": "schema", "42501": "auth", "42P01": "missing", "53": "full",
    "54": "too_large", "55": "timeout", "57": "connect", "57014": "timeout", "58": "disk",
}  # fmt: skip
_PERMANENT_CLASSES = ("22", "23", "54")
# Before there is a session, libpq gives texts and no codes.
_SAID = (
    ("read-only", "read_only"), ("authentication", "auth"), ("pg_hba.conf", "auth"), ("password", "auth"),
    ("role", "auth"), ("timeout", "timeout"), ("certificate", "tls"), ("ssl", "tls"), ("database", "missing"),
    ("too many", "full"), ("connection slots", "full"),
)  # fmt: skip

_INSERT = """
INSERT INTO {table} (id, stream, type, time, event)
SELECT id, stream, type, time, event::jsonb
FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
    WITH ORDINALITY AS given(id, stream, type, time, event, number)
ORDER BY number ON CONFLICT (id) DO NOTHING
"""


class Outlet:
    """Inserts batches, each in one statement: all of it or nothing."""

    def __init__(self, options: PostgresqlOptions, context: SinkContext) -> None:
        """Nothing is connected before the first `deliver`."""
        self._options = options
        self._context = context
        self._connection: Connection[Any] | None = None
        self._insert = sql.SQL(_INSERT).format(table=sql.Identifier(options.db_schema, options.table))

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Insert what is not there yet. Raises `SinkError`; a permanent one where the data is refused."""
        once_more(partial(self._bounded, events), used=self._connection is not None, beat=self._context.beat)

    def close(self) -> None:
        """Release the connection; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _bounded(self, events: Sequence[StoredEvent]) -> None:
        try:
            if self._connection is None:
                self._connection = self._connected()
                self._context.beat()
            self._write(self._connection, events)
        except psycopg.Error as error:
            failure = self._failure(error)
            if not failure.permanent:
                self.close()
            raise failure from error
        except SinkError:
            self.close()
            raise

    def _write(self, connection: Connection[Any], events: Sequence[StoredEvent]) -> None:
        columns = (
            [event.id for event in events],
            [event.stream for event in events],
            [event.type for event in events],
            [event.time for event in events],
            [event.json for event in events],
        )
        with self._deadline(connection):
            connection.execute(self._insert, columns)

    def _connected(self) -> Connection[Any]:
        connection = psycopg.connect(**self._settings(), autocommit=True, prepare_threshold=None)
        self._context.beat()
        try:
            with self._deadline(connection):
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection[Any]) -> None:
        """Set the session's own limits, and see to the table."""
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute("SELECT set_config(%s, %s, false)", (name, f"{round(self._options.timeout * 1000)}ms"))
        # What is confirmed has to be on the disk there; a stricter setting stays.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        ensure(connection, self._options.db_schema, self._options.table, migrate=self._options.migrate)

    def _settings(self) -> dict[str, Any]:
        options = self._options
        return {
            "host": ",".join(options.hosts),
            "port": options.port,
            "dbname": options.database,
            "user": options.username,
            "password": secret(options.password),
            "application_name": f"streamvision-{self._context.name}",
            "connect_timeout": max(1, round(options.connect_timeout)),
            "target_session_attrs": "read-write",
            "tcp_user_timeout": round(options.timeout * 1000),
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            **self._tls(options.tls),
        }

    def _tls(self, tls: TlsOptions | None) -> dict[str, Any]:
        if tls is None:
            return {"sslmode": "prefer"}
        files = tls.readable(self._context.state_dir)
        return {
            "sslmode": "verify-full" if tls.verify else "require",
            "sslrootcert": (files.ca or ssl.get_default_verify_paths().cafile or "system") if tls.verify else None,
            "sslcert": files.certificate,
            "sslkey": files.key or files.certificate,
            "sslpassword": secret(tls.key_password),
        }

    @contextlib.contextmanager
    def _deadline(self, connection: Connection[Any]) -> Iterator[None]:
        """End whatever waits for a server that no longer answers: shut the socket down."""
        with cut_off(self._options.timeout + _LATE_S, lambda: _shut_down(connection)) as late:
            try:
                yield
            except psycopg.Error as error:
                if not late.is_set():
                    raise
                raise self._error(f"no answer within {self._options.timeout:g} s", "timeout") from error

    def _failure(self, error: psycopg.Error) -> SinkError:
        code = error.sqlstate or ""
        what = " ".join((error.diag.message_primary or str(error)).split())
        return self._error(what, _reason(code, str(error)), permanent=code[:2] in _PERMANENT_CLASSES)

    def _error(self, what: str, reason: str, *, permanent: bool = False) -> SinkError:
        where = f"{','.join(self._options.hosts)}:{self._options.port}"
        return SinkError(without(what, self._options.password), where=where, reason=reason, permanent=permanent)


def _shut_down(connection: Connection[Any]) -> None:
    # On a copy of the descriptor: libpq closes its own, in its own time.
    with contextlib.suppress(psycopg.Error), socket.socket(fileno=socket.dup(connection.fileno())) as handle:
        handle.shutdown(socket.SHUT_RDWR)


def _reason(code: str, text: str) -> str:
    if code:
        return next((_REASONS[code[:size]] for size in (5, 2) if code[:size] in _REASONS), "error")
    return next((reason for said, reason in _SAID if said in text.lower()), "connect")
