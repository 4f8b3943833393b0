"""A daemon that knows secrets from every place where one can stand, whose cameras and sinks fail: who hears them?"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.harness import Daemon, wait_until
from tests.servers import refused_port

pytestmark = pytest.mark.e2e

ENV = {
    "CAM_USER": "canary-env-user", "CAM_PASSWORD": "canary/env@word:1", "HTTP_PASSWORD": "canary-http-word",
    "HOOK_PATH": "canary-hook-path", "HOOK_KEY": "canary-hook-signing-key", "HOOK_HEADER": "canary-hook-header",
    "MQTT_PASSWORD": "canary-mqtt-word", "KAFKA_PASSWORD": "canary-kafka-word", "REDIS_PASSWORD": "canary-redis-word",
    "NATS_PASSWORD": "canary-nats-word", "PG_PASSWORD": "canary-postgresql-word", "CA_WORD": "canary-key-word",
}  # fmt: skip
CREDENTIALS = {"ADMIN_TOKEN": "canary-credential-admin-token", "READ_TOKEN": "canary-credential-read-token"}
WRITTEN = ["canary-written-word", "canary-written-query", "canary-hook-bearer", "canary%21encoded", "canary!encoded"]
SINKS = {
    "webhook": ("httpx", "url: 'http://127.0.0.1:{web}/hook/${{HOOK_PATH}}', secrets: ['${{HOOK_KEY}}'], "
                "headers: {{X-Key: '${{HOOK_HEADER}}'}}, bearer: canary-hook-bearer"),
    "mqtt": ("paho", "url: 'mqtt://127.0.0.1:{shut}', username: u, password: '${{MQTT_PASSWORD}}'"),
    "kafka": ("confluent_kafka", "servers: '127.0.0.1:{shut}', timeout: 2s, connect_timeout: 1s, "
              "sasl: {{username: u, password: '${{KAFKA_PASSWORD}}'}}"),
    "redis": ("redis", "url: 'redis://127.0.0.1:{shut}', username: u, password: '${{REDIS_PASSWORD}}'"),
    "nats": ("nats", "servers: ['nats://127.0.0.1:{shut}'], username: u, password: '${{NATS_PASSWORD}}'"),
    "postgresql": ("psycopg", "port: {shut}, password: '${{PG_PASSWORD}}'"),
}  # fmt: skip
CONFIG = """
state_dir: ./state
server: {{listen: "127.0.0.1:{{port}}", tokens: {{admin: "${{ADMIN_TOKEN}}", read: "${{READ_TOKEN}}"}}}}
streams:
  - id: street
    url: demo:street?seed=3&size=320x180&fps=10
    lines: {{across: [[0.5, 0.05], [0.5, 0.95]]}}
    rules: [{{name: passing, type: line, line: across}}]
  - {{id: shut, url: "rtsp://${{CAM_USER}}:${{CAM_PASSWORD}}@127.0.0.1:{shut}/stream", transport: auto}}
  - {{id: refused, url: "http://viewer:${{HTTP_PASSWORD}}@127.0.0.1:{web}/private?token=canary-written-query"}}
  - {{id: written, url: "rtsp://viewer:canary-written-word@127.0.0.1:{shut}/stream?key=canary-written-query"}}
  - {{id: apart, url: "rtsp://viewer:canary%21encoded@127.0.0.1:{shut}/stream", isolation: process}}
