"""COCO's average precision against hand-computed cases and a slow reference of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamvision.dataset import Dataset, Example, Objects
from streamvision.evaluate import Evaluation, Names, measure
from streamvision.evaluate.matching import match
from streamvision.evaluate.objects import ObjectBook
from streamvision.types import Detections, Masks, Perception
from tests.evaluate.scenes import CLASSES, boxes, detections, objects, seen

pytest.importorskip("pycocotools", reason="pycocotools measures")

NAMES = Names(CLASSES)
TWO = boxes(objects((10, 10, 110, 110, 0)), objects((10, 10, 110, 110, 0)))


def figures(dataset: Dataset, *found: Perception) -> dict[str, float]:
    return measure(dataset, found, NAMES).figures


def test_perfect_detections_have_an_ap_of_one():
    got = figures(TWO, seen((10, 10, 110, 110, 0, 0.9)), seen((10, 10, 110, 110, 0, 0.4)))
    assert [got[name] for name in ("AP", "AP50", "AP75", "AP_large")] == pytest.approx([1] * 4)
    assert np.isnan(got["AP_small"])
    assert np.isnan(got["AP_medium"])


def test_no_detections_have_an_ap_of_zero():
    got = figures(TWO, Perception.of_nothing(), Perception.of_nothing())
    assert (got["AP"], got["AP50"]) == (0, 0)


def test_shifted_detections_count_as_far_as_they_overlap():
    # 25 of 100 px to the right: 75 x 100 of 125 x 100 are shared, an overlap of 0.6; three of ten thresholds agree.
    shifted = seen((35, 10, 135, 110, 0, 0.9))
    got = figures(TWO, shifted, shifted)
    assert got["AP50"] == pytest.approx(1)
    assert got["AP75"] == 0
    assert got["AP"] == pytest.approx(0.3)


def test_a_duplicate_is_wrong():
    twice = seen((10, 10, 110, 110, 0, 0.9), (10, 10, 110, 110, 0, 0.8))
    once = seen((10, 10, 110, 110, 0, 0.7))
    # Right, wrong, right: precision 1 up to a recall of one half (51 of 101 points), then two thirds.
    assert figures(TWO, twice, once)["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_what_does_not_count_is_neither_right_nor_wrong():
    crowd = boxes(objects((10, 10, 110, 110, 0), (200, 200, 400, 400, 0), ignore=[False, True]))
    got = figures(crowd, seen((250, 250, 300, 300, 0, 0.9), (10, 10, 110, 110, 0, 0.5)))
    assert got["AP"] == pytest.approx(1)


def test_a_picture_without_known_objects_says_nothing():
    unknown = boxes(objects((10, 10, 110, 110, 0)), None)
    assert figures(unknown, seen((10, 10, 110, 110, 0, 0.5)), seen((0, 0, 50, 50, 0, 0.9)))["AP"] == pytest.approx(1)
    empty = boxes(objects((10, 10, 110, 110, 0)), Objects.none())
    assert figures(empty, seen((10, 10, 110, 110, 0, 0.5)), seen((0, 0, 50, 50, 0, 0.9)))["AP"] == pytest.approx(0.5)


def test_figures_by_class_and_what_each_detection_was():
    truth = boxes(objects((0, 0, 50, 50, 0), (100, 100, 200, 200, 1)), objects((0, 0, 50, 50, 1)))
    found = [seen((0, 0, 50, 50, 0, 0.9), (300, 300, 400, 400, 0, 0.95)), seen((0, 0, 50, 50, 1, 0.6))]
    boxed = measure(truth, found, NAMES).boxes
    assert boxed is not None
    np.testing.assert_allclose(boxed.by_class[:, 1], [0.5, 51 / 101])
    judged = boxed.judged
    assert judged.truths.tolist() == [1, 2]
    assert judged.missed.tolist() == [[0, 1], [0, 0]]
    assert sorted(zip(judged.row, judged.hit, strict=True)) == [(0, True), (1, False), (2, True)]


def random_set(rng: np.random.Generator, pictures: int = 12) -> tuple[Dataset, list[Perception]]:
    truths, found = [], []
    for _ in range(pictures):
        count = rng.integers(0, 6)
        low = rng.uniform(0, 300, (count, 2))
        box = np.concatenate([low, low + rng.uniform(80, 200, (count, 2))], axis=1)
        kinds = rng.integers(0, 2, count)
        truths.append(objects(*np.column_stack([box, kinds]), ignore=list(rng.random(count) < 0.2)))
        moved = np.concatenate(
            [box + rng.normal(0, 8, box.shape), box[: count // 2] + rng.normal(0, 12, (count // 2, 4))]
        )
        kind = np.concatenate([kinds, kinds[: count // 2]])
        found.append(seen(*np.column_stack([moved, kind, rng.random(len(moved))])))
    return boxes(*truths), found


def iou(a: np.ndarray, b: np.ndarray, crowd: bool) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    own, other = (float((one[2] - one[0]) * (one[3] - one[1])) for one in (a, b))
    return shared / (own if crowd else own + other - shared)


def slow_ap(dataset: Dataset, found: list[Perception], kind: int, overlap: float) -> float:
    """By the book of pycocotools, one detection and one object at a time."""
    verdicts, objects_in_all = [], 0
    for example, perception in zip(dataset.examples, found, strict=True):
        truth = example.objects
        assert truth is not None
        mine = [index for index in range(len(truth)) if truth.class_id[index] == kind]
        mine.sort(key=lambda index: bool(truth.ignore[index]))
        objects_in_all += sum(not truth.ignore[index] for index in mine)
        taken: set[int] = set()
        rows = perception.detections
        for row in sorted(np.flatnonzero(rows.class_id == kind), key=lambda row: -rows.score[row]):
            best, chosen = overlap, None
            for index in mine:
                if index in taken and not truth.ignore[index]:
                    continue
                if chosen is not None and not truth.ignore[chosen] and truth.ignore[index]:
                    break
                value = iou(rows.xyxy[row], truth.xyxy[index], bool(truth.ignore[index]))
                if value >= best:
                    best, chosen = value, index
            if chosen is not None:
                taken.add(chosen)
            verdicts.append((float(rows.score[row]), chosen is not None, chosen is not None and truth.ignore[chosen]))
    ranked = [hit for _, hit, ignored in sorted(verdicts, key=lambda one: -one[0]) if not ignored]
    points, asked = np.zeros(101), np.linspace(0, 1, 101)  # 0.7 is not among them, but 0.7000000000000001
    for at in range(len(ranked)):
        precision, recall = sum(ranked[: at + 1]) / (at + 1), sum(ranked[: at + 1]) / objects_in_all
        for point in range(101):
            if recall >= asked[point]:
                points[point] = max(points[point], precision)
    return float(points.mean())


@pytest.mark.parametrize("seed", range(4))
def test_against_a_slow_reference(seed: int):
    dataset, found = random_set(np.random.default_rng(seed))
    got = measure(dataset, found, NAMES).boxes
    assert got is not None
    for kind in range(2):
        assert got.by_class[kind, 1] == pytest.approx(slow_ap(dataset, found, kind, 0.5), abs=1e-6)
        assert got.by_class[kind, 2] == pytest.approx(slow_ap(dataset, found, kind, 0.75), abs=1e-6)


def half_masks(count: int) -> Masks:
    """The left half of each box of 100 x 100."""
    values = np.full((count, 10, 10), -1, np.float32)
    values[:, :, :5] = 1
    return Masks(values, np.tile(np.array([10, 10, 110, 110], np.float32), (count, 1)))


def test_masks_have_an_ap_of_their_own():
    square = [np.array([[10, 10], [60, 10], [60, 110], [10, 110]], np.float32)]
    truth = Objects(np.array([[10, 10, 110, 110]], np.float32), np.zeros(1, np.int32), np.zeros(1, np.bool_), (square,))
    dataset = Dataset("here", CLASSES, (Example(Path("0.png"), (320, 240), truth),))
    box = detections((10, 10, 110, 110, 0, 0.9))
    result = measure(dataset, [Perception(Detections(box.xyxy, box.score, box.class_id, half_masks(1)))], NAMES)
    assert result.figures["mask_AP75"] == pytest.approx(1)
    assert result.figures["AP"] == pytest.approx(1)
    whole: Evaluation = measure(dataset, [Perception(box)], NAMES)
    assert whole.masks is None


def test_areas_that_a_file_tells_decide_what_is_small():
    book = ObjectBook(match(CLASSES, CLASSES))
    example = TWO.examples[0]
    book.add(example, detections((10, 10, 110, 110, 0, 0.9)), [500.0])
    got = book.precision().figures
    assert got["AP_small"] == pytest.approx(1)
    assert np.isnan(got["AP_large"])
