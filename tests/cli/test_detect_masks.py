"""``streamvision detect`` with a network that makes masks."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamvision.cli import main
from tests.engine.segmenters import half_moon


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((320, 640, 3), 90, np.uint8))
    return path


def detect(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["detect", *map(str, arguments)])
    return int(ended.value.code or 0)


def only(capsys: pytest.CaptureFixture[str]) -> dict:
    row = json.loads(capsys.readouterr().out)
    (one,) = row["detections"]
    return dict(one)


def test_a_detection_has_its_polygon(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert detect(picture, "--model", half_moon(tmp_path)) == 0
    one = only(capsys)
    assert one["class"] == "dog"
    assert "rle" not in one
    assert sorted(map(tuple, one["polygon"])) == [(160, 80), (160, 240), (320, 80), (320, 240)]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools with numpy 2
def test_masks_are_written_as_coco_does(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is the reference")
    assert detect(picture, "--model", half_moon(tmp_path), "--masks") == 0
    mask = coco.decode(only(capsys)["rle"])
    assert mask.shape == (320, 640)
    assert mask[80:240, 160:320].all()
    assert mask.sum() == 160 * 160


def test_the_video_shows_the_mask(picture: Path, tmp_path: Path):
    out = tmp_path / "seen.mp4"
    assert detect(picture, "--model", half_moon(tmp_path), "--video", out) == 0
    with av.open(out) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    inside, outside = shown[120:200, 200:280], shown[120:200, 380:440]
    assert np.abs(inside - shown[20:60, 500:600].mean(axis=(0, 1))).max(axis=2).min() > 15
    assert np.abs(outside - 90).max() < 15


def test_a_network_without_masks_writes_none(picture: Path, capsys: pytest.CaptureFixture[str]):
    assert detect(picture, "--model", "motion", "--masks") == 2
    assert "makes no masks" in capsys.readouterr().err
