"""Grad-CAM where the answer is known, and through every kind of network that can be trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="Grad-CAM needs the extra train")
pytest.importorskip("captum", reason="Grad-CAM needs the extra train")

from torch import nn  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from streamvision.cli import app  # noqa: E402
from streamvision.draw.jpeg import to_file  # noqa: E402
from streamvision.engine.manifest import Manifest  # noqa: E402
from streamvision.errors import MissingError, UsageError  # noqa: E402
from streamvision.explain import gradcam  # noqa: E402
from streamvision.explain.pictures import frame_of  # noqa: E402
from streamvision.explain.runs import Trained, find_run, load_gradcam  # noqa: E402
from streamvision.explain.targets import Area, Object, PictureClass, Target  # noqa: E402
from streamvision.export import recipes, registry  # noqa: E402


class Bright(nn.Module):
    """Class 0 is how much green there is, class 1 how much red; its last layer is blind."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 2, 8, 8, bias=False)
        self.blind = nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.see.weight.zero_()
            self.see.weight[0, 1], self.see.weight[1, 0] = 1 / 64, 1 / 64

    def forward(self, x):  # type: ignore[no-untyped-def]
        found = self.see(x).mean((2, 3))
        self.blind(x)
        return found


def two_lights() -> torch.Tensor:
    """Red light at the top left, green light at the bottom right."""
    picture = torch.zeros(1, 3, 64, 96)
    picture[0, 0, :24, :32] = 1
    picture[0, 1, 40:, 64:] = 1
    return picture.requires_grad_()


@pytest.mark.parametrize(("wanted", "place"), [(0, np.s_[44:, 68:]), (1, np.s_[:20, :28])])
def test_the_map_lies_on_what_the_class_is_about(wanted: int, place: tuple[slice, slice]):
    module = Bright()
    values, score = gradcam.layer_map(module, lambda picture: module(picture)[:, wanted], two_lights())
    assert values.shape == (64, 96)
    assert values.max() == 1
    assert values[place].mean() > 0.9
    assert values.sum() < 1.8 * values[place].size
    assert score == pytest.approx(0.125, rel=1e-3)


def test_a_layer_is_named_or_the_error_names_some():
    module = Bright()

    def score(picture: torch.Tensor) -> torch.Tensor:
        return module(picture)[:, 0]

    assert gradcam.layer_map(module, score, two_lights(), "see")[0].max() == 1
    with pytest.raises(UsageError, match="no layer 'saw'"):
        gradcam.layer_map(module, score, two_lights(), "saw")


def test_a_score_that_depends_on_no_layer_is_an_error():
    module = Bright()
    with pytest.raises(UsageError, match="depends on no layer"):
        gradcam.layer_map(module, lambda picture: picture.sum((1, 2, 3)), two_lights())


def manifest(task: str, labels: list[str], size: tuple[int, int], maps: dict[str, list[str]] | None = None) -> Manifest:
    known = {
        "name": "toy", "summary": "a toy", "licence": "Apache-2.0", "source": "a test", "task": task, "labels": labels,
        "input": {"size": list(size), "scale": 1 / 255}, "file": {"name": "toy.onnx", "sha256": "0" * 64},
        "decoder": {"type": "classification"},
    }  # fmt: skip
    return Manifest.model_validate(known | ({"segmentation": maps} if maps else {}))


NAMES = {"object": Object(1, "b", (10.0, 10.0, 60.0, 60.0)), "class": PictureClass(1, "b")}
SCENE = {"scene": ["floor", "wall"]}
MAPS = {"drivable": ["background", "drivable"], "lane": ["background", "lane"]}


