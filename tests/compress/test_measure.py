"""What a model costs, and the verdict on a pair of them."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="compressing needs the extra train")

from streamvision.compress.cost import Meter  # noqa: E402
from streamvision.compress.measure import Comparison, Figures  # noqa: E402
from streamvision.compress.package import quantised  # noqa: E402
from streamvision.compress.size import Size, size_of  # noqa: E402
from streamvision.engine import manifest  # noqa: E402
from streamvision.export import recipes, registry  # noqa: E402
from tests.compress.networks import CLASSES, SIDE, Tiny, pictures, tiny, write  # noqa: E402


def test_a_file_costs_what_the_module_does(tmp_path: Path) -> None:
    module = tiny()
    model = manifest.load(write(module, tmp_path))
    size, cost = size_of(model), Meter(module, torch.rand(1, 3, SIDE, SIDE)).cost()
    first = 16 * 16 * 16 * 27
    deep = 16 * 16 * (16 * 9 + 16 * 32)
    assert cost.macs == first + deep + 16 * 16 * 16 * 32 + 8 * 8 * 32 * 32 * 9 + 32 * 24 + 24 * CLASSES
    assert size.macs == cost.macs
    assert size.bytes == (tmp_path / "tiny.onnx").stat().st_size
    folded = sum(each.numel() for each in Tiny().parameters()) - 16 - 16 - 32
    assert size.parameters == folded, "a normalisation's two numbers become a bias"
    small = size_of(manifest.load(quantised(model, "tiny-int8", tmp_path, pictures())))
    assert (small.macs, small.parameters) == (size.macs, size.parameters)
    assert small.bytes < size.bytes


def test_places_of_what_enlarges() -> None:
    module = torch.nn.ConvTranspose2d(3, 5, 2, 2)
    assert Meter(module, torch.rand(1, 3, 8, 8)).cost().macs == 8 * 8 * 3 * 5 * 4


def test_a_second_stage_counts_its_parameters(tmp_path: Path) -> None:
    recipe = recipes.load("faster-rcnn-mobilenetv3-320")
    path = registry.export(registry.Request(recipe, tmp_path, "two", (64, 64), None, 3))
    size = size_of(manifest.load(path))
    module = registry.build(recipe, None, 3).module
    norms = sum(each.weight.numel() for each in module.modules() if isinstance(each, torch.nn.BatchNorm2d))
    assert size.parameters == sum(each.numel() for each in module.parameters()) - norms
    assert size.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.onnx"))


def figures(accuracy: float, size: int) -> Figures:
    return Figures("AP", {"AP": accuracy}, Size(size, 10, 10), 50.0, "engine")


@pytest.mark.parametrize(
    ("accuracy", "size", "faster", "refused"),
    [
        (0.4, 1000, 1.0, True),
        (0.4, 1000, 0.5, True),
        (0.4, 1500, 1.01, True),
        (0.4, 990, 1.0, True),
        (0.4, 500, 0.5, False),
        (0.4, 1000, 1.5, False),
        (0.5, 1500, 0.5, False),
        (0.6, 1500, 0.5, False),
    ],
)
def test_what_is_worse_on_both_is_refused(accuracy: float, size: int, faster: float, refused: bool) -> None:
    assert Comparison(figures(0.5, 1000), figures(accuracy, size), faster).worse_on_both is refused
