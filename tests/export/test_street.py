"""The exported `sv-street` sees what the eager network sees, is as small as promised, and can have other classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamvision.capture.drawn import CLASSES as DRAWN
from streamvision.engine import manifest
from streamvision.engine.backends.openvino import shared_core
from streamvision.engine.models import sha256_of
from streamvision.errors import MissingError, UsageError
from tests.export import seen
from tests.export.conftest import Exports

NAME = "sv-street"
SIZE = (128, 96)
CLASSES = 5
MOST_PARAMETERS, MOST_BYTES, MOST_GFLOPS = 2_000_000, 8_000_000, 2.0
MAPS = {"drivable": ("background", "drivable"), "lane": ("background", "lane")}


def built(num_classes: int | None = None, weights: Path | None = None, **changed: Any) -> Any:
    pytest.importorskip("torch", reason="exporting needs the extra train")
    from streamvision.export import recipes, registry

    recipe = recipes.load(NAME).model_copy(update=changed)
    return recipe, registry.build(recipe, weights, num_classes)


def export(folder: Path, num_classes: int | None = None, size: tuple[int, int] = SIZE, **changed: Any) -> Path:
    recipe, made = built(num_classes, **changed)
    from streamvision.export import registry
    from streamvision.export.street import graph

    return graph.export(registry.Request(recipe, folder, NAME, size, None, num_classes), made)


def raw(path: Path, backend: str, pixels: np.ndarray) -> list[np.ndarray]:
    """The outputs of a file for normalised pictures, in their order."""
    file = str(path.with_suffix(".onnx"))
    if backend == "onnxruntime":
        import onnxruntime

        return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"input": pixels})
    import openvino

    model = shared_core(openvino).compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(each) for each in model([pixels]).values()]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_exported_network_computes_what_pytorch_computes(exported: Exports, backend: str, batch: int):
    import torch

    from streamvision.export.street.graph import Finished

    path = exported(NAME, size=SIZE, num_classes=CLASSES)
    pixels = seen.prepared(manifest.load(path).input, seen.pictures(SIZE, batch))
    with torch.inference_mode():
        boxes, scores, *maps = (
            each.numpy() for each in Finished(exported.module(NAME, size=SIZE, num_classes=CLASSES), SIZE)(pixels)
        )
    ours = raw(path, backend, pixels.numpy())
    assert np.abs(ours[0] - boxes).max() < 0.5
    assert np.abs(ours[1] - scores).max() < 1e-3
    assert scores.std() > 0.05, "scores that are all alike prove nothing"
    for found, wanted in zip(ours[2:], maps, strict=True):
        assert found.dtype == np.uint8
        assert found.shape == (batch, SIZE[1] // 2, SIZE[0] // 2)
        assert 0.02 < wanted.mean() < 0.98
        assert (found == wanted).mean() > 0.99


def test_an_engine_finds_objects_and_labels_the_road(exported: Exports):
    path = exported(NAME, size=SIZE, num_classes=CLASSES)
    (found,) = seen.perceived(path, "openvino", [seen.pictures(SIZE, 3)])
    assert len(found) == 3
    assert all(len(each.detections) for each in found)
    for each in found:
        assert {one.name: one.class_names for one in each.segmentation} == MAPS
        assert each.detections.class_id.max() < CLASSES


def test_the_manifest_says_both(exported: Exports):
    model = manifest.load(exported(NAME, size=SIZE, num_classes=CLASSES))
    assert (model.task, dict(model.segmentation)) == ("detection", MAPS)
    assert model.labels == tuple(f"class_{number}" for number in range(1, CLASSES + 1))
    assert model.decoder is not None
    assert model.decoder.type == "street"


def test_the_network_is_as_small_as_promised(tmp_path: Path):
    recipe, made = built()
    assert recipe.labels == DRAWN
    assert 1_000_000 < sum(each.numel() for each in made.module.parameters()) < MOST_PARAMETERS
    assert 1.0 < gflops(made.module, recipe.size) < MOST_GFLOPS
    path = export(tmp_path, size=recipe.size)
    file = manifest.load(path).file
    assert file is not None
    assert file.bytes == path.with_suffix(".onnx").stat().st_size < MOST_BYTES
    assert file.sha256 == sha256_of(path.with_suffix(".onnx"))


def gflops(module: Any, size: tuple[int, int]) -> float:
    """Two for each multiplication of the convolutions."""
    import torch

    done = [0]

    def count(layer: Any, _: Any, out: Any) -> None:
        done[0] += 2 * out.numel() * layer.weight[0].numel()

    hooks = [each.register_forward_hook(count) for each in module.modules() if isinstance(each, torch.nn.Conv2d)]
    with torch.inference_mode():
        module(torch.zeros(1, 3, size[1], size[0]))
    for hook in hooks:
        hook.remove()
    return done[0] / 1e9


def test_without_maps_it_is_a_detector(tmp_path: Path):
    path = export(tmp_path, 3, segmentation={})
    assert dict(manifest.load(path).segmentation) == {}
    (found,) = seen.perceived(path, "openvino", [seen.pictures(SIZE, 1)])
    assert found[0].segmentation == ()


def test_a_map_of_more_classes_is_the_largest_of_their_scores(tmp_path: Path):
    pytest.importorskip("torch", reason="exporting needs the extra train")
    import torch

    recipe, made = built(1, segmentation={"ground": ("sky", "road", "grass"), "lane": ("background", "lane")})
    from streamvision.export.street.graph import label_maps

    with torch.inference_mode():
        logits = made.module(torch.rand(1, 3, 64, 64))[2]
    assert logits.shape == (1, 4, 16, 16)
    ground, lane = label_maps(logits, made.module.maps)
    twice = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")
    assert torch.equal(ground, twice[:, :3].argmax(1).to(torch.uint8))
    assert torch.equal(lane, (twice[:, 3] > 0).to(torch.uint8))
    path = export(tmp_path, 1, segmentation=recipe.segmentation)
    assert dict(manifest.load(path).segmentation)["ground"] == ("sky", "road", "grass")


def test_weights_are_loaded_strictly(tmp_path: Path):
    pytest.importorskip("torch", reason="exporting needs the extra train")
    import torch

    _, made = built(4)
    state = tmp_path / "best.pth"
    torch.save(made.module.state_dict(), state)
    _, same = built(4, state)
    assert all(
        torch.equal(one, other) for one, other in zip(made.module.parameters(), same.module.parameters(), strict=True)
    )
    with pytest.raises(UsageError, match=r"4 classes.*made for 5"):
        built(5, state)


def test_a_size_that_it_cannot_take_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="300x200 does not suit") as refused:
        export(tmp_path, size=(300, 200))
    assert "multiples of 32" in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_come_with_the_program_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe, _ = built()
    from streamvision.export import registry, street

    monkeypatch.setattr(street, "shipped", lambda _: tmp_path)
    with pytest.raises(MissingError, match="no weights of this network"):
        registry.build(recipe, "DEFAULT", None)
