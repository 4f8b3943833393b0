"""HTTP cameras and broken servers, on free ports of the loopback."""

from __future__ import annotations

import base64
import io
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

LOGIN = ("viewer", "s3cret")


def jpeg(level: int, size_wh: tuple[int, int] = (160, 120)) -> bytes:
    """Return a JPEG of one grey level."""
    out = io.BytesIO()
    with av.open(out, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((size_wh[1], size_wh[0], 3), level, np.uint8))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


class Camera(ThreadingHTTPServer):
    """Serves /mjpeg (endless), /mjpeg-nolength, /private (wants LOGIN), and files by name; everything else is 404."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up in a handshake are what tests are about."""

    def __init__(self, files: dict[str, Path], interval_s: float, certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.files, self.interval_s = files, interval_s
        self.closing = threading.Event()
        self.pictures = [jpeg(level) for level in range(0, 250, 25)]

    def url(self, path: str, login: tuple[str, str] | None = None) -> str:
        """Return the URL of a path."""
        userinfo = f"{login[0]}:{login[1]}@" if login else ""
        return f"{self.scheme}://{userinfo}127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Camera

    def do_GET(self) -> None:
        name = self.path.lstrip("/").split("?")[0]
        try:
            if name == "private" and not self._knows_login():
                self._refuse()
            elif name in ("mjpeg", "mjpeg-nolength", "private"):
                self._stream(with_length=name != "mjpeg-nolength")
            elif name in self.server.files:
                self._file(self.server.files[name])
            else:
                self.send_error(404)
        except OSError:  # the client hung up
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def _knows_login(self) -> bool:
        wanted = base64.b64encode(":".join(LOGIN).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _refuse(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _stream(self, with_length: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        count = 0
        while not self.server.closing.wait(self.server.interval_s):
            data = self.server.pictures[count % len(self.server.pictures)]
            length = f"Content-Length: {len(data)}\r\n" if with_length else ""
            self.wfile.write(f"--picture\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n")
            count += 1
        self.close_connection = True

    def _file(self, path: Path) -> None:
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def http_camera(
    files: dict[str, Path] | None = None, interval_s: float = 0.04, certificate: Path | None = None
) -> Iterator[Camera]:
    """Run a camera that speaks HTTP, or HTTPS with a ``certificate`` (and key, one PEM file).

    ``interval_s`` lies between the pictures of its MJPEG streams.
    """
    server = Camera(files or {}, interval_s, certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and never say a word; yields the port."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def self_signed(folder: Path) -> Path:
    """Write a certificate that nobody else vouches for, with its key; skips the test where openssl is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: apt install openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate


def refused_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