@pytest.mark.parametrize(
    ("network", "task", "size", "labels", "maps", "target"),
    [
        ("torchvision:resnet18", "classification", (64, 64), ["a", "b", "c"], None, NAMES["class"]),
        ("sv-street", "detection", (96, 64), ["a", "b"], MAPS, NAMES["object"]),
        ("sv-street", "detection", (96, 64), ["a", "b"], MAPS, Area("lane", ("background",))),
        ("unet-resnet34", "semantic_segmentation", (96, 64), [], SCENE, Area("scene", ("floor", "wall"))),
        ("pspnet-resnet34", "semantic_segmentation", (96, 64), [], SCENE, Area("scene", ("floor", "wall"))),
        ("deeplabv3plus-resnet34", "semantic_segmentation", (96, 64), [], SCENE, Area("scene", ("floor", "wall"))),
        ("lraspp-mobilenetv3", "semantic_segmentation", (96, 64), [], SCENE, Area("scene", ("floor", "wall"))),
    ],
)
def test_every_kind_of_network_gives_a_map(
    network: str, task: str, size: tuple[int, int], labels: list[str], maps: dict[str, list[str]] | None,
    target: Target, tmp_path: Path,
):  # fmt: skip
    torch.manual_seed(0)
    recipe = recipes.find(network)
    if maps:
        recipe = recipe.model_copy(update={"segmentation": maps})
    classes = len(labels) or len(SCENE["scene"])
    torch.save(registry.build(recipe, None, classes).module.state_dict(), tmp_path / "best.pth")
    own = manifest(task, labels, size, maps)
    texture = np.random.default_rng(0).integers(0, 256, (size[1] * 2, size[0] * 2, 3)).astype(np.uint8)
    found = gradcam.grad_cam(Trained(network, tmp_path / "best.pth"), own, frame_of(texture, own.input.spec()), target)
    assert found.method == "gradcam"
    assert found.values.shape == (size[1], size[0])
    assert found.values.max() == pytest.approx(1, abs=0.2)
    assert found.values.min() >= 0
    assert np.isfinite(found.score)


def test_a_network_without_such_a_score_says_so(tmp_path: Path):
    torch.save(registry.build(recipes.find("torchvision:resnet18"), None, 2).module.state_dict(), tmp_path / "best.pth")
    own = manifest("classification", ["a", "b"], (64, 64))
    frame = frame_of(np.zeros((64, 64, 3), np.uint8), own.input.spec())
    with pytest.raises(UsageError, match="no such score"):
        gradcam.grad_cam(Trained("torchvision:resnet18", tmp_path / "best.pth"), own, frame, NAMES["object"])


def test_a_detection_of_torchvision_is_found_again_and_explained():
    torch.manual_seed(0)
    recipe = recipes.find("torchvision:ssdlite320_mobilenet_v3_large")
    module = registry.build(recipe, None, 3).module
    own = manifest("detection", ["a", "b"], (128, 96))
    texture = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    frame = frame_of(texture, own.input.spec())
    picture = gradcam.network_input(frame, own)
    probe = gradcam.score_of(module, recipe, own, Object(0, "a", (0.0, 0.0, 128.0, 96.0)), frame.letterbox)
    with torch.no_grad():
        assert 0 < float(probe(picture)[0]) <= 1
    values, _ = gradcam.layer_map(module, probe, picture)
    assert values.shape == (96, 128)


def test_a_run_folder_is_known_and_half_a_run_is_not(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("network: torchvision:resnet18\n")
    (tmp_path / "best.pth").write_bytes(b"weights")
    with pytest.raises(UsageError, match="no folder of a finished run"):
        find_run(str(tmp_path), None, None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "toy.yaml").write_text("name: toy\n")
    expected = Trained("torchvision:resnet18", tmp_path / "best.pth", tmp_path / "model" / "toy.yaml")
    assert find_run(str(tmp_path), None, None) == expected
    assert find_run("yolox-nano", None, None) is None
    with pytest.raises(UsageError, match="of which network"):
        find_run("yolox-nano", tmp_path / "best.pth", None)


def test_without_its_libraries_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "streamvision.explain.gradcam", None)
    with pytest.raises(MissingError, match=r"pip install 'streamvision\[train\]'"):
        load_gradcam()


def test_a_runs_folder_is_explained_by_the_command(tmp_path: Path):
    torch.manual_seed(0)
    recipe = recipes.find("torchvision:resnet18")
    torch.save(registry.build(recipe, None, 2).module.state_dict(), tmp_path / "best.pth")
    request = registry.Request(recipe, tmp_path / "model", "toy", (64, 64), tmp_path / "best.pth", 2, ("day", "night"))
    registry.export(request)
    (tmp_path / "recipe.yaml").write_text("network: torchvision:resnet18\n")
    texture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    (tmp_path / "shot.png").write_bytes(to_file(texture, ".png"))
    command = ["explain", tmp_path / "shot.png", "--model", tmp_path, "--method", "gradcam", "--class", "night",
               "--backend", "onnxruntime", "--out", tmp_path / "map.png", "--json"]  # fmt: skip
    result = CliRunner().invoke(app, [*map(str, command)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["method"], found["target"]["class"], found["model"]) == ("gradcam", "night", "toy")
    assert 0 <= found["score"] <= 1  # the engine's probability, not the logit
    assert found["deletion_curve"][0] == pytest.approx(1, abs=0.01)
    assert (tmp_path / "map.png").stat().st_size > 1000
