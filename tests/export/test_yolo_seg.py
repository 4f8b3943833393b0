"""A YOLO-seg network with random weights: compiled, it sees the objects and masks that PyTorch sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamvision.masks import bitmap
from streamvision.types import Detections, Perception
from tests.engine.networks import write_manifest
from tests.export import seen

pytest.importorskip("torchvision", reason="torchvision is the reference")

MIN_SCORE, IOU = 0.3, 0.45


@pytest.fixture(scope="module", params=["v8", "end to end"])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A manifest and the eager module."""
    from streamvision.engine.manifest import ModelInput
    from streamvision.export.package import save_network
    from tests.export import yolo_seg_networks as networks

    folder = tmp_path_factory.mktemp("toy")
    view = seen.prepared(ModelInput(size=networks.SIZE), seen.pictures(networks.SIZE, 2))
    module: Any = networks.random_network(view)
    if request.param == "end to end":
        module = networks.EndToEnd(module)
    save_network(module, [view], folder / "toy.onnx", ["boxes", "prototypes"])
    labels = [f"class_{number}" for number in range(networks.CLASSES)]
    options = {"type": "yolo_seg", "iou": IOU, "min_score": MIN_SCORE}
    manifest = write_manifest(
        folder, folder / "toy.onnx", task="instance_segmentation", labels=labels, decoder=options,
        input={"size": list(networks.SIZE)},
    )  # fmt: skip
    return manifest, module


@pytest.mark.parametrize("backend", seen.BACKENDS)
def test_an_engine_sees_the_masks_that_pytorch_sees(toy: tuple[Path, Any], backend: str):
    from streamvision.engine import manifest
    from tests.export.yolo_seg_networks import SIZE, eager

    path, module = toy
    shown = seen.pictures(SIZE, 4)
    theirs = eager(module, seen.prepared(manifest.load(path).input, shown), MIN_SCORE, IOU)
    alone, together = seen.perceived(path, backend, [shown[3:], shown])
    for mine, (boxes, scores, kinds, masks) in zip([*alone, *together], [theirs[3], *theirs], strict=True):
        assert len(boxes) >= 5
        their = Detections(boxes, scores, kinds.astype(np.int32))
        seen.assert_same(mine.detections, their)
        assert_same_masks(mine, boxes, masks, SIZE)


def assert_same_masks(mine: Perception, boxes: np.ndarray, masks: np.ndarray, size_wh: tuple[int, int]) -> None:
    found = mine.detections
    assert found.masks is not None
    assert masks.any(axis=(1, 2)).sum() >= 5
    for box, mask in zip(boxes, masks, strict=True):
        index = int(np.abs(found.xyxy - box).max(axis=1).argmin())
        own = bitmap(found.masks, index, size_wh)
        # One pixel may lie on the border itself, which is more than a hundredth of the smallest masks.
        assert np.count_nonzero(own & mask) > 0.99 * np.count_nonzero(own | mask) - 1
