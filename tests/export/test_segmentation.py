"""The label maps of exported networks are those of eager PyTorch, but for places where two classes are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from streamvision.engine import manifest
from streamvision.errors import UsageError
from streamvision.types import Perception, UInt8
from tests.export import seen
from tests.export.conftest import Exports

CLASSES = 5
SIZES = {
    "deeplabv3-mobilenetv3": (128, 96),
    "deeplabv3-resnet50": (96, 64),
    "fcn-resnet50": (96, 64),
    "lraspp-mobilenetv3": (128, 96),
    "unet-resnet34": (96, 64),
    "pspnet-resnet34": (160, 96),  # its pooling has cells of unequal size here
    "deeplabv3plus-resnet34": (96, 64),
    "twinlitenet": (128, 96),
}
HEADS = {"twinlitenet": None}
AGREEMENT = 0.999
TIE = 1e-3
"""How close two scores have to be for the choice between them to be anybody's."""


def eager(module: Any, path: Path, shown: list[UInt8]) -> list[np.ndarray]:
    """Scores (batch, classes, h, w) of each head."""
    import torch

    from streamvision.export.segmentation import class_scores

    with torch.inference_mode():
        output = module(seen.prepared(manifest.load(path).input, shown))
    return [scores.numpy() for scores in class_scores(output)]


def assert_same_maps(ours: list[Perception], theirs: list[np.ndarray]) -> None:
    for head, scores in enumerate(theirs):
        maps = np.stack([perception.segmentation[head].label_map for perception in ours])
        differ = maps != scores.argmax(1)
        assert differ.mean() <= 1 - AGREEMENT
        chosen = np.take_along_axis(scores, maps[:, None].astype(np.int64), 1)[:, 0]
        assert (scores.max(1) - chosen)[differ].max(initial=0) < TIE


@pytest.mark.parametrize("backend", seen.BACKENDS)
@pytest.mark.parametrize("name", SIZES)
def test_an_engine_sees_what_pytorch_sees(exported: Exports, name: str, backend: str):
    num_classes = HEADS.get(name, CLASSES)
    path = exported(name, size=SIZES[name], num_classes=num_classes)
    shown = seen.pictures(SIZES[name], 4)
    theirs = eager(exported.module(name, size=SIZES[name], num_classes=num_classes), path, shown)
    for scores in theirs:
        assert np.unique(scores.argmax(1)).size > 1, "a map of one class proves nothing"
    four, last = seen.perceived(path, backend, [shown, shown[3:]])
    assert_same_maps(four, theirs)
    assert_same_maps(last, [scores[3:] for scores in theirs])


@pytest.mark.parametrize("name", SIZES)
def test_the_manifest_says_what_the_maps_mean(exported: Exports, name: str):
    model = manifest.load(exported(name, size=SIZES[name], num_classes=HEADS.get(name, CLASSES)))
    assert model.task == "semantic_segmentation"
    assert model.labels == ()
    if name == "twinlitenet":
        assert dict(model.segmentation) == {"drivable": ("background", "drivable"), "lane": ("background", "lane")}
    else:
        names = ("background", *(f"class_{number}" for number in range(1, CLASSES)))
        assert dict(model.segmentation) == {"scene": names}


def request(recipe_name: str, folder: Path, **given: Any) -> Any:
    from streamvision.export import recipes, registry

    recipe = recipes.find(recipe_name)
    return registry.Request(recipe, folder, recipe.name, (64, 64), **given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 21),
        ({"num_classes": 3}, ("background", "class_1", "class_2")),
        ({"num_classes": 3, "labels": ("snow", "water")}, ("background", "snow", "water")),
        ({"num_classes": 3, "labels": ("road", "snow", "water")}, ("road", "snow", "water")),
    ],
)
def test_who_names_the_classes(exported: Exports, tmp_path: Path, given: dict[str, Any], expected: Any):
    from streamvision.export import registry

    found = manifest.load(registry.export(request("lraspp-mobilenetv3", tmp_path, **given))).segmentation["scene"]
    assert found == expected or (len(found) == expected and found[:3] == ("background", "aeroplane", "bicycle"))


