from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from streamvision.cli import app
from streamvision.engine import manifest
from streamvision.errors import ManifestError, ModelMissing, StreamvisionError, UsageError
from tests.engine.networks import TINY, write_manifest

CONTENT = TINY  # what write_manifest's hash is of


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_DIRECTORY", "STREAMVISION_MODELS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def models(*arguments: str | Path) -> Result:
    """Run ``streamvision models``; errors come out as they are raised."""
    return CliRunner().invoke(app, ["models", *map(str, arguments)], catch_exceptions=False)


def test_list_names_every_model_and_marks_the_default() -> None:
    output = models("list").output
    for name in manifest.names():
        assert name in output
    assert "sv-street (default)" in output
    assert "missing" in output  # yolox-nano has not been pulled
    assert "not needed" in output


def test_list_as_json() -> None:
    rows = {row["name"]: row for row in json.loads(models("list", "--json").output)}
    assert sorted(rows) == manifest.names()
    assert rows["sv-street"]["default"]
    assert rows["sv-street"]["state"] == "present"
    nano = rows["yolox-nano"]
    assert (nano["task"], nano["input"], nano["licence"]) == ("detection", [416, 416], "Apache-2.0")
    assert (nano["state"], nano["file"]) == ("missing", None)


def test_info_describes_a_model() -> None:
    output = models("info", "yolox-nano").output
    for word in ("Apache-2.0", "type=yolox", "size=416, 416", "person, bicycle", "missing"):
        assert word in output
    described = json.loads(models("info", "default", "--json").output)
    assert (described["name"], described["kind"], described["state"]) == ("sv-street", "network", "present")


def test_pull_says_where_the_file_is_and_then_everything_knows_it(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "toy.onnx").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site"))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        path = toy(tmp_path, f"http://127.0.0.1:{server.server_port}/toy.onnx")
        output = models("pull", path).output
        server.shutdown()
        thread.join()
    target = tmp_path / "cache/streamvision/models/toy.onnx"
    assert output.strip() == str(target)
    assert target.read_bytes() == CONTENT
    assert models("verify", path).output == f"{path}: {target} is right\n"
    assert json.loads(models("info", path, "--json").output)["found"] == str(target)


def toy(folder: Path, url: str | None = None) -> Path:
    path = write_manifest(folder)
    loaded = manifest.load(path)
    assert loaded.file is not None
    file = {"name": "toy.onnx", "sha256": loaded.file.sha256} | ({"url": url} if url else {})
    return write_manifest(folder, file=file)


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (("info", "yolox-nana"), ManifestError, 2),
        (("pull", "motion"), UsageError, 2),
        (("pull", "offline.yaml"), ModelMissing, 3),
        (("verify", "yolox-nano"), ModelMissing, 3),
    ],
)
def test_errors_have_their_exit_codes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    error: type[StreamvisionError],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    toy(tmp_path, "http://127.0.0.1:1/toy.onnx").rename(tmp_path / "offline.yaml")
    with pytest.raises(error) as caught:
        models(*arguments)
    assert caught.value.exit_code == code


def test_verify_finds_a_file_that_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models("verify").exit_code == 0
    (tmp_path / "yolox_nano.onnx").write_bytes(b"something else")
    monkeypatch.setenv("STREAMVISION_MODELS", str(tmp_path))
    result = models("verify")
    assert result.exit_code == 1
    assert "is another file" in result.output


@pytest.mark.parametrize("command", ["list", "info", "pull", "verify"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    assert "Example: streamvision models" in models(command, "--help").output
