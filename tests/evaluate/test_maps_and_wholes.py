"""Label maps with pixels that nobody labelled, and pictures judged as a whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.dataset import UNLABELLED, Dataset, Example
from streamvision.evaluate import Names, measure
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Perception, Segmentation

CLASSES = ("sky", "road", "tree")


def labelled(folder: Path, truth: list[list[int]], classes: tuple[str, ...] = CLASSES, name: str = "scene") -> Dataset:
    labels = np.array(truth, np.uint8)
    cv2.imwrite(str(folder / "label.png"), labels)
    example = Example(folder / "a.png", (labels.shape[1], labels.shape[0]), label_maps={name: folder / "label.png"})
    return Dataset("here", (), (example,), {name: classes})


def seeing(labels: list[list[int]], classes: tuple[str, ...] = CLASSES, name: str = "scene") -> Perception:
    table = np.array(labels, np.uint8)
    size_wh = (table.shape[1], table.shape[0])
    return Perception(Detections.empty(), (Segmentation(name, table, Letterbox.stretch(size_wh, size_wh), classes),))


def test_pixels_that_nobody_labelled_do_not_count(tmp_path: Path):
    dataset = labelled(tmp_path, [[0, 0, 1], [1, UNLABELLED, UNLABELLED]])
    result = measure(dataset, [seeing([[0, 1, 1], [1, 2, 0]])], Names(maps={"scene": CLASSES}))
    scene = result.maps["scene"]
    # sky: 1 of 2; road: 2 of 3; tree is neither there nor seen where anybody looked.
    np.testing.assert_allclose(scene.ious, [1 / 2, 2 / 3, np.nan])
    assert result.figures["mIoU"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.figures["pixel_accuracy"] == pytest.approx(3 / 4)


def test_all_pixels_unlabelled_is_no_figure(tmp_path: Path):
    dataset = labelled(tmp_path, [[255, 255]])
    result = measure(dataset, [seeing([[0, 1]])], Names(maps={"scene": CLASSES}))
    assert np.isnan(result.figures["mIoU"])
    assert np.isnan(result.figures["pixel_accuracy"])


def test_perfect_and_everything_wrong(tmp_path: Path):
    truth = [[0, 1, 2, 0]]
    dataset = labelled(tmp_path, truth)
    assert measure(dataset, [seeing(truth)], Names(maps={"scene": CLASSES})).figures["mIoU"] == 1
    assert measure(dataset, [seeing([[1, 2, 0, 1]])], Names(maps={"scene": CLASSES})).figures["mIoU"] == 0


def test_classes_are_matched_by_name_and_others_are_nothing(tmp_path: Path):
    dataset = labelled(tmp_path, [[0, 1, 1, 2]])
    ours = ("background", "road")
    result = measure(dataset, [seeing([[1, 1, 0, 0]], ours)], Names(maps={"scene": ours}))
    scene = result.maps["scene"]
    assert scene.names == ("road",)
    np.testing.assert_allclose(scene.ious, [1 / 3])  # one of: the two that are there, and the one too many
    assert scene.confusion.tolist() == [[1, 1], [1, 1]]
    assert scene.pixel_accuracy == 1 / 2  # of the road; what the sky was taken for is nobody's fault


def test_a_map_of_another_name_serves_where_the_data_has_no_other(tmp_path: Path):
    dataset = labelled(tmp_path, [[0, 1, 1, 2]])
    ours = ("background", "drivable")
    names = Names(maps={"drivable": ours})
    result = measure(dataset, [seeing([[0, 1, 1, 1]], ours, "drivable")], names, [("drivable", "road")])
    assert result.figures["mIoU"] == pytest.approx(2 / 3)
    both = [("drivable", "road"), ("drivable", "tree")]  # two classes of the data are one of the network
    result = measure(dataset, [seeing([[0, 1, 1, 1]], ours, "drivable")], names, both)
    assert result.maps["drivable"].names == ("drivable",)
    assert result.figures["mIoU"] == 1


def test_a_small_map_is_enlarged_to_the_label_picture(tmp_path: Path):
    dataset = labelled(tmp_path, [[0, 0, 1, 1], [0, 0, 1, 1]])
    assert measure(dataset, [seeing([[0, 1]])], Names(maps={"scene": CLASSES})).figures["mIoU"] == 1


def wholes(*labels: int) -> Dataset:
    classes = ("a", "b", "c", "d", "e", "f", "g")
    return Dataset("here", classes, tuple(Example(Path("x.png"), (8, 8), label=one) for one in labels))


def judging(*scores: float) -> Perception:
    return Perception(Detections.empty(), classification=np.array(scores, np.float32))


def test_the_first_answer_and_the_first_five():
    dataset = wholes(0, 1, 6)
    found = [
        judging(0.9, 0.05, 0.01, 0.01, 0.01, 0.01, 0.01),
        judging(0.5, 0.3, 0.05, 0.05, 0.05, 0.03, 0.02),
        judging(0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04),
    ]
    result = measure(dataset, found, Names(dataset.classes, whole=True))
    assert result.figures == pytest.approx({"top1": 1 / 3, "top5": 2 / 3})
    assert result.whole is not None
    assert result.whole.confusion[[0, 1, 6], 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(result.whole.recalls[[0, 1, 6]], [1, 0, 0])
    assert np.isnan(result.whole.recalls[2])


def test_classes_that_are_one_for_the_data_are_added():
    dataset = Dataset("here", ("vehicle", "person"), (Example(Path("x.png"), (8, 8), label=0),))
    pairs = [("car", "vehicle"), ("bus", "vehicle")]
    result = measure(dataset, [judging(0.3, 0.3, 0.4)], Names(("car", "bus", "person"), whole=True), pairs)
    assert result.figures["top1"] == 1
    assert result.whole is not None
    np.testing.assert_allclose(result.whole.confidence, [0.6], rtol=1e-6)
