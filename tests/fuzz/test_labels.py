"""``streamvision track`` on damaged detections, ``data check`` on damaged COCO, VOC and YOLO labels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.commands import ask
from tests.fuzz.texts import damaged, sized

MOT = b"1,-1,10.5,20,30,60,0.9,-1,-1,-1\n1,-1,100,20,31,62,0.8,-1,-1,-1\n2,-1,12,21,30,60,0.85,-1,-1,-1\n" * 3
SEQUENCE = b"[Sequence]\nname=a\nframeRate=25\nseqLength=3\n"
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12], "area": 120, "iscrowd": 0,
             "segmentation": [[1, 2, 11, 2, 11, 14]]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 1,
             "segmentation": {"counts": [0, 5, 3067], "size": [48, 64]}},
        ],
    }
).encode()  # fmt: skip
VOC = b"""<?xml version="1.0" encoding="UTF-8"?>
<annotation><folder>a</folder><filename>a.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>car</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>
</object><object><name>person</name><bndbox><xmin>2.5</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>
</annotation>
"""
YOLO = b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.3 0.1 0.3 0.4\n"
YOLO_YAML = b"path: .\ntrain: images\nval: images\nnames: {0: car, 1: person}\n"
CODES = (0, 2, 3)
"""Of ``data check``: fit, mistakes in the labels, something missing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one picture, in the places where each kind of labels looks for it."""
    root = tmp_path_factory.mktemp("labels")
    for place in (
        "coco",
        "voc/JPEGImages",
        "voc/Annotations",
        "voc/ImageSets/Main",
        "yolo/images",
        "yolo/labels",
        "mot",
    ):
        (root / place).mkdir(parents=True)
    _, picture = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))
    for place in ("coco", "voc/JPEGImages", "yolo/images"):
        (root / place / "a.jpg").write_bytes(picture.tobytes())
    (root / "voc/Annotations/a.xml").write_bytes(VOC)
    (root / "voc/ImageSets/Main/trainval.txt").write_bytes(b"a\n")
    (root / "yolo/labels/a.txt").write_bytes(YOLO)
    (root / "yolo/data.yaml").write_bytes(YOLO_YAML)
    (root / "coco/labels.json").write_bytes(COCO)
    (root / "mot/det.txt").write_bytes(MOT)
    (root / "mot/seqinfo.ini").write_bytes(SEQUENCE)
    return root


def check(folder: Path, kind: str) -> int:
    return ask("data", "check", f"{kind}:{folder / kind}{'/labels.json' if kind == 'coco' else ''}", codes=CODES)


def track(folder: Path) -> int:
    return ask("track", folder / "mot/det.txt", "--out", folder / "tracks.txt", codes=(0, 2, 3))


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_the_sound_form_is_read(folder: Path, kind: str):
    assert check(folder, kind) == 0


def fuzz(folder: Path, kind: str, file: str, examples: tuple[int, int]) -> None:
    """Damage one file of a set many times over, and put it right in the end."""
    path = folder / file
    sound = path.read_bytes()

    @sized(*examples)
    @given(damaged(sound))
    def one(raw: bytes) -> None:
        path.write_bytes(raw)
        if kind == "mot":
            track(folder)
        else:
            check(folder, kind)

    try:
        one()
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("coco", "coco/labels.json"),
        ("voc", "voc/Annotations/a.xml"),
        ("voc", "voc/ImageSets/Main/trainval.txt"),
        ("yolo", "yolo/labels/a.txt"),
        ("yolo", "yolo/data.yaml"),
        ("mot", "mot/det.txt"),
        ("mot", "mot/seqinfo.ini"),
    ],
)
def test_damaged_labels(folder: Path, kind: str, file: str):
    fuzz(folder, kind, file, (8, 1_500))


@pytest.mark.parametrize("file", ["coco/a.jpg", "yolo/images/a.jpg"])
def test_damaged_pictures(folder: Path, file: str):
    fuzz(folder, file.split("/")[0], file, (8, 500))


@sized(10, 1_000)
@given(st.binary(max_size=200))
def test_detections_of_anything(folder: Path, raw: bytes):
    path = folder / "mot/det.txt"
    path.write_bytes(raw)
    try:
        track(folder)
    finally:
        path.write_bytes(MOT)
