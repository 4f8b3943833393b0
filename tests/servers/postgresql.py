"""A real PostgreSQL on a free port, as a user of its own where the tests are run by root (which it refuses)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.delivery.receivers import Arrival, Fault
from tests.harness import free_port
from tests.servers.lag import Lag, LaggedProcess
from tests.servers.process import ServerProcess, program

USER = "postgres"
PASSWORD = "correct-horse-battery"
DATABASE = "postgres"


class PostgresqlServer:
    """``config`` are lines of postgresql.conf beyond those that every test has."""

    def __init__(self, *config: str) -> None:
        pytest.importorskip("psycopg")
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        initdb = program("initdb", package="postgresql", folders=binaries)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not below root's folders, where its user cannot go
        self._own(self.folder)
        (self.folder / "password").write_text(PASSWORD)
        data = self.folder / "data"
        extra: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(
            [initdb, "-D", str(data), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(self.folder / "password"),
             "--no-sync", "-E", "UTF8", "--locale", "C"],
            check=True, capture_output=True, cwd="/", **extra,
        )  # fmt: skip
        # A killed process leaves its writes with the kernel: fsync would only cost time here.
        lines = [f"port = {self.port}", "listen_addresses = '127.0.0.1'", f"unix_socket_directories = '{self.folder}'",
                 "fsync = off", "shared_buffers = 16MB", "max_wal_size = 256MB", *config]  # fmt: skip
        with (data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        command = [program("postgres", package="postgresql", folders=binaries), "-D", str(data)]
        self.process = ServerProcess(command, self.folder / "log", self._answers, USER)

    def connect(self, **given: Any) -> Any:
        """Return a connection of the test's own, as superuser."""
        import psycopg

        settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "dbname": DATABASE,
            "options": "-c default_transaction_read_only=off",
        }
        return psycopg.connect(**(settings | {"connect_timeout": 20} | given), autocommit=True)

    def run(self, statement: str) -> list[Any]:
        """Execute a statement and return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def give(self, path: Path) -> Path:
        """Copy a private file to where the server may read it, and nobody else."""
        copy = self.folder / path.name
        shutil.copy(path, copy)
        copy.chmod(0o600)
        self._own(copy)
        return copy

    def close(self) -> None:
        """Kill it and remove its files; idempotent."""
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            try:
                shutil.chown(path, USER, USER)
            except LookupError:
                pytest.skip("no user postgres: apt install postgresql")

    def _answers(self) -> bool:
        import psycopg

        try:
            self.connect(connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class PostgresqlReceiver(LaggedProcess):
    """PostgreSQL as the delivery tests break it."""

    faults: Sequence[Fault] = ("kill", "freeze", "slow", "reject")
    once = True

    def __init__(self, folder: Path) -> None:
        del folder
        self._server = PostgresqlServer()
        super().__init__(self._server.process, Lag(self._server.port))

    def options(self) -> str:
        login = f"database: {DATABASE}, username: {USER}, password: {PASSWORD}"
        return f"type: postgresql, port: {self._lag.port}, {login}, connect_timeout: 3s, timeout: 3s"

    def stop(self) -> None:
        self._server.process.stop(signal.SIGINT)

    def reject(self, on: bool) -> None:
        """Every transaction is read-only, also those of sessions that are open."""
        self._server.run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
        self._server.run("SELECT pg_reload_conf()")

    def received(self) -> list[Arrival]:
        if not self._server.run("SELECT 1 WHERE to_regclass('streamvision_events') IS NOT NULL"):
            return []
        return [
            (row[0], row[1]) for row in self._server.run("SELECT id, stream FROM streamvision_events ORDER BY position")
        ]

    def close(self) -> None:
        self._lag.close()
        self._server.close()
