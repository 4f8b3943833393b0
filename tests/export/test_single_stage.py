"""What engines of exported SSDs, RetinaNets and FCOS see is what eager torchvision sees, postprocessing and all."""

from __future__ import annotations

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
    "retinanet-resnet50-v2": (96, 128),
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
