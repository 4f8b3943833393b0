from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.engine import folders, manifest, models
from streamvision.engine.models import FileState
from streamvision.errors import ManifestError, ModelMissing
from tests.engine.networks import TINY, write_manifest

CONTENT = TINY  # what write_manifest's hash is of


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's models nor the developer's cache take part."""
    monkeypatch.delenv(folders.SEARCH_PATH, raising=False)
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def toy(tmp_path: Path) -> manifest.Manifest:
    (tmp_path / "manifests").mkdir()
    return manifest.load(write_manifest(tmp_path / "manifests"))


def put(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.onnx"
    path.write_bytes(content)
    return path


def test_is_looked_for_beside_the_manifest_then_on_the_path_then_where_pull_puts_it(
    toy: manifest.Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(folders.SEARCH_PATH, f"{tmp_path / 'a'}::{tmp_path / 'b'}")
    for folder in ("cache/streamvision/models", "b", "a", "manifests"):
        path = put(tmp_path / folder)
        assert models.require(toy) == path
        assert models.inspect(toy).state is FileState.PRESENT


def test_a_missing_file_comes_with_the_command_that_gets_it(tmp_path: Path) -> None:
    address = "https://example.org/toy.onnx"
    file = {"name": "toy.onnx", "sha256": "0" * 64, "url": address}
    path = write_manifest(tmp_path, file=file)
    with pytest.raises(ModelMissing, match=f"streamvision models pull {path}") as caught:
        models.require(manifest.load(path))
    assert caught.value.exit_code == 3
    with pytest.raises(ModelMissing, match=r"streamvision models pull yolox-nano$"):
        models.require(manifest.load("yolox-nano"))


def test_a_missing_file_without_an_address_is_to_be_brought(toy: manifest.Manifest) -> None:
    with pytest.raises(ModelMissing, match=r"\$STREAMVISION_MODELS"):
        models.require(toy)


def test_a_file_of_another_hash_is_refused_with_both(toy: manifest.Manifest, tmp_path: Path) -> None:
    path = put(tmp_path / "manifests", b"something else")
    with pytest.raises(ManifestError) as caught:
        models.require(toy)
    assert toy.file is not None
    assert all(part in str(caught.value) for part in (str(path), models.sha256_of(path), toy.file.sha256))
    assert models.inspect(toy).state is FileState.WRONG


def test_the_right_file_wins_over_a_wrong_one_found_first(toy: manifest.Manifest, tmp_path: Path) -> None:
    put(tmp_path / "manifests", b"something else")
    right = put(tmp_path / "cache/streamvision/models")
    assert models.require(toy) == right


def test_an_algorithm_needs_no_file(tmp_path: Path) -> None:
    algorithm = manifest.load(write_manifest(tmp_path, kind="motion", decoder=None, file=None))
    assert models.inspect(algorithm).state is FileState.NOT_NEEDED
    with pytest.raises(ManifestError, match="no network"):
        models.require(algorithm)


def test_a_service_keeps_files_in_its_own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/streamvision:/var/cache/other")
    assert folders.pull_folder() == Path("/var/cache/streamvision/models")


def test_without_xdg_the_cache_lies_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.pull_folder() == tmp_path / ".cache/streamvision/models"
