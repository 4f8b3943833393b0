"""What network, data and options make together, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.errors import UsageError
from streamvision.train.networks import table
from streamvision.train.recipe import of_flags
from streamvision.train.setting import Setting, balanced, prepare
from streamvision.train.settle import settled
from tests.train import shapes


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.draw(tmp_path_factory.mktemp("shapes") / "set", side=64)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.draw_classes(tmp_path_factory.mktemp("classes") / "set")


def setting(network: str, *train: object, **options: object) -> Setting:
    data = {"train": [*train], **{key: options.pop(key) for key in ("val", "classes", "maps") if key in options}}
    return prepare(of_flags({"network": network, "data": data, **options}))


def test_groups_are_not_torn_apart(labels: Path):
    found = setting("sv-street", str(labels))
    train, val = ({example.group for example in each.examples} for each in (found.train, found.val))
    assert not train & val
    assert len(found.train) + len(found.val) == 16
    assert found.engine.segmentation == {"scene": ("background", "disc", "square")}


@pytest.mark.parametrize(
    ("network", "count"),
    [("sv-street", 2), ("ssdlite320-mobilenetv3", 3), ("faster-rcnn-resnet50", 3), ("unet-resnet34", 3)],
)
def test_a_background_is_a_class_where_the_network_has_one(labels: Path, network: str, count: int):
    found = setting(network, str(labels))
    assert table.classes_of(found.engine, found.task) == count
    assert bool(found.task.maps) is (network in ("sv-street", "unet-resnet34"))


def test_a_classifier_learns_the_names_of_folders(classes: Path):
    found = setting("resnet18", str(classes))
    assert found.task.classes == ("disc", "square")
    assert table.classes_of(found.engine, found.task) == 2


def test_several_sets_are_mixed_each_with_its_own_known_parts(labels: Path, tmp_path: Path):
    document = json.loads(labels.read_text())
    for image in document["images"]:
        image |= {"objects_known": False}
    maps_only = labels.parent / "maps.json"
    maps_only.write_text(json.dumps(document | {"annotations": []}))
    found = setting("sv-street", str(labels), {"path": str(maps_only), "repeat": 0.5}, val=[str(labels)])
    assert len(found.train) == 32
    assert found.repeats == (1.0,) * 16 + (0.5,) * 16
    assert sum(example.objects is None for example in found.train.examples) == 16
    boxes = setting("ssdlite320-mobilenetv3", str(labels), str(maps_only), val=[str(labels)])
    assert len(boxes.train) == 16  # nobody looked for objects in the others


def test_classes_are_chosen_and_ordered(labels: Path):
    found = setting("sv-street", str(labels), classes=["square"])
    assert found.train.classes == found.val.classes == ("square",)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("sv-street", {"size": "100x64"}, "take multiples of 32 for both sides"),
        ("sv-street", {"maps": ["lane"]}, "the data has no label map 'lane'"),
        ("twinlitenet", {}, "the data has none of the label maps of twinlitenet"),
        ("sv-street", {"dice": 1.0}, "the losses of sv-street know no dice"),
        ("ssdlite320-mobilenetv3", {"class_weights": "auto"}, "know no class_weights"),
        ("unet-resnet34", {"class_weights": {"circle": 2.0}}, "there is no class 'circle'"),
        ("resnet18", {}, "resnet18 needs a class for each picture"),
        ("resnet81", {}, "did you mean 'resnet18'?"),
    ],
)
def test_what_does_not_go_together_is_told(labels: Path, network: str, options: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        setting(network, str(labels), **options)


def test_a_set_without_maps_teaches_no_segmenter(classes: Path):
    with pytest.raises(UsageError, match="unet-resnet34 learns one label map, the data has 0"):
        setting("unet-resnet34", str(classes))


def test_rare_classes_weigh_more():
    assert balanced(np.array([100, 50, 25, 0])).tolist() == [0.5, 1.0, 2.0, 1.0]
    assert balanced(np.array([1_000_000, 100, 1])).tolist() == [0.1, 1.0, 10.0]


def test_weights_by_class_are_counted_over_the_pixels_or_given(labels: Path):
    auto = setting("unet-resnet34", str(labels), class_weights="auto").task.class_weights
    assert auto is not None
    assert auto[0] < auto[1]
    given = setting("unet-resnet34", str(labels), class_weights={"disc": 3.0}).task.class_weights
    assert given == (1.0, 3.0, 1.0)


@pytest.mark.parametrize(
    ("options", "lr", "optimiser"),
    [
        ({"batch": 16}, 0.02, "sgd"),
        ({"batch": 4, "accumulate": 2}, 0.01, "sgd"),
        ({"batch": 4, "optimiser": "adamw"}, 0.00025, "adamw"),
        ({"batch": 4, "lr": 0.3}, 0.3, "sgd"),
    ],
)
def test_auto_comes_to_something(options: dict[str, object], lr: float, optimiser: str):
    recipe = of_flags({"network": "x", "data": {"train": ["a"]}, **options})
    found = settled(recipe, "two_stage", steps=100, processes=1, pretrained=True)
    assert (found.lr, found.optimiser) == (pytest.approx(lr), optimiser)
    assert found.warmup == 250
    assert found.freeze_norms is (recipe.batch < 16)
    assert settled(recipe, "two_stage", steps=100, processes=1, pretrained=False).freeze_norms is False
