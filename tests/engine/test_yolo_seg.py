from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.yolo_seg import YoloSegDecoder
from streamvision.errors import ManifestError
from streamvision.geometry import Letterbox
from streamvision.masks import bitmap, patch
from streamvision.types import Detections, Float32, Masks

SIZE = (128, 64)
PROTOTYPES = (4, 16, 32)
ANCHORS = 168
CLASSES = 3
NOT_SCALED = Letterbox.stretch(SIZE, SIZE)
Thing = tuple[tuple[float, float, float, float], float, int, list[float]]

# Corners in model px, score, class, coefficients; best first.
SCENE: list[Thing] = [
    ((30.0, 18.0, 50.0, 42.0), 0.9, 2, [1.0, 0.3, -0.5, 0.2]),
    ((92.3, 11.9, 108.8, 28.1), 0.7, 0, [-0.4, 1.0, 0.8, 0.1]),
    ((31.0, 18.0, 51.0, 42.0), 0.6, 1, [0.2, -0.9, 0.4, 1.0]),
]
DOUBLE: Thing = ((32.0, 18.0, 52.0, 42.0), 0.5, 2, [1.0, 1.0, 1.0, 1.0])


def fields(seed: int = 0) -> Float32:
    """Return smooth prototypes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: PROTOTYPES[1], : PROTOTYPES[2]]
    waves = [np.sin(x * a + y * b + c) + d for a, b, c, d in rng.uniform(0.1, 0.7, (PROTOTYPES[0], 4))]
    return np.stack(waves).astype(np.float32)


def v5(things: list[Thing]) -> Float32:
    rows = np.zeros((1, ANCHORS, 5 + CLASSES + 4), np.float32)
    for index, ((x1, y1, x2, y2), score, class_id, coefficients) in enumerate(things):
        rows[0, index, :5] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, math.sqrt(score)
        rows[0, index, 5 + class_id] = math.sqrt(score)
        rows[0, index, 5 + CLASSES :] = coefficients
    return rows


def v8(things: list[Thing]) -> Float32:
    rows = v5(things)
    rows[..., 5 : 5 + CLASSES] **= 2
    return np.ascontiguousarray(np.delete(rows, 4, axis=2).transpose(0, 2, 1))


def finished(things: list[Thing]) -> Float32:
    rows = np.full((1, 20, 6 + 4), -1, np.float32)
    for index, (xyxy, score, class_id, coefficients) in enumerate(things):
        rows[0, index] = [*xyxy, score, class_id, *coefficients]
    return rows


LAYOUTS = {"v5": v5, "v8": v8, "end to end": finished}


def build(*shapes: tuple[int, ...], classes: int = CLASSES, **options: Any) -> YoloSegDecoder:
    return YoloSegDecoder(YoloSegDecoder.Options(**options), NetworkShape("toy", SIZE, classes, shapes))


def decode(layout: str, things: list[Thing], letterbox: Letterbox = NOT_SCALED, prototypes: Float32 | None = None):
    output = LAYOUTS[layout](things)
    shared = fields()[None] if prototypes is None else prototypes[None]
    return build(output.shape, shared.shape).decode([output, shared], [letterbox])[0].detections


def reference(thing: Thing, prototypes: Float32, xyxy: list[float], letterbox: Letterbox) -> np.ndarray:
    """Return the whole picture's mask, one sum per sample, and of it what lies in the box."""
    field = sum(weight * plane for weight, plane in zip(thing[3], prototypes, strict=True))
    region = letterbox.points_to_source(np.array([[0, 0], SIZE], np.float32)).reshape(1, 4)
    everywhere = bitmap(Masks(np.asarray(field, np.float32)[None], region), 0, letterbox.source_wh)
    y, x = np.mgrid[: letterbox.source_wh[1], : letterbox.source_wh[0]] + 0.5
    return everywhere & (x >= xyxy[0]) & (x < xyxy[2]) & (y >= xyxy[1]) & (y < xyxy[3])


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "letterbox",
    [
        NOT_SCALED,
        Letterbox.stretch((640, 480), SIZE),
        Letterbox.fit((400, 400), SIZE),
        Letterbox.fit((1000, 300), SIZE),
    ],
    ids=["as it is", "stretched", "padded beside", "padded above"],
)
def test_a_mask_is_the_sum_of_the_prototypes_within_the_box(layout: str, letterbox: Letterbox) -> None:
    in_sight = [((44.3, 18.0, 70.0, 42.0), 0.9, 2, [1.0, 0.3, -0.5, 0.2]), *SCENE[1:]]
    found = decode(layout, in_sight, letterbox)
    kept = [thing for thing in in_sight if thing[2] in found.class_id]
    assert found.masks is not None
    assert len(found.masks) == len(found) == len(kept) >= 2
    for index, thing in enumerate(kept):
        expected = reference(thing, fields(), found.xyxy[index].tolist(), letterbox)
        got = patch(found.masks, index, letterbox.source_wh).full()
        # Sums in another order may fall on the other side of zero at a pixel or two.
        assert np.count_nonzero(got) > 100
        assert np.count_nonzero(got != expected) <= 2


