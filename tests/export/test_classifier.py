"""What engines of exported classifiers say is what eager torchvision says."""

from __future__ import annotations

import numpy as np
import pytest

from streamvision.engine import manifest
from tests.export import seen
from tests.export.conftest import Exports

CLASSES = 7
SIZES = {
    "vgg16": (64, 32),
    "resnet18": (64, 96),
    "resnet50": (64, 64),
    "mobilenetv3-small": (64, 96),
    "mobilenetv3-large": (64, 64),
    "inception-v3": (96, 80),  # its smallest is 75
}


@pytest.mark.parametrize("backend", seen.BACKENDS)
@pytest.mark.parametrize("name", SIZES)
def test_an_engine_says_what_torchvision_says(exported: Exports, name: str, backend: str):
    torch = pytest.importorskip("torch")
    path = exported(name, size=SIZES[name], num_classes=CLASSES)
    module = exported.module(name, size=SIZES[name], num_classes=CLASSES)
    shown = seen.pictures(SIZES[name], 4)
    with torch.no_grad():
        theirs = torch.softmax(module(seen.prepared(manifest.load(path).input, shown)), dim=1).numpy()
    assert theirs.std(axis=1).min() > 0.01
    assert np.abs(theirs[0] - theirs[1]).max() > 2 * seen.SCORE
    alone, together = seen.perceived(path, backend, [shown[3:], shown])
    for mine, their in zip([*alone, *together], [theirs[3], *theirs], strict=True):
        assert mine.classification is not None
        assert len(mine.detections) == 0
        np.testing.assert_allclose(mine.classification, their, atol=seen.SCORE)


@pytest.mark.parametrize(("size_hw", "output"), [((7, 5), (3, 3)), ((2, 1), (7, 7)), ((8, 4), 4), ((6, 9), (6, 2))])
def test_pooling_to_any_size_is_pytorchs(size_hw: tuple[int, int], output: int | tuple[int, int]):
    torch = pytest.importorskip("torch")
    from streamvision.export.pooling import FixedPool

    maps = torch.rand(2, 3, *size_hw, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.AdaptiveAvgPool2d(output)(maps)
    torch.testing.assert_close(FixedPool(output)(maps), expected)
