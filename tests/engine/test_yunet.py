"""YuNet's decoder beside a scalar one, and beside OpenCV's own on real pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamvision.engine import manifest
from streamvision.engine.build import build_engine
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.yunet import YunetDecoder
from streamvision.engine.samples import batch_of, fitted
from streamvision.errors import ManifestError
from streamvision.geometry import Letterbox, iou_matrix
from streamvision.types import Detections

SIZE = (96, 64)
STRIDES = (8, 16, 32)
CELLS = {stride: (SIZE[0] // stride) * (SIZE[1] // stride) for stride in STRIDES}
PARTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
NAMES = tuple(f"{part}_{stride}" for part in PARTS for stride in STRIDES)
SAME = Letterbox.stretch(SIZE, SIZE)


def shapes(names: tuple[str, ...] = NAMES) -> tuple[tuple[int, ...], ...]:
    return tuple((1, CELLS[int(name.split("_")[1])], PARTS[name.split("_")[0]]) for name in names)


def decoder(names: tuple[str, ...] = NAMES, classes: int = 1, **options: Any) -> YunetDecoder:
    return YunetDecoder(YunetDecoder.Options(**options), NetworkShape("faces", SIZE, classes, shapes(names), names))


def noise(seed: int) -> dict[str, np.ndarray]:
    """What a network that has seen something everywhere says."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0.3, 0.6, shape).astype(np.float32) for name, shape in zip(NAMES, shapes(), strict=True)}


def scalar(
    outputs: dict[str, np.ndarray], min_score: float, iou: float
) -> list[tuple[float, list[float], list[float]]]:
    """The same, one cell and one pair of boxes at a time: (score, xyxy, landmarks), best first."""
    found = []
    for stride in STRIDES:
        columns = SIZE[0] // stride
        for cell in range(CELLS[stride]):
            kind, sure = (min(max(float(outputs[f"{part}_{stride}"][0, cell, 0]), 0), 1) for part in ("cls", "obj"))
            score = math.sqrt(kind * sure)
            if score < min_score:
                continue
            x, y = cell % columns, cell // columns
            cx, cy, w, h = outputs[f"bbox_{stride}"][0, cell].tolist()
            cx, cy, w, h = (x + cx) * stride, (y + cy) * stride, math.exp(w) * stride, math.exp(h) * stride
            marks = outputs[f"kps_{stride}"][0, cell].tolist()
            points = [(value + (x, y)[index % 2]) * stride for index, value in enumerate(marks)]
            found.append((score, [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], points))
    found.sort(key=lambda face: -face[0])
    kept: list[tuple[float, list[float], list[float]]] = []
    for face in found:
        box = np.array([face[1]], np.float32)
        if all(iou_matrix(box, np.array([other[1]], np.float32))[0, 0] <= iou for other in kept):
            kept.append(face)
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_faces_are_those_of_a_scalar_decoder(seed: int) -> None:
    outputs = noise(seed)
    expected = scalar(outputs, 0.6, 0.3)
    found = decoder(min_score=0.6).decode([outputs[name] for name in NAMES], [SAME])[0].detections
    inside = [face for face in expected if min(face[1][2:]) > 0 and face[1][0] < SIZE[0] and face[1][1] < SIZE[1]]
    assert len(found) == len(inside) > 3
    np.testing.assert_allclose(found.score, [score for score, _, _ in inside], atol=1e-6)
    wanted = np.clip([box for _, box, _ in inside], 0, SIZE * 2)
    np.testing.assert_allclose(found.xyxy, wanted, atol=1e-3)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints.reshape(-1, 10), [points for _, _, points in inside], atol=1e-3)


def test_pictures_of_a_batch_have_their_own_faces_and_maps() -> None:
    one, two = noise(1), noise(2)
    double = Letterbox.stretch((SIZE[0] * 2, SIZE[1] * 2), SIZE)
    faces = decoder(min_score=0.6)
    together = faces.decode([np.concatenate((one[name], two[name])) for name in NAMES], [SAME, double])
    alone = [faces.decode([each[name] for name in NAMES], [SAME])[0].detections for each in (one, two)]
    np.testing.assert_allclose(together[0].detections.xyxy, alone[0].xyxy)
    assert together[1].detections.keypoints is not None
    assert alone[1].keypoints is not None
    np.testing.assert_allclose(together[1].detections.keypoints, alone[1].keypoints * 2, rtol=1e-6)