def test_a_mask_that_is_positive_everywhere_ends_at_its_box(layout: str) -> None:
    letterbox = Letterbox.stretch((640, 320), SIZE)
    ones = np.ones(PROTOTYPES, np.float32)
    box = (41.36, 13.7, 70.86, 50.2)
    found = decode(layout, [(box, 0.9, 0, [1.0, 1.0, 0.5, 0.5])], letterbox, ones)
    assert found.masks is not None
    part = patch(found.masks, 0, (640, 320))
    assert part.pixels.all()
    assert part.origin_xy == (207, 68)
    assert part.pixels.shape == (251 - 68, 354 - 207)


def test_a_mask_ends_where_the_padding_begins(layout: str) -> None:
    letterbox = Letterbox.fit((400, 400), SIZE)
    found = decode(layout, [((0, 0, 128, 64), 0.9, 0, [1.0] * 4)], letterbox, np.ones(PROTOTYPES, np.float32))
    assert found.masks is not None
    assert patch(found.masks, 0, (400, 400)).area == 400 * 400


def test_finds_the_scene_best_first_with_its_own_masks(layout: str) -> None:
    doubles = [] if layout == "end to end" else [DOUBLE]
    found = decode(layout, [SCENE[2], *doubles, SCENE[0], SCENE[1]])
    assert found.class_id.tolist() == [2, 0, 1]
    alone = [decode(layout, [thing]) for thing in SCENE]
    for index, one in enumerate(alone):
        assert found.masks is not None
        assert one.masks is not None
        assert patch(found.masks, index, SIZE).iou(patch(one.masks, 0, SIZE)) == 1


def test_an_empty_scene_has_no_masks(layout: str) -> None:
    found = decode(layout, [])
    assert len(found) == 0
    assert found.masks is not None
    assert len(found.masks) == 0


def test_what_lies_in_the_padding_is_dropped_with_its_mask(layout: str) -> None:
    hidden: Thing = ((5, 25, 15, 35), 0.95, 1, [1.0] * 4)
    found = decode(layout, [hidden, ((50, 20, 70, 40), 0.9, 0, [1.0] * 4)], Letterbox.fit((400, 400), SIZE))
    assert found.class_id.tolist() == [0]
    assert found.masks is not None
    assert len(found.masks) == 1


@pytest.mark.parametrize(("side", "columns", "rows"), [(0.5, 1, 1), (3.0, 3, 3), (5.0, 5, 5)])
def test_an_object_smaller_than_a_sample_keeps_to_its_place(layout: str, side: float, columns: int, rows: int) -> None:
    box = (60.2, 30.1, 60.2 + side, 30.1 + side)
    found = decode(layout, [(box, 0.9, 0, [1.0] * 4)], NOT_SCALED, np.ones(PROTOTYPES, np.float32))
    assert found.masks is not None
    y, x = np.nonzero(patch(found.masks, 0, SIZE).full())
    assert x.tolist() == [60 + column for _ in range(rows) for column in range(columns)]
    assert y.tolist() == [30 + row for row in range(rows) for _ in range(columns)]


