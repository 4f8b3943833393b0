"""HTTPS, and certificates that are renewed while it is served."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from streamvision.errors import MissingError
from streamvision.web import TlsFiles, WebServer, create_app, server
from streamvision.web.tls import Certificate
from tests.harness import wait_until
from tests.web.fakes import FakeBoard, status

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs openssl to make certificates")


def pair(folder: Path, name: str, *, days: int = 2) -> TlsFiles:
    """Make a self-signed pair for 127.0.0.1."""
    folder.mkdir(exist_ok=True)
    files = TlsFiles(folder / "cert.pem", folder / "key.pem")
    subprocess.run(
        [str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(files.key),
         "-out", str(files.certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


def common_name(port: int, trusted: Path) -> str:
    """Connect as a strict client; return whom it reached."""
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        httpx.Client(verify=context, timeout=60) as client,
        client.stream("GET", f"https://127.0.0.1:{port}/healthz") as answer,
    ):
        assert answer.status_code == 200
        found = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
        return str(dict(part[0] for part in found["subject"])["commonName"])


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.05)
    files = pair(tmp_path / "live", "first")
    second = pair(tmp_path / "second", "second")
    web = WebServer(create_app(FakeBoard(status("gate"))), "127.0.0.1", 0, tls=files)
    web.start()
    try:
        assert common_name(web.port, files.certificate) == "first"
        shutil.copy(second.key, files.key)
        shutil.copy(second.certificate, files.certificate)
        for _ in range(200):
            try:
                assert common_name(web.port, second.certificate) == "second"
                break
            except httpx.ConnectError:  # not yet: the first one is not trusted any more
                continue
        else:
            pytest.fail("the new certificate was never served")
    finally:
        assert web.stop(10)


def test_a_broken_pair_leaves_the_old_one(tmp_path: Path):
    files = pair(tmp_path / "live", "first")
    certificate = Certificate(files)
    whole = files.certificate.read_bytes()
    assert not certificate.refresh(), "nothing has changed"
    files.certificate.write_bytes(whole[:100])
    assert not certificate.refresh()
    files.certificate.unlink()
    assert not certificate.refresh()
    other = pair(tmp_path / "other", "other")
    shutil.copy(other.certificate, files.certificate)
    assert not certificate.refresh(), "a certificate without its key"
    shutil.copy(other.key, files.key)
    assert certificate.refresh()
    assert not certificate.refresh()


def test_a_pair_that_cannot_be_used_is_named(tmp_path: Path):
    files = pair(tmp_path / "live", "first")
    files.key.write_text("no key")
    with pytest.raises(MissingError, match=r"cert\.pem: the certificate cannot be used"):
        Certificate(files)


def test_a_key_with_a_passphrase_asks_nobody(tmp_path: Path):
    files = pair(tmp_path / "live", "first")
    locked = tmp_path / "locked.pem"
    subprocess.run(
        [str(OPENSSL), "pkey", "-in", str(files.key), "-aes256", "-passout", "pass:secret", "-out", str(locked)],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(MissingError, match="passphrase"):
        Certificate(TlsFiles(files.certificate, locked))


def test_clients_without_a_certificate_are_turned_away_where_one_is_asked_for(tmp_path: Path):
    files, own = pair(tmp_path / "live", "first"), pair(tmp_path / "client", "client")
    web = WebServer(create_app(FakeBoard(status("gate"))), "127.0.0.1", 0,
                    tls=TlsFiles(files.certificate, files.key, own.certificate))  # fmt: skip
    web.start()
    try:
        context = ssl.create_default_context(cafile=str(files.certificate))
        with httpx.Client(verify=context, timeout=60) as client, pytest.raises(httpx.HTTPError):
            client.get(f"https://127.0.0.1:{web.port}/healthz")
        context.load_cert_chain(own.certificate, own.key)
        with httpx.Client(verify=context, timeout=60) as client:
            assert client.get(f"https://127.0.0.1:{web.port}/healthz").status_code == 200
    finally:
        assert web.stop(10)


def greet(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None, path: str = "/healthz"
) -> ssl.SSLSocket | None:
    """Return a connection, kept open, on which a request was answered; None where the client is turned away."""
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    try:
        made = context.wrap_socket(made, server_hostname="127.0.0.1", session=session)
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if made.recv(12) == b"HTTP/1.1 200":  # TLS 1.3 tells of a refused certificate no earlier than here
            return made
    except (ssl.SSLError, ConnectionError):
        pass
    made.close()
    return None


def hung_up(connection: ssl.SSLSocket) -> bool:
    """Read an endless answer until the server ends it; False if it does not."""
    until_s = time.monotonic() + 60
    try:
        while connection.recv(4096):
            if time.monotonic() > until_s:
                return False
    except (ssl.SSLError, ConnectionError):
        pass
    return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_of_an_authority_that_was_replaced_are_out(
    version: ssl.TLSVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Anew, by the session that they were promised, and on the connection that they hold."""
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.05)
    files, old, new = (pair(tmp_path / name, name) for name in ("live", "old", "new"))
    authority = tmp_path / "ca.pem"
    shutil.copy(old.certificate, authority)
    clients = []
    for own in (old, new):
        clients.append(ssl.create_default_context(cafile=str(files.certificate)))
        clients[-1].load_cert_chain(own.certificate, own.key)
        clients[-1].maximum_version = version
    tls = TlsFiles(files.certificate, files.key, authority)
    web = WebServer(create_app(FakeBoard(status("gate"))), "127.0.0.1", 0, tls=tls)
    web.start()
    try:
        held = greet(clients[0], web.port, path="/api/v1/events/stream")
        assert held is not None
        assert greet(clients[1], web.port) is None
        session = held.session
        again = greet(clients[0], web.port, session)
        assert again is not None
        assert again.session_reused
        again.close()
        shutil.copy(new.certificate, authority)
        let_in = []
        wait_until(lambda: let_in.append(greet(clients[1], web.port)) or let_in[-1] is not None, 60)
        assert greet(clients[0], web.port) is None
        assert greet(clients[0], web.port, session) is None
        assert hung_up(held)
        held.close()
        let_in[-1].close()
    finally:
        assert web.stop(10)


