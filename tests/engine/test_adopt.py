"""What is worked out of networks that users bring, and what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamvision.engine.adopt import Stated, propose, try_out
from streamvision.engine.adopt.families import boxes_are_raw
from streamvision.engine.adopt.look import literal
from streamvision.engine.decoders.yolox import anchor_grid
from streamvision.errors import EngineError, UsageError
from tests.engine import networks

SIZE = (64, 32)
SHAPE = [1, 3, 32, 64]
CELLS = 8 * 4 + 4 * 2 + 2 * 1
PETS = ("cat", "dog")
GRAY = np.full((40, 80, 3), 128, np.uint8)
ULTRALYTICS = {
    "author": "Ultralytics", "stride": "32", "task": "detect", "imgsz": "[32, 64]", "names": "{0: 'cat', 1: 'dog'}",
    "license": "AGPL-3.0 License", "description": "Ultralytics YOLO11n model",
}  # fmt: skip


def v8() -> np.ndarray:
    """One dog, as v8-style networks say it."""
    values = np.zeros((1, 6, CELLS), np.float32)
    values[0, :, 3] = [32, 16, 20, 10, 0.1, 0.75]
    return values


def rows(values: list[float], count: int = 30) -> np.ndarray:
    found = np.zeros((1, count, len(values)), np.float32)
    found[0, 0] = values
    return found


def v5(anchors: int = 3 * CELLS) -> np.ndarray:
    return rows([32, 16, 20, 10, 0.9, 0.1, 0.8], anchors)


def yolox_raw() -> np.ndarray:
    return rows([0.5, 0.5, 0.0, 0.0, 0.9, 0.1, 0.8], CELLS)


def yolox_decoded() -> np.ndarray:
    grid, stride = anchor_grid(SIZE, (8, 16, 32))
    found = v5(CELLS)
    found[0, :, :2] = (grid + 0.5) * stride
    return found


def queries(columns: int, best: int) -> np.ndarray:
    logits = np.full((1, 30, columns), -9, np.float32)
    logits[0, 0, best] = 4
    return logits


BOX = rows([0.5, 0.5, 0.25, 0.25])
KNOWN: dict[str, tuple[dict[str, Any], Stated, dict[str, Any]]] = {
    "Ultralytics v8 and v11": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS},
        Stated(),
        {"decoder": "yolo", "colour": "rgb", "fit": "letterbox", "scale": 1 / 255},
    ),
    "Ultralytics v5": (
        {"outputs": {"output0": v5()}, "metadata": {"stride": "32", "names": "['cat', 'dog']"}},
        Stated(),
        {"decoder": "yolo", "fit": "letterbox", "scale": 1 / 255},
    ),
    "Ultralytics v10 and 26": (
        {"outputs": {"output0": rows([22, 11, 42, 21, 0.75, 1])}, "metadata": ULTRALYTICS},
        Stated(),
        {"decoder": "end2end", "scale": 1 / 255},
    ),
    "Ultralytics RT-DETR": (
        {
            "outputs": {"output0": rows([0.5, 0.5, 0.25, 0.25, 0.75, 1])},
            "metadata": ULTRALYTICS | {"head": "RTDETRDecoder"},
        },
        Stated(),
        {"decoder": "end2end", "fit": "stretch", "normalised": True},
    ),
    "Ultralytics, any size": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS, "shape": ["batch", 3, "height", "width"]},
        Stated(),
        {"decoder": "yolo"},
    ),
    "v8 without metadata": ({"outputs": {"output0": v8()}}, Stated(PETS), {"decoder": "yolo", "scale": 1 / 255}),
    "v7 without metadata": ({"outputs": {"output": v5()}}, Stated(PETS), {"decoder": "yolo", "scale": 1 / 255}),
    "YOLOX": (
        {"outputs": {"output": yolox_raw()}},
        Stated(PETS),
        {"decoder": "yolox", "colour": "bgr", "fit": "letterbox_top_left", "scale": 1.0},
    ),
    "YOLOX, decoded, with the rest stated": (
        {"outputs": {"output": yolox_decoded()}},
        Stated(PETS, colour="bgr", normalise="none", fit="letterbox_top_left"),
        {"decoder": "yolox", "decoded": True},
    ),
    "RF-DETR": (
        {"outputs": {"dets": BOX, "labels": queries(3, 1)}},
        Stated(PETS),
        {"decoder": "detr", "activation": "sigmoid", "fit": "stretch", "mean": (0.485, 0.456, 0.406)},
    ),
    "RF-DETR with masks": (
        {"outputs": {"dets": BOX, "labels": queries(3, 1), "masks": np.ones((1, 30, 8, 16), np.float32)}},
        Stated(PETS),
        {"decoder": "detr", "task": "instance_segmentation"},
    ),
    "RT-DETR and D-FINE": (
        {"outputs": {"pred_logits": queries(2, 1), "pred_boxes": BOX}},
        Stated(PETS),
        {"decoder": "detr", "activation": "sigmoid", "fit": "stretch", "scale": 1 / 255},
    ),
    "DETR, stated": (
        {"outputs": {"logits": queries(3, 1), "pred_boxes": BOX}},
        Stated(PETS, options={"activation": "softmax"}, normalise="imagenet", fit="stretch"),
        {"decoder": "detr", "activation": "softmax"},
    ),
    "EfficientNMS": (
        {
            "outputs": {
                "num_dets": np.array([[1]], np.int32), "det_boxes": rows([22, 11, 42, 21]),
                "det_scores": np.full((1, 30), 0.75, np.float32), "det_classes": np.ones((1, 30), np.int32),
            }
        },
        Stated(PETS, colour="rgb", normalise="unit", fit="letterbox"),
        {"decoder": "efficient_nms"},
    ),
    "half precision": (
        {"outputs": {"output0": v8().astype(np.float16)}, "metadata": ULTRALYTICS, "dtype": "float16"},
        Stated(),
        {"decoder": "yolo", "dtype": "float16"},
    ),
    "channels last": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS, "shape": [1, 32, 64, 3]},
        Stated(),
        {"decoder": "yolo", "layout": "nhwc"},
    ),
    "something else, stated": (
        {"outputs": {"strange": v8()}, "input_name": "x"},
        Stated(PETS, decoder="yolo", options={"anchors_last": True}, colour="bgr", normalise="unit", fit="stretch"),
        {"decoder": "yolo", "anchors_last": True, "colour": "bgr", "fit": "stretch"},
    ),
}  # fmt: skip


def make(folder: Path, **network: Any) -> Path:
    return networks.saying(folder / "toy.onnx", network.pop("outputs"), network.pop("shape", SHAPE), **network)


@pytest.mark.parametrize("case", KNOWN)
def test_a_network_of_a_known_family_becomes_a_manifest_that_works(tmp_path: Path, case: str) -> None:
    network, stated, expected = KNOWN[case]
    path = make(tmp_path, **network)
    proposal = propose(path, "toy", stated)
    model = proposal.manifest
    assert model.decoder is not None
    said = {**dict(model), **dict(model.input), **model.decoder.options, "decoder": model.decoder.type}
    assert {key: said[key] for key in expected} == expected
    assert (model.labels, model.input.size) == (PETS, SIZE)
    found = try_out(path, model, [GRAY])[0].detections
    assert found.class_id.tolist() == [1]
    assert found.score[0] > 0.7


def test_a_classifier_that_gives_probabilities_is_believed_as_it_is(tmp_path: Path) -> None:
    shares = np.array([[0.25, 0.75]], np.float32)
    path = make(tmp_path, outputs={"output0": shares}, metadata=ULTRALYTICS | {"task": "classify"})
    model = propose(path, "toy", Stated()).manifest
    assert (model.task, model.labels, model.input.scale) == ("classification", PETS, 1 / 255)
    seen = try_out(path, model, [GRAY])[0].classification
    assert seen is not None
    assert seen.tolist() == [0.25, 0.75]


QUESTIONS: dict[str, tuple[dict[str, Any], Stated, tuple[str, ...]]] = {
    "labels": ({"outputs": {"output0": v8()}}, Stated(), ("the names of its classes, 2 of them: state --labels",)),
    "too many labels": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS},
        Stated(("a", "b", "c")),
        ("3 labels are given, but the network has 2 classes",),
    ),
    "labels that lie": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS | {"names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}"}},
        Stated(),
        ("4 labels one side must be 8 or 9, but the network gives 6x42", "--labels"),
    ),
    "softmax or sigmoid, and all else": (
        {"outputs": {"logits": queries(3, 1), "pred_boxes": BOX}},
        Stated(PETS),
        ("--option activation=softmax or --option activation=sigmoid", "--normalise", "--input-fit"),
    ),
    "YOLOX or YOLOv6": (
        {"outputs": {"output": yolox_decoded()}},
        Stated(PETS),
        ("YOLOX with decoded boxes, or YOLOv6", "--colour", "--normalise", "--input-fit"),
    ),
    "who exported it": (
        {"outputs": {"out": rows([22, 11, 42, 21, 0.75, 1])}, "input_name": "x"},
        Stated(PETS),
        ("end-to-end detections", "--colour rgb or --colour bgr", "--normalise", "--input-fit"),
    ),
    "another task": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS | {"task": "pose"}},
        Stated(),
        ("its task is 'pose', which is not supported",),
    ),
    "an RT-DETR of an old Ultralytics": (
        {
            "outputs": {"output0": np.zeros((1, 300, 6 + 2), np.float32)},
            "metadata": ULTRALYTICS | {"description": "Ultralytics rtdetr-l model"},
        },
        Stated(),
        ("export it with a newer Ultralytics",),
    ),
    "nothing known": (
        {"outputs": {"out": np.zeros((1, 2, 3, 4, 5), np.float32)}},
        Stated(PETS),
        ("its outputs are out 1x2x3x4x5", "--decoder, one of"),
    ),
    "the size": (
        {"outputs": {"output0": v8()}, "shape": [1, 3, "h", "w"]},
        Stated(PETS),
        ("may be of any size", "--size WIDTHxHEIGHT"),
    ),
    "another size": ({"outputs": {"output0": v8()}}, Stated(PETS, size_wh=(32, 32)), ("64x32, not 32x32", "--size")),
    "no picture": ({"outputs": {"y": v8()}, "shape": [1, 12]}, Stated(), ("no picture", "one picture as its only")),
    "channels": ({"outputs": {"y": v8()}, "shape": [1, 4, 32, 64]}, Stated(), ("has 4 channels",)),
    "two inputs": (
        {"outputs": {"y": v8()}, "inputs": {"scale_factor": [1, 2]}},
        Stated(),
        ("it has 2 inputs: images", "scale_factor"),
    ),
    "post-processing inside": (
        {"outputs": {"labels": v8(), "boxes": v8(), "scores": v8()}, "inputs": {"orig_target_sizes": [1, 2]}},
        Stated(),
        ("RT-DETR or D-FINE with its post-processing inside", "without its postprocessor"),
    ),
    "an option that there is none of": (
        {"outputs": {"output0": v8()}, "metadata": ULTRALYTICS},
        Stated(options={"objectnes": True}),
        ("objectnes", "did you mean 'objectness'?"),
    ),
    "labels that are no names": ({"outputs": {"output0": v8()}}, Stated(("a", "\x1b[31m")), ("printable",)),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_what_a_file_cannot_tell_is_asked_with_the_option_that_answers(tmp_path: Path, case: str) -> None:
    network, stated, words = QUESTIONS[case]
    path = make(tmp_path, **network)
    with pytest.raises(UsageError) as caught:
        propose(path, "toy", stated)
    for each in words:
        assert each in str(caught.value)
    assert caught.value.exit_code == 2


def test_names_in_a_file_do_not_reach_the_terminal_as_commands(tmp_path: Path) -> None:
    name = "\x1b[31mred\x1b]0;title\x07"
    for network in ({"outputs": {name: v8()}}, {"outputs": {"y": v8()}, "input_name": name, "shape": [1, 12]}):
        with pytest.raises(UsageError) as caught:
            propose(make(tmp_path, **network), "toy", Stated())
        assert "red" in str(caught.value)
        assert not {"\x1b", "\x07"} & set(str(caught.value))


@pytest.mark.parametrize(("first", "column"), [("person", 4), ("pedestrian", 3)])
def test_networks_that_keep_coco_s_numbers_begin_with_1(tmp_path: Path, first: str, column: int) -> None:
    labels = (first, *(f"class {number}" for number in range(89)))
    path = make(tmp_path, outputs={"dets": BOX, "labels": queries(91, column)})
    model = propose(path, "toy", Stated(labels)).manifest
    assert try_out(path, model, [GRAY])[0].detections.class_id.tolist() == [3]


def test_a_file_that_is_no_network_is_told_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(b"PK\x03\x04 rather a zip file")
    with pytest.raises(EngineError):
        propose(path, "toy", Stated())


def test_segmenters_and_classifiers_are_recognised(tmp_path: Path) -> None:
    rest = Stated(PETS, colour="rgb", normalise="imagenet", fit="stretch")
    scores = np.zeros((1, 2, 8, 16), np.float32)
    scores[0, 1, :, 8:] = 1
    path = make(tmp_path, outputs={"out": scores})
    model = propose(path, "toy", rest).manifest
    assert model.segmentation == {"classes": PETS}
    assert try_out(path, model, [GRAY])[0].segmentation[0].label_map.mean() == 0.5
    path = make(tmp_path, outputs={"out": np.array([[0, 3]], np.float32)})
    model = propose(path, "toy", rest).manifest
    seen = try_out(path, model, [GRAY])[0].classification
    assert seen is not None
    assert (model.task, int(seen.argmax())) == ("classification", 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{0: 'a'}", {0: "a"}),
        ("[64, 32]", [64, 32]),
        ("__import__('os').system('true')", None),
        ("{" * 5_000, None),
        ("[" * 90 + "]" * 90, None),
        ("1" + "0" * 10_000, None),
        ("-" * 60_000 + "1", None),
        ("'" + "x" * 70_000 + "'", None),
        ("{[]: 1}", None),
        ("", None),
    ],
)
def test_metadata_is_read_and_never_executed(text: str, value: object) -> None:
    found = literal(text)
    assert found == value or (value is None and isinstance(found, list))


@pytest.mark.parametrize("spread", [0.0, 1.0, 100.0])
def test_decoded_boxes_lie_where_their_cells_are_and_raw_ones_do_not(spread: float) -> None:
    rng = np.random.default_rng(0)
    grid, stride = anchor_grid((640, 640), (8, 16, 32))
    raw = rng.normal(0.5, spread, (len(grid), 4)).astype(np.float32)
    decoded = np.concatenate(((raw[:, :2] / max(spread, 1) + grid) * stride, raw[:, 2:]), axis=1)
    assert boxes_are_raw(raw, (640, 640), (8, 16, 32))
    assert not boxes_are_raw(decoded, (640, 640), (8, 16, 32))
