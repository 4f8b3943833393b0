"""A receiver of webhooks: HTTPS, in a process of its own that can be killed, frozen, slowed and made to refuse.

    python -m tests.servers.hook FOLDER PORT [--tls CERT KEY [--clients CA]]

Every request is appended to FOLDER/requests.jsonl, whole and before it is answered. What the answer is stands in
FOLDER/behaviour.json, which is read at every request: {"status": 503, "delay_s": 0.2, "headers": {}, "body": "..."}.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import ssl
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Writes down, then answers."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    folder: Path
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behaviour = json.loads((self.folder / "behaviour.json").read_text())
        time.sleep(behaviour.get("delay_s", 0))
        if behaviour["status"] < 300:
            self._write_down(body)
        try:
            self._answer(behaviour)
        except OSError:
            self.close_connection = True  # the sender has not waited

    def do_GET(self) -> None:
        self.do_POST()

    def _write_down(self, body: bytes) -> None:
        request = {
            "path": self.path, "method": self.command,
            "headers": {key.lower(): value for key, value in self.headers.items()},
            "body": base64.b64encode(body).decode(), "certificate": self._certificate(), "port": self.client_address[1],
        }  # fmt: skip
        with self.lock, (self.folder / "requests.jsonl").open("ab") as file:
            file.write(json.dumps(request).encode() + b"\n")

    def _certificate(self) -> str | None:
        shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        names = dict(pair for part in (shown or {}).get("subject", ()) for pair in part)
        return names.get("commonName")

    def _answer(self, behaviour: dict[str, Any]) -> None:
        body = behaviour.get("body", "").encode() * behaviour.get("times", 1)
        self.send_response(behaviour["status"])
        for name, value in behaviour.get("headers", {}).items():
            self.send_header(name, value)
        if behaviour["status"] != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for sign in range(0, len(body), behaviour.get("piece", 1 << 20)):
            self.wfile.write(body[sign : sign + behaviour.get("piece", 1 << 20)])
            self.wfile.flush()
            time.sleep(behaviour.get("pause_s", 0))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """TLS is negotiated in each connection's own thread."""

    daemon_threads = True
    request_queue_size = 64
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            if self.tls is not None:
                request.settimeout(10)
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        except OSError:
            pass  # a sender that was killed, or that does not believe the certificate
        finally:
            request.close()


def serve(folder: Path, port: int, tls: Sequence[str], clients: str | None) -> None:
    Handler.folder = folder
    server = Server(("127.0.0.1", port), Handler)
    if tls:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(*tls)
        if clients:
            server.tls.load_verify_locations(clients)
            server.tls.verify_mode = ssl.CERT_REQUIRED
    (folder / f"ready-{os.getpid()}").touch()
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", nargs=2, default=())
    parser.add_argument("--clients")
    given = parser.parse_args()
    serve(given.folder, given.port, given.tls, given.clients)


if __name__ == "__main__":
    main()
