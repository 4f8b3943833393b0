from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from streamvision.cli import app
from streamvision.engine import manifest
from streamvision.errors import CaptureError, ManifestError, MissingError, UsageError
from streamvision.evaluate import average_precision
from tests.bench.plain_yolox import PlainRunner, coco_rows
from tests.engine import networks
from tests.engine.networks import write_manifest


def run(*arguments: str | Path) -> str:
    """Run the command; errors come out as they are raised."""
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.output)


def plain_precision(network: Path, folder: Path, truth: dict[str, Any]) -> dict[str, float]:
    runner = PlainRunner(network)
    results, categories = coco_rows(runner, truth, folder, manifest.load("yolox-nano").labels)
    return average_precision(truth, results, categories)


@pytest.fixture
def labelled(data: Path, tmp_path: Path) -> Path:
    """Both COCO folders as one set: on 128 pictures alone, one pixel of rounding already moves AP by a hundredth."""
    parts = [json.loads((data / "coco" / f"detection_{part}.json").read_text()) for part in ("val2017", "train2017")]
    whole = {key: parts[0][key] + parts[1][key] for key in ("images", "annotations")}
    path = tmp_path / "both.json"
    path.write_text(json.dumps({**whole, "categories": parts[0]["categories"]}))
    return path


@pytest.mark.slow
def test_yolox_nano_is_as_good_as_a_plain_runner(
    data: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    out = tmp_path / "figures.json"
    run("yolox-nano", "--images", data / "coco", "--annotations", labelled, "--json", out)
    ours = json.loads(out.read_text())
    plain = plain_precision(data / "models" / "yolox_nano.onnx", data / "coco", json.loads(labelled.read_text()))
    # AP averages over ten overlaps and hardly moves; a single overlap feels fractions of a pixel more.
    for name, least in (("AP", 0.995), ("AP50", 0.99), ("AP75", 0.99)):
        assert ours[name] / plain[name] >= least, (name, ours[name], plain[name])
    assert ours["AP"] > 0.3
    assert ours["images"] == 256


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with two pictures in a folder of their own, their truth, and a network that always sees one cat."""
    pictures = tmp_path / "pictures" / "train"
    pictures.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(pictures / name), np.zeros((32, 64, 3), np.uint8))
    truth = {
        "images": [{"id": 7, "file_name": "train/a.png"}, {"id": 8, "file_name": "train/b.png"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "cow"}],
        "annotations": [{"id": 0, "image_id": image, "category_id": 3, "bbox": [10, 10, 20, 10]} for image in (7, 8)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    answer = np.zeros((1, 6, 20), np.float32)
    answer[0, :, 3] = [20, 15, 20, 10, 0.75, 0]
    write_manifest(tmp_path, networks.constant(tmp_path / "toy.onnx", answer, (64, 32)))
    return tmp_path


@pytest.mark.parametrize("folder", ["pictures", "pictures/train"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_perfect_detector_has_an_ap_of_one(small: Path, folder: str, backend: str) -> None:
    out = small / "out.json"
    text = run(
        small / "toy.yaml", "--images", small / folder, "--annotations", small / "truth.json", "--json", out,
        "--backend", backend,
    )  # fmt: skip
    figures = json.loads(out.read_text())
    assert (figures["model"], figures["images"], figures["AP"], figures["AP50"], figures["AP75"]) == ("toy", 2, 1, 1, 1)
    assert "AP50       1.0000" in text


def test_a_detector_that_sees_nothing_has_an_ap_of_zero(small: Path) -> None:
    truth = json.loads((small / "truth.json").read_text())
    assert average_precision(truth, [], {0: 3})["AP"] == 0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ("not json", UsageError, "cannot be read as COCO"),
        ("[1, 2]", UsageError, "it has no annotations"),
        ('{"images": []}', UsageError, "it has no annotations, categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "ufo"}]}', UsageError, "cat, dog.* ufo"),
    ],
)
def test_annotations_that_are_none_are_refused(small: Path, change: str, error: type[Exception], words: str) -> None:
    (small / "truth.json").write_text(change)
    with pytest.raises(error, match=words):
        run(small / "toy.yaml", "--images", small, "--annotations", small / "truth.json")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["yolox-nana", "--images", "pictures", "--annotations", "truth.json"], ManifestError),
        (["toy.yaml", "--images", "pictures", "--annotations", "none.json"], UsageError),
        (["toy.yaml", "--images", "elsewhere", "--annotations", "truth.json"], CaptureError),
        (["toy.yaml", "--images", "pictures", "--annotations", "truth.json", "--json", "no/where.json"], UsageError),
    ],
)
def test_what_is_not_there_is_named(
    small: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: type[Exception]
) -> None:
    monkeypatch.chdir(small)
    with pytest.raises(error):
        run(*arguments)


def test_without_pycocotools_it_says_what_to_install(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingError, match=r"pip install 'streamvision\[eval\]'"):
        run(small / "toy.yaml", "--images", small / "pictures", "--annotations", small / "truth.json")
