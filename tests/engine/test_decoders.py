from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from streamvision import plugins
from streamvision.engine.decoders import NetworkShape, ScoreOptions
from streamvision.engine.decoders.end2end import EndToEndDecoder
from streamvision.engine.decoders.yolo import YoloDecoder
from streamvision.engine.decoders.yolox import YoloxDecoder, anchor_grid
from streamvision.errors import ManifestError
from streamvision.geometry import Letterbox
from streamvision.interfaces import Decoder
from streamvision.types import Detections

SIZE = (128, 64)
ANCHORS = 16 * 8 + 8 * 4 + 4 * 2
CLASSES = 3
NOT_SCALED = Letterbox.stretch(SIZE, SIZE)


@dataclass(frozen=True)
class Thing:
    """What a network saw: centre and size in model px."""

    cxcywh: tuple[float, float, float, float]
    score: float
    class_id: int

    @property
    def xyxy(self) -> list[float]:
        cx, cy, w, h = self.cxcywh
        return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


# Best first. The third overlaps the first by more than 0.45, but is of another class; the fourth is the first's double.
SCENE = [
    Thing((40, 30, 20, 24), 0.9, 2),
    Thing((100, 20, 16, 16), 0.7, 0),
    Thing((41, 30, 20, 24), 0.6, 1),
]
DOUBLE = Thing((42, 30, 20, 24), 0.5, 2)
FAINT = Thing((10, 50, 12, 12), 0.05, 1)


def yolox_raw(things: list[Thing]) -> np.ndarray:
    rows = yolox_decoded(things)
    grid, stride = anchor_grid(SIZE, (8, 16, 32))
    for index in range(len(things)):
        rows[0, index, :2] = rows[0, index, :2] / stride[index] - grid[index]
        rows[0, index, 2:4] = np.log(rows[0, index, 2:4] / stride[index])
    return rows


def yolox_decoded(things: list[Thing]) -> np.ndarray:
    rows = np.zeros((1, ANCHORS, 5 + CLASSES), np.float32)
    for index, thing in enumerate(things):
        rows[0, index, :4] = thing.cxcywh
        rows[0, index, 4] = math.sqrt(thing.score)
        rows[0, index, 5 + thing.class_id] = math.sqrt(thing.score)
    return rows


def v8_rows(things: list[Thing]) -> np.ndarray:
    rows = np.zeros((1, ANCHORS, 4 + CLASSES), np.float32)
    for index, thing in enumerate(things):
        rows[0, index, :4] = thing.cxcywh
        rows[0, index, 4 + thing.class_id] = thing.score
    return rows


def v8_columns(things: list[Thing]) -> np.ndarray:
    return np.ascontiguousarray(v8_rows(things).transpose(0, 2, 1))


def v5_columns(things: list[Thing]) -> np.ndarray:
    return np.ascontiguousarray(yolox_decoded(things).transpose(0, 2, 1))


LAYOUTS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "yolox, raw": ("yolox", {}, yolox_raw),
    "yolox, decoded": ("yolox", {"decoded": True}, yolox_decoded),
    "v5": ("yolo", {}, yolox_decoded),
    "v5, anchors last": ("yolo", {}, v5_columns),
    "v8": ("yolo", {}, v8_columns),
    "v8, anchors first": ("yolo", {}, v8_rows),
}


def build(kind: str, options: dict[str, Any], output: np.ndarray) -> Decoder:
    plugin = plugins.load("decoder", kind)
    decoder: Decoder = plugin(plugin.Options(**options), NetworkShape("toy", SIZE, CLASSES, (output.shape,)))
    return decoder


def decode(layout: str, things: list[Thing], letterbox: Letterbox = NOT_SCALED, **options: Any) -> Detections:
    kind, fixed, encode = LAYOUTS[layout]
    output = encode(things)
    return build(kind, fixed | options, output).decode([output], [letterbox])[0].detections


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_finds_the_scene_best_first(layout: str) -> None:
    # Given in another order, with a double to suppress and a faint one to ignore.
    found = decode(layout, [FAINT, DOUBLE, SCENE[2], SCENE[0], SCENE[1]])
    assert found.class_id.tolist() == [thing.class_id for thing in SCENE]
    np.testing.assert_allclose(found.score, [thing.score for thing in SCENE], atol=1e-6)
    np.testing.assert_allclose(found.xyxy, [thing.xyxy for thing in SCENE], atol=1e-3)


def test_the_threshold_is_the_product_of_both_scores(layout: str) -> None:
    assert len(decode(layout, [*SCENE, DOUBLE, FAINT], min_score=0.04)) == 4
    assert len(decode(layout, SCENE, min_score=0.69)) == 2


def test_the_overlap_is_a_choice(layout: str) -> None:
    assert len(decode(layout, [*SCENE, DOUBLE], iou=0.95)) == 4


def test_there_is_a_limit(layout: str) -> None:
    assert decode(layout, SCENE, max_detections=1).class_id.tolist() == [2]
    assert decode(layout, SCENE, candidates=2).class_id.tolist() == [2, 0]


def test_an_empty_scene_is_empty(layout: str) -> None:
    assert len(decode(layout, [])) == 0


