from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.servers.authority import Authority
from tests.servers.postgresql import DATABASE, PASSWORD, USER, PostgresqlServer
from tests.servers.process import certificates
from tests.sinks.brokers import (
    assert_nothing_leaks,
    built,
    delivered_at_last,
    failure,
    ids,
    never_answers,
    stored,
)

pytestmark = pytest.mark.e2e
psycopg = pytest.importorskip("psycopg")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[PostgresqlServer]:
    made = certificates(tmp_path_factory.mktemp("certificates"))
    one = PostgresqlServer("max_connections = 30")
    key, certificate = one.give(made.key), one.give(made.certificate)
    with (one.folder / "data" / "postgresql.conf").open("a") as file:
        file.write(f"ssl = on\nssl_key_file = '{key}'\nssl_cert_file = '{certificate}'\n")
    shutil.copy(made.ca, one.folder / "ca.pem")
    one.process.start()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def empty(server) -> None:
    server.run("DROP SCHEMA public CASCADE")
    server.run("CREATE SCHEMA public")


def sink_of(server, tmp_path, **options):
    given = {"port": server.port, "database": DATABASE, "username": USER, "password": PASSWORD, "timeout": 10}
    return built("postgresql", tmp_path, given | options)


def rows(server, what: str = "id", table: str = "streamvision_events") -> list[Any]:
    return [row[0] if len(row) == 1 else row for row in server.run(f"SELECT {what} FROM {table} ORDER BY position")]


def test_an_event_becomes_a_row(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1, 2))
    sink.close()
    what = "id, stream, type, event->>'id', event->'data'->'track'->>'class', time IS NOT NULL AND received IS NOT NULL"
    assert rows(server, what)[0] == (*ids(1), "gate", "streamvision.zone.start", *ids(1), "person", True)
    indexes = server.run("SELECT indexdef FROM pg_indexes WHERE tablename = 'streamvision_events'")
    assert sorted(row[0].partition("btree ")[2] for row in indexes) == ['("time")', "(id)", '(stream, "time")',
                                                                        '(type, "time")']  # fmt: skip


def test_what_comes_twice_is_there_once_and_in_order(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(3, 1))
    sink.deliver(stored(3, 1, 2))
    sink.close()
    assert rows(server) == ids(3, 1, 2)


def test_data_that_no_column_holds_is_refused_for_good(server, tmp_path):
    sink = sink_of(server, tmp_path)
    bad = stored(2, data={"text": "\0"})
    error = failure(sink, [*stored(1), *bad, *stored(3)])
    assert (error.reason, error.permanent) == ("refused", True)
    for one in (*stored(1), *stored(3)):
        sink.deliver([one])
    assert failure(sink, bad).permanent
    sink.close()
    assert rows(server) == ids(1, 3)


