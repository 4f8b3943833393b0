"""What engines of exported SSDs, RetinaNets and FCOS see is what eager torchvision sees, postprocessing and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamvision.engine import manifest
from streamvision.types import Detections
from tests.export import seen
from tests.export.conftest import Exports

CLASSES = 6
SIZES = {
    "ssd300-vgg16": (288, 272),  # its last level needs as much
    "ssdlite320-mobilenetv3": (160, 128),
    "retinanet-resnet50": (160, 96),
    "retinanet-resnet50-v2": (128, 96),  # where no two boxes lie at the edge of suppression
    "fcos-resnet50": (160, 96),
}
FEW, MANY = 10, 300


def eager(module: Any, pictures: Any) -> list[Detections]:
    """Torchvision's whole network on pictures that are scaled and normalised already."""
    import torch
    from torch import nn
    from torchvision.models.detection.image_list import ImageList

    class Untouched(nn.Module):
        def forward(self, images: list[Any], targets: None = None) -> Any:
            return ImageList(torch.stack(images), [tuple(one.shape[1:]) for one in images]), targets

        def postprocess(self, result: Any, *_: Any) -> Any:
            return result

    kept, module.transform = module.transform, Untouched()
    try:
        with torch.no_grad():
            rows = module(list(pictures))
    finally:
        module.transform = kept
    return [visible(row["boxes"].numpy(), row["scores"].numpy(), row["labels"].numpy()) for row in rows]


def visible(boxes: Any, scores: Any, labels: Any) -> Detections:
    """Leave out boxes of no area, at the picture's edge: torchvision gives them, to us they are nothing."""
    some = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(boxes[some], scores[some], labels[some].astype(np.int32) - 1)


@pytest.mark.parametrize("backend", seen.BACKENDS)
@pytest.mark.parametrize("name", SIZES)
def test_an_engine_sees_what_torchvision_sees(exported: Exports, name: str, backend: str):
    path = exported(name, size=SIZES[name], num_classes=CLASSES)
    module: Any = exported.module(name, size=SIZES[name], num_classes=CLASSES)
    shown = seen.pictures(SIZES[name], 4)
    theirs = eager(module, seen.prepared(manifest.load(path).input, shown))
    alone, together = seen.perceived(path, backend, [shown[3:], shown], min_score=module.score_thresh)
    for mine, their in zip([*alone, *together], [theirs[3], *theirs], strict=True):
        assert FEW < len(their) <= MANY
        assert len(set(their.class_id.tolist())) > 1
        seen.assert_same(mine.detections, their)


@pytest.mark.parametrize("name", SIZES)
def test_the_manifest_says_what_torchvision_does(exported: Exports, name: str):
    model = manifest.load(exported(name, size=SIZES[name], num_classes=CLASSES))
    module: Any = exported.module(name, size=SIZES[name], num_classes=CLASSES)
    assert model.labels == tuple(f"class_{number}" for number in range(1, CLASSES))
    mean, std = model.input.normalisation
    np.testing.assert_allclose(np.divide(mean, 255), module.transform.image_mean, atol=1e-4)
    np.testing.assert_allclose(np.divide(std, 255), module.transform.image_std, atol=1e-4)
    assert model.decoder is not None
    assert model.decoder.options["iou"] == module.nms_thresh
    assert model.decoder.options["candidates"] == module.topk_candidates
    assert model.decoder.options["max_detections"] == module.detections_per_img


def test_an_ssdlite_that_was_trained_from_an_imagenet_backbone_is_taken_too(tmp_path: Path, monkeypatch: Any):
    """That is what torchvision builds for somebody who only states the classes; its backbone's tail is wider."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    models = pytest.importorskip("torchvision", reason="torchvision is not installed").models
    from streamvision.export import recipes, torchvision

    torch.manual_seed(3)
    published = models.mobilenet_v3_large(weights=None).state_dict()
    monkeypatch.setattr(models.MobileNet_V3_Large_Weights, "get_state_dict", lambda *_, **__: published)
    trained = models.detection.ssdlite320_mobilenet_v3_large(weights_backbone="IMAGENET1K_V1", num_classes=3).eval()
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    built = torchvision.build(recipes.load("ssdlite320-mobilenetv3"), str(tmp_path / "mine.pth"), 3).module
    picture = torch.rand(3, 160, 128)
    with torch.no_grad():
        mine, their = built([picture])[0], trained([picture])[0]
    assert len(their["scores"])
    for key, value in their.items():
        torch.testing.assert_close(mine[key], value)
