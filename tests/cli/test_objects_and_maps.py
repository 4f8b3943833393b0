"""Commands with a model that finds objects and labels every part of the picture at once."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from streamvision.cli import main
from tests.engine.networks import save, write_manifest

SIZE = (64, 32)
MAPS = {"drivable": ["background", "drivable"], "lane": ["background", "lane"]}
CONFIG = """
models:
  both: {{manifest: {model}}}
streams:
  - id: one
    url: street.mp4
    model: both
    lines:
      across: [[0.1, 0.5], [0.9, 0.5]]
    zones:
      ahead: [[0.3, 0.5], [0.7, 0.5], [0.7, 1], [0.3, 1]]
    rules:
      - {{name: way, type: area, zone: ahead, map: {map}, classes: [drivable], min_share: 0.3}}
      - {{name: passing, type: line, line: across, classes: [{label}]}}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """One dog, whatever it sees: from (16, 8) to (48, 24) of 64 x 32 px; the lower half is a road, a column a lane."""
    drivable, lane = np.zeros((2, 1, 16, 32), np.float32)
    drivable[:, 8:] = 1
    lane[:, :, 15:17] = 1
    said = {
        "boxes": np.array([[[16, 8, 48, 24], [0, 0, 4, 4]]], np.float32),
        "scores": np.array([[[0.0, 0.9], [0.01, 0.02]]], np.float32),
        "drivable": drivable,
        "lane": lane,
    }
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["peak"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["peak", "zero"], ["nothing"]),
    ]
    constants = [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])]
    outputs = []
    for name, values in said.items():
        whole = name in MAPS
        nodes.append(helper.make_node("Add", [f"all_{name}", "nothing"], [f"sum_{name}" if whole else name]))
        constants.append(helper.make_tensor(f"all_{name}", TensorProto.FLOAT, values.shape, values.ravel()))
        if whole:
            nodes.append(helper.make_node("Cast", [f"sum_{name}"], [name], to=TensorProto.UINT8))
        kind = TensorProto.UINT8 if whole else TensorProto.FLOAT
        outputs.append(helper.make_tensor_value_info(name, kind, values.shape))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE[1], SIZE[0]])]
    network = save(tmp_path / "both.onnx", nodes, inputs, outputs, constants)
    return write_manifest(tmp_path, network, decoder={"type": "street"}, segmentation=MAPS)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    path = tmp_path / "pictures" / "grey.png"
    cv2.imwrite(str(path), np.full((320, 640, 3), 90, np.uint8))
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_line_has_objects_and_shares_of_the_maps(model: Path, picture: Path, capsys: pytest.CaptureFixture[str]):
    assert run("detect", picture, "--model", model) == 0
    line = json.loads(capsys.readouterr().out)
    (found,) = line["detections"]
    assert (found["class"], found["xyxy"]) == ("dog", [160, 80, 480, 240])
    assert [each["name"] for each in line["segmentation"]] == ["drivable", "lane"]
    assert line["segmentation"][0]["classes"]["drivable"] == pytest.approx(0.5)


def test_masks_of_its_maps_are_written_when_asked_for(model: Path, picture: Path, capsys: pytest.CaptureFixture[str]):
    assert run("detect", picture, "--model", model, "--masks") == 0
    line = json.loads(capsys.readouterr().out)
    assert all("rle" in each for each in line["segmentation"])


def test_the_description_names_labels_and_maps(model: Path, capsys: pytest.CaptureFixture[str]):
    assert run("models", "info", model, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["labels"] == ["cat", "dog"]
    assert said["segmentation"] == MAPS


@pytest.mark.parametrize(
    ("given", "wrong"),
    [({}, None), ({"map": "sky"}, "makes no label map 'sky'"), ({"label": "horse"}, "knows no class 'horse'")],
)
def test_rules_of_both_kinds_are_checked(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, str], wrong: str | None
):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(**{"model": model, "map": "drivable", "label": "dog"} | given))
    code = run("check", path)
    said = capsys.readouterr()
    assert (wrong is None) == (code == 0), said
    assert wrong is None or wrong in said.out + said.err


def test_an_evaluation_measures_both(model: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("pycocotools", reason="AP needs the extra eval")
    for name, columns in (("drivable", slice(None)), ("lane", slice(300, 340))):
        labels = np.zeros((320, 640), np.uint8)
        labels[160 if name == "drivable" else 0 :, columns] = 1
        cv2.imwrite(str(tmp_path / f"{name}.png"), labels)
    coco = {
        "images": [
            {
                "id": 1, "file_name": picture.name, "width": 640, "height": 320,
                "label_maps": {"drivable": "drivable.png", "lane": "lane.png"},
            }
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [160, 80, 320, 160], "area": 51200, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "label_maps": MAPS,
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(coco))
    figures = tmp_path / "figures.json"
    assert run("eval", model, "--images", picture.parent, "--data", tmp_path / "truth.json", "--json", figures) == 0
    found = json.loads(figures.read_text())
    assert found["AP50"] == pytest.approx(1.0)
    assert found["mIoU_drivable"] == pytest.approx(1.0)
    assert found["mIoU_lane"] == pytest.approx(1.0)
