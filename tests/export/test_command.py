"""``streamvision export`` from end to end: from a name or a checkpoint to what ``detect`` says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import cv2
import numpy as np
import pytest

from streamvision.cli import main
from streamvision.engine import manifest
from streamvision.export import recipes

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'streamvision[train]'")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8))
    return path


def checkpoint(path: Path, classes: int) -> Path:
    torch.manual_seed(5)
    network = torchvision.models.mobilenet_v3_small(num_classes=classes)
    torch.save({"model": network.state_dict(), "epoch": 3}, path)
    return path


def test_a_checkpoint_becomes_a_model_that_detect_runs(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
):
    weights = checkpoint(tmp_path / "mine.pth", 3)
    options = ("--num-classes", "3", "--labels", "cat, dog,cow", "--size", "64x48", "--name", "pets")
    assert run("export", "torchvision:mobilenet_v3_small", "--weights", weights, *options, "--out", tmp_path / "m") == 0
    printed = capsys.readouterr()
    path = tmp_path / "m" / "pets.yaml"
    assert f"detect SOURCE --model {path}" in printed.out
    assert "RANDOM" not in printed.err
    model = manifest.load(path)
    assert (model.name, model.labels, model.input.size) == ("pets", ("cat", "dog", "cow"), (64, 48))
    assert model.source == "torchvision:mobilenet_v3_small, weights from mine.pth"
    assert (
        run("detect", picture, "--model", path, "--video", tmp_path / "out.mp4", "--json", tmp_path / "out.jsonl") == 0
    )
    (row,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert {one["class"] for one in row["classification"]} == {"cat", "dog", "cow"}
    scores = [one["score"] for one in row["classification"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-3)


def test_random_weights_are_said_loudly_and_detect_runs_them(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
):
    labels = tmp_path / "names.txt"
    labels.write_text("car\n\nbus\n", encoding="utf-8")
    assert run("export", "ssdlite320-mobilenetv3", "--num-classes", "3", "--labels", labels, "--size", "128x96",
               "--out", tmp_path) == 0  # fmt: skip
    assert "RANDOM WEIGHTS" in capsys.readouterr().err
    path = tmp_path / "ssdlite320-mobilenetv3.yaml"
    assert manifest.load(path).labels == ("car", "bus")
    assert run("detect", picture, "--model", path, "--min-score", "0.1", "--json", tmp_path / "out.jsonl") == 0
    (row,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert {one["class"] for one in row["detections"]} <= {"car", "bus"}
    assert "classification" not in row


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["torchvision:resnet19"], 2, "did you mean 'torchvision:resnet18'?"),
        (["fcos-resnet51"], 2, "did you mean 'fcos-resnet50'?"),
        (["resnet18", "--size", "64"], 2, "write width x height"),
        (["resnet18", "--name", "Mine!"], 2, "small letters"),
        (["resnet18", "--labels", "a,b"], 2, "2 labels for a network of 1000 classes"),
        (["resnet18", "--labels", "none.txt"], 2, "labels cannot be read"),
        (["resnet18", "--weights", "none.pth"], 2, "no such weights file"),
        (["resnet18", "--weights", "DEFAULT", "--num-classes", "7"], 2, "published weights know 1000 classes, not 7"),
        (["inception-v3", "--size", "32x32", "--num-classes", "2"], 2, "nearer to its own, 299x299"),
        (["ssd300-vgg16", "--size", "64x64", "--num-classes", "2"], 2, "too small for this network"),
    ],
)
def test_what_cannot_be_exported_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
):
    assert run("export", *arguments, "--out", tmp_path / "out") == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("out/*"))


def test_a_checkpoint_of_another_number_of_classes_says_which_option_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    weights = checkpoint(tmp_path / "mine.pth", 3)
    assert run("export", "mobilenetv3-small", "--weights", weights, "--out", tmp_path / "out") == 2
    assert "give --num-classes 3" in " ".join(capsys.readouterr().err.split())


def test_weights_that_cannot_be_downloaded_are_missing_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    assert run("export", "mobilenetv3-small", "--weights", "DEFAULT", "--out", tmp_path / "out") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "no route to host" in said
    assert "mobilenet_v3_small-047dcff4.pth" in said


def test_without_pytorch_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for module in [name for name in sys.modules if name.startswith("streamvision.export.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run("export", "resnet18", "--out", tmp_path / "out") == 3
    assert "pip install 'streamvision[train]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_sound(name: str):
    recipe = recipes.load(name)
    assert recipes.find(recipe.source).network == recipe.network
    manifest.ModelInput(size=recipe.size, **recipe.input)
