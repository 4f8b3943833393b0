"""``streamvision eval`` for a network that makes masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from streamvision.cli import app
from tests.engine.segmenters import half_moon

pytest.importorskip("pycocotools", reason="pycocotools measures")

HALF = [160, 80, 320, 80, 320, 240, 160, 240]
WHOLE = [160, 80, 480, 80, 480, 240, 160, 240]


def evaluate(folder: Path, outline: list[int] | None, **image: Any) -> tuple[dict[str, Any], str]:
    cv2.imwrite(str(folder / "a.png"), np.full((320, 640, 3), 90, np.uint8))
    annotation: dict[str, Any] = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [160, 80, 320, 160]}
    if outline is not None:
        annotation |= {"segmentation": [outline], "area": 25600}
    truth = {
        "images": [{"id": 7, "file_name": "a.png", **({"width": 640, "height": 320} | image)}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [annotation],
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    places = ["--images", folder, "--annotations", folder / "truth.json", "--json", folder / "out.json"]
    result = CliRunner().invoke(app, ["eval", *map(str, [half_moon(folder), *places])], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads((folder / "out.json").read_text()), result.output


def test_masks_have_an_ap_of_their_own(tmp_path: Path):
    figures, _ = evaluate(tmp_path, HALF)
    names = ("AP", "AP50", "AP75", "mask_AP", "mask_AP50", "mask_AP75")
    assert [figures[name] for name in names] == pytest.approx([1] * 6)


def test_a_right_box_with_a_wrong_mask_counts_for_boxes_only(tmp_path: Path):
    figures, _ = evaluate(tmp_path, WHOLE)
    assert figures["AP"] == pytest.approx(1)
    # Half of it is found: an overlap of 0.5, which only the first of ten thresholds takes for a hit.
    assert figures["mask_AP50"] == pytest.approx(1)
    assert figures["mask_AP75"] == 0
    assert figures["mask_AP"] == pytest.approx(0.1)


def test_boxes_without_outlines_give_no_mask_ap(tmp_path: Path):
    figures, said = evaluate(tmp_path, None)
    assert figures["AP"] == pytest.approx(1)
    assert not [name for name in figures if name.startswith("mask")]
    assert "no mask AP" in said