def test_every_picture_of_a_batch_has_its_own_prototypes(layout: str) -> None:
    output = np.concatenate([LAYOUTS[layout]([SCENE[0]])] * 2)
    prototypes = np.stack([fields(1), fields(2)])
    found = build(output.shape, prototypes.shape).decode([output, prototypes], [NOT_SCALED] * 2)
    for seen, own in zip(found, prototypes, strict=True):
        alone = decode(layout, [SCENE[0]], prototypes=own)
        assert isinstance(alone, Detections)
        assert seen.detections.masks is not None
        assert alone.masks is not None
        np.testing.assert_array_equal(seen.detections.masks.values, alone.masks.values)


def test_half_precision_and_the_other_order_of_outputs_are_read_too(layout: str) -> None:
    output, prototypes = LAYOUTS[layout](SCENE).astype(np.float16), fields()[None].astype(np.float16)
    found = build(prototypes.shape, output.shape).decode([prototypes, output], [NOT_SCALED])[0].detections
    assert found.class_id.tolist() == [2, 0, 1]
    assert found.masks is not None
    assert found.masks.values.dtype == np.float32


def test_what_a_broken_network_says_is_no_detection(layout: str) -> None:
    output, prototypes = np.full_like(LAYOUTS[layout]([]), np.nan), np.full_like(fields()[None], np.nan)
    assert len(build(output.shape, prototypes.shape).decode([output, prototypes], [NOT_SCALED])[0].detections) == 0


def test_a_box_that_is_no_number_is_dropped_with_its_mask(layout: str) -> None:
    nowhere: Thing = ((math.nan, math.nan, math.nan, math.nan), 0.95, 1, [1.0] * 4)
    found = decode(layout, [nowhere, SCENE[0]])
    assert found.class_id.tolist() == [2]
    assert found.masks is not None
    assert patch(found.masks, 0, SIZE).area > 100


def test_masks_that_are_no_numbers_are_nowhere(layout: str) -> None:
    found = decode(layout, SCENE, prototypes=np.full(PROTOTYPES, np.nan, np.float32))
    assert found.masks is not None
    assert patch(found.masks, 0, SIZE).area == 0


@pytest.mark.parametrize(
    ("options", "shape", "classes", "expected"),
    [
        ({}, (1, 168, 12), 3, "(anchors, 4 + 1 + classes + coefficients)"),
        ({}, (1, 11, 168), 3, "(4 + classes + coefficients, anchors)"),
        ({}, (1, 300, 10), 3, "None"),
        ({"end_to_end": True}, (1, 300, 10), 1, "None"),
        ({"end_to_end": False}, (1, 300, 10), 1, "(anchors, 4 + 1 + classes + coefficients)"),
    ],
)
def test_the_layout_is_read_from_the_shape(options: dict, shape: tuple[int, ...], classes: int, expected: str) -> None:
    assert str(build(shape, (1, *PROTOTYPES), classes=classes, **options).layout) == expected


@pytest.mark.parametrize(
    ("shapes", "classes", "options", "words"),
    [
        ([(1, 11, 168)], 3, {}, "one output of 3 dimensions .* and one of 4"),
        ([], 3, {}, "has none"),
        ([(1, 11, 168), (1, 11, 168)], 3, {}, "one of 4"),
        ([(1, 13, 168), (1, *PROTOTYPES)], 3, {}, "3 labels and 4 prototypes one side must be 11 or 12, .* 10 columns"),
        ([(1, 300, 10), (1, *PROTOTYPES)], 1, {}, "may be .* or finished rows: state `end_to_end`"),
        ([(1, 11, 168), (1, *PROTOTYPES)], 3, {"end_to_end": True}, "gives 11x168"),
    ],
)
def test_a_network_that_does_not_fit_the_manifest_is_refused(
    shapes: list[tuple[int, ...]], classes: int, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        build(*shapes, classes=classes, **options)
