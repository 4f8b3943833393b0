from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamvision.cli import app
from streamvision.dataset import read
from streamvision.errors import DataError, StreamvisionError, UsageError
from tests.dataset.sets import coco, coco_file, label_picture, picture, save


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str | Path) -> Result:
    """Run ``streamvision data``; errors come out as they are raised."""
    return CliRunner().invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)


def test_a_sound_set_passes(tmp_path: Path):
    result = run("check", coco_file(tmp_path))
    assert result.exit_code == 0, result.output
    assert "3 pictures, 3 objects of 2 classes" in result.output
    assert "nothing is wrong" in result.output


def test_a_broken_set_exits_with_2_and_says_what_is_wrong_in_one_table(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["category_id"] = 99
    document["annotations"][1]["bbox"] = [1, 1, 1.5, 20]
    (tmp_path / "images" / "2.png").write_bytes(b"")
    result = run("check", save(document, tmp_path / "set.json"))
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert any("error" in line and "unknown-class" in line and "annotations[0]" in line for line in lines)
    assert any("error" in line and "empty-picture" in line for line in lines)
    assert any("warning" in line and "tiny-box" in line for line in lines)
    assert any("-> a file without a byte" in line for line in lines)


def test_the_same_as_json(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["category_id"] = 99
    result = run("check", save(document, tmp_path / "set.json"), "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert report["usable"] is False
    assert report["sets"][0]["pictures"] == 3
    (finding,) = [one for one in report["findings"] if one["severity"] == "error"]
    assert (finding["kind"], finding["count"]) == ("unknown-class", 1)
    assert finding["examples"][0]["what"] == "there is no category with the id 99"


def test_mistakes_in_objects_can_be_left_out(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["bbox"] = [500, 500, 5, 5]
    file = save(document, tmp_path / "set.json")
    assert run("check", file).exit_code == 2
    dropped = run("check", file, "--drop-broken")
    assert dropped.exit_code == 0
    assert "outside-box" in dropped.output


def test_splits_are_compared(tmp_path: Path):
    file = coco_file(tmp_path)
    result = run("check", file, "--val", file)
    assert result.exit_code == 2
    assert "picture-in-both-splits" in result.output


def test_label_pictures_with_names_and_ignored_indices(tmp_path: Path):
    picture(tmp_path / "images" / "0.jpg", (8, 8), 0)
    label_picture(tmp_path / "masks" / "0.png", (8, 8), 4, 0)
    assert run("check", tmp_path, "--names", "a, b").exit_code == 2
    assert run("check", tmp_path, "--names", "a, b", "--ignore", "2,3").exit_code == 0
    with pytest.raises(UsageError, match="nobody says what the indices"):
        run("check", tmp_path)


def test_a_set_is_converted_and_split_by_groups(tmp_path: Path):
    (tmp_path / "in").mkdir()
    document = coco(tmp_path / "in")
    for entry, group in zip(document["images"], ("a", "b", "a"), strict=True):
        entry["group"] = group
    file = save(document, tmp_path / "in" / "set.json")
    result = run("convert", file, tmp_path / "out", "--to", "coco", "--val-share", "0.34")
    assert result.exit_code == 0, result.output
    train, val = read(tmp_path / "out" / "train.json"), read(tmp_path / "out" / "val.json")
    assert ({one.group for one in train.examples}, {one.group for one in val.examples}) == ({"a"}, {"b"})
    assert run("convert", file, tmp_path / "VOC2007", "--to", "voc", "--name", "trainval").exit_code == 0
    assert len(read(f"{tmp_path}/VOC2007@trainval")) == 3


def test_what_a_format_has_no_place_for_is_told(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["iscrowd"] = 1
    result = run("convert", save(document, tmp_path / "set.json"), tmp_path / "out", "--to", "yolo")
    assert "no place for it: 1 ignored objects" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "{set}", "{out}", "--to", "pascal"], "no format that can be written"),
        (["check", "nowhere"], "no such file"),
        (["check", "{set}", "--group", "("], "regular expression"),
        (["check", "{set}", "--ignore", "x"], "ignore"),
    ],
)
def test_arguments_that_cannot_be_served(tmp_path: Path, arguments: list[str], said: str):
    places = {"set": str(coco_file(tmp_path)), "out": str(tmp_path / "out")}
    with pytest.raises(UsageError, match=said):
        run(*(one.format(**places) for one in arguments))


def test_a_broken_set_is_not_converted(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["category_id"] = 99
    with pytest.raises(DataError, match="unknown-class"):
        run("convert", save(document, tmp_path / "set.json"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_plates_are_checked(data: Path):
    result = run("check", data / "plates/train.json", "--val", data / "plates/valid.json", "--group", r"^(.*)\.mp4")
    assert result.exit_code == 2
    assert "group-in-both-splits" in result.output
    with pytest.raises(StreamvisionError):
        run("convert", data / "plates/train.json", "/proc/nowhere/out", "--val-share", "2")
