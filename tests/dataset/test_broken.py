"""Sets that are broken in every way that we know: each is named, at its place, before any training."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamvision.dataset import DataOptions, read
from streamvision.dataset.checks import check
from streamvision.dataset.findings import Severity
from streamvision.dataset.options import parse_spec
from streamvision.errors import DataError, StreamvisionError
from tests.dataset.sets import SIZES, coco, label_picture, picture, save
from tests.dataset.test_header import with_orientation

Break = Callable[[dict[str, Any], Path], None]


def box(*xywh: object) -> Break:
    return lambda document, folder: document["annotations"][0].update(bbox=list(xywh))


def annotation(**fields: object) -> Break:
    return lambda document, folder: document["annotations"][0].update(fields)


def image(**fields: object) -> Break:
    return lambda document, folder: document["images"][0].update(fields)


def cut_file(document: dict[str, Any], folder: Path) -> None:
    file = folder / "images" / "0.png"
    file.write_bytes(file.read_bytes()[:-40])


def write_file(data: bytes) -> Break:
    return lambda document, folder: (folder / "images" / "0.png").write_bytes(data) and None


def remove_file(document: dict[str, Any], folder: Path) -> None:
    (folder / "images" / "0.png").unlink()


def damage_file(document: dict[str, Any], folder: Path) -> None:
    file = folder / "images" / "0.png"
    data = bytearray(file.read_bytes())
    data[37:60] = b"\0" * 23
    file.write_bytes(data)


def bomb(document: dict[str, Any], folder: Path) -> None:
    file = folder / "images" / "0.png"
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    file.write_bytes(data)


def turned(document: dict[str, Any], folder: Path) -> None:
    picture(folder / "images" / "0.jpg", SIZES[0], 0)
    with_orientation(folder / "images" / "0.jpg", 6)
    document["images"][0].update(file_name="images/0.jpg", width=SIZES[0][1], height=SIZES[0][0])
    document["annotations"] = document["annotations"][2:]


def exif(document: dict[str, Any], folder: Path) -> None:
    picture(folder / "images" / "0.jpg", SIZES[0], 0)
    with_orientation(folder / "images" / "0.jpg", 6)
    document["images"][0]["file_name"] = "images/0.jpg"


def twice(document: dict[str, Any], folder: Path) -> None:
    document["annotations"][1] |= {key: document["annotations"][0][key] for key in ("bbox", "category_id")}


def same_picture(document: dict[str, Any], folder: Path) -> None:
    (folder / "images" / "copy.png").write_bytes((folder / "images" / "0.png").read_bytes())
    document["images"].append(dict(document["images"][0], id=99, file_name="images/copy.png"))


def no_annotations(document: dict[str, Any], folder: Path) -> None:
    document["annotations"] = []


def no_images(document: dict[str, Any], folder: Path) -> None:
    document["images"], document["annotations"] = [], []


def no_person(document: dict[str, Any], folder: Path) -> None:
    document["annotations"] = document["annotations"][:1]


def imbalance(document: dict[str, Any], folder: Path) -> None:
    for number in range(20):
        picture(folder / "images" / f"more{number}.png", (90, 90), 100 + number)
        entry = {"id": 100 + number, "file_name": f"images/more{number}.png", "width": 90, "height": 90}
        document["images"].append(entry)
        document["annotations"] += [
            {
                "id": 1000 + 9 * number + one,
                "image_id": entry["id"],
                "category_id": 20,
                "bbox": [one * 9, one * 9, 8, 8],
            }
            for one in range(9)
        ]


def label_map(file: str, content: Callable[[Path], object], classes: object = ("a", "b")) -> Break:
    def change(document: dict[str, Any], folder: Path) -> None:
        document["label_maps"] = {"lane": list(classes)} if isinstance(classes, tuple) else classes
        document["images"][0]["label_maps"] = {"lane": file}
        content(folder / "lane.png")

    return change


def colours(file: Path) -> None:
    cv2.imwrite(str(file), np.zeros((*SIZES[0][::-1], 3), np.uint8))


def of(value: int, size_wh: tuple[int, int] = SIZES[0]) -> Callable[[Path], object]:
    return lambda file: cv2.imwrite(str(file), np.full(size_wh[::-1], value, np.uint8))


def duplicate(key: str, **fields: object) -> Break:
    return lambda document, folder: document[key].append(dict(document[key][0], **fields))


BROKEN: list[tuple[str, Break, str]] = [
    ("missing-picture", remove_file, "0.png"),
    ("empty-picture", write_file(b""), "0.png"),
    ("broken-picture", write_file(b"these are no pixels"), "0.png"),
    ("broken-picture", damage_file, "0.png"),
    ("truncated-picture", cut_file, "0.png"),
    ("bomb-picture", bomb, "60000x60000"),
    ("wrong-size", image(width=63), "63x48"),
    ("turned-picture", turned, "stored as 64x48"),
    ("exif-rotation", exif, "orientation 6"),
    ("duplicate-picture", same_picture, "0.png"),
    ("outside-box", box(60, 10, 30, 10), "annotations[0]"),
    ("outside-box", box(-9, 10, 30, 10), "annotations[0]"),
    ("outside-box", box(-1, 10, 0.5, 10), "annotations[0]"),
    ("inverted-box", box(30, 10, -9, 10), "annotations[0]"),
    ("empty-box", box(30, 10, 0, 10), "annotations[0]"),
    ("tiny-box", box(30, 10, 1, 10), "annotations[0]"),
    ("bad-number", box(30, float("nan"), 1, 10), "nan"),
    ("bad-number", box(30, 10, 1), "bbox"),
    ("bad-number", box("30", 10, 1, 2), "bbox"),
    ("duplicate-box", twice, "0.png"),
    ("unknown-class", annotation(category_id=99), "99"),
    ("unknown-picture", annotation(image_id=77), "77"),
    ("duplicate-id", duplicate("annotations"), "annotations[3]"),
    ("duplicate-id", duplicate("images"), "images[3]"),
    ("duplicate-class", duplicate("categories", id=50), "'car'"),
    ("duplicate-class", duplicate("categories", name="bus"), "'bus'"),
    ("bad-outline", annotation(segmentation=[[1, 1, 5, 5]]), "2 points"),
    ("bad-outline", annotation(segmentation={"size": [48, 64], "counts": [3]}), "add up to 3"),
    ("bad-outline", annotation(segmentation=7), "neither"),
    ("escaping-path", image(file_name="../../etc/passwd"), "passwd"),
    ("escaping-path", image(file_name="/etc/passwd"), "passwd"),
    ("wrong-field", image(file_name=3), "images[0]"),
    ("wrong-field", image(width="wide"), "wide"),
    ("wrong-field", image(metadata=[]), "metadata"),
    ("wrong-field", lambda document, folder: document["annotations"].append(3), "annotations[3]"),
    ("broken-file", lambda document, folder: document.update(images={}), "images"),
    ("empty-set", no_images, "no picture"),
    ("unlabelled-set", no_annotations, "3 pictures"),
    ("class-without-example", no_person, "person"),
    ("class-imbalance", imbalance, "'car'"),
    ("missing-label-picture", label_map("lane.png", lambda file: None), "lane.png"),
    ("broken-label-picture", label_map("lane.png", colours), "lane.png"),
    ("label-picture-size", label_map("lane.png", of(1, (10, 10))), "10x10"),
    ("unknown-index", label_map("lane.png", of(2)), "index 2"),
    ("only-unlabelled", label_map("lane.png", of(255)), "lane"),
    ("unknown-class", label_map("lane.png", of(0), {}), "lane"),
    ("wrong-field", label_map("lane.png", of(0), {"lane": 3}), "label_maps"),
    ("escaping-path", label_map("../lane.png", of(0)), "lane.png"),
]  # fmt: skip


def found(*specs: str | Path) -> dict[str, Any]:
    train, *val = (DataOptions.model_validate(parse_spec(spec)) for spec in specs)
    return {one.kind.name: one for one in check([train], val).findings}


def test_a_sound_set_has_nothing_wrong(tmp_path: Path):
    assert found(save(coco(tmp_path), tmp_path / "set.json")) == {}


@pytest.mark.parametrize(("kind", "broken", "said"), BROKEN, ids=[f"{n}-{one[0]}" for n, one in enumerate(BROKEN)])
def test_a_broken_set_is_named(tmp_path: Path, kind: str, broken: Break, said: str):
    document = coco(tmp_path)
    broken(document, tmp_path)
    file = save(document, tmp_path / "set.json")
    findings = found(file)
    assert kind in findings, findings
    assert any(said in f"{where}: {what}" for where, what in findings[kind].places)


def test_there_are_more_than_twenty_kinds_of_errors():
    assert len({kind for kind, *_ in BROKEN}) > 25


@pytest.mark.parametrize("kind", ["tiny-box", "duplicate-picture", "class-imbalance", "exif-rotation"])
def test_what_only_hurts_is_a_warning(tmp_path: Path, kind: str):
    document = coco(tmp_path)
    next(broken for name, broken, _ in BROKEN if name == kind)(document, tmp_path)
    assert found(save(document, tmp_path / "set.json"))[kind].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ('{"images": [\n{"id": 1,}]}', "broken-file", ":2:10"),
        ('{"images": [', "broken-file", "not JSON"),
        ("[" * 200_000, "hostile-file", "recursion"),
        ('{"images": [' + "9" * 5000 + "]}", "hostile-file", "digit"),
        ("[1]", "broken-file", "no JSON object"),
        ('{"images": "\xfa"}', "broken-file", "UTF-8"),
    ],
)
def test_json_that_is_broken_or_hostile(tmp_path: Path, text: str, kind: str, said: str):
    file = tmp_path / "set.json"
    file.write_bytes(text.encode("latin-1"))
    (where, what), *_ = found(file)[kind].places
    assert said in f"{where}: {what}"


def test_a_json_file_of_absurd_size_is_not_read(tmp_path: Path):
    file = tmp_path / "set.json"
    with file.open("wb") as opened:
        opened.truncate(3 << 30)
    assert "hostile-file" in found(file)


VOC = "<annotation><size><width>64</width><height>48</height></size>{}</annotation>"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>"
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("<annotation>\n<object></annotation>", "broken-file", "0.xml:2"),
        (LAUGHS + VOC.format(OBJECT.format("car", 3)), "hostile-file", "0.xml"),
        (VOC.format(OBJECT.format("car", 40)), "inverted-box", "object 1"),
        (VOC.format(OBJECT.format("car", "x")), "bad-number", "object 1"),
        (VOC.format(OBJECT.format("", 3)), "wrong-field", "name"),
        (VOC.format(OBJECT.format("car", -40)), "outside-box", "object 1"),
        (VOC.format("<filename>../../x.jpg</filename>" + OBJECT.format("car", 3)), "escaping-path", "x.jpg"),
    ],
)
def test_voc_that_is_broken(tmp_path: Path, text: str, kind: str, said: str):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "0.xml").write_text(text)
    (tmp_path / "JPEGImages").mkdir()
    if kind != "escaping-path":
        picture(tmp_path / "JPEGImages" / "0.jpg", (64, 48), 0)
    assert any(said in f"{where}: {what}" for where, what in found(tmp_path)[kind].places)


def test_voc_with_a_class_that_nobody_named_or_a_split_that_is_not_there(tmp_path: Path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "0.xml").write_text(VOC.format(OBJECT.format("kart", 3)))
    picture(tmp_path / "JPEGImages" / "0.jpg", (64, 48), 0)
    options = DataOptions(path=tmp_path, names=("car",))
    assert "unknown-class" in {one.kind.name for one in check([options]).findings}
    assert "missing-split" in found(f"{tmp_path}@nothing")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5", "wrong-field"), ("0 half 0.5 0.1 0.1", "wrong-field"), ("7 0.5 0.5 0.1 0.1", "unknown-class"),
        ("0.5 0.5 0.5 0.1 0.1", "unknown-class"), ("0 0.5 1.5 0.1 0.1", "outside-box"),
        ("0 0.5 0.5 -0.1 0.1", "inverted-box"),
        ("0 nan 0.5 0.1 0.1", "bad-number"), ("0 0.5 0.5 0 0.1", "empty-box"), ("\xff", "broken-file"),
    ],
)  # fmt: skip
def test_yolo_lines_that_are_broken(tmp_path: Path, line: str, kind: str):
    picture(tmp_path / "images" / "0.jpg", (64, 48), 0)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_bytes(f"0 0.5 0.5 0.2 0.2\n{line}\n".encode("latin-1"))
    (tmp_path / "classes.txt").write_text("car\n")
    (where, _), *_ = found(tmp_path)[kind].places
    assert where.endswith("0.txt:2")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("train: images\nnames: [car\n", "broken-file"), ("names: {0: car, 2: bus}\n", "wrong-field"),
        ("names: [car]\nnc: 3\n", "wrong-field"), ("train: list.txt\nnames: [car]\n", "escaping-path"),
        ("names: [car]\ntrain: nowhere.txt\n", "missing-file"),
    ],
)  # fmt: skip
def test_a_data_yaml_that_is_broken(tmp_path: Path, text: str, kind: str):
    picture(tmp_path / "images" / "0.jpg", (64, 48), 0)
    (tmp_path / "list.txt").write_text("images/0.jpg\n../../secret.jpg\n")
    (tmp_path / "data.yaml").write_text(text)
    (tmp_path / "classes.txt").write_text("car\n")
    assert kind in found(tmp_path)


def test_a_missing_label_picture_beside_others(tmp_path: Path):
    for number in range(2):
        picture(tmp_path / "train" / f"{number}.jpg", (8, 8), number)
    label_picture(tmp_path / "trainannot" / "0.png", (8, 8), 3, 0)
    assert found(f"{tmp_path}/train")["missing-label-picture"].places[0][0].endswith("1.jpg")


def two_sets(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    first, second = coco(folder / "a"), coco(folder / "b")
    for number, size_wh in enumerate(SIZES):
        picture(folder / "b" / "images" / f"{number}.png", size_wh, 50 + number)
    return first, second


def compared(folder: Path, first: object, second: object) -> dict[str, Any]:
    return found(save(first, folder / "a" / "a.json"), save(second, folder / "b" / "b.json"))


def test_splits_that_share_nothing_are_sound(tmp_path: Path):
    assert compared(tmp_path, *two_sets(tmp_path)) == {}


def test_splits_that_share_a_picture_a_group_or_neighbours(tmp_path: Path):
    first, second = two_sets(tmp_path)
    first["images"][2]["group"] = second["images"][2]["group"] = "ride"
    (tmp_path / "b" / "images" / "0.png").write_bytes((tmp_path / "a" / "images" / "0.png").read_bytes())
    brighter = cv2.imread(str(tmp_path / "a" / "images" / "1.png")) // 2 + 100
    cv2.imwrite(str(tmp_path / "b" / "images" / "1.png"), brighter)
    findings = compared(tmp_path, first, second)
    assert set(findings) == {"picture-in-both-splits", "group-in-both-splits", "near-duplicate-in-both-splits"}
    assert "b/images/1.png" in findings["near-duplicate-in-both-splits"].places[0][0]


def test_what_is_measured_must_have_been_learnt(tmp_path: Path):
    first, second = two_sets(tmp_path)
    second["categories"].append({"id": 7, "name": "tram"})
    assert "tram" in compared(tmp_path, first, second)["other-classes"].places[0][1]


def test_every_mistake_is_counted_and_few_are_shown(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"] = [dict(document["annotations"][0], id=n, category_id=99) for n in range(50)]
    finding = found(save(document, tmp_path / "set.json"))["unknown-class"]
    assert finding.count == 50
    assert len(finding.places) == 5


def test_reading_refuses_with_every_kind_at_once(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["category_id"] = 99
    document["annotations"][1]["bbox"] = [0, 0, 0, 0]
    with pytest.raises(DataError) as raised:
        read(save(document, tmp_path / "set.json"))
    assert "unknown-class" in str(raised.value)
    assert "empty-box" in str(raised.value)


def test_random_damage_to_a_file_never_ends_in_a_traceback(tmp_path: Path):
    whole = json.dumps(coco(tmp_path)).encode()
    rng = np.random.default_rng(0)
    file = tmp_path / "set.json"
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = int(rng.choice(list(b'0{}[],:"x-')))
        file.write_bytes(data)
        try:
            found(file)
        except StreamvisionError as error:
            assert str(error)  # noqa: PT017
