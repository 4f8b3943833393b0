"""Small ONNX networks and manifests that tests make themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

from streamvision.engine.backends import Network
from streamvision.engine.manifest import ModelInput

CLASSIFIER_SIDE = 16
DTYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


TINY = helper.make_model(
    helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 32, 64])],
    ),
    opset_imports=[helper.make_opsetid("", 13)],
    ir_version=8,
).SerializeToString()
"""A file that is a network, for tests that run none."""


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any] | None = None
) -> Path:
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants or [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def echo(path: Path, shape: list[Any], dtype: str = "float32") -> Path:
    """A network with two outputs: its own input as float32, and that input's largest value, shape (1, 1)."""
    nodes = [
        helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["y"], ["flat"], axis=1),
        helper.make_node("ReduceMax", ["flat"], ["peak"], axes=[1], keepdims=1),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("peak", TensorProto.FLOAT, [shape[0], 1]),
    ]
    return save(path, nodes, [helper.make_tensor_value_info("x", DTYPES[dtype], shape)], outputs)


def two_inputs(path: Path) -> Path:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 6]) for name in "ab"]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 6])
    return save(path, [helper.make_node("Add", ["a", "b"], ["y"])], inputs, [output])


def constant(path: Path, values: np.ndarray, size_wh: tuple[int, int]) -> Path:
    """A network that gives the same values whatever it sees."""
    shape = [1, 3, size_wh[1], size_wh[0]]
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["peak"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["peak", "zero"], ["nothing"]),
        helper.make_node("Add", ["values", "nothing"], ["y"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("values", TensorProto.FLOAT, values.shape, values.astype(np.float32).ravel()),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    return save(path, nodes, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, values.shape)], constants)


def saying(
    path: Path,
    outputs: dict[str, np.ndarray],
    shape: list[Any],
    *,
    dtype: str = "float32",
    inputs: dict[str, list[Any]] | None = None,
    input_name: str = "images",
    metadata: dict[str, str] | None = None,
) -> Path:
    """A network that always says the same, under the names that an exporter would give."""
    nodes = [
        helper.make_node("Cast", [input_name], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["cast"], ["peak"], keepdims=0),
        helper.make_node("Mul", ["peak", "zero"], ["nothing"]),
    ]
    constants = [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])]
    for name, values in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        constants.append(helper.make_tensor(f"{name}_values", kind, values.shape, values.ravel()))
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_nothing"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_values", f"{name}_nothing"], [name]))
    ports = {input_name: shape} | (inputs or {})
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info(name, DTYPES[dtype], sides) for name, sides in ports.items()],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
            for name, values in outputs.items()
        ],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def fragile(path: Path) -> Path:
    """A network (1,3,4,6) that fails at run time on any picture but a black one: it reshapes by what it sees."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["peak"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["peak"], ["index"], to=TensorProto.INT64),
        helper.make_node("Add", ["index", "all"], ["count"]),
        helper.make_node("Reshape", ["x", "count"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 6])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    return save(path, nodes, inputs, [output], [helper.make_tensor("all", TensorProto.INT64, [1], [72])])


def network(path: Path, **spec: Any) -> Network:
    return Network("test", path, ModelInput(**spec))


def write_manifest(folder: Path, network_file: Path | None = None, **changes: Any) -> Path:
    """Write a manifest for a YOLO-style network beside its file; a change to None removes the key."""
    content = network_file.read_bytes() if network_file else TINY
    document = {
        "name": "toy",
        "summary": "a toy",
        "licence": "Apache-2.0",
        "source": "made by a test",
        "input": {"size": [64, 32]},
        "decoder": {"type": "yolo"},
        "labels": ["cat", "dog"],
        "file": {
            "name": network_file.name if network_file else "toy.onnx",
            "sha256": hashlib.sha256(content).hexdigest(),
        },
    } | changes
    path = folder / "toy.yaml"
    YAML().dump({key: value for key, value in document.items() if value is not None}, path)
    return path


def classifier(path: Path, opset: int = 17, outlier: float = 1.0, shift: float = 0.0) -> Path:
    """A network (n,3,16,16) -> (n,5) of probabilities: conv, depthwise conv, two pointwise convs, a dense layer.

    ``outlier`` makes one channel of what the depthwise conv reads so many times larger than the others, and its
    weights there as much smaller, so that the network computes the same; ``shift`` is added to all channels.
    """
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        fan_in = int(np.prod(shape[1:]))
        return numpy_helper.from_array(random.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32), name)

    size = np.ones((8, 1, 1, 1), np.float32)
    size[3] = outlier
    first, second = (numpy_helper.to_array(weight(*each)) for each in (("w1", 8, 3, 3, 3), ("w2", 8, 1, 3, 3)))
    constants = [
        numpy_helper.from_array(first * size, "w1"), numpy_helper.from_array(second / size, "w2"),
        weight("w3", 16, 8, 1, 1),
        weight("w4", 8, 16, 1, 1), weight("w5", 5, 8), numpy_helper.from_array(np.full(8, shift, np.float32), "b1"),
        numpy_helper.from_array(np.zeros(16, np.float32), "b3"), numpy_helper.from_array(np.zeros(5, np.float32), "b5"),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4, group=8),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"]),
        helper.make_node("Sigmoid", ["c3"], ["s3"]),
        helper.make_node("Mul", ["c3", "s3"], ["m3"]),
        helper.make_node("Conv", ["m3", "w4"], ["c4"]),
        helper.make_node("Relu", ["c4"], ["r4"]),
        helper.make_node("GlobalAveragePool", ["r4"], ["p4"]),
        helper.make_node("Flatten", ["p4"], ["f4"]),
        helper.make_node("Gemm", ["f4", "w5", "b5"], ["g5"], transB=1),
        helper.make_node("Softmax", ["g5"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, CLASSIFIER_SIDE, CLASSIFIER_SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
