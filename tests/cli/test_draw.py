"""`streamvision draw`: a data set that anyone can read, the same again, and resumed."""

import json
import os

import cv2
import pytest

from streamvision.capture.drawn import CLASSES
from streamvision.capture.drawn.store import Order, append, draw_picture, open_store
from streamvision.cli import main
from streamvision.errors import UsageError

SMALL = ["--size", "128x96", "--scene", "street", "--workers", "1"]


def draw(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["draw", *arguments])
    if ended.value.code:
        raise RuntimeError(ended.value.code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn") / "set"
    draw(str(out), "--count", "10", *SMALL)
    return out


def test_the_annotations_are_coco_with_label_maps(folder):
    document = json.loads((folder / "annotations.json").read_text())
    assert [one["name"] for one in document["categories"]] == list(CLASSES)
    assert document["label_maps"] == {"drivable": ["background", "drivable"], "lane": ["background", "lane"]}
    assert [one["id"] for one in document["images"]] == list(range(10))
    for image in document["images"]:
        picture = cv2.imread(str(folder / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3) == (96, 128, 3)
        for path in image["label_maps"].values():
            labels = cv2.imread(str(folder / path), cv2.IMREAD_UNCHANGED)
            assert labels.shape == (96, 128)
            assert set(labels.ravel().tolist()) <= {0, 1, 255}
        assert image["group"].startswith("street-1-")
    assert len({one["id"] for one in document["annotations"]}) == len(document["annotations"]) > 10
    for one in document["annotations"]:
        x, y, width, height = one["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= 128.01
        assert y + height <= 96.01
        small = min(width, height) < 4
        assert one["iscrowd"] == int(small or one["visible"] < 0.15) or abs(one["visible"] - 0.15) < 1e-3
        assert one["track_id"] >= 1


def test_a_second_run_adds_only_what_is_missing(folder, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()}
    draw(str(folder), "--count", "12", *SMALL)
    assert "12 (2 drawn now)" in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()}
    assert after.items() >= before.items()
    assert len(after) == 12


def test_what_is_resumed_is_what_one_run_draws(tmp_path):
    order = Order("street", 4, (96, 96))
    for out, numbers in ((tmp_path / "a", (0, 1, 2)), (tmp_path / "b", (2, 0))):
        open_store(out, order)
        list(append(out, (draw_picture(out, order, number) for number in numbers)))
    cut = tmp_path / "b" / "records.jsonl"
    cut.write_bytes(cut.read_bytes()[:-25])  # killed while it wrote the second record
    assert set(open_store(tmp_path / "b", order)) == {2}
    for out in ("a", "b"):
        draw(
            str(tmp_path / out), "--count", "3", "--scene", "street", "--seed", "4", "--size", "96x96", "--workers", "1"
        )
    files = [path.relative_to(tmp_path / "a") for path in sorted((tmp_path / "a").rglob("*")) if path.is_file()]
    for path in files:
        if path.name != "records.jsonl":
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_workers_draw_what_one_draws(folder, tmp_path):
    draw(str(tmp_path / "many"), "--count", "34", *SMALL[:-1], "2")
    for name in ("pictures/000009.jpg", "lane/000009.png", "drivable/000009.png"):
        assert (tmp_path / "many" / name).read_bytes() == (folder / name).read_bytes()


def test_both_scenes_come_by_turns(tmp_path):
    draw(str(tmp_path / "both"), "--count", "4", "--scene", "both", "--size", "128x96", "--workers", "1")
    document = json.loads((tmp_path / "both" / "annotations.json").read_text())
    assert [one["metadata"]["scene"] for one in document["images"]] == ["street", "drive"] * 2


@pytest.mark.parametrize("change", [["--seed", "2"], ["--size", "160x96"], ["--scene", "drive"]])
def test_a_folder_of_another_order_is_refused(folder, change, capsys):
    with pytest.raises(RuntimeError, match="2"):
        draw(str(folder), "--count", "12", *SMALL, *change)
    assert "another order" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RuntimeError, match="2"):
        draw(str(tmp_path), "--count", "1", *SMALL)
    assert "no empty folder" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("size", ["640", "10x10", "640x99999", "axb"])
def test_sizes_that_cannot_be_drawn_are_refused(tmp_path, size, capsys):
    with pytest.raises(RuntimeError, match="2"):
        draw(str(tmp_path / "new"), "--size", size)
    assert "--size" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_broken_settings_are_told(tmp_path):
    (tmp_path / "drawn.json").write_text("{")
    with pytest.raises(UsageError, match="no JSON"):
        open_store(tmp_path, Order("street", 1, (96, 96)))
