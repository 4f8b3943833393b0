"""How much accuracy each backend and precision keeps: AP of yolox-nano beside a plain runner, on COCO pictures.

    STREAMVISION_TEST_DATA=... python tests/bench/bench_accuracy.py [--pictures N] [BACKEND:PRECISION ...]

The reference is `plain_yolox.PlainRunner`: plain ONNX Runtime and plain numpy, nothing of this project. int8 is
fitted to pictures that are not judged. Exits with 1 where a ratio is below what is promised: 0.995 in float32, 0.99 in
float16, 0.98 in int8. With few pictures AP itself wavers by a hundredth, so the judgement wants all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from plain_yolox import PlainRunner, coco_rows
from support import data, quiet, shipped_network

from streamvision.cli.eval import evaluate
from streamvision.engine import manifest
from streamvision.evaluate import average_precision

FITTED_TO = 48
"""Pictures for the calibration of int8."""
LEAST = {"fp32": 0.995, "fp16": 0.99, "bf16": 0.98, "int8": 0.98}
RUNS = ("openvino:fp32", "onnxruntime:fp32", "torch:fp32", "onnxruntime:fp16", "openvino:fp16", "openvino:int8")
MODEL = "yolox-nano"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=RUNS, help="backend:precision")
    parser.add_argument("--pictures", type=int, default=1000)
    chosen = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        truth, calibration = split(data() / "coco", work / "calibration")
        truth = first(truth, chosen.pictures)
        plain = plain_precision(truth)
        print(f"{len(truth['images'])} pictures; plain runner: AP {plain['AP']:.4f}, AP50 {plain['AP50']:.4f}")
        results = [judged(run, truth, calibration, plain, work) for run in chosen.runs]
    return 0 if all(results) else 1


def split(coco: Path, calibration: Path) -> tuple[dict[str, Any], Path]:
    """Return both labelled sets as one, without those pictures that are put into ``calibration``."""
    parts = [json.loads((coco / f"detection_{part}.json").read_text()) for part in ("val2017", "train2017")]
    calibration.mkdir()
    for image in parts[1]["images"][:FITTED_TO]:
        shutil.copy(coco / image["file_name"], calibration)
    parts[1]["images"] = parts[1]["images"][FITTED_TO:]
    return {**parts[0], "images": parts[0]["images"] + parts[1]["images"], "annotations": [
        row for part in parts for row in part["annotations"]]}, calibration  # fmt: skip


def first(truth: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the labels of the first pictures only."""
    images = truth["images"][:count]
    known = {image["id"] for image in images}
    return {**truth, "images": images, "annotations": [row for row in truth["annotations"] if row["image_id"] in known]}


def plain_precision(truth: dict[str, Any]) -> dict[str, float]:
    runner = PlainRunner(shipped_network("yolox_nano.onnx"))
    rows, categories = coco_rows(runner, truth, data() / "coco", manifest.load(MODEL).labels)
    return average_precision(truth, rows, categories)


def judged(run: str, truth: dict[str, Any], calibration: Path, plain: dict[str, float], work: Path) -> bool:
    """Measure one backend in one precision; return whether it keeps what is promised."""
    backend, _, precision = run.partition(":")
    (work / "truth.json").write_text(json.dumps(truth))
    out = work / "out.json"
    pictures = calibration if precision == "int8" else None
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate(
            MODEL, data() / "coco", work / "truth.json", json_out=out, backend=backend, precision=precision,
            calibration=pictures,
        )  # fmt: skip
    figures = json.loads(out.read_text())
    ratios = {name: figures[name] / plain[name] for name in ("AP", "AP50", "AP75")}
    kept = ratios["AP"] >= LEAST[precision]
    shown = "  ".join(f"{name} {figures[name]:.4f} ({ratio:.4f})" for name, ratio in ratios.items())
    print(f"  {run:20s} {shown}  {'ok' if kept else 'TOO LITTLE'}, at least {LEAST[precision]}", flush=True)
    return kept


if __name__ == "__main__":
    sys.exit(main())
