"""mIoU of a segmenter on real street pictures, beside a plain loop over the same pixels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from streamvision.capture.labels import read_labels
from streamvision.capture.picture import ArrayPicture
from streamvision.cli import app
from streamvision.errors import BrokenMedia, UnsupportedMedia
from streamvision.evaluate.label_maps import class_ious, confused
from streamvision.types import Fit, InputSpec
from tests.engine.networks import save, write_manifest

SIZE = (96, 72)
CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
VOID = 11


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 1x1 convolution from colours to eleven classes."""
    folder = tmp_path_factory.mktemp("segmenter")
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(11, 3, 1, 1)).astype(np.float32)
    shape = [1, 3, SIZE[1], SIZE[0]]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["y"], axis=1, keepdims=0),
    ]
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel()),
        helper.make_tensor("b", TensorProto.FLOAT, [11], (rng.normal(size=11) * 60).astype(np.float32)),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT64, [1, SIZE[1], SIZE[0]])]
    network = save(folder / "toy.onnx", nodes, inputs, outputs, constants)
    return write_manifest(
        folder, network, task="semantic_segmentation", labels=None, decoder={"type": "semantic"},
        segmentation={"scene": CLASSES}, input={"size": list(SIZE), "fit": "stretch"},
    )  # fmt: skip


def plain_ious(manifest: Path, rows: list[tuple[Path, Path]], void: int) -> list[float]:
    """The same by the book: set by set, pixel by pixel's own label, no confusion matrix."""
    graph = onnx.load(manifest.parent / "toy.onnx").graph
    weights, bias = (onnx.numpy_helper.to_array(one) for one in graph.initializer)
    shared, union = np.zeros(11), np.zeros(11)
    for picture, label in rows:
        rgb = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
        truth = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
        pixels, _ = ArrayPicture(rgb).prepare(InputSpec(SIZE, Fit.STRETCH))
        small = (pixels.astype(np.float32) @ weights[:, :, 0, 0].T + bias).argmax(2)
        rows_at = ((np.arange(truth.shape[0]) + 0.5) / truth.shape[0] * SIZE[1]).astype(int)
        columns_at = ((np.arange(truth.shape[1]) + 0.5) / truth.shape[1] * SIZE[0]).astype(int)
        seen = small[rows_at][:, columns_at]
        for index in range(11):
            here, there = (seen == index) & (truth != void), truth == index
            shared[index] += (here & there).sum()
            union[index] += (here | there).sum()
    return [float(s / u) if u else float("nan") for s, u in zip(shared, union, strict=True)]


def run(manifest: Path, images: Path, annotations: Path, *more: str):
    given = [
        "eval",
        str(manifest),
        "--images",
        str(images),
        "--annotations",
        str(annotations),
        "--backend",
        "onnxruntime",
    ]
    return CliRunner().invoke(app, [*given, *more])


def some(folder: Path, out: Path, count: int) -> list[Path]:
    out.mkdir()
    chosen = sorted(folder.glob("*.jpg"))[:count]
    for path in chosen:
        (out / path.name).symlink_to(path)
    return chosen


def test_camvid(segmenter: Path, data: Path, tmp_path: Path):
    pictures = some(data / "camvid/val", tmp_path / "images", 4)
    result = run(
        segmenter, tmp_path / "images", data / "camvid/valannot", "--ignore", str(VOID), "--json", str(tmp_path / "out")
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "out").read_text())
    truth = plain_ious(segmenter, [(one, data / "camvid/valannot" / f"{one.stem}.png") for one in pictures], VOID)
    assert figures["images"] == 4
    assert figures["mIoU"] == pytest.approx(np.nanmean(truth), abs=1e-3)
    for name, iou in zip(CLASSES, truth, strict=True):
        assert figures["classes"][name] == (None if np.isnan(iou) else pytest.approx(iou, abs=2e-3))
    assert figures["mIoU"] > 0
    assert "mIoU" in result.output
    assert "road" in result.output


def test_label_pictures_beside_their_pictures(segmenter: Path, data: Path, tmp_path: Path):
    source = data / "idd_lite/val"
    rows = []
    for label in sorted(source.glob("*_label.png"))[:3]:
        picture = label.with_name(label.name.replace("_label.png", ".jpg"))
        rows.append((picture, label))
        for path in (picture, label):
            (tmp_path / path.name).symlink_to(path)
    result = run(segmenter, tmp_path, tmp_path, "--json", str(tmp_path / "out.json"))
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["images"] == 3
    assert figures["mIoU"] == pytest.approx(np.nanmean(plain_ious(segmenter, rows, 255)), abs=1e-3)


def test_an_index_that_nobody_named_is_an_error(segmenter: Path, data: Path, tmp_path: Path):
    some(data / "camvid/val", tmp_path / "images", 1)
    result = run(segmenter, tmp_path / "images", data / "camvid/valannot")
    assert result.exit_code != 0
    assert "has class 11, but the model has 11; give --ignore 11" in str(result.exception) + result.output


def test_a_folder_without_label_pictures_is_an_error(segmenter: Path, data: Path, tmp_path: Path):
    some(data / "camvid/val", tmp_path / "images", 1)
    (tmp_path / "none").mkdir()
    result = run(segmenter, tmp_path / "images", tmp_path / "none")
    assert "has a label picture there" in str(result.exception) + result.output


def test_confusion_by_hand():
    truth = np.array([[0, 0, 1], [1, 2, 9]], np.uint8)
    seen = np.array([[0, 1, 1], [1, 1, 0]], np.uint8)
    matrix = confused(truth, seen, 4, ignored=(9,))
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(class_ious(matrix), [0.5, 0.5, 0.0, np.nan])
    assert confused(truth, seen, 4, ignored=(0, 9)).sum() == 3


def test_label_pictures_are_grey_or_of_a_palette(tmp_path: Path):
    labels = np.random.default_rng(0).integers(0, 12, (37, 53)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "grey.png"), labels)
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([labels] * 3))
    with pytest.raises(UnsupportedMedia, match="one class index"):
        read_labels(tmp_path / "colour.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BrokenMedia):
        read_labels(tmp_path / "broken.png")
    np.testing.assert_array_equal(read_labels(_palette(tmp_path / "palette.png", labels)), labels)


def _palette(path: Path, labels: np.ndarray) -> Path:
    """Write a PNG whose numbers are those of colours, by hand: OpenCV writes none."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = labels.shape
    colours = bytes(255 - value for number in range(256) for value in (number, number // 2, number // 3))
    rows = b"".join(b"\0" + row.tobytes() for row in labels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"PLTE", colours) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path
