"""The interpreter of ONNX graphs in PyTorch, operator by operator beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamvision.engine.backends.torch import TorchBackend
from streamvision.errors import BackendUnavailable, EngineError
from tests.engine import networks

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'streamvision[torch]'")

SHAPE = (2, 4, 6, 5)
random = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def graph(
    operator: str, constants: list[np.ndarray | None], opset: int = 17, outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """One operator over the input ``x`` and constants; None leaves an input out."""
    names = [f"c{place}" if value is not None else "" for place, value in enumerate(constants)]
    weights = [
        numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True) if value is not None
    ]
    results = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(operator, ["x", *names], results, **attributes)
    return whole([node], results, weights, opset)


def whole(nodes: list[Any], results: list[str], weights: list[Any], opset: int = 17) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    outputs = [onnx.ValueInfoProto(name=name) for name in results]
    made = helper.make_graph(nodes, "one", [given], outputs, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def both(model: onnx.ModelProto, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    from streamvision.engine.backends.torch.graph import Graph

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Its optimisations compute some quantised weights with less care.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    ours = Graph(model, "cpu", "test")(torch.from_numpy(x))
    return session.run(None, {"x": x}), [np.asarray(output) for output in ours]


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Add", [floats(5)], {}),
    ("ArgMax", [], {"axis": 1, "keepdims": 0}),
    ("ArgMin", [], {"axis": -1}),
    ("AveragePool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "count_include_pad": 1}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("BatchNormalization", [floats(4), floats(4), floats(4), floats(4) ** 2], {"epsilon": 1e-3}),
    ("Cast", [], {"to": TensorProto.INT32}),
    ("Clip", [scalar(-0.5), None], {}),
    ("Clip", [None, scalar(0.25)], {}),
    ("Clip", [], {"opset": 6, "min": -0.5, "max": 0.5}),
    ("Concat", [floats(2, 1, 6, 5)], {"axis": 1}),
    ("Conv", [floats(6, 2, 3, 3), floats(6)], {"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 1]}),
    ("Conv", [floats(3, 4, 3, 3)], {"pads": [0, 1, 2, 1], "dilations": [2, 1]}),
    ("Conv", [floats(3, 4, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", [floats(3, 4, 2, 2)], {"auto_pad": "SAME_LOWER"}),
    ("Conv", [floats(3, 4, 2, 2)], {"auto_pad": "VALID"}),
    ("ConvTranspose", [floats(4, 3, 3, 3), floats(6)], {"group": 2, "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("ConvTranspose", [floats(4, 3, 2, 2)], {"strides": [2, 2], "output_padding": [1, 0]}),
    ("CumSum", [ints(2)], {}),
    ("CumSum", [ints(-1)], {"exclusive": 1, "reverse": 1}),
    ("DepthToSpace", [], {"blocksize": 2}),
    ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
    ("Div", [floats(4, 1, 1)], {}),
    ("Elu", [], {"alpha": 0.5}),
    ("Erf", [], {}),
    ("Expand", [ints(3, 1, 1, 1, 1)], {}),
    ("Flatten", [], {"axis": 2}),
    ("Flatten", [], {"axis": 0}),
    ("Flatten", [], {"axis": -1}),
    ("Gather", [ints(-1, 0)], {"axis": 2}),
    ("Gather", [np.array([[0, 1], [3, -1]])], {"axis": 1}),
    ("Gather", [np.array(1)], {"axis": 3}),
    ("GatherElements", [np.array([[[[0], [-1], [2], [3], [4], [5]]]])[:, :, :3]], {"axis": 2}),
    ("GatherND", [np.array([[0, 1], [1, -1]])], {}),
    ("GatherND", [np.array([[[1], [0]], [[3], [-1]]])], {"batch_dims": 1}),
    ("Gelu", [], {"opset": 20}),
    ("GlobalAveragePool", [], {}),
    ("GlobalMaxPool", [], {}),
    ("Greater", [scalar(0.1)], {}),
    ("GridSample", [np.clip(floats(2, 3, 4, 2) / 2, -1.2, 1.2)], {}),
    ("GridSample", [floats(2, 3, 4, 2) / 2], {"align_corners": 1, "padding_mode": "border", "mode": "nearest"}),
    ("HardSigmoid", [], {"alpha": 0.25, "beta": 0.4}),
    ("HardSwish", [], {}),
    ("InstanceNormalization", [floats(4), floats(4)], {}),
    ("LayerNormalization", [floats(6, 5), floats(6, 5)], {"axis": 2}),
    ("LayerNormalization", [floats(5)], {}),
    ("LeakyRelu", [], {"alpha": 0.2}),
    ("LogSoftmax", [], {"axis": 1}),
    ("LpNormalization", [], {"axis": 1, "p": 2}),
    ("MatMul", [floats(5, 3)], {}),
    ("Max", [floats(5), floats(6, 1)], {}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "dilations": [2, 1]}),
    ("Mean", [floats(5)], {}),
    ("Min", [floats(5)], {}),
    ("Mod", [np.abs(floats(5)) + 1], {"fmod": 1}),
    ("PRelu", [floats(4, 1, 1)], {}),
    ("Pad", [ints(0, 0, 1, 2, 0, 1, 0, 1), scalar(3)], {}),
    ("Pad", [ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    ("Pad", [ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "edge"}),
    ("Pad", [ints(1, 2), None, ints(3)], {"opset": 18}),
    ("Pad", [], {"opset": 2, "pads": [0, 0, 1, 2, 0, 0, -1, 1], "value": 2.0}),
    ("Pow", [np.array(2, np.int64)], {}),
    ("QuantizeLinear", [scalar(0.02), np.array(3, np.int8)], {}),
    ("QuantizeLinear", [np.abs(floats(4)) / 50 + 0.01, np.array([1, 2, 3, 4], np.uint8)], {"axis": 1}),
    ("ReduceL2", [], {"axes": [1], "keepdims": 1}),
    ("ReduceL1", [], {"axes": [-1], "keepdims": 0}),
    ("ReduceLogSumExp", [], {"axes": [2]}),
    ("ReduceMax", [ints(1, 2)], {"opset": 18, "keepdims": 0}),
    ("ReduceMean", [], {}),
    ("ReduceMin", [], {"axes": [3]}),
    ("ReduceProd", [], {"axes": [1, 3], "keepdims": 0}),
    ("ReduceSum", [ints(-1)], {"keepdims": 0}),
    ("ReduceSum", [], {"noop_with_empty_axes": 1}),
    ("ReduceSumSquare", [], {"axes": [2, 3]}),
    ("Reshape", [ints(0, -1, 5)], {}),
    ("Round", [], {}),
    ("ScatterElements", [np.array([[[[1]]], [[[-1]]]]), floats(2, 1, 1, 1)], {"axis": 1}),
    ("ScatterND", [np.array([[0, 1], [1, -1]]), floats(2, 6, 5)], {}),
    ("Selu", [], {}),
    ("Shape", [], {}),
    ("Shape", [], {"start": 1, "end": -1}),
    ("Slice", [ints(1, -3), ints(9, -1), ints(1, 2), ints(2, 1)], {}),
    ("Slice", [ints(-1), ints(-99), ints(3), ints(-2)], {}),
    ("Slice", [], {"opset": 9, "starts": [1, 0], "ends": [3, -1], "axes": [1, 3]}),
    ("Softmax", [], {}),
    ("Softmax", [], {"opset": 11, "axis": 2}),
    ("SpaceToDepth", [], {"blocksize": 1}),
    ("Split", [], {"axis": 1, "outputs": 2}),
    ("Split", [ints(1, 3)], {"axis": 1, "outputs": 2}),
    ("Split", [], {"opset": 11, "axis": 2, "split": [2, 4], "outputs": 2}),
    ("Split", [], {"opset": 18, "axis": 3, "num_outputs": 2, "outputs": 2}),
    ("Tile", [ints(1, 2, 1, 3)], {}),
    ("TopK", [ints(3)], {"axis": 2, "outputs": 2}),
    ("TopK", [ints(2)], {"largest": 0, "outputs": 2}),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [], {}),
    ("Trilu", [np.array(1, np.int64)], {}),
    ("Trilu", [], {"upper": 0}),
    ("Unsqueeze", [ints(0, -1)], {}),
    ("Unsqueeze", [], {"opset": 11, "axes": [0, 5]}),
    ("Upsample", [np.array([1, 1, 2, 3], np.float32)], {"opset": 9}),
]  # fmt: skip
RESIZES: list[dict[str, Any]] = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest"},
    {"mode": "nearest", "nearest_mode": "ceil"},
    {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    {"mode": "linear"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
    {"mode": "cubic"},
    {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
]


def compare(model: onnx.ModelProto) -> None:
    x = np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)
    expected, found = both(model, x)
    assert [(one.shape, one.dtype) for one in expected] == [(one.shape, one.dtype) for one in found]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("operator", "constants", "attributes"), CASES, ids=[case[0] for case in CASES])
def test_an_operator_computes_what_onnx_runtime_computes(
    operator: str, constants: list[Any], attributes: dict[str, Any]
) -> None:
    compare(graph(operator, constants, **attributes))


@pytest.mark.parametrize("attributes", RESIZES, ids=lambda each: "-".join(each.values()))
@pytest.mark.parametrize("target", ["up", "down", "sizes"])
def test_resizing_computes_what_onnx_runtime_computes(attributes: dict[str, Any], target: str) -> None:
    inputs: dict[str, list[Any]] = {
        "up": [None, np.array([1, 1, 2, 1.5], np.float32)],
        "down": [None, np.array([1, 1, 0.5, 0.7], np.float32)],
        "sizes": [None, None, ints(2, 4, 13, 3)],
    }
    compare(graph("Resize", inputs[target], **attributes))


@pytest.mark.parametrize("function", ["Abs", "Ceil", "Cos", "Exp", "Floor", "Identity", "Mish", "Neg", "Reciprocal",
                                      "Relu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh"])  # fmt: skip
def test_functions_of_one_number(function: str) -> None:
    compare(graph(function, [], opset=18))


def test_shapes_are_computed_and_used() -> None:
    """As exporters write them: shape, one side of it, arithmetic, a comparison, and a choice."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["channels"]),
        helper.make_node("Mul", ["channels", "two"], ["double"]),
        helper.make_node("Div", ["double", "three"], ["third"]),
        helper.make_node("Concat", ["third", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
        helper.make_node("ConstantOfShape", ["third"], ["zeros"], value=helper.make_tensor("", 1, [1], [2.5])),
        helper.make_node("Range", ["nought", "five", "step"], ["count"]),
        helper.make_node("Cast", ["count"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Less", ["x", "numbers"], ["below"]),
        helper.make_node("Not", ["below"], ["above"]),
        helper.make_node("And", ["below", "above"], ["never"]),
        helper.make_node("Where", ["never", "x", "numbers"], ["z"]),
    ]
    weights = [
        *(numpy_helper.from_array(ints(value), name) for name, value in (("one", 1), ("two", 2), ("three", 3))),
        numpy_helper.from_array(ints(-1), "rest"),
        *(numpy_helper.from_array(np.array(value), name) for name, value in (("nought", 0), ("five", 5), ("step", 1))),
    ]
    compare(whole(nodes, ["y", "zeros", "z"], weights))


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_in_eight_bits_are_scaled_along_their_axis(axis: int) -> None:
    quantised = random.integers(-127, 128, (5, 3)).astype(np.int8)
    scales = (np.abs(floats(5 if axis == 0 else 3)) + 0.1).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=axis),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = [
        numpy_helper.from_array(value, name)
        for name, value in (("q", quantised), ("scale", scales), ("zero", np.zeros(len(scales), np.int8)))
    ]
    compare(whole(nodes, ["y"], weights))


def test_operators_that_are_not_known_are_all_named() -> None:
    from streamvision.engine.backends.torch.graph import Graph

    nodes = [
        helper.make_node("NonZero", ["x"], ["a"]),
        helper.make_node("Bernoulli", ["x"], ["b"]),
        helper.make_node("Relu", ["x"], ["c"], domain="com.example"),
    ]
    with pytest.raises(EngineError, match=r"does not know the operators Bernoulli, NonZero, com\.example\.Relu"):
        Graph(whole(nodes, ["a", "b", "c"], []), "cpu", "test")


def test_intermediate_values_are_dropped_when_nobody_needs_them() -> None:
    from streamvision.engine.backends.torch.graph import Graph

    nodes = [helper.make_node("Relu", [f"v{n}" if n else "x"], [f"v{n + 1}"]) for n in range(4)]
    made = Graph(whole(nodes, ["v2", "v4"], []), "cpu", "test")
    assert [step.finished for step in made._steps] == [("x",), ("v1",), (), ("v3",)]


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=(6, 4))
    with pytest.raises(BackendUnavailable, match="PyTorch finds no GPU"):
        TorchBackend(network, TorchBackend.Options(device="cuda"))
    auto = TorchBackend(network, TorchBackend.Options(device="auto"))
    assert auto.device == "CPU"
    auto.close()


def test_weights_go_to_the_device_and_shapes_stay_where_they_are_read() -> None:
    """Torch's device ``meta`` computes shapes only, and as a GPU does refuses tensors that are elsewhere."""
    from streamvision.engine.backends.torch.graph import Graph

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Slice", ["shape", "nought", "two"], ["start"]),
        helper.make_node("Concat", ["start", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["a", "wanted"], ["flat"]),
        helper.make_node("Gather", ["flat", "two"], ["picked"], axis=2),
        helper.make_node("Mul", ["picked", "half"], ["y"]),
        helper.make_node("Resize", ["a", "", "scales"], ["z"], mode="linear"),
    ]
    values = {"w": floats(3, 4, 1, 1), "nought": ints(0), "two": ints(2), "rest": ints(-1), "half": scalar(0.5)}
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    outputs = Graph(whole(nodes, ["y", "z"], weights), "meta", "test")(torch.zeros(SHAPE, device="meta"))
    assert [(tuple(output.shape), output.device.type) for output in outputs] == [
        ((2, 3, 1), "meta"),
        ((2, 3, 12, 10), "meta"),
    ]