def test_boxes_come_in_source_pixels_and_stay_inside(layout: str) -> None:
    letterbox = Letterbox.fit((400, 400), SIZE)  # scale 0.16, 32 px of padding on both sides
    beyond = Thing((90, 32, 30, 20), 0.9, 0)
    padding = Thing((10, 30, 10, 10), 0.8, 1)
    found = decode(layout, [beyond, padding], letterbox)
    assert found.class_id.tolist() == [0]
    np.testing.assert_allclose(found.xyxy, [[268.75, 137.5, 400, 262.5]], atol=0.01)


def test_every_picture_of_a_batch_has_its_own_answer_and_map(layout: str) -> None:
    kind, fixed, encode = LAYOUTS[layout]
    output = np.concatenate([encode(SCENE[:1]), encode([]), encode(SCENE[1:])])
    letterboxes = [NOT_SCALED, NOT_SCALED, Letterbox.stretch((256, 128), SIZE)]
    found = [each.detections for each in build(kind, fixed, output).decode([output], letterboxes)]
    assert [len(each) for each in found] == [1, 0, 2]
    np.testing.assert_allclose(found[2].xyxy[0], np.multiply(SCENE[1].xyxy, 2), atol=1e-3)


def test_half_precision_outputs_are_read_too(layout: str) -> None:
    kind, fixed, encode = LAYOUTS[layout]
    output = encode(SCENE).astype(np.float16)
    found = build(kind, fixed, output).decode([output], [NOT_SCALED])[0].detections
    assert found.class_id.tolist() == [2, 0, 1]
    np.testing.assert_allclose(found.xyxy, [thing.xyxy for thing in SCENE], atol=0.2)


def test_what_a_broken_network_says_is_no_detection(layout: str) -> None:
    kind, fixed, encode = LAYOUTS[layout]
    output = np.full_like(encode([]), np.nan)
    found = build(kind, fixed, output).decode([output], [NOT_SCALED])[0].detections
    assert len(found) == 0


def test_a_monstrous_size_does_not_overflow() -> None:
    output = yolox_raw(SCENE[:1])
    output[0, 0, 2:4] = 1000
    found = build("yolox", {}, output).decode([output], [NOT_SCALED])[0].detections
    assert found.xyxy.tolist() == [[0, 0, 128, 64]]


def test_the_anchor_grid_is_row_by_row_finest_first() -> None:
    grid, stride = anchor_grid((16, 8), (4, 8))
    assert grid.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1], [1, 1], [2, 1], [3, 1], [0, 0], [1, 0]]
    assert stride.ravel().tolist() == [4] * 8 + [8] * 2


def test_end_to_end_rows_are_taken_as_they_are() -> None:
    rows = np.zeros((1, 6, 6), np.float32)
    for index, thing in enumerate([SCENE[1], SCENE[0], DOUBLE, FAINT]):
        rows[0, index] = [*thing.xyxy, thing.score, thing.class_id]
    rows[0, 4] = [0, 0, 9, 9, 0.9, CLASSES]  # a class that does not exist
    rows[0, 5] = [0, 0, 9, 9, 0.9, -1]
    decoder = EndToEndDecoder(
        EndToEndDecoder.Options(max_detections=2), NetworkShape("toy", SIZE, CLASSES, ((1, 6, 6),))
    )
    found = decoder.decode([rows], [NOT_SCALED])[0].detections
    np.testing.assert_allclose(found.xyxy, [SCENE[0].xyxy, SCENE[1].xyxy])
    assert found.class_id.tolist() == [2, 0]


def test_end_to_end_boxes_may_be_centres_in_parts_of_the_picture() -> None:
    rows = np.array([[[*np.divide(SCENE[0].cxcywh, SIZE * 2), 0.9, 2]]], np.float32)
    options = EndToEndDecoder.Options(box="centre", normalised=True)
    found = EndToEndDecoder(options, NetworkShape("toy", SIZE, CLASSES, ((1, 1, 6),))).decode([rows], [NOT_SCALED])
    np.testing.assert_allclose(found[0].detections.xyxy, [SCENE[0].xyxy], rtol=1e-6)


def test_rows_of_all_pictures_together_find_their_own() -> None:
    things = [(1, SCENE[0]), (0, SCENE[1]), (1, SCENE[2]), (0, FAINT)]
    rows = np.array([[item, *thing.xyxy, thing.class_id, thing.score] for item, thing in things], np.float32)
    decoder = EndToEndDecoder(EndToEndDecoder.Options(), NetworkShape("toy", SIZE, CLASSES, ((0, 7),)))
    found = [each.detections for each in decoder.decode([rows], [NOT_SCALED] * 3)]
    assert [each.class_id.tolist() for each in found] == [[0], [2, 1], []]
    np.testing.assert_allclose(found[1].xyxy, [SCENE[0].xyxy, SCENE[2].xyxy])


COUNTED = ("num_dets", "det_boxes", "det_scores", "det_classes")