def test_a_single_channel_makes_a_map_of_two_classes(exported: Exports, tmp_path: Path):
    import torch

    from streamvision.export import registry
    from streamvision.export.segmentation import export

    wanted = request("smp:unet/mobilenet_v2", tmp_path, num_classes=1, labels=("water",))
    built = registry.build(wanted.recipe, None, 1)
    path = export(wanted, built)
    assert manifest.load(path).segmentation["scene"] == ("background", "water")
    shown = seen.pictures((64, 64), 1)
    with torch.inference_mode():
        scores = built.module(seen.prepared(manifest.load(path).input, shown)).numpy()
    found = seen.perceived(path, "onnxruntime", [shown])[0][0].segmentation[0].label_map
    assert 0 < found.mean() < 1
    assert ((found == 1) == (scores[0, 0] > 0)).mean() > AGREEMENT


def test_any_encoder_of_the_library_has_a_recipe(exported: Exports, tmp_path: Path):
    from streamvision.export import recipes, registry

    assert recipes.find("smp:unet/resnet34").name == "unet-resnet34"
    assert recipes.find("smp:unet/mobilenet_v2").name == "unet-mobilenet-v2"
    with pytest.raises(UsageError, match="no 'unet' with 'resnet3400'"):
        registry.export(request("smp:unet/resnet3400", tmp_path))
    with pytest.raises(UsageError, match="no recipe for 'smp:unett/resnet34'; did you mean 'smp:unet/resnet34'"):
        recipes.find("smp:unett/resnet34")


def test_pspnet_is_the_librarys_own(exported: Exports):
    import segmentation_models_pytorch as smp
    import torch

    name = "pspnet-resnet34"
    module = exported.module(name, size=SIZES[name], num_classes=CLASSES)
    theirs = smp.create_model("pspnet", "resnet34", encoder_weights=None, classes=CLASSES).eval()
    theirs.load_state_dict(module.state_dict())
    picture = torch.rand(1, 3, 96, 160)
    with torch.inference_mode():
        assert torch.equal(module(picture), theirs(picture))


@pytest.mark.parametrize(
    ("recipe", "given", "words"),
    [
        ("lraspp-mobilenetv3", {"labels": ("a", "b", "c")}, "3 labels for a label map of 21 classes"),
        ("twinlitenet", {"labels": ("a", "b")}, r"2 label maps \(drivable, lane\)"),
        ("twinlitenet", {"num_classes": 3}, "both heads have 2 classes, not 3"),
        ("twinlitenet", {"weights": "DEFAULT"}, "--weights FILE"),
        ("unet-resnet34", {"weights": "DEFAULT"}, "--weights FILE"),
    ],
)
def test_what_cannot_be_exported_says_why(
    exported: Exports, tmp_path: Path, recipe: str, given: dict[str, Any], words: str
):
    from streamvision.export import registry

    with pytest.raises(UsageError, match=words):
        registry.export(request(recipe, tmp_path, **given))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size_wh", [(100, 64), (64, 100)])
def test_a_size_that_does_not_suit_is_refused(exported: Exports, tmp_path: Path, size_wh: tuple[int, int]):
    from dataclasses import replace

    from streamvision.export import registry

    with pytest.raises(UsageError, match=r"does not suit this network.*multiples of 32"):
        registry.export(replace(request("twinlitenet", tmp_path), size_wh=size_wh))


def frames(path: Path, every: int) -> list[UInt8]:
    with av.open(str(path)) as video:
        return [
            cv2.resize(frame.to_ndarray(format="rgb24"), (640, 360), interpolation=cv2.INTER_LINEAR)
            for index, frame in enumerate(video.decode(video=0))
            if index % every == 0
        ]


@pytest.fixture(scope="module")
def twinlitenet(exported: Exports, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The published weights, exported at their own size."""
    from dataclasses import replace

    from streamvision.export import registry

    wanted = request("twinlitenet", tmp_path_factory.mktemp("twinlitenet"), weights=data / "models/twinlitenet.pth")
    wanted = replace(wanted, size_wh=wanted.recipe.size)
    return registry.export(wanted), registry.build(wanted.recipe, wanted.weights, None).module


@pytest.mark.parametrize("backend", seen.BACKENDS)
def test_the_published_weights_see_the_road(twinlitenet: tuple[Path, Any], data: Path, backend: str):
    path, module = twinlitenet
    shown = frames(data / "videos/solidWhiteRight.mp4", 110)
    theirs = eager(module, path, shown)
    assert_same_maps(seen.perceived(path, backend, [shown])[0], theirs)
    drivable, lane = (scores.argmax(1) for scores in theirs)
    # The car stands on the road, and the sky is none; lines are thin, and lie on the lower half.
    assert drivable[:, 330:, 250:390].mean() > 0.9
    assert drivable[:, :150].mean() < 0.01
    assert 0.01 < lane[:, 180:].mean() < 0.1
    assert lane[:, :150].mean() < 0.01
