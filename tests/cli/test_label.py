"""``streamvision label``: pictures and videos become a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamvision.capture.labels import read_labels
from streamvision.capture.street.encode import write_street
from streamvision.cli import main
from streamvision.dataset import read

AREAS = """
drivable:
  classes: [background, drivable]
  areas: [{shows: drivable, polygon: [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]}]
"""


def label(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["label", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    write_street(path, seed=1, seconds=5.0, size_wh=(480, 270), fps=10.0)
    return path


def test_a_video_becomes_a_data_set_that_reads_back(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, areas = tmp_path / "set", tmp_path / "areas.yaml"
    areas.write_text(AREAS)
    sized = [street, "--model", "motion", "--rename", "object=car", "--classes", "person,car", "--areas", areas]
    assert label(*sized, "--out", out) == 0
    found = read(out)
    assert found.classes == ("person", "car")
    assert found.maps == {"drivable": ("background", "drivable")}
    assert len(found) == 50
    seen = [example.objects for example in found.examples if example.objects is not None]
    assert sum(map(len, seen)) > 20
    assert {int(number) for objects in seen for number in objects.class_id} == {1}
    labels = read_labels(found.examples[-1].label_maps["drivable"])
    assert set(np.unique(labels[200:]).tolist()) <= {1, 255}
    assert (labels[:130] == 255).all()
    assert {example.group for example in found.examples} == {"street"}
    assert "50 pictures" in capsys.readouterr().out


def test_fewer_pictures_and_an_end(street: Path, tmp_path: Path):
    assert label(street, "--model", "motion", "--fps", "2", "--seconds", "2", "--out", tmp_path / "set") == 0
    assert 3 <= len(json.loads((tmp_path / "set" / "train.json").read_text())["images"]) <= 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rename", "object"], "renames nothing"),
        (["--rename", "lorry=car"], "knows no 'lorry'"),
        (["--classes", "giraffe"], "knows none of these"),
        (["--areas", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(
    street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    assert label(street, "--model", "motion", "--out", tmp_path / "set", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_folder_that_holds_something_is_left_alone(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "mine").write_text("precious")
    assert label(street, "--model", "motion", "--out", tmp_path) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
