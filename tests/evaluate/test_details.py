"""What lies behind an AP: calibration, thresholds, confusion, names and groups, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from streamvision.errors import UsageError
from streamvision.evaluate import Names, parse_pairs
from streamvision.evaluate.calibration import calibration
from streamvision.evaluate.curves import best, curve
from streamvision.evaluate.details import object_details
from streamvision.evaluate.evaluator import Evaluator
from streamvision.evaluate.groups import by_group, check_column, gaps
from streamvision.evaluate.matching import check_pairs, match, narrowed
from streamvision.evaluate.pairing import EXCUSED, NOBODY, pair
from tests.evaluate.scenes import CLASSES, boxes, detections, objects, seen

pytest.importorskip("pycocotools", reason="pycocotools measures")


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    got = calibration(confidence, right)
    assert got.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]
    assert got.right[[5, 9]].tolist() == [0.5, 0.75]
    assert got.error == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert math.isnan(got.right[0])


def test_borders_of_bins_and_what_is_too_unsure_to_be_asked():
    got = calibration(np.array([0.0, 0.1, 0.5, 1.0]), np.array([False, False, True, True]))
    assert got.count.tolist() == [2, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert calibration(np.array([0.2, 0.9]), np.array([True, True]), least=0.3).count.sum() == 1
    assert math.isnan(calibration(np.zeros(0), np.zeros(0, np.bool_)).error)


def test_whoever_is_always_as_sure_as_right_has_no_error():
    rng = np.random.default_rng(1)
    confidence = np.repeat([0.25, 0.75], 4000)
    right = np.tile([True, False, False, False], 1000)
    right = np.concatenate([right, ~right])
    order = rng.permutation(8000)
    assert calibration(confidence[order], right[order]).error == pytest.approx(0)


def test_the_best_threshold_by_hand():
    points = curve(np.array([0.9, 0.8, 0.7, 0.7], np.float32), np.array([True, False, True, True]), 4)
    np.testing.assert_allclose(points.precision, [1, 1 / 2, 3 / 4])
    np.testing.assert_allclose(points.recall, [1 / 4, 1 / 4, 3 / 4])
    found = best(points)
    assert (found.f1, found.precision, found.recall) == pytest.approx((0.75, 0.75, 0.75))
    assert found.threshold == pytest.approx(0.7)
    assert math.isnan(best(curve(np.zeros(0, np.float32), np.zeros(0, np.bool_), 3)).f1)
    assert math.isnan(best(curve(np.ones(1, np.float32), np.zeros(1, np.bool_), 0)).f1)


def test_pairs_are_of_one_class_first():
    truth = objects((0, 0, 100, 100, 0), (10, 0, 110, 100, 1), (300, 0, 400, 100, 0), ignore=[False, False, True])
    found = detections(
        (6, 0, 106, 100, 0, 0.9), (0, 0, 100, 100, 1, 0.8), (300, 0, 400, 100, 1, 0.7), (0, 200, 9, 209, 0, 1)
    )
    got = pair(truth, found)
    assert got.of_found.tolist() == [0, 1, EXCUSED, NOBODY]
    assert got.of_truth.tolist() == [0, 1, NOBODY]


def details(*pages):
    dataset = boxes(*(truth for truth, _ in pages))
    evaluator = Evaluator(dataset, Names(CLASSES))
    for example, (_, found) in zip(dataset.examples, pages, strict=True):
        evaluator.add(example, found)
    assert evaluator.objects is not None
    return object_details(evaluator.objects, evaluator.objects.precision())


def test_confusion_has_a_row_and_a_column_for_nothing():
    got = details(
        (objects((0, 0, 50, 50, 0), (100, 0, 200, 90, 1)), seen((0, 0, 50, 50, 0, 0.9), (100, 0, 200, 90, 0, 0.9))),
        (objects((0, 0, 50, 50, 1)), seen((300, 300, 350, 350, 1, 0.9))),
        (objects((0, 0, 50, 50, 0), (100, 0, 200, 90, 1)), seen((0, 0, 50, 50, 0, 0.9), (100, 0, 200, 90, 1, 0.9))),
    )
    assert got.confusion.tolist() == [[2, 0, 0], [1, 1, 1], [0, 1, 0]]
    assert [(one.false, one.missed) for one in got.mistakes] == [(1, 1), (1, 0)]
    assert got.best.threshold == pytest.approx(0.9)


def test_names_and_what_the_user_says_of_them():
    got = match(("car", "cell phone", "dog"), ("person", "car", "cat"), [("cell phone", "car")])
    assert got.names == ("car",)
    assert got.of_model.tolist() == [-1, 0, -1]  # who is named by hand is matched by hand only
    assert got.of_data.tolist() == [-1, 0, -1]
    both = match(("car", "cell phone"), ("car",), [("cell phone", "car"), ("car", "car")])
    assert both.of_model.tolist() == [0, 0]
    assert match(("vehicle",), ("car", "bus"), [("vehicle", "car"), ("vehicle", "bus")]).names == ("vehicle",)
    assert len(match(("a",), ("b",))) == 0


def test_two_networks_are_compared_on_what_both_see():
    assert narrowed(("dog", "car", "bus"), ("car", "cat"), ("car", "bus", "cat")) == ("", "car", "")


@pytest.mark.parametrize("text", ["car", "=car", "car="])
def test_a_pair_that_is_none(text: str):
    with pytest.raises(UsageError, match="NETWORK'S CLASS=DATA'S CLASS"):
        parse_pairs([text])


def test_a_pair_of_unknown_classes():
    assert parse_pairs(["cell phone = car"]) == [("cell phone", "car")]
    with pytest.raises(UsageError, match="the model has no class 'cellphone'"):
        check_pairs(("car",), ("car",), [("cellphone", "car")], "data")
    with pytest.raises(UsageError, match="the data has no class 'auto'"):
        check_pairs(("car",), ("car",), [("car", "auto")], "data")


def test_groups_and_the_gap_between_them():
    truth = objects((0, 0, 50, 50, 0))
    dataset = boxes(truth, truth, truth, truth)
    times = ("day", "day", "night", "night")
    examples = tuple(
        replace(example, metadata={"time": time}) for example, time in zip(dataset.examples, times, strict=True)
    )
    evaluator = Evaluator(replace(dataset, examples=examples), Names(CLASSES))
    right, wrong = seen((0, 0, 50, 50, 0, 0.9)), seen((90, 90, 150, 150, 0, 0.8))
    for example, found in zip(examples, (right, right, right, wrong), strict=True):
        evaluator.add(example, found)
    day, night = by_group(evaluator, "time")
    assert (day.name, day.pictures, day.objects, day.figures["AP50"]) == ("day", 2, 2, pytest.approx(1))
    assert (night.name, night.pictures, night.objects) == ("night", 2, 2)
    assert night.figures["AP50"] == pytest.approx(51 / 101)
    gap = next(one for one in gaps([day, night]) if one.figure == "AP50")
    assert (gap.best, gap.worst, gap.size) == ("day", "night", pytest.approx(50 / 101))


def test_a_column_that_nobody_has():
    dataset = boxes(objects((0, 0, 50, 50, 0)))
    named = replace(dataset, examples=(replace(dataset.examples[0], metadata={"time": "day"}),))
    with pytest.raises(UsageError, match=r"no picture has a column 'weather'.*there are: time"):
        check_column(named, "weather")
    with pytest.raises(UsageError, match="no metadata to group by"):
        check_column(dataset, "weather")


def test_nothing_in_common_is_said():
    with pytest.raises(UsageError, match="knows ship; the data car, person; say --map-class"):
        Evaluator(boxes(objects((0, 0, 50, 50, 0))), Names(("ship",)))
