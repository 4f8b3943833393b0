"""The table's layout and its history; each version is reached from the one before, under a lock, or not at all."""

from __future__ import annotations

from typing import Any

import structlog
from psycopg import Connection, sql

from streamvision.errors import SinkError

log = structlog.get_logger()

VERSIONS_TABLE = "streamvision_versions"
_LOCK = 0x53565F45
"""The advisory lock of everybody who changes layouts of ours in a database."""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE {table} (
        id text PRIMARY KEY,
        position bigint GENERATED ALWAYS AS IDENTITY,
        stream text NOT NULL,
        type text NOT NULL,
        time timestamptz NOT NULL,
        received timestamptz NOT NULL DEFAULT now(),
        event jsonb NOT NULL
    )
    """,
    """
    CREATE INDEX ON {table} (time);
    CREATE INDEX ON {table} (stream, time);
    CREATE INDEX ON {table} (type, time)
    """,
)
"""What makes version n+1 of version n; a step is never changed, only followed by others."""


def ensure(connection: Connection[Any], schema: str, table: str, *, migrate: bool) -> None:
    """See that a table has the present layout.

    Raises `SinkError` (reason ``schema``) if it may not be changed here, or is of a later version than this program
    knows, and ``psycopg.Error``.
    """
    found = version(connection, schema, table)
    if found < len(STEPS) and migrate:
        found = _migrated(connection, schema, table)
    if found != len(STEPS):
        raise SinkError(
            f"the table {schema}.{table} has version {found}, and this program writes version {len(STEPS)}",
            remedy="write migrate: true" if found < len(STEPS) else "update streamvision, or choose another table:",
            reason="schema",
        )


def version(connection: Connection[Any], schema: str, table: str) -> int:
    """Return a table's version; 0 where there is none."""
    if not _exists(connection, schema, table) or not _exists(connection, schema, VERSIONS_TABLE):
        return 0
    query = sql.SQL("SELECT version FROM {} WHERE name = %s").format(sql.Identifier(schema, VERSIONS_TABLE))
    row = connection.execute(query, (table,)).fetchone()
    return 0 if row is None else int(row[0])


def _exists(connection: Connection[Any], schema: str, table: str) -> bool:
    name = sql.Identifier(schema, table).as_string(connection)
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return bool(row and row[0])


def _migrated(connection: Connection[Any], schema: str, table: str) -> int:
    """Take every step that is missing, in one transaction; return the version that is reached."""
    names = {"table": sql.Identifier(schema, table), "versions": sql.Identifier(schema, VERSIONS_TABLE)}
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {versions} (name text PRIMARY KEY, version int NOT NULL)").format(
                **names
            )
        )
        found = version(connection, schema, table)  # somebody else may have been faster
        for step in STEPS[found:]:
            connection.execute(sql.SQL(step).format(**names))
        connection.execute(
            sql.SQL(
                "INSERT INTO {versions} VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET version = excluded.version"
            ).format(**names),
            (table, len(STEPS)),
        )
    if found < len(STEPS):
        log.info("table brought up to date", table=f"{schema}.{table}", before=found, now=len(STEPS))
    return max(found, len(STEPS))
