"""Decoders of what is exported from torchvision, on outputs made by hand; tests/export compares with the real thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.classification import ClassificationDecoder
from streamvision.engine.decoders.dense import DenseDecoder, best_of_each
from streamvision.errors import ManifestError
from streamvision.geometry import Letterbox
from streamvision.types import Detections

SIZE = (100, 50)
NOT_SCALED = Letterbox.stretch(SIZE, SIZE)
BOXES = np.array([[[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10], [60, 0, 70, 9]]], np.float32)
SCORES = np.array([[[0.9, 0.4], [0.8, 0.05], [0.7, 0.0], [0.0, 0.3], [0.0, 0.6]]], np.float32)


def decode(letterbox: Letterbox = NOT_SCALED, **options: Any) -> Detections:
    shape = NetworkShape("toy", SIZE, 2, (BOXES.shape, SCORES.shape), ("boxes", "scores"))
    decoder = DenseDecoder(DenseDecoder.Options(**options), shape)
    return decoder.decode([BOXES, SCORES], [letterbox])[0].detections


def test_one_box_may_be_several_classes_and_its_double_falls():
    found = decode()
    np.testing.assert_allclose(found.score, [0.9, 0.8, 0.7, 0.6, 0.4])
    assert found.class_id.tolist() == [0, 0, 0, 1, 1]
    assert found.xyxy[:, 0].tolist() == [0, 20, 40, 60, 0]


def test_boxes_of_two_classes_can_be_one_object():
    found = decode(iou_across=0.75)
    np.testing.assert_allclose(found.score, [0.9, 0.8, 0.7, 0.6])
    assert found.class_id.tolist() == [0, 0, 0, 1]


def test_the_score_must_exceed_the_threshold():
    assert len(decode(min_score=float(np.float32(0.6)))) == 3
    assert len(decode(min_score=0.95)) == 0


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        ({"candidates": 2}, [0.9, 0.8, 0.6, 0.4]),  # of each class
        ({"candidates": 2, "groups": [2, 3]}, [0.9, 0.8, 0.7, 0.6]),  # of each level
        ({"candidates": 1, "groups": [1, 1, 3]}, [0.9, 0.8, 0.7]),
        ({"max_detections": 2}, [0.9, 0.8]),
        ({"iou": 0.95}, [0.9, 0.8, 0.7, 0.6, 0.4, 0.3]),
    ],
)
def test_limits(options: dict[str, Any], scores: list[float]):
    np.testing.assert_allclose(decode(**options).score, scores)


def test_boxes_come_in_source_pixels():
    found = decode(Letterbox.fit((200, 50), SIZE, centre=False))  # half the size, padding below
    np.testing.assert_allclose(found.xyxy[0], [0, 0, 20, 20])
    np.testing.assert_allclose(found.xyxy[3], [120, 0, 140, 18])


def test_the_best_of_each_group():
    group, score = np.array([3, 1, 3, 1, 3]), np.array([0.1, 0.2, 0.3, 0.4, 0.2], np.float32)
    assert best_of_each(group, score, 2).tolist() == [1, 2, 3, 4]
    assert best_of_each(group, score, 1).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("names", "shapes", "options", "words"),
    [
        (("boxes", "probs"), [(1, 5, 4), (1, 5, 2)], {}, "there is no output 'scores'; the network has boxes, probs"),
        (("boxes", "scores"), [(1, 5, 4), (1, 5, 3)], {}, r"scores \(N, 2\) are needed"),
        (("boxes", "scores"), [(1, 5, 5), (1, 5, 2)], {}, r"boxes \(N, 4\)"),
        (("boxes", "scores"), [(1, 5, 4), (1, 6, 2)], {}, "are needed"),
        (("boxes", "scores"), [(1, 5, 4), (1, 5, 2)], {"groups": [2, 2]}, "do not add up to the network's 5 anchors"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(names: Any, shapes: Any, options: dict[str, Any], words: str):
    with pytest.raises(ManifestError, match=words):
        DenseDecoder(DenseDecoder.Options(**options), NetworkShape("toy", SIZE, 2, tuple(shapes), names))


def classify(values: list[float], **options: Any) -> Any:
    shape = NetworkShape("toy", SIZE, 3, ((1, 3),), ("logits",))
    decoder = ClassificationDecoder(ClassificationDecoder.Options(**options), shape)
    (seen,) = decoder.decode([np.array([values], np.float32)], [NOT_SCALED])
    assert len(seen.detections) == 0
    return seen.classification


def test_a_classifier_gives_probabilities():
    np.testing.assert_allclose(classify([0, np.log(2), 0]), [0.25, 0.5, 0.25], atol=1e-6)
    np.testing.assert_allclose(classify([1000, -1000, 0]), [1, 0, 0])
    np.testing.assert_allclose(classify([0.2, 0.5, 0.3], softmax=False), [0.2, 0.5, 0.3])


def test_a_classifier_with_other_classes_is_refused():
    with pytest.raises(ManifestError, match="3 labels, but the network scores 4"):
        ClassificationDecoder(ClassificationDecoder.Options(), NetworkShape("toy", SIZE, 3, ((1, 4),)))
    with pytest.raises(ValidationError):
        ClassificationDecoder.Options(sofmax=True)