def test_outputs_are_found_by_name_and_half_precision_will_do() -> None:
    outputs, shuffled = noise(3), tuple(reversed(NAMES))
    usual = decoder(min_score=0.6).decode([outputs[name] for name in NAMES], [SAME])[0].detections
    half = [outputs[name].astype(np.float16) for name in shuffled]
    other = decoder(shuffled, min_score=0.6).decode(half, [SAME])[0].detections
    assert iou_matrix(usual.xyxy, other.xyxy).max(axis=1).min() > 0.9


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_no_face_is_no_detection(value: float) -> None:
    outputs = [np.full(shape, value, np.float32) for shape in shapes()]
    assert len(decoder().decode(outputs, [SAME])[0].detections) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": NAMES[:-1]}, "no output 'kps_32'"),
        ({"classes": 2}, "knows faces only, but the manifest has 2 labels"),
        ({"strides": (16, 8, 32)}, None),
        ({"strides": (8, 16, 32, 64)}, "no output 'cls_64'"),
    ],
)
def test_a_network_of_another_kind_is_refused(change: dict[str, Any], words: str | None) -> None:
    if words is None:
        assert decoder(**change)  # the order is the user's
    else:
        with pytest.raises(ManifestError, match=words):
            decoder(**change)


def test_an_output_of_another_size_is_refused() -> None:
    wrong = tuple((1, 7, shape[2]) for shape in shapes())
    with pytest.raises(ManifestError, match=r"cls_8 should be \(batch, 96, 1\) at 96x64, but is \(1, 7, 1\)"):
        YunetDecoder(YunetDecoder.Options(), NetworkShape("faces", SIZE, 1, wrong, NAMES))


PICTURES = ["000000000036", "000000000049", "000000000086", "000000000110", "000000000241"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_faces_on_real_pictures_are_those_of_opencv(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        other = cv2.FaceDetectorYN.create(str(data / "models/yunet_n_dynamic.onnx"), "", (640, 640), 0.5, 0.3, 5000)
    except (AttributeError, cv2.error):
        pytest.skip("this OpenCV cannot run YuNet with an open input size")
    engine = build_engine(manifest.load("yunet"), backend=backend, decoder_options={"min_score": 0.5})
    prepared = [fitted(read(data / f"coco/images/train2017/{name}.jpg"), engine.input)[0] for name in PICTURES]
    faces = 0
    for pixels in prepared:
        batch = batch_of([pixels])
        ours = engine.decode(batch, engine.submit(batch).result(30))[0].detections
        theirs = other.detect(np.ascontiguousarray(pixels))[1]
        faces += compare(ours, np.empty((0, 15), np.float32) if theirs is None else theirs)
    engine.close()
    assert faces >= 5


def read(path: Path) -> np.ndarray:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def compare(ours: Detections, theirs: np.ndarray) -> int:
    """Match faces one to one; OpenCV's are x, y, w, h, ten landmarks, score."""
    assert len(ours) == len(theirs)
    if not len(ours):
        return 0
    boxes = np.concatenate((theirs[:, :2], theirs[:, :2] + theirs[:, 2:4]), axis=1).astype(np.float32)
    iou = iou_matrix(ours.xyxy, np.clip(boxes, 0, 640))
    assert ours.keypoints is not None
    assert sorted(iou.argmax(axis=1).tolist()) == list(range(len(theirs)))
    for row, match in enumerate(iou.argmax(axis=1)):
        assert iou[row, match] > 0.97
        assert ours.score[row] == pytest.approx(theirs[match, 14], abs=1e-3)
        np.testing.assert_allclose(ours.keypoints[row].ravel(), theirs[match, 4:14], atol=0.5)
    return len(ours)