sinks:
  - {{name: log, type: jsonl, path: events.jsonl}}
{sinks}
"""


class _Refusing(BaseHTTPRequestHandler):
    """Refuses everything, and quotes in its answer what it was sent: path, headers and body."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        said = f"no: {self.path} {dict(self.headers.items())} {self.rfile.read(length)!r}".encode()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def refusing() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def forms(secret: str) -> set[str]:
    """A secret as it stands, in a URL, in JSON, in base64 (basic authentication: behind any name of three lengths)."""
    found = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    for before in ("", "x", "xy"):
        coded = base64.b64encode(f"{before}{secret}".encode()).decode()
        found.add(coded[4 if before else 0 : len(coded) // 4 * 4 - 4])
    return found


def leaks(text: str) -> list[str]:
    """The names of the secrets that a text holds."""
    named = {**ENV, **CREDENTIALS, **{value: value for value in WRITTEN}}
    return [name for name, value in named.items() if any(form in text for form in forms(value))]


def configuration(web: int, shut: int) -> tuple[str, list[str]]:
    usable = {kind: text for kind, (package, text) in SINKS.items() if importlib.util.find_spec(package)}
    lines = [f"  - {{name: {kind}, type: {kind}, {text.format(web=web, shut=shut)}}}" for kind, text in usable.items()]
    return CONFIG.format(web=web, shut=shut, sinks="\n".join(lines)), list(usable)


def ask(daemon: Daemon, path: str, token: str | None, method: str = "GET") -> str:
    """Everything that comes back, headers included."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"http://127.0.0.1:{daemon.port}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return f"{answer.headers}{answer.read().decode('utf-8', 'replace')}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}{error.read().decode('utf-8', 'replace')}"


def titles(process: subprocess.Popen[str]) -> str:
    """What everybody on the machine may read of a process, its children and its threads."""
    whole = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    said = []
    for one in whole:
        folder = Path("/proc") / str(one.pid)
        said += [(folder / name).read_bytes().decode("utf-8", "replace") for name in ("cmdline", "comm", "status")]
        said += [(task / "comm").read_text() for task in (folder / "task").iterdir()]
    return "".join(said)


def command(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "streamvision", *arguments], capture_output=True, text=True, timeout=180, check=False,
        cwd=folder, env=os.environ | ENV | {"CREDENTIALS_DIRECTORY": str(folder / "credentials")},
    )  # fmt: skip
    assert done.returncode in (0, 1, 2, 3), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


PATHS = [
    "/", "/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/streams", "/api/v1/events?limit=1000",
    "/api/v1/events?after=0", "/api/v1/streams/shut/snapshot.jpg?wait=0.1", "/api/v1/nothing",
]  # fmt: skip


def test_no_secret_turns_up_anywhere(tmp_path: Path):
    (tmp_path / "credentials").mkdir()
    for name, value in CREDENTIALS.items():
        (tmp_path / "credentials" / name).write_text(value)
    heard: dict[str, str] = {}
    with refusing() as web:
        shut = refused_port()
        text, kinds = configuration(web, shut)
        daemon = Daemon(text, tmp_path, ENV | {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
        try:
            daemon.wait_ready(120)
            admin = CREDENTIALS["ADMIN_TOKEN"]
            failed = [f'streamvision_sink_failures_total{{sink="{kind}"' for kind in kinds]
            away = ["shut", "refused", "written", "apart"]

            def all_have_failed() -> bool:
                daemon.alive()
                metrics = ask(daemon, "/metrics", admin)
                rows = json.loads(ask(daemon, "/api/v1/streams", admin).partition("\n\n")[2])
                causes = {row["id"]: row["cause"] for row in rows}
                return all(each in metrics for each in failed) and all(causes[each] for each in away)

            wait_until(all_have_failed, 180)
            for path in PATHS:
                heard[f"GET {path}"] = ask(daemon, path, admin)
            heard["wrong token"] = ask(daemon, "/api/v1/streams", "wrong")
            heard["token in the address"] = ask(daemon, f"/api/v1/streams?token={admin}", None)
            ask(daemon, f"/api/v1/streams/street/snapshot.jpg?token={admin}&wait=10", None)
            heard["titles"] = titles(daemon.process)
            heard["check"] = command(tmp_path, "check", str(daemon.config))
            heard["reload"] = ask(daemon, "/api/v1/reload", admin, "POST")
            right = daemon.config.read_text()
            broken = right.replace("transport: auto", "transport: ${CAM_PASSWORD}").replace("port: ", "port: x")
            daemon.config.write_text(
                broken + "\n  - {name: x, type: jsonl, path: 5, pasword: '${HOOK_KEY}'}\nmore: ${CAM_USER}\n"
            )
            heard["check of mistakes"] = command(tmp_path, "check", str(daemon.config))
            assert daemon.config.name in heard["check of mistakes"]
            heard["reload of mistakes"] = ask(daemon, "/api/v1/reload", admin, "POST")
            assert "problems" in heard["reload of mistakes"]
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: daemon.alive() and daemon.log.read_text().count("SIGHUP") > 0, 60)
            daemon.config.write_text(right)
            heard["exit code"] = str(daemon.end())
        finally:
            daemon.end(signal.SIGKILL)
        assert heard["exit code"] == "0", daemon.log.read_text()
        cameras = [
            f"rtsp://viewer:canary-written-word@127.0.0.1:{shut}/s?key=canary-written-query",
            f"http://viewer:canary-written-word@127.0.0.1:{web}/private?token=canary-written-query",
            "rtsp://viewer:canary-written-word@127.0.0.1:notaport/s",
        ]  # fmt: skip
        for url in cameras:
            heard[f"probe {url[:4]}"] = command(tmp_path, "probe", url, "--seconds", "0.1")
            heard[f"detect {url[:4]}"] = command(tmp_path, "detect", url, "--model", "motion", "--seconds", "0.1")
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            heard[f"state_dir {path.name}"] = path.read_bytes().decode("latin-1")
    heard["log"] = daemon.log.read_text()
    assert "events.db" in "".join(heard)
    assert heard["log"].count("\n") > 10
    assert {place: found for place, said in heard.items() if (found := leaks(said))} == {}


def test_the_search_finds_what_it_looks_for():
    """A test that cannot fail would be worth nothing: every form of every secret is found."""
    for name, value in {**ENV, **CREDENTIALS}.items():
        for said in (
            value,
            f"rtsp://u:{quote(value, safe='')}@h",
            base64.b64encode(f"viewer:{value}".encode()).decode(),
        ):
            assert name in leaks(f"... {said} ..."), (name, said)
