"""Every format is read into the same set, and what is written is read again as it was."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.dataset import Dataset, Example, Objects, join, label_map, read
from streamvision.dataset.read import recognise
from streamvision.dataset.write import write
from streamvision.errors import DataError, UsageError
from tests.dataset.sets import BOXES, CLASS_IDS, CLASSES, SIZES, coco, coco_file, label_picture, picture, save

VOC = """<annotation><filename>{n}.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>dog</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>48</ymax></bndbox></object>
<object><name>person</name><difficult>0</difficult><bndbox><xmin>9</xmin><ymin>11</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
</annotation>"""


def voc(folder: Path, splits: dict[str, list[str]]) -> Path:
    for names in splits.values():
        for name in names:
            picture(folder / "JPEGImages" / f"{name}.jpg", (64, 48), int(name))
            (folder / "Annotations").mkdir(parents=True, exist_ok=True)
            (folder / "Annotations" / f"{name}.xml").write_text(VOC.format(n=name))
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder


def same(one: Dataset, other: Dataset, tolerance: float) -> None:
    assert one.classes == other.classes
    assert len(one) == len(other)
    for a, b in zip(one.examples, other.examples, strict=True):
        assert a.size_wh == b.size_wh
        assert a.objects is not None
        assert b.objects is not None
        np.testing.assert_allclose(a.objects.xyxy, b.objects.xyxy, atol=tolerance)
        np.testing.assert_array_equal(a.objects.class_id, b.objects.class_id)


def test_coco_is_read(tmp_path: Path):
    dataset = read(coco_file(tmp_path))
    assert dataset.classes == CLASSES
    for example, size_wh, boxes, classes in zip(dataset.examples, SIZES, BOXES, CLASS_IDS, strict=True):
        assert example.path.is_file()
        assert example.size_wh == size_wh
        assert example.objects is not None
        assert [tuple(box) for box in example.objects.xyxy.tolist()] == list(boxes)
        assert example.objects.class_id.tolist() == list(classes)
        assert not example.objects.ignore.any()


def test_cocos_crowds_polygons_and_our_extension(tmp_path: Path):
    document = coco(tmp_path)
    first, second, third = document["images"]
    document["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [48, 64], "counts": [0, 480, 2592]}}
    document["annotations"][1]["segmentation"] = [[40, 4, 60, 4, 60, 24]]
    document["label_maps"] = {"lane": ["background", "lane"]}
    label_picture(tmp_path / "lane" / "0.png", SIZES[0], 2, 0)
    first |= {"label_maps": {"lane": "lane/0.png"}, "group": 7, "metadata": {"weather": "rain"}}
    third["objects_known"] = False
    dataset = read(save(document, tmp_path / "x.json"))
    a, b, c = dataset.examples
    assert a.objects is not None
    assert a.objects.ignore.tolist() == [True, False]
    assert a.objects.outlines is not None
    assert a.objects.outlines[0] == {"size": [48, 64], "counts": [0, 480, 2592]}
    assert a.objects.outlines[1][0].tolist() == [[40, 4], [60, 4], [60, 24]]
    assert (a.group, a.metadata) == ("7", {"weather": "rain"})
    np.testing.assert_array_equal(label_map(dataset, a, "lane"), cv2.imread(str(tmp_path / "lane/0.png"), -1))
    assert b.objects is not None
    assert b.objects.outlines is None
    assert c.objects is None
    assert dataset.maps == {"lane": ("background", "lane")}
    assert second["id"] == 2


def test_pictures_are_found_where_coco_puts_them(tmp_path: Path):
    document = coco(tmp_path / "val2017")
    for entry in document["images"]:
        entry["file_name"] = Path(entry["file_name"]).name
    (tmp_path / "annotations").mkdir()
    save(document, tmp_path / "annotations" / "instances_train2017.json")
    save(document, tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "val2017" / "images").rename(tmp_path / "moved")
    (tmp_path / "val2017").rmdir()
    (tmp_path / "moved").rename(tmp_path / "val2017")
    assert all(one.path.is_file() for one in read(f"{tmp_path}@val2017").examples)
    with pytest.raises(UsageError, match="which of the files"):
        read(tmp_path)


def test_voc_is_read_as_torchvision_lays_it(tmp_path: Path):
    voc(tmp_path / "VOCdevkit" / "VOC2007", {"trainval": ["000001", "000002"], "test": ["000003"]})
    dataset = read(tmp_path)
    assert len(dataset) == 2
    assert dataset.classes[0] == "aeroplane"
    assert len(dataset.classes) == 20
    objects = dataset.examples[0].objects
    assert objects is not None
    assert objects.xyxy.tolist() == [[0, 0, 64, 48], [8, 10, 30, 40]]  # counted from 1, both ends inside
    assert objects.ignore.tolist() == [True, False]
    assert [dataset.classes[number] for number in objects.class_id] == ["dog", "person"]
    assert [one.path.name for one in read(f"voc:{tmp_path}/VOCdevkit/VOC2007@test").examples] == ["000003.jpg"]


def test_yolo_is_read(tmp_path: Path):
    for number, size_wh in enumerate(SIZES):
        picture(tmp_path / "images" / "train" / f"{number}.jpg", size_wh, number)
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "0.txt").write_text("0 0.296875 0.5208333333 0.34375 0.625\n1 0.625 0.1 0.9 0.1 0.9 0.5\n\n")
    (labels / "1.txt").write_text("1 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: {0: car, 1: person}\n")
    dataset = read(tmp_path)
    assert dataset.classes == CLASSES
    first = dataset.examples[0].objects
    assert first is not None
    np.testing.assert_allclose(first.xyxy, [[8, 10, 30, 40], [40, 4.8, 57.6, 24]], atol=1e-3)
    assert first.outlines is not None
    np.testing.assert_allclose(first.outlines[1][0], [[40, 4.8], [57.6, 4.8], [57.6, 24]], atol=1e-4)
    assert [len(one.objects or ()) for one in dataset.examples] == [2, 1, 0]


def test_label_pictures_beside_and_in_folders_that_mirror(tmp_path: Path):
    for number, size_wh in enumerate(SIZES):
        picture(tmp_path / "a" / "train" / f"{number}.jpg", size_wh, number)
        label_picture(tmp_path / "a" / "trainannot" / f"{number}.png", size_wh, 12, number)
        picture(tmp_path / "b" / "train" / f"{number}.jpg", size_wh, number)
        label_picture(tmp_path / "b" / "train" / f"{number}_label.png", size_wh, 7, number)
        name = f"town_{number}"
        picture(tmp_path / "c" / "leftImg8bit" / "val" / "town" / f"{name}_leftImg8bit.png", size_wh, number)
        label_picture(tmp_path / "c" / "gtFine" / "val" / "town" / f"{name}_gtFine_labelIds.png", size_wh, 34, number)
    camvid, idd, city = read(tmp_path / "a" / "train"), read(f"{tmp_path}/b@train"), read(tmp_path / "c")
    assert [len(one) for one in (camvid, idd, city)] == [3, 3, 3]
    assert [len(one.maps["scene"]) for one in (camvid, idd, city)] == [11, 7, 19]
    stored = cv2.imread(str(tmp_path / "a" / "trainannot" / "0.png"), -1)
    np.testing.assert_array_equal(label_map(camvid, camvid.examples[0], "scene"), np.where(stored == 11, 255, stored))
    stored = cv2.imread(str(city.examples[0].label_maps["scene"]), -1)
    mapped = label_map(city, city.examples[0], "scene")
    assert set(mapped[stored == 26].tolist()) == {13}  # car
    assert set(mapped[stored == 3].tolist()) == {255}


def test_a_palette_is_indices(tmp_path: Path):
    image = pytest.importorskip("PIL.Image", reason="writes the palette picture")
    picture(tmp_path / "images" / "0.jpg", (8, 4), 0)
    (tmp_path / "masks").mkdir()
    indices = np.arange(32, dtype=np.uint8).reshape(4, 8) % 3
    palette = image.fromarray(indices, mode=None).convert("P")
    palette.putdata(indices.ravel().tolist())
    palette.putpalette([1, 2, 3, 200, 100, 50, 9, 9, 9])
    palette.save(tmp_path / "masks" / "0.png")
    dataset = read(tmp_path, names=("a", "b", "c"), map_name="parts")
    np.testing.assert_array_equal(label_map(dataset, dataset.examples[0], "parts"), indices)


def test_indices_are_mapped_and_ignored(tmp_path: Path):
    picture(tmp_path / "images" / "0.jpg", (6, 1), 0)
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "0.png"), np.array([[0, 1, 7, 8, 9, 255]], np.uint8))
    dataset = read(tmp_path, names=("road", "rest"), mapping={7: 0, 8: 1, 9: 1}, ignore=(1,))
    assert label_map(dataset, dataset.examples[0], "scene").tolist() == [[255, 255, 0, 1, 1, 255]]


def test_folders_of_classes(tmp_path: Path):
    for number, name in enumerate(("cat", "dog", "dog")):
        picture(tmp_path / "train" / name / f"{number}.jpg", (20, 20), number)
        picture(tmp_path / "val" / name / f"{number}.jpg", (20, 20), 10 + number)
    dataset = read(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert [one.label for one in dataset.examples] == [0, 1, 1]
    assert len(read(f"{tmp_path}@val")) == 3


@pytest.mark.parametrize(
    ("form", "place", "tolerance"), [("coco", "a.json", 0), ("voc", "@a", 0.5), ("yolo", "@a", 1e-3)]
)
def test_what_is_written_is_read_again(tmp_path: Path, form: str, place: str, tolerance: float):
    (tmp_path / "in").mkdir()
    dataset = read(coco_file(tmp_path / "in"))
    out = tmp_path / "out"
    written = write(dataset, out, form, "a")
    assert (written.pictures, written.objects) == (3, 3)
    again = read(out / place if form == "coco" else f"{form}:{out}{place}")
    same(dataset, again, tolerance)
    with pytest.raises(UsageError, match="already"):
        write(dataset, out, form, "a")


def test_coco_keeps_everything(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [48, 64], "counts": [0, 480, 2592]}}
    document["annotations"][1]["segmentation"] = [[40, 4, 60, 4, 60, 24]]
    document["label_maps"] = {"lane": ["background", "lane"]}
    label_picture(tmp_path / "lane" / "0.png", SIZES[0], 2, 0)
    document["images"][0] |= {"label_maps": {"lane": "lane/0.png"}, "group": "g", "metadata": {"weather": "rain"}}
    document["images"][2]["objects_known"] = False
    dataset = read(save(document, tmp_path / "x.json"))
    write(dataset, tmp_path / "out", "coco", "b")
    again = read(tmp_path / "out")
    first, second = dataset.examples[0], again.examples[0]
    assert (second.group, second.metadata, again.maps) == (first.group, first.metadata, dataset.maps)
    np.testing.assert_array_equal(label_map(again, second, "lane"), label_map(dataset, first, "lane"))
    assert second.objects is not None
    assert second.objects.outlines is not None
    assert second.objects.ignore.tolist() == [True, False]
    assert isinstance(second.objects.outlines[0], dict)
    assert second.objects.outlines[1][0].tolist() == [[40, 4], [60, 4], [60, 24]]
    assert again.examples[2].objects is None


def test_pictures_of_the_same_name_stay_apart(tmp_path: Path):
    for folder in ("a", "b"):
        picture(tmp_path / folder / "0.png", (20, 10), ord(folder))
    examples = tuple(Example(tmp_path / folder / "0.png", (20, 10), Objects.none()) for folder in ("a", "b"))
    for form in ("coco", "voc", "yolo"):
        write(Dataset("x", ("car",), examples), tmp_path / form, form)
        assert len(list((tmp_path / form).rglob("0*.[jp][pn]g"))) == 2


def test_classes_are_renamed_and_chosen(tmp_path: Path):
    file = coco_file(tmp_path)
    dataset = read(file, rename={"car": "vehicle"}, classes=("bus", "vehicle"))
    assert dataset.classes == ("bus", "vehicle")
    assert [one.objects.class_id.tolist() for one in dataset.examples if one.objects is not None] == [[1], [], []]
    merged = read(file, rename={"car": "thing", "person": "thing"})
    assert merged.classes == ("thing",)
    assert [len(one.objects or ()) for one in merged.examples] == [2, 1, 0]


def test_groups_come_from_names_or_metadata(tmp_path: Path):
    document = coco(tmp_path)
    document["images"][0]["metadata"] = {"camera": "north"}
    file = save(document, tmp_path / "x.json")
    assert [one.group for one in read(file, group="camera").examples] == ["north", None, None]
    assert [one.group for one in read(file, group=r"^([01])\.").examples] == ["0", "1", None]


def test_a_limit_is_drawn_evenly(tmp_path: Path):
    assert [one.path.name for one in read(coco_file(tmp_path), limit=2).examples] == ["0.png", "2.png"]


def test_sets_are_joined_by_the_names_of_their_classes(tmp_path: Path):
    dataset = read(coco_file(tmp_path))
    other = read(tmp_path / "train.json", rename={"car": "bus"}, classes=("bus", "person"))
    joined = join([dataset, other])
    assert joined.classes == ("car", "person", "bus")
    assert [one.objects.class_id.tolist() for one in joined.examples if one.objects is not None] == [
        [0, 1], [1], [], [2, 1], [1], [],
    ]  # fmt: skip


def test_a_set_of_no_known_format_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no data set of a known format"):
        recognise(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        recognise(tmp_path / "nothing")


def test_objects_with_mistakes_refuse_a_set_or_are_dropped(tmp_path: Path):
    document = coco(tmp_path)
    document["annotations"][0]["bbox"] = [500, 500, 10, 10]
    file = save(document, tmp_path / "x.json")
    with pytest.raises(DataError, match="outside-box") as raised:
        read(file)
    assert raised.value.exit_code == 2
    assert [len(one.objects or ()) for one in read(file, broken="drop").examples] == [1, 1, 0]


@pytest.mark.parametrize(
    ("spec", "pictures", "classes", "maps"),
    [
        ("coco/detection_val2017.json", 128, 80, ()), ("plates/train.json", 427, 1, ()),
        ("traffic_lights", 557, 14, ()),
        ("camvid@test", 233, 0, ("scene",)), ("idd_lite/val", 204, 0, ("scene",)),
    ],
)  # fmt: skip
def test_real_sets(data: Path, spec: str, pictures: int, classes: int, maps: tuple[str, ...]):
    dataset = read(data / spec)
    assert (len(dataset), len(dataset.classes), tuple(dataset.maps)) == (pictures, classes, maps)


def test_coco_as_voc_keeps_its_boxes_to_the_pixel(data: Path, tmp_path: Path):
    dataset = read(data / "coco/detection_val2017.json", limit=20)
    write(dataset, tmp_path / "VOCdevkit" / "VOC2007", "voc", "trainval")
    same(dataset, read(f"voc:{tmp_path}@trainval"), 1.01)
