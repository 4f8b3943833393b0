"""Networks with instance masks that tests make themselves: YOLO-shaped, the same answer whatever they see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.engine.networks import save, write_manifest

SIZE = (64, 32)
_NAMES = ("boxes", "prototypes")


def constant(path: Path, boxes: np.ndarray, prototypes: np.ndarray) -> Path:
    """A network that gives the same rows and prototypes whatever it sees."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["peak"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["peak", "zero"], ["nothing"]),
    ]
    constants = [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])]
    outputs = []
    for name, values in zip(_NAMES, (boxes, prototypes), strict=True):
        nodes.append(helper.make_node("Add", [f"all_{name}", "nothing"], [name]))
        constants.append(helper.make_tensor(f"all_{name}", TensorProto.FLOAT, values.shape, values.ravel()))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE[1], SIZE[0]])]
    return save(path, nodes, inputs, outputs, constants)


def half_moon(folder: Path) -> Path:
    """The manifest of a network that always sees one dog, whose mask is the left half of its box.

    The box goes from (16, 8) to (48, 24) of the network's 64 x 32 px.
    """
    boxes = np.array([[[16, 8, 48, 24, 0.9, 1, 1.0, 0.0]]], np.float32)
    left = np.tile(np.where(np.arange(16) < 8, 1.0, -1.0), (8, 1))
    prototypes = np.stack((left, np.ones_like(left)))[None].astype(np.float32)
    network = constant(folder / "moon.onnx", boxes, prototypes)
    return write_manifest(
        folder, network, task="instance_segmentation", decoder={"type": "yolo_seg", "end_to_end": True}
    )
