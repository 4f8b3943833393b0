"""HTTPS, and certificates that are renewed while it is served."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from streamvision.errors import MissingError
from streamvision.web import TlsFiles, WebServer, create_app, server
from streamvision.web.tls import Certificate
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
