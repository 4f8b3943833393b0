"""``streamvision eval`` on any data set: --data, a second model, a training's folder, JSON and report."""

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
from streamvision.errors import DataError, ManifestError, MissingError, UsageError
from tests.engine import networks
from tests.engine.networks import write_manifest

pytest.importorskip("pycocotools", reason="pycocotools measures")

SIZE = (64, 32)
ROAD = ["background", "road"]


def run(*arguments: str | Path, backend: str = "onnxruntime") -> str:
    """Run the command; errors come out as they are raised."""
    given = ["eval", *map(str, arguments), "--backend", backend]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.output)


def figures(out: Path, *arguments: str | Path) -> dict[str, Any]:
    run(*arguments, "--json", out)
    return dict(json.loads(out.read_text()))


def street(folder: Path, name: str = "toy", kind: int = 0, score: float = 0.9) -> Path:
    """A network that always sees one object, and road in the lower half."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = np.zeros((1, 2, 2), np.float32)
    scores[0, 0, kind] = score
    boxes = np.array([[[10, 8, 30, 24], [0, 0, 1, 1]]], np.float32)
    scene = np.zeros((1, SIZE[1], SIZE[0]), np.int64)
    scene[0, 16:] = 1
    network = networks.saying(
        folder / f"{name}.onnx", {"boxes": boxes, "scores": scores, "scene": scene}, [1, 3, SIZE[1], SIZE[0]]
    )
    manifest = write_manifest(
        folder, network, name=name, decoder={"type": "street"}, segmentation={"scene": ROAD},
        input={"size": list(SIZE), "fit": "stretch"},
    )  # fmt: skip
    return manifest.rename(folder / f"{name}.yaml")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures with a cat each and a road in the lower half, in COCO's form with label maps and metadata."""
    folder = tmp_path / "data"
    folder.mkdir()
    document: dict[str, Any] = {
        "images": [], "annotations": [], "label_maps": {"scene": ROAD},
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "cow"}],
    }  # fmt: skip
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (32, 64, 3)).astype(np.uint8))
        labels = np.zeros((32, 64), np.uint8)
        labels[16:], labels[:2] = 1, 255
        cv2.imwrite(str(folder / f"{number}_scene.png"), labels)
        document["images"].append({
            "id": number, "file_name": f"{number}.png", "width": 64, "height": 32,
            "label_maps": {"scene": f"{number}_scene.png"}, "metadata": {"time": "night" if number else "day"},
        })  # fmt: skip
        x = 10 if number < 2 else 40
        row = {"id": number + 1, "image_id": number, "category_id": 3, "bbox": [x, 8, 20, 16], "area": 320}
        document["annotations"].append(row)
    (folder / "labels.json").write_text(json.dumps(document))
    return folder / "labels.json"


def test_boxes_and_maps_of_one_file_in_one_pass(data: Path, tmp_path: Path):
    got = figures(tmp_path / "out.json", street(tmp_path), "--data", data, "--voc", "--group", "time")
    # Right, right, wrong (scores are equal, pictures in their order), and one of three cats missed.
    assert got["AP50"] == pytest.approx(67 / 101)
    assert got["VOC_AP50"] == pytest.approx(2 / 3)
    assert got["mIoU"] == 1
    assert got["classes"] == {"background": 1, "road": 1}
    assert (got["images"], got["groups"]["day"]["images"], got["groups"]["night"]["images"]) == (3, 1, 2)
    gap = next(one for one in got["largest_gaps"] if one["figure"] == "AP50")
    assert (gap["best"], gap["worst"]) == ("day", "night")


def test_a_folder_of_a_training_is_its_exported_model(data: Path, tmp_path: Path):
    street(tmp_path / "run" / "model", "mine")
    (tmp_path / "run" / "recipe.yaml").write_text("network: sv-street\n")
    assert figures(tmp_path / "out.json", tmp_path / "run", "--data", data)["model"] == "mine"


