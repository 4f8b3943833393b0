from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamvision.engine import folders
from streamvision.engine.manifest import Manifest, ModelFile, ModelInput
from streamvision.engine.pull import pull
from streamvision.errors import MissingError, ModelMissing, UsageError

CONTENT = bytes(range(256)) * 1024


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT in the way that the path names; remembers what was asked for."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        getattr(self, f"serve_{self.path.strip('/').split('?')[0]}")()

    def serve_good(self) -> None:
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self._send(CONTENT[start:])

    def serve_no_ranges(self) -> None:
        self.send_response(200)
        self._send(CONTENT)

    def serve_truncated(self) -> None:
        self.send_response(200)
        self._send(CONTENT[:100_000], len(CONTENT))

    def serve_unmeasured(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def serve_wrong(self) -> None:
        self.send_response(200)
        self._send(CONTENT[::-1])

    def serve_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(3):
            self.wfile.write(CONTENT)

    def serve_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/good")
        self.end_headers()

    def serve_to_a_local_file(self) -> None:
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.end_headers()

    def serve_busy(self) -> None:
        self.send_error(503)

    def __getattr__(self, name: str) -> object:
        if name.startswith("serve_"):
            return lambda: self.send_error(404)
        raise AttributeError(name)

    def _send(self, body: bytes, length: int | None = None) -> None:
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some of these tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return folders.pull_folder()


def toy(url: str | None, size: int | None = len(CONTENT)) -> Manifest:
    file = ModelFile(name="toy.onnx", sha256=hashlib.sha256(CONTENT).hexdigest(), url=url, bytes=size)
    return Manifest.model_validate(
        {"name": "toy", "summary": "", "licence": "", "source": "", "labels": ("a",), "decoder": {"type": "yolo"}}
        | {"input": ModelInput(size=(8, 8)), "file": file}
    )


def part_of(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".toy.onnx.{hashlib.sha256(CONTENT).hexdigest()[:12]}.part"
    part.write_bytes(content)
    return part


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("path", ["good", "no_ranges", "moved", "unmeasured", "good?token=secret"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_pulls_verifies_and_reports(server: Server, own_cache: Path, path: str, size: int | None) -> None:
    steps: list[tuple[int, int | None]] = []
    target = pull(toy(server.url(path), size), lambda here, total: steps.append((here, total)))
    assert target == own_cache / "toy.onnx"
    assert target.read_bytes() == CONTENT
    assert steps[0][0] == 0
    assert steps[-1][0] == len(CONTENT)
    assert not list(own_cache.glob("*.part"))


def test_a_file_that_is_here_is_not_pulled_again(server: Server) -> None:
    pull(toy(server.url("good")))
    pull(toy(server.url("good")))
    assert server.asked == [None]


def test_a_wrong_file_of_that_name_is_replaced(server: Server, own_cache: Path) -> None:
    own_cache.mkdir(parents=True)
    (own_cache / "toy.onnx").write_bytes(b"older version")
    assert pull(toy(server.url("good"))).read_bytes() == CONTENT


def test_goes_on_where_it_stopped(server: Server) -> None:
    with pytest.raises(ModelMissing, match=r"broke off.*goes on where it stopped"):
        pull(toy(server.url("truncated")))
    assert pull(toy(server.url("good"))).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_starts_anew_where_the_server_knows_no_ranges(server: Server, own_cache: Path) -> None:
    part_of(own_cache, CONTENT[:5000])
    assert pull(toy(server.url("no_ranges"))).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_longer_than_the_file_is_thrown_away(server: Server, own_cache: Path, size: int | None) -> None:
    part_of(own_cache, CONTENT + b"too much")
    assert pull(toy(server.url("good"), size)).read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_no_server(own_cache: Path) -> None:
    part_of(own_cache, CONTENT)
    assert pull(toy("http://127.0.0.1:1/good")).read_bytes() == CONTENT


def test_another_file_is_refused_and_nothing_is_kept(server: Server, own_cache: Path) -> None:
    with pytest.raises(ModelMissing, match="another file") as caught:
        pull(toy(server.url("wrong")))
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in str(caught.value)
    assert visible(own_cache) == []
    assert pull(toy(server.url("good"))).read_bytes() == CONTENT


def test_a_server_that_never_stops_is_stopped(server: Server, own_cache: Path) -> None:
    with pytest.raises(ModelMissing, match="more than the"):
        pull(toy(server.url("endless")))
    assert visible(own_cache) == []


@pytest.mark.parametrize(("path", "words"), [("nowhere", "404 Not Found"), ("busy", "503 Service Unavailable")])
def test_the_servers_refusal_is_quoted(server: Server, path: str, words: str) -> None:
    with pytest.raises(ModelMissing, match=words) as caught:
        pull(toy(server.url(f"{path}?token=secret")))
    assert "secret" not in str(caught.value)


def test_a_redirect_leads_to_no_local_file(server: Server) -> None:
    with pytest.raises(ModelMissing):
        pull(toy(server.url("to_a_local_file")))


def test_offline_says_so(own_cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused
        with pytest.raises(ModelMissing, match=r"cannot be reached.*bring the file") as caught:
            pull(toy(f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}/good"))
    assert caught.value.exit_code == 3
    assert str(own_cache) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_pulls_of_one_file_wait_for_each_other(server: Server) -> None:
    with ThreadPoolExecutor(6) as threads:
        paths = list(threads.map(lambda _: pull(toy(server.url("good"))), range(6)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert server.asked == [None]


def test_nothing_to_pull_is_said() -> None:
    with pytest.raises(UsageError, match="no url"):
        pull(toy(None))


def test_a_folder_that_cannot_be_written_is_named(server: Server, own_cache: Path) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("a file where the folder should be")
    with pytest.raises(MissingError, match="cannot be written"):
        pull(toy(server.url("good")))