def counted(things: list[Thing], count: int | None = None, rows: int = 6) -> list[np.ndarray]:
    """What a network with EfficientNMS says; rows beyond the count are garbage."""
    boxes = np.full((1, rows, 4), 50, np.float32)
    scores, classes = np.full((1, rows), 0.99, np.float32), np.zeros((1, rows), np.int32)
    for index, thing in enumerate(things):
        boxes[0, index], scores[0, index], classes[0, index] = thing.xyxy, thing.score, thing.class_id
    number = np.array([[len(things) if count is None else count]], np.int32)
    return [number, boxes, scores, classes]


def test_counted_rows_are_taken_and_the_rest_left() -> None:
    shapes = ((1, 1), (1, 6, 4), (1, 6), (1, 6))
    plugin = plugins.load("decoder", "efficient_nms")
    decoder = plugin(plugin.Options(), NetworkShape("toy", SIZE, CLASSES, shapes, COUNTED))
    found = decoder.decode(counted([SCENE[1], FAINT, SCENE[0]]), [NOT_SCALED])[0].detections
    assert found.class_id.tolist() == [2, 0]
    np.testing.assert_allclose(found.xyxy, [SCENE[0].xyxy, SCENE[1].xyxy])
    for count in (0, -3):
        assert len(decoder.decode(counted(SCENE, count), [NOT_SCALED])[0].detections) == 0
    assert len(decoder.decode(counted(SCENE, 3_000), [NOT_SCALED])[0].detections) == 3


@pytest.mark.parametrize(
    ("names", "shapes", "words"),
    [
        (("a", *COUNTED[1:]), ((1, 1), (1, 6, 4), (1, 6), (1, 6)), "one output with 'num' in its name"),
        (COUNTED, ((1, 1), (1, 6, 4), (1, 5), (1, 6)), r"should be \(batch, N, 4\)"),
    ],
)
def test_other_outputs_are_no_counted_rows(
    names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], words: str
) -> None:
    plugin = plugins.load("decoder", "efficient_nms")
    with pytest.raises(ManifestError, match=words):
        plugin(plugin.Options(), NetworkShape("toy", SIZE, CLASSES, shapes, names))


@pytest.mark.parametrize(
    ("kind", "options", "shapes", "words"),
    [
        ("yolox", {}, [(1, ANCHORS, 85)], "3 labels, which needs 8 values per anchor, but the network gives 85"),
        ("yolox", {}, [(1, 99, 8)], f"make {ANCHORS} anchors, but the network gives 99"),
        ("yolox", {"strides": [8]}, [(1, ANCHORS, 8)], "make 128 anchors"),
        ("yolox", {}, [(1, 8)], "3 dimensions"),
        ("yolox", {}, [], "the network has none"),
        ("yolo", {}, [(1, 84, 168)], "3 labels one side must be 7 or 8, but the network gives 84x168"),
        ("yolo", {}, [(1, 7, 8)], "may be .* or .*: state `objectness`"),
        ("yolo", {"objectness": True}, [(1, 7, 168)], "one side must be"),
        ("end2end", {}, [(1, 300, 7)], "end-to-end output"),
    ],
)
def test_a_network_that_does_not_fit_the_manifest_is_refused(
    kind: str, options: dict[str, Any], shapes: list[tuple[int, ...]], words: str
) -> None:
    plugin = plugins.load("decoder", kind)
    with pytest.raises(ManifestError, match=words):
        plugin(plugin.Options(**options), NetworkShape("toy", SIZE, CLASSES, tuple(shapes)))


@pytest.mark.parametrize(
    ("options", "shape", "expected"),
    [
        ({}, (1, 168, 8), "(anchors, 4 + 1 + classes)"),
        ({}, (1, 7, 168), "(4 + classes, anchors)"),
        ({"objectness": True}, (1, 7, 8), "(anchors, 4 + 1 + classes)"),
        ({"anchors_last": True}, (1, 7, 8), "(4 + classes, anchors)"),
        ({"objectness": False, "anchors_last": True}, (1, 7, 7), "(4 + classes, anchors)"),
    ],
)
def test_the_layout_is_read_from_the_shape(options: dict[str, bool], shape: tuple[int, ...], expected: str) -> None:
    decoder = YoloDecoder(YoloDecoder.Options(**options), NetworkShape("toy", SIZE, CLASSES, (shape,)))
    assert str(decoder.layout) == expected


DETECTORS = [
    kind for kind in plugins.names("decoder") if issubclass(plugins.load("decoder", kind).Options, ScoreOptions)
]


@pytest.mark.parametrize("kind", DETECTORS)
def test_unknown_and_impossible_options_are_refused(kind: str) -> None:
    options = plugins.load("decoder", kind).Options
    assert options().min_score == 0.1
    for wrong in ({"min_scor": 0.1}, {"min_score": 0}, {"min_score": 1}, {"max_detections": 0}):
        with pytest.raises(ValidationError):
            options(**wrong)


def test_outputs_are_not_changed() -> None:
    output = yolox_raw(SCENE)
    before = output.copy()
    output.flags.writeable = False
    YoloxDecoder(YoloxDecoder.Options(), NetworkShape("toy", SIZE, CLASSES, (output.shape,))).decode(
        [output], [NOT_SCALED]
    )
    np.testing.assert_array_equal(output, before)