def test_a_folder_without_a_model(data: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no exported model"):
        run(tmp_path, "--data", data)


def test_a_second_model_beside_it(data: Path, tmp_path: Path):
    first, second = street(tmp_path / "one", "one"), street(tmp_path / "two", "two", kind=1)
    out = tmp_path / "out.json"
    text = run(first, "--data", data, "--beside", second, "--json", out)
    got = json.loads(out.read_text())
    assert (got["beside"]["model"], got["beside"]["AP50"]) == ("two", 0)
    assert got["difference"]["AP50"] == pytest.approx(got["AP50"])
    row = next(line.split() for line in text.splitlines() if line.startswith("AP50"))
    assert row == ["AP50", "0.6634", "0.0000", "0.6634"]


def test_a_report_has_the_speed_too(data: Path, tmp_path: Path):
    text = run(street(tmp_path), "--data", data, "--report", tmp_path / "report.html")
    assert "pictures_per_s" in text
    page = (tmp_path / "report.html").read_text()
    for words in ("toy", "Label map scene", "Speed on this machine", "onnxruntime"):
        assert words in page


def test_other_names_for_the_same_class(data: Path, tmp_path: Path):
    manifest = street(tmp_path, kind=1)  # it says dog
    got = figures(tmp_path / "out.json", manifest, "--data", data, "--map-class", "dog=cat")
    assert got["AP50"] == pytest.approx(67 / 101)
    assert list(got["by_class"]) == ["cat"]


def test_robustness_of_a_network_that_sees_nothing_anyway(data: Path, tmp_path: Path):
    text = run(street(tmp_path), "--data", data, "--robustness", "1", "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())["robustness"]
    assert found["images"] == 1
    kinds = ("fog", "dark", "rain", "blur", "noise", "compression")
    assert found["left"]["AP50"] == pytest.approx(dict.fromkeys(kinds, 1))
    assert "AP50 in" in text


def test_a_classifier_on_a_folder_of_classes(tmp_path: Path):
    for name, count in (("cat", 3), ("dog", 1)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(count):
            picture = np.random.default_rng(number).integers(0, 255, (32, 64, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "set" / name / f"{number}.png"), picture)
    scores = np.array([[0.75, 0.25]], np.float32)
    network = networks.saying(tmp_path / "toy.onnx", {"scores": scores}, [1, 3, SIZE[1], SIZE[0]])
    manifest = write_manifest(
        tmp_path, network, task="classification", decoder={"type": "classification", "softmax": False},
        input={"size": list(SIZE), "fit": "stretch"},
    )  # fmt: skip
    got = figures(tmp_path / "out.json", manifest, "--data", f"classes:{tmp_path / 'set'}")
    assert (got["top1"], got["top5"], got["ECE"]) == pytest.approx((0.75, 1, 0))
    assert got["classes"] == {"cat": 1, "dog": 0}


def test_fewer_pictures(data: Path, tmp_path: Path):
    assert figures(tmp_path / "out.json", street(tmp_path), "--data", data, "--limit", "2")["images"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either --data, or both --images and --annotations"),
        (["--images", "."], "either --data, or both"),
        (["--data", "labels.json", "--images", ".", "--annotations", "labels.json"], "either --data, or both"),
        (["--data", "elsewhere"], "no such file or folder"),
        (["--data", "labels.json", "--map-class", "dog"], "does not say which class is which"),
        (["--data", "labels.json", "--map-class", "cow=cat"], "the model has no class 'cow'"),
        (["--data", "labels.json", "--map", "lane"], "there is no label map 'lane'.*scene"),
        (["--data", "labels.json", "--group", "weather"], "no picture has a column 'weather'.*time"),
        (["--data", "labels.json", "--report", "no/where.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_served_is_said(data: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str):
    manifest = street(data.parent)
    monkeypatch.chdir(data.parent)
    with pytest.raises(UsageError, match=words):
        run(manifest, *arguments)


def test_a_data_set_with_mistakes_is_refused_before_any_engine(data: Path, tmp_path: Path):
    document = json.loads(data.read_text())
    document["annotations"][0]["bbox"] = [10, 8, -5, 16]
    data.write_text(json.dumps(document))
    with pytest.raises(DataError, match="inverted-box"):
        run(street(tmp_path), "--data", data)


def test_a_model_that_is_not_there(data: Path):
    with pytest.raises(ManifestError):
        run("no-such-model", "--data", data)


def test_a_second_model_that_is_not_there_is_told_before_the_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STREAMVISION_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (data.parent / "0.png").unlink()
    with pytest.raises(MissingError, match="yolox"):
        run(street(tmp_path), "--data", data, "--beside", "yolox-nano")


def test_without_jinja2_it_says_so_before_the_work(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingError, match=r"pip install 'streamvision\[eval\]'"):
        run(street(tmp_path), "--data", data, "--report", tmp_path / "r.html")


def test_an_example_is_in_the_help():
    assert "Example: streamvision eval" in CliRunner().invoke(app, ["eval", "--help"]).output
