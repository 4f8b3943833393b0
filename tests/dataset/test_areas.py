"""Areas of cameras that do not move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamvision.capture.labels import read_labels
from streamvision.dataset.areas import read_areas, write_labels
from streamvision.errors import UsageError

HALVES = """
drivable:
  classes: [background, drivable]
  areas:
    - {shows: background, polygon: [[0, 0], [1, 0], [1, 0.5], [0, 0.5]]}
    - {shows: drivable, polygon: [[0, 0.75], [0.5, 0.75], [0.5, 1], [0, 1]]}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "areas.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_polygons_become_labels_and_the_rest_is_unlabelled(tmp_path: Path):
    areas = read_areas(written(tmp_path, HALVES))
    objects = np.array([[10, 70, 20, 80]], np.float32)
    labels = areas["drivable"].raster((80, 80), objects)
    assert labels[10, 40] == 0
    assert labels[50, 40] == 255
    assert labels[65, 5] == 1
    assert labels[75, 15] == 255
    assert labels[70, 60] == 255


def test_a_label_picture_reads_back(tmp_path: Path):
    labels = read_areas(written(tmp_path, HALVES))["drivable"].raster((33, 21), np.empty((0, 4), np.float32))
    write_labels(tmp_path / "one.png", labels)
    assert np.array_equal(read_labels(tmp_path / "one.png"), labels)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "maps the names"),
        ("drivable: {classes: [a, b]}", "drivable.areas"),
        ("drivable: {classes: [a, b], areas: [{shows: c, polygon: [[0, 0], [1, 0], [1, 1]]}]}", "none of a, b"),
        ("drivable: {classes: [a, b], areas: [{shows: a, polygon: [[0, 0], [1, 0]]}]}", "polygon"),
        ("drivable: {classes: [a, b], areas: [{shows: a, polygon: [[0, 0], [2, 0], [1, 1]]}]}", "polygon"),
        ("drivable: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, said: str):
    with pytest.raises(UsageError, match=said) as raised:
        read_areas(written(tmp_path, text))
    assert "areas.yaml" in str(raised.value)


def test_the_areas_that_come_along_can_be_read():
    folder = Path(__file__).parents[2] / "configs" / "train" / "areas"
    files = sorted(folder.glob("*.yaml"))
    assert files
    for file in files:
        assert set(read_areas(file)) <= {"drivable", "lane"}