def test_an_older_table_is_brought_up_to_date_and_a_newer_one_left_alone(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    sink.close()
    server.run("DROP INDEX streamvision_events_time_idx, streamvision_events_stream_time_idx")
    server.run("DROP INDEX streamvision_events_type_time_idx")
    server.run("UPDATE streamvision_versions SET version = 1")
    error = failure(sink_of(server, tmp_path, migrate=False), stored(2))
    assert (error.reason, error.permanent) == ("schema", False)
    sink.deliver(stored(2))
    sink.close()
    assert rows(server) == ids(1, 2)
    assert len(server.run("SELECT 1 FROM pg_indexes WHERE tablename = 'streamvision_events'")) == 4

    server.run("UPDATE streamvision_versions SET version = 99")
    assert failure(sink, stored(3)).reason == "schema"
    assert server.run("SELECT version FROM streamvision_versions") == [(99,)]


def test_many_daemons_make_the_table_at_the_same_time(server, tmp_path):
    sinks = [sink_of(server, tmp_path) for _ in range(6)]
    with ThreadPoolExecutor(len(sinks)) as pool:
        list(pool.map(lambda number: sinks[number].deliver(stored(number)), range(len(sinks)), timeout=60))
    for sink in sinks:
        sink.close()
    assert sorted(rows(server)) == ids(*range(6))


def test_a_dropped_table_is_made_again(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    server.run("DROP TABLE streamvision_events")
    error = failure(sink, stored(2))
    assert (error.reason, error.permanent) == ("missing", False)
    sink.deliver(stored(2))
    sink.close()
    assert rows(server) == ids(2)


def test_a_server_that_may_only_be_read_is_waited_for(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    for state, expected in (("on", ids(1)), ("off", ids(1, 2))):
        server.run(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = {state}")
        sink.close()  # the setting is of new sessions
        if state == "on":
            error = failure(sink, stored(2))
            assert (error.reason, error.permanent) == ("read_only", False)
        else:
            sink.deliver(stored(2))
        assert rows(server) == expected
    sink.close()


def test_without_rights_it_waits_and_a_table_made_by_others_is_enough(server, tmp_path):
    server.run("DROP ROLE IF EXISTS writer")
    server.run(f"CREATE ROLE writer LOGIN PASSWORD '{PASSWORD}'")
    sink = sink_of(server, tmp_path, username="writer")
    error = failure(sink, stored(1))
    assert (error.reason, error.permanent) == ("auth", False)
    maker = sink_of(server, tmp_path)
    maker.deliver(stored(0))
    maker.close()
    server.run("GRANT USAGE ON SCHEMA public TO writer")
    server.run("GRANT SELECT ON streamvision_versions TO writer")
    server.run("GRANT INSERT ON streamvision_events TO writer")
    error = failure(sink, stored(1))  # ON CONFLICT (id) reads id
    assert error.reason == "auth"
    server.run("GRANT SELECT (id) ON streamvision_events TO writer")
    sink.deliver(stored(1))
    sink.close()
    assert rows(server) == ids(0, 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"password": "wrong-horse"}, "auth"), ({"database": "nowhere"}, "missing"), ({"username": "nobody"}, "auth")],
)
def test_who_and_where(server, tmp_path, options, reason):
    error = failure(sink_of(server, tmp_path, **options), stored(1), secret=options.get("password", PASSWORD))
    assert (error.reason, error.permanent) == (reason, False)


def test_a_lock_is_not_waited_for_longer_than_allowed(server, tmp_path):
    sink = sink_of(server, tmp_path, timeout=1)
    sink.deliver(stored(1))
    with server.connect() as other, other.transaction():
        other.execute("LOCK TABLE streamvision_events")
        assert failure(sink, stored(2)).reason == "timeout"
    sink.deliver(stored(2))
    sink.close()
    assert rows(server) == ids(1, 2)


def test_an_idle_connection_that_the_server_closed_is_no_failure(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'streamvision-out'")
    sink.deliver(stored(2))
    sink.close()
    assert rows(server) == ids(1, 2)


def test_a_frozen_server_is_given_up_in_time_and_found_again(server, tmp_path):
    sink = sink_of(server, tmp_path, timeout=1, connect_timeout=1)
    sink.deliver(stored(1))
    server.process.freeze()
    try:
        assert failure(sink, stored(2)).reason == "timeout"
    finally:
        server.process.thaw()
    delivered_at_last(sink, stored(2, 3))
    sink.close()
    assert rows(server) == ids(1, 2, 3)


def test_a_restarted_server_is_found_again(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    server.process.stop(signal.SIGINT)
    assert failure(sink, stored(2)).reason == "connect"
    server.process.start()
    delivered_at_last(sink, stored(2))
    sink.close()
    assert rows(server) == ids(1, 2)


def test_what_is_confirmed_is_on_the_disk_there(server, tmp_path):
    server.run(f"ALTER DATABASE {DATABASE} SET synchronous_commit = off")
    try:
        sink = sink_of(server, tmp_path)
        sink.deliver(stored(1))
        assert sink._outlet._connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        sink.close()
    finally:
        server.run(f"ALTER DATABASE {DATABASE} RESET synchronous_commit")


def test_tls_believes_only_whom_it_should(server, tmp_path):
    good = sink_of(server, tmp_path, tls={"ca": str(server.folder / "ca.pem")})
    good.deliver(stored(1))
    ssl = good._outlet._connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert ssl == (True,)
    good.close()
    assert failure(sink_of(server, tmp_path, tls={}), stored(2)).reason == "tls"
    missing = failure(sink_of(server, tmp_path, tls={"ca": "none.pem"}), stored(2))
    assert (missing.reason, missing.where) == ("tls", str(tmp_path / "none.pem"))


def test_a_client_certificate_is_shown_instead_of_a_password(tmp_path):
    authority = Authority(tmp_path / "authority")
    server = PostgresqlServer()
    certificate, key = (server.give(path) for path in authority.issue("server"))
    authority.issue("sv", password=PASSWORD)
    stranger = authority.issue("stranger")
    data = server.folder / "data"
    with (data / "postgresql.conf").open("a") as file:
        file.write(f"ssl = on\nssl_key_file = '{key}'\nssl_cert_file = '{certificate}'\n")
        file.write(f"ssl_ca_file = '{server.give(authority.ca)}'\n")
    rules = (data / "pg_hba.conf").read_text()
    (data / "pg_hba.conf").write_text(f"hostssl all sv all cert\n{rules}")
    server.process.start()
    try:
        server.run("CREATE ROLE sv LOGIN")
        server.run("GRANT ALL ON SCHEMA public TO sv")
        tls = {"ca": str(authority.ca), "certificate": "authority/sv.pem", "key": "authority/sv.key"}
        login = {"username": "sv", "password": None}
        sink = sink_of(server, tmp_path, **login, tls={**tls, "key_password": PASSWORD})
        sink.deliver(stored(1))
        sink.close()
        assert rows(server) == ids(1)
        wrong = failure(sink_of(server, tmp_path, **login, tls={**tls, "key_password": "wrong-horse"}), stored(2))
        assert wrong.reason == "tls"
        names = dict(zip(("certificate", "key"), map(str, stranger), strict=True))
        foreign = failure(sink_of(server, tmp_path, **login, tls={"ca": str(authority.ca), **names}), stored(2))
        assert (foreign.reason, foreign.permanent) == ("auth", False)
        assert failure(sink_of(server, tmp_path, **login, tls={"ca": str(authority.ca)}), stored(2)).reason == "tls"
    finally:
        server.close()


def test_nothing_leaks_from_connection_to_connection(server, tmp_path):
    with never_answers() as port:
        sink = sink_of(server, tmp_path, port=port, connect_timeout=1)
        assert_nothing_leaks(lambda: failure(sink, stored(1)), times=1)
    sink = sink_of(server, tmp_path)

    def once() -> None:
        sink.deliver(stored(1))
        sink.close()

    assert_nothing_leaks(once)
