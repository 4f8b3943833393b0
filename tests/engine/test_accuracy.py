"""What other precisions and backends cost, as AP on labelled pictures. tests/bench/bench_accuracy.py judges by more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamvision.cli.eval import evaluate
from streamvision.engine import manifest
from streamvision.evaluate import average_precision
from tests.bench.plain_yolox import PlainRunner, coco_rows

MODEL = "yolox-nano"
JUDGED = 64
FITTED_TO = 40

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth(data: Path) -> dict[str, Any]:
    """The labels of the first pictures of one set; another set is there for calibration."""
    labels = json.loads((data / "coco" / "detection_val2017.json").read_text())
    images = labels["images"][:JUDGED]
    known = {image["id"] for image in images}
    rows = [row for row in labels["annotations"] if row["image_id"] in known]
    return {**labels, "images": images, "annotations": rows}


@pytest.fixture(scope="module")
def plain_ap(data: Path, truth: dict[str, Any]) -> float:
    """The AP of the plain runner on the same pictures."""
    runner = PlainRunner(data / "models" / "yolox_nano.onnx")
    rows, categories = coco_rows(runner, truth, data / "coco", manifest.load(MODEL).labels)
    return average_precision(truth, rows, categories)["AP"]


@pytest.fixture
def ap(
    data: Path, truth: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], float]:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    labels, out, calibration = tmp_path / "truth.json", tmp_path / "out.json", tmp_path / "calibration"
    labels.write_text(json.dumps(truth))
    calibration.mkdir()
    for path in sorted((data / "coco" / "images" / "train2017").iterdir())[:FITTED_TO]:
        shutil.copy(path, calibration)

    def measured(backend: str, precision: str) -> float:
        evaluate(
            MODEL, data / "coco", labels, json_out=out, backend=backend, precision=precision, calibration=calibration
        )
        return float(json.loads(out.read_text())["AP"])

    return measured


@pytest.mark.parametrize(
    ("backend", "precision", "least"),
    [
        ("openvino", "fp32", 0.995),
        ("onnxruntime", "fp32", 0.995),
        ("openvino", "fp16", 0.99),
        ("openvino", "int8", 0.98),
    ],
)
def test_accuracy_is_kept(
    ap: Callable[[str, str], float], plain_ap: float, backend: str, precision: str, least: float
) -> None:
    assert plain_ap > 0.3
    assert ap(backend, precision) / plain_ap >= least
