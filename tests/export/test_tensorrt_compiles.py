"""TensorRT's real compiler takes every network of every recipe; it needs no GPU for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamvision.export import recipes
from tests.export import test_classifier, test_segmentation, test_single_stage, test_street, test_two_stage
from tests.export.conftest import Exports

trt: Any = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")

SIZES = test_single_stage.SIZES | test_classifier.SIZES | test_segmentation.SIZES | {test_street.NAME: test_street.SIZE}
"""The same as the comparisons with PyTorch use, so that each network is exported once."""
CLASSES = (
    dict.fromkeys(test_classifier.SIZES, test_classifier.CLASSES)
    | dict.fromkeys(test_segmentation.SIZES, test_segmentation.CLASSES)
    | test_segmentation.HEADS
)
BATCHES = (1, 2, 4)


def compiled(path: Path) -> list[tuple[int, ...]]:
    """Compile for batches of 1 to 4, and return the outputs' shapes; -1 is a side that only running it will tell."""
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    parsed = parser.parse(path.read_bytes())
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sides = tuple(tensor.shape)[1:]
        assert -1 not in sides, f"{tensor.name} {tensor.shape}"
        profile.set_shape(tensor.name, *((batch, *sides) for batch in BATCHES))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
    return [tuple(network.get_output(index).shape) for index in range(network.num_outputs)]


@pytest.mark.parametrize("name", recipes.names())
def test_every_network_of_a_recipe_compiles(exported: Exports, name: str):
    size = SIZES.get(name, test_two_stage.SIZE)
    path = exported(name, size=size, num_classes=CLASSES.get(name, test_two_stage.CLASSES))
    files = sorted(path.parent.glob("*.onnx"))
    assert files
    for file in files:
        outputs = compiled(file)
        assert outputs
        assert all(shape[0] == -1 and -1 not in shape[1:] for shape in outputs), (file.name, outputs)
