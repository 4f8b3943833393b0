"""DETR-style outputs beside a scalar decoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.detr import DetrDecoder
from streamvision.errors import ManifestError
from streamvision.geometry import Letterbox

SIZE = (96, 64)
QUERIES = 30
SAME = Letterbox.stretch(SIZE, SIZE)
Found = list[tuple[float, int, int]]
"""Score, class and query, best first."""


def outputs(seed: int, columns: int, batch: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, (batch, QUERIES, columns)).astype(np.float32)
    boxes = np.concatenate((rng.uniform(0.2, 0.8, (batch, QUERIES, 2)), rng.uniform(0.05, 0.3, (batch, QUERIES, 2))), 2)
    return [logits, boxes.astype(np.float32)]


def by_sigmoid(logits: np.ndarray, first: int, classes: int, least: float) -> Found:
    found = []
    for query in range(QUERIES):
        for index in range(classes):
            score = 1 / (1 + math.exp(-float(logits[query, first + index])))
            if score >= least:
                found.append((score, index, query))
    return sorted(found, key=lambda each: -each[0])


def by_softmax(logits: np.ndarray, first: int, classes: int, least: float) -> Found:
    found = []
    for query in range(QUERIES):
        powers = [math.exp(float(value)) for value in logits[query]]
        shares = [power / sum(powers) for power in powers[first : first + classes]]
        index = max(range(classes), key=shares.__getitem__)
        if shares[index] >= least:
            found.append((shares[index], index, query))
    return sorted(found, key=lambda each: -each[0])


def decoder(found: list[np.ndarray], classes: int, names: tuple[str, ...] = (), **options: Any) -> DetrDecoder:
    network = NetworkShape("toy", SIZE, classes, tuple((1, *each.shape[1:]) for each in found), names)
    return DetrDecoder(DetrDecoder.Options(**options), network)


LAYOUTS: dict[str, tuple[int, int, dict[str, Any], Callable[..., Found]]] = {
    "RT-DETR": (7, 7, {}, by_sigmoid),
    "RF-DETR, a spare column": (8, 7, {}, by_sigmoid),
    "RF-DETR, COCO's own numbers": (8, 7, {"first_class": 1}, by_sigmoid),
    "DETR": (8, 7, {"activation": "softmax"}, by_softmax),
    "DETR, COCO's own numbers": (9, 7, {"activation": "softmax", "first_class": 1}, by_softmax),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("swapped", [False, True])
def test_detections_are_those_of_a_scalar_decoder(layout: str, swapped: bool) -> None:
    columns, classes, options, scalar = LAYOUTS[layout]
    logits, boxes = outputs(5, columns, batch=2)
    given = [boxes, logits] if swapped else [logits, boxes]
    double = Letterbox.stretch((SIZE[0] * 2, SIZE[1] * 2), SIZE)
    seen = decoder(given, classes, min_score=0.3, **options).decode(given, [SAME, double])
    for item, scale in enumerate((1, 2)):
        found, expected = seen[item].detections, scalar(logits[item], options.get("first_class", 0), classes, 0.3)
        assert len(found) == len(expected) > 3
        np.testing.assert_allclose(found.score, [score for score, _, _ in expected], atol=1e-6)
        assert found.class_id.tolist() == [index for _, index, _ in expected]
        wanted = [corners(boxes[item, query].tolist(), scale) for _, _, query in expected]
        np.testing.assert_allclose(found.xyxy, wanted, atol=1e-3)


def corners(box: list[float], scale: int) -> list[float]:
    cx, cy, w, h = box
    sides = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
    limits = (SIZE[0] * scale, SIZE[1] * scale)
    return [min(max(side * limits[axis % 2], 0), limits[axis % 2]) for axis, side in enumerate(sides)]


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_limits_thresholds_and_broken_networks(activation: str) -> None:
    given = outputs(1, 6)
    classes = 6 if activation == "sigmoid" else 5
    options: dict[str, Any] = {"activation": activation}
    all_found = decoder(given, classes, min_score=0.01, **options).decode(given, [SAME])[0].detections
    few = decoder(given, classes, min_score=0.01, max_detections=4, **options).decode(given, [SAME])[0].detections
    np.testing.assert_array_equal(few.score, all_found.score[:4])
    broken = [np.full_like(each, np.nan) for each in given]
    assert len(decoder(given, classes, **options).decode(broken, [SAME])[0].detections) == 0
    half = [each.astype(np.float16) for each in given]
    seen = decoder(given, classes, min_score=0.2, **options).decode(half, [SAME])[0].detections
    np.testing.assert_allclose(seen.score, all_found.score[all_found.score >= 0.2], atol=2e-3)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_infinite_logits_are_certainty(activation: str) -> None:
    classes = 6 if activation == "sigmoid" else 5
    logits, boxes = np.full((1, QUERIES, 6), -np.inf, np.float16), outputs(1, 6)[1]
    logits[0, 3, 2] = np.inf
    logits[0, :, 5] = np.where(np.arange(QUERIES) == 3, -np.inf, 0)
    found = decoder([logits, boxes], classes, min_score=0.6, activation=activation).decode([logits, boxes], [SAME])
    assert found[0].detections.class_id.tolist() == [2]
    assert found[0].detections.score.tolist() == [1]


def test_masks_follow_their_boxes_and_cover_the_whole_model_picture() -> None:
    logits, boxes = outputs(2, 3)
    rasters = np.random.default_rng(0).normal(size=(1, QUERIES, 8, 12)).astype(np.float32)
    letterbox = Letterbox.fit((48, 64), SIZE)  # the picture in the middle, 24 px of padding left and right
    boxes[0, :5, 0], boxes[0, :5, 2] = 0.05, 0.02  # all in the padding
    given = [boxes, logits, rasters]
    names = ("dets", "labels", "masks")
    found = decoder(given, 3, names, min_score=0.3).decode(given, [letterbox])[0].detections
    assert found.masks is not None
    expected = [each for each in by_sigmoid(logits[0], 0, 3, 0.3) if each[2] >= 5]
    assert len(found) == len(expected) > 3
    np.testing.assert_array_equal(found.masks.values, rasters[0, [query for _, _, query in expected]])
    np.testing.assert_allclose(found.masks.region, [[-24, 0, 72, 64]] * len(found))


@pytest.mark.parametrize("names", [("logits", "pred_boxes"), ("labels", "dets"), ("", "")])
def test_with_as_many_classes_as_sides_only_names_tell(names: tuple[str, str]) -> None:
    logits, boxes = outputs(3, 4)
    if names[0]:
        assert len(decoder([logits, boxes], 4, names).decode([logits, boxes], [SAME])[0].detections) > 0
    else:
        with pytest.raises(ManifestError, match="name them with `boxes` and `logits`"):
            decoder([logits, boxes], 4, ("a", "b"))
        stated = decoder([logits, boxes], 4, ("a", "b"), logits="a", boxes="b")
        assert len(stated.decode([logits, boxes], [SAME])[0].detections) > 0


@pytest.mark.parametrize(
    ("columns", "classes", "options", "words"),
    [
        (7, 9, {}, "9 labels from column 0 on with sigmoid need 9 or 10 logits per query, but the network gives 7"),
        (7, 7, {"activation": "softmax"}, "with softmax need 8"),
        (7, 7, {"first_class": 1}, "from column 1 on with sigmoid need 8 or 9"),
        (7, 7, {"boxes": "nothing"}, "no output 'nothing'"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    columns: int, classes: int, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        decoder(outputs(0, columns), classes, ("logits", "pred_boxes"), **options)


def test_an_output_of_another_rank_is_refused() -> None:
    with pytest.raises(ManifestError, match="this decoder reads boxes"):
        DetrDecoder(DetrDecoder.Options(), NetworkShape("toy", SIZE, 3, ((1, 3),)))
