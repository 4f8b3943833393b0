"""A user brings a network: added, listed, used under its name, and removed; or refused, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, numpy_helper

from streamvision.cli import main
from streamvision.engine import manifest
from streamvision.engine.adopt import shelf
from tests.engine import networks
from tests.engine.test_adopt import SHAPE, ULTRALYTICS, v8


@pytest.fixture(autouse=True)
def shelf_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CACHE_DIRECTORY", "STREAMVISION_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache/streamvision/models"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return networks.saying(tmp_path / "Garden Gate.onnx", {"output0": v8()}, SHAPE, metadata=ULTRALYTICS)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return int(ended.value.code or 0)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_from_a_file_to_detections_in_two_commands(
    toy: Path, tmp_path: Path, shelf_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "add", toy) == 0
    said = capsys.readouterr().out
    for words in (
        "Ultralytics detect",
        "64x32 rgb, letterbox, pixels scaled to 0-1",
        "labels   cat, dog",
        "dog 0.75 at",
        "--model garden-gate",
    ):
        assert words in said
    toy.unlink()
    picture = Path(__file__).parents[2] / "engines/samples/person-1.jpg"
    assert run("detect", picture, "--model", "garden-gate", "--backend", "onnxruntime") == 0
    found = json.loads(capsys.readouterr().out)["detections"]
    assert [each["class"] for each in found] == ["dog"]
    assert run("models", "list", "--json") == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["name"] == "garden-gate")
    assert (row["state"], row["task"], row["licence"]) == ("present", "detection", "AGPL-3.0 License")
    assert run("models", "verify", "garden-gate") == 0
    assert run("models", "remove", "garden-gate") == 0
    assert kept(shelf_folder) == []
    assert run("detect", picture, "--model", "garden-gate") == 2


def test_an_added_yolox_is_the_shipped_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.onnx"
    shutil.copyfile(data / "models/yolox_nano.onnx", mine)
    picture = data / "coco/images/train2017/000000000036.jpg"
    assert run("models", "add", mine, "--labels", "coco80", "--picture", picture) == 0
    assert "person 0.9" in capsys.readouterr().out
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    lines = []
    for name in ("mine", "yolox-nano"):
        assert run("detect", picture, "--model", name, "--backend", "onnxruntime") == 0
        lines.append(json.loads(capsys.readouterr().out))
    assert lines[0] == lines[1]
    assert lines[0]["detections"]
    ours, shipped = manifest.load("mine"), manifest.load("yolox-nano")
    assert (ours.input, ours.labels) == (shipped.input, shipped.labels)


def test_weights_beside_the_network_become_part_of_it(tmp_path: Path, shelf_folder: Path) -> None:
    network = onnx.load(networks.saying(tmp_path / "whole.onnx", {"output0": v8()}, SHAPE, metadata=ULTRALYTICS))
    network.graph.initializer.append(numpy_helper.from_array(np.ones(5000, np.float32), "spare"))
    external_data_helper.convert_model_to_external_data(network, location="big.bin", size_threshold=1000)
    onnx.save(network, tmp_path / "split.onnx")
    assert run("models", "add", tmp_path / "split.onnx") == 0
    for name in ("split.onnx", "big.bin"):
        (tmp_path / name).unlink()
    assert run("models", "verify", "split") == 0
    assert len(kept(shelf_folder)) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--name", "yolox-nano"], 2, "a model called 'yolox-nano' already"),
        (["--name", "default"], 2, "no name for a model"),
        (["--name", "../escape"], 2, "no name for a model"),
        (["--name", "a/b"], 2, "no name for a model"),
        (["--name", "x" * 200], 2, "no name for a model"),
        (["--labels", "one"], 2, "1 labels are given, but the network has 2 classes"),
        (["--labels", "missing.txt"], 2, "the labels cannot be read"),
        (["--decoder", "yola"], 2, "did you mean 'yolo'"),
        (["--colour", "grb"], 2, "choose from rgb, bgr"),
        (["--normalise", "units"], 2, "choose from none, unit, imagenet"),
        (["--input-fit", "crop"], 2, "choose from letterbox"),
        (["--size", "64"], 2, "write it as WIDTHxHEIGHT"),
        (["--size", "0x32"], 2, "write it as WIDTHxHEIGHT"),
        (["--option", "iou"], 2, "write it as NAME=VALUE"),
        (["--option", "iou=7"], 2, "iou"),
        (["--picture", "nothing.jpg"], 2, "nothing.jpg"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    toy: Path, shelf_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert run("models", "add", toy, *arguments) == code
    assert words in capsys.readouterr().err
    assert kept(shelf_folder) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x08\x08\x3a\xff"])
def test_hostile_files_leave_nothing_behind(
    tmp_path: Path, shelf_folder: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "evil.onnx"
    path.write_bytes(content)
    assert run("models", "add", path) == 1
    assert str(path) in capsys.readouterr().err
    assert kept(shelf_folder) == []


def test_a_file_that_is_not_there_is_a_wrong_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "nothing.onnx", tmp_path):
        assert run("models", "add", path, "--name", "gate") == 2
        assert "there is no such file" in capsys.readouterr().err


def test_a_name_is_given_once(toy: Path, shelf_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "add", toy, "--name", "gate") == 0
    before = kept(shelf_folder)
    assert run("models", "add", toy, "--name", "gate") == 2
    assert "first: streamvision models remove gate" in capsys.readouterr().err
    assert kept(shelf_folder) == before


def test_two_who_add_one_name_at_once_do_not_mix(
    toy: Path, shelf_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "add", toy, "--name", "gate") == 0
    document = {**manifest.load("gate").model_dump(mode="json"), "name": "gate"}
    other = networks.saying(toy.parent / "other.onnx", {"output0": v8()}, SHAPE)
    document["file"] = {"name": "gate.00000000.onnx", "sha256": shelf.sha256_of(other)}
    before = kept(shelf_folder)
    with pytest.raises(shelf.UsageError, match="already"):
        shelf.add(_short(document), other, merge=False)
    assert kept(shelf_folder) == before


def _short(document: dict[str, object]) -> dict[str, object]:
    keys = ("name", "summary", "licence", "source", "input", "labels", "decoder", "file")
    return {key: document[key] for key in keys}


def test_a_folder_that_cannot_be_written_is_said(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run("models", "add", toy) == 3
    assert "cannot be written" in capsys.readouterr().err


def test_only_what_was_added_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(tmp_path))
    networks.write_manifest(tmp_path)
    for name, words in (
        ("yolox-nano", "was not added"),
        ("toy", "was not added"),
        ("nobody", "no model called"),
        ("../toy", "no such manifest file"),
    ):
        assert run("models", "remove", name) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "toy.yaml").is_file()


def test_a_broken_manifest_of_ones_own_does_not_hide_the_others(
    toy: Path, shelf_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "add", toy, "--name", "gate") == 0
    path = shelf_folder / "gate.yaml"
    path.write_text(path.read_text().replace("labels:", "lables:"))
    capsys.readouterr()
    assert run("models", "list") == 0
    said = capsys.readouterr().out
    assert "yolox-nano" in said
    assert "broken manifest" in said
    assert run("models", "verify") == 1
    assert "lables: unknown key" in capsys.readouterr().out
    assert run("models", "remove", "gate") == 0


@pytest.mark.parametrize("command", ["add", "remove"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", command, "--help") == 0
    assert "Example: streamvision models" in capsys.readouterr().out
