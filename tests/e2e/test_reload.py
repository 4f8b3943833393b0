"""The real daemon reloads: by SIGHUP and over HTTP, right files and wrong ones, with new secrets, at its end."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Daemon, wait_until

pytestmark = pytest.mark.e2e

HEAD = "state_dir: ./state\nserver: {listen: '127.0.0.1:{port}'}\nmodels: {m: {manifest: motion}}\nstreams:\n"
BOUND_S = 90


def street(name: str, rest: str = "") -> str:
    return f"  - {{id: {name}, url: 'demo:street?seed=1&size=320x180&fps=10'{rest}}}\n"


def post(daemon: Daemon, token: str | None = None) -> tuple[int, dict[str, Any]]:
    return daemon.post("/api/v1/reload", token)


def reloads(daemon: Daemon) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "reload"]


def hang_up(daemon: Daemon) -> dict[str, Any]:
    """Send SIGHUP and return what the log says of it."""
    before = len(reloads(daemon))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.alive() and len(reloads(daemon)) > before, BOUND_S)
    return reloads(daemon)[-1]


def analysed(daemon: Daemon, stream: str) -> int:
    return int(daemon.streams()[stream]["counts"]["analysed"])


def said(manager: socket.socket) -> list[str]:
    """Take what the service manager has been told, except for signs of life."""
    words = []
    while True:
        try:
            words.append(manager.recv(4096).decode())
        except BlockingIOError:
            return [word for word in words if not word.startswith(("WATCHDOG", "STATUS"))]


def test_a_daemon_reloads_by_signal_and_over_http(tmp_path: Path):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    daemon = Daemon(HEAD + street("a"), tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        daemon.wait_ready()
        wait_until(lambda: daemon.alive() and analysed(daemon, "a") > 5, BOUND_S)
        said(manager)

        daemon.rewrite(HEAD + street("a") + street("b", ", fps: 5"))
        told = hang_up(daemon)
        assert (told["result"], told["changed"]) == ("applied", {"streams": {"added": ["b"]}})
        assert told["by"] == ["SIGHUP"]
        words = said(manager)
        assert words[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert words[-1].startswith("READY=1")
        wait_until(lambda: daemon.alive() and analysed(daemon, "b") > 3, BOUND_S)

        status, body = post(daemon)
        assert (status, body["result"], body["kept"]["streams"]) == (200, "unchanged", ["a", "b"])

        daemon.rewrite(HEAD + street("a", ", fsp: 3"))
        status, body = post(daemon)
        assert (status, body["result"]) == (422, "refused")
        (problem,) = body["problems"]
        assert (problem["file"], problem["line"]) == (str(daemon.config), 5)
        assert "fps" in problem["remedy"]
        daemon.config.unlink()
        assert hang_up(daemon)["result"] == "refused"
        assert set(daemon.streams()) == {"a", "b"}

        daemon.rewrite(HEAD.replace("./state", "./elsewhere") + street("a"))
        status, body = post(daemon)
        assert (status, body["result"], body["needs_restart"]) == (200, "applied", ["state_dir"])
        assert set(daemon.streams()) == {"a"}
        text = daemon.get("/metrics")[1]
        assert 'stream="b"' not in text
        assert 'streamvision_reloads_total{result="refused"} 2' in text
        assert "streamvision_config_last_reload_successful 1" in text

        for _ in range(10):  # a burst, the last of them in the midst of the end
            daemon.process.send_signal(signal.SIGHUP)
        assert daemon.end(signal.SIGTERM) == 0, daemon.log.read_text()
    finally:
        daemon.end(signal.SIGKILL)
        manager.close()
    last_words = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    for book in (line for line in last_words if line["event"] == "books"):
        assert book["decoded"] == book["analysed"] + book["skipped"] + book["dropped"]


def test_secrets_are_read_again(tmp_path: Path):
    """A password that was replaced in the credentials' folder takes effect, and stands in no log and no answer."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "CAM_PASSWORD").write_text("first-secret")
    (credentials / "ADMIN").write_text("first-admin-secret")
    (credentials / "READ").write_text("reading-side-secret")
    head = HEAD.replace(
        "{listen: '127.0.0.1:{port}'}", "{listen: '127.0.0.1:{port}', tokens: {admin: '${ADMIN}', read: '${READ}'}}"
    )
    config = head + street("a") + "  - {id: cam, url: 'rtsp://user:${CAM_PASSWORD}@127.0.0.1:9/x'}\n"
    daemon = Daemon(config, tmp_path, {"CREDENTIALS_DIRECTORY": str(credentials)})
    try:
        daemon.wait_ready()
        assert post(daemon, "reading-side-secret")[0] in (401, 403)
        assert post(daemon, "first-admin-secret")[1]["result"] == "unchanged"
        (credentials / "CAM_PASSWORD").write_text("second-secret")
        status, body = post(daemon, "first-admin-secret")
        assert (status, body["changed"]) == (200, {"streams": {"changed": {"cam": ["url"]}}})
        (credentials / "ADMIN").write_text("other-admin-secret")
        assert post(daemon, "first-admin-secret")[1]["changed"] == {"sections": ["server"]}
        assert post(daemon, "first-admin-secret")[0] == 401
        (credentials / "CAM_PASSWORD").unlink()
        status, body = post(daemon, "other-admin-secret")
        assert (status, body["result"]) == (422, "refused")
        assert daemon.end(signal.SIGTERM) == 0, daemon.log.read_text()
    finally:
        daemon.end(signal.SIGKILL)
    assert "-secret" not in daemon.log.read_text()
    assert "-secret" not in json.dumps(body)
