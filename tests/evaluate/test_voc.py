"""VOC's average precision against hand-computed cases and a slow reference of our own."""

from __future__ import annotations

import numpy as np
import pytest

from streamvision.dataset import Example, Objects
from streamvision.evaluate.objects import Seen
from streamvision.evaluate.voc import all_points, eleven_points, voc_curve, voc_precision
from streamvision.types import Detections
from tests.evaluate.scenes import boxes, detections, objects
from tests.evaluate.test_coco import iou, random_set


def pictures(*pairs: tuple[Objects, Detections]) -> list[Seen]:
    examples: tuple[Example, ...] = boxes(*(truth for truth, _ in pairs)).examples
    return [Seen(example, truth, found) for example, (truth, found) in zip(examples, pairs, strict=True)]


def test_a_curve_by_hand():
    recall, precision = np.array([0.25, 0.25, 0.5, 0.5, 0.75]), np.array([1, 0.5, 2 / 3, 0.5, 0.6])
    # Best precision at recalls of 0, .1, .2: 1; of .3, .4, .5: 2/3; of .6, .7: 0.6; beyond: 0.
    assert eleven_points(recall, precision) == pytest.approx((3 + 3 * 2 / 3 + 2 * 0.6) / 11)
    assert all_points(recall, precision) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3 + 0.25 * 0.6)


def test_perfect_empty_and_without_objects():
    truth = objects((0, 0, 100, 100, 0))
    perfect = voc_precision(pictures((truth, detections((0, 0, 100, 100, 0, 0.4)))), 2)
    assert (perfect.eleven[0], perfect.every[0]) == pytest.approx((1, 1))
    assert np.isnan(perfect.eleven[1])
    assert np.isnan(perfect.every[1])
    assert perfect.figures == pytest.approx({"VOC07_AP50": 1, "VOC_AP50": 1})
    empty = voc_precision(pictures((truth, detections())), 1)
    assert (empty.eleven[0], empty.every[0]) == (0, 0)


def test_a_second_detection_of_one_object_is_wrong():
    truth = objects((0, 0, 100, 100, 0), (200, 0, 300, 100, 0))
    found = detections((0, 0, 100, 100, 0, 0.9), (2, 0, 100, 100, 0, 0.8), (200, 0, 300, 100, 0, 0.7))
    recall, precision = voc_curve(pictures((truth, found)), 0)
    np.testing.assert_allclose(recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(precision, [1, 0.5, 2 / 3])
    both = voc_precision(pictures((truth, found)), 1)
    assert both.every[0] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert both.eleven[0] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_only_the_object_that_is_overlapped_most_is_looked_at():
    # It overlaps the difficult one more than the other, which it would find too: VOC does not ask for the next best.
    truth = objects((0, 0, 100, 100, 0), (20, 0, 120, 100, 0), ignore=[True, False])
    recall, precision = voc_curve(pictures((truth, detections((5, 0, 105, 100, 0, 0.9)))), 0)
    assert recall.tolist() == [0]
    assert precision.tolist() == [0]


def test_an_overlap_of_exactly_half_is_enough():
    truth = objects((0, 0, 100, 100, 0))
    recall, _ = voc_curve(pictures((truth, detections((0, 0, 100, 50, 0, 0.9)))), 0)
    assert recall.tolist() == [1]


def slow_voc(pages: list[Seen], kind: int) -> tuple[float, float]:
    """The challenge's procedure, one detection at a time, with both ways to take the mean."""
    rows = []
    counted = 0
    taken: set[tuple[int, int]] = set()
    for page, one in enumerate(pages):
        counted += sum(c == kind and not i for c, i in zip(one.truth.class_id, one.truth.ignore, strict=True))
        rows += [
            (float(score), page, box)
            for box, score, c in zip(one.found.xyxy, one.found.score, one.found.class_id, strict=True)
            if c == kind
        ]
    right, wrong, curve = 0, 0, []
    for _, page, box in sorted(rows, key=lambda row: -row[0]):
        truth = pages[page].truth
        best = max(
            ((iou(box, truth.xyxy[at], False), at) for at in range(len(truth)) if truth.class_id[at] == kind),
            default=(0.0, -1),
        )
        if best[0] >= 0.5 and truth.ignore[best[1]]:
            continue
        if best[0] >= 0.5 and (page, best[1]) not in taken:
            taken.add((page, best[1]))
            right += 1
        else:
            wrong += 1
        curve.append((right / counted, right / (right + wrong)))
    eleven = sum(max((p for r, p in curve if r >= t / 10 - 1e-9), default=0) for t in range(11)) / 11
    area = 0.0
    for at in range(1, counted + 1):
        area += max((p for r, p in curve if r >= at / counted - 1e-9), default=0) / counted
    return eleven, area


@pytest.mark.parametrize("seed", range(6))
def test_against_a_slow_reference(seed: int):
    dataset, found = random_set(np.random.default_rng(seed))
    pages = [
        Seen(example, example.objects, one.detections)
        for example, one in zip(dataset.examples, found, strict=True)
        if example.objects is not None
    ]
    got = voc_precision(pages, 2)
    for kind in range(2):
        eleven, area = slow_voc(pages, kind)
        assert got.eleven[kind] == pytest.approx(eleven, abs=1e-9)
        assert got.every[kind] == pytest.approx(area, abs=1e-9)