def test_a_renewed_certificate_hangs_up_on_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.05)
    files, own, second = (pair(tmp_path / name, name) for name in ("live", "own", "second"))
    context, later = (ssl.create_default_context(cafile=str(each.certificate)) for each in (files, second))
    for each in (context, later):
        each.load_cert_chain(own.certificate, own.key)
    tls = TlsFiles(files.certificate, files.key, own.certificate)
    web = WebServer(create_app(FakeBoard(status("gate"))), "127.0.0.1", 0, tls=tls)
    web.start()
    try:
        held = greet(context, web.port)
        assert held is not None
        shutil.copy(second.key, files.key)
        shutil.copy(second.certificate, files.certificate)
        let_in = []
        wait_until(lambda: let_in.append(greet(later, web.port)) or let_in[-1] is not None, 60)
        held.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = b""
        while b" 404 " not in text:
            text += (part := held.recv(4096))
            assert part, "hung up"
        held.close()
        let_in[-1].close()
    finally:
        assert web.stop(10)


def test_a_file_that_cannot_be_looked_at_ends_no_renewal(tmp_path: Path):
    files, second = pair(tmp_path / "live", "first"), pair(tmp_path / "second", "second")
    certificate = Certificate(files)
    files.certificate.unlink()
    files.certificate.symlink_to("x" * 300)  # an error that `Path.exists` raises; so does a folder without rights
    assert not certificate.refresh()
    files.certificate.unlink()
    shutil.copy(second.key, files.key)
    shutil.copy(second.certificate, files.certificate)
    assert certificate.refresh() == {files.certificate, files.key}


def test_a_renewal_that_breaks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(self: Certificate) -> frozenset[Path]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(Certificate, "refresh", broken)
    web = WebServer(create_app(FakeBoard(status("gate"))), "127.0.0.1", 0, tls=pair(tmp_path / "live", "first"))
    web.start()
    wait_until(lambda: web.crashed is not None, 60)
    assert web.stop(10)


def test_a_client_that_shook_hands_with_the_former_authority_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who begins a connection, and shows its certificate only when the authority has been replaced, gets nothing."""
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.05)
    files, old, new = (pair(tmp_path / name, name) for name in ("live", "old", "new"))
    authority = tmp_path / "ca.pem"
    shutil.copy(old.certificate, authority)
    context, trusted = (ssl.create_default_context(cafile=str(files.certificate)) for _ in range(2))
    context.load_cert_chain(old.certificate, old.key)
    trusted.load_cert_chain(new.certificate, new.key)
    tls = TlsFiles(files.certificate, files.key, authority)
    web = WebServer(create_app(FakeBoard(status("gate"))), "127.0.0.1", 0, tls=tls)
    web.start()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        with socket.create_connection(("127.0.0.1", web.port), timeout=60) as slow:
            client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            slow.sendall(outgoing.read())
            assert slow.recv(1, socket.MSG_PEEK), "the server has answered, and waits for the certificate"
            shutil.copy(new.certificate, authority)
            let_in = []
            wait_until(lambda: let_in.append(greet(trusted, web.port)) or let_in[-1] is not None, 60)
            let_in[-1].close()
            said = b""
            with suppress(ssl.SSLError, ConnectionError):
                while part := slow.recv(4096):
                    incoming.write(part)
                    with suppress(ssl.SSLWantReadError):
                        client.do_handshake()
                        client.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        slow.sendall(outgoing.read())
                        said += client.read(4096)
                    slow.sendall(outgoing.read())
                    assert not said, "served"
    finally:
        assert web.stop(10)
