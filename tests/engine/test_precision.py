from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from streamvision.engine import samples
from streamvision.engine.backends import TensorInput
from streamvision.engine.backends.openvino import shared_core
from streamvision.engine.half import to_half
from streamvision.engine.manifest import ModelInput, load
from streamvision.engine.precision import convert, fit, prepared
from streamvision.engine.quantize import layers, quantized, upgraded
from streamvision.engine.ranges import Session, as_int8, measure
from streamvision.errors import EngineError, UsageError
from streamvision.types import Colour
from tests.engine.networks import CLASSIFIER_SIDE as SIZE
from tests.engine.networks import classifier as small

SPEC = ModelInput(size=(SIZE, SIZE), scale=1 / 255)
PICTURES = [np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for seed in range(16)]
ITEMS = [prepared(each, SPEC) for each in PICTURES]


def kinds(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def outputs(model: ModelProto, item: Any = ITEMS[0]) -> list[Any]:
    return Session(model).run(item)


def on_openvino(path: Path, item: Any) -> list[Any]:
    import openvino

    core = shared_core(openvino)
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([item])
    return [found[port] for port in compiled.outputs]


def on_tensorrt(path: Path, size_wh: tuple[int, int]) -> int:
    """Compile with the real compiler, strongly typed; return the engine's size."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    network = builder.create_network(0)
    parser = rtx.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path)), [str(parser.get_error(n)) for n in range(parser.num_errors)]
    configuration = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = [1, 3, size_wh[1], size_wh[0]]
        if -1 in tuple(tensor.shape):
            profile.set_shape(tensor.name, shape, shape, shape)
    configuration.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, configuration)
    assert engine is not None
    return int(engine.nbytes)


# float16


def test_half_keeps_inputs_outputs_and_the_tail_in_float32(tmp_path: Path) -> None:
    model = onnx.load(small(tmp_path / "a.onnx"))
    half = to_half(model)
    onnx.checker.check_model(half)
    assert [each.type.tensor_type.elem_type for each in (*half.graph.input, *half.graph.output)] == [1, 1]
    weights = {each.name: each.data_type for each in half.graph.initializer}
    assert {kind for name, kind in weights.items() if name.startswith("w")} == {TensorProto.FLOAT16}
    softmax = next(node for node in half.graph.node if node.op_type == "Softmax")
    assert softmax.input[0] == "g5", "what follows the last weights reads float32"
    assert kinds(half)["Cast"] == 2
    assert np.allclose(outputs(half)[0], outputs(model)[0], atol=2e-3)
    assert not np.array_equal(outputs(half)[0], outputs(model)[0])


def test_a_constant_too_large_for_half_keeps_its_node_in_float32(tmp_path: Path) -> None:
    model = onnx.load(small(tmp_path / "a.onnx"))
    weight = next(each for each in model.graph.initializer if each.name == "w3")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e6), "w3"))
    half = to_half(model)
    assert next(each for each in half.graph.initializer if each.name == "w3").data_type == TensorProto.FLOAT
    assert np.isfinite(outputs(half)[0]).all()


def test_sizes_are_computed_in_float32() -> None:
    """2049 cells are one too many for float16: a grid that depends on the picture's size must not be rounded."""
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [0.0, 0.0, 0.0]),
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["side"]),
        helper.make_node("Cast", ["side"], ["width"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["c", "width"], ["sum"]),
        helper.make_node("Relu", ["width"], ["y"]),
        helper.make_node("Conv", ["sum", "one"], ["z"]),
    ]
    constants.append(helper.make_tensor("one", TensorProto.FLOAT, [1, 1, 1, 1], [1.0]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"]
    graph = helper.make_graph(
        nodes, "sizes", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 1, 2049])], values, constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    half = to_half(model)
    found = outputs(half, np.zeros((1, 3, 1, 2049), np.float32))
    assert found[0].tolist() == [2049]
    shape = next(node for node in half.graph.node if node.op_type == "Shape")
    assert shape.input[0].startswith("c/"), "no cast is needed to ask for a size"


def test_a_network_without_anything_to_convert_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "exp", [value], [out])
    with pytest.raises(EngineError, match="nothing in this network"):
        to_half(helper.make_model(graph))


# int8


@pytest.fixture
def model(tmp_path: Path) -> ModelProto:
    return onnx.load(small(tmp_path / "small.onnx"))


def test_int8_is_explicit_and_symmetric(model: ModelProto) -> None:
    fitted = fit(model, ITEMS, max_loss=0.5)
    onnx.checker.check_model(fitted.model)
    assert (fitted.layers, fitted.int8) == (5, 3), "the first and the last layer stay in float32"
    assert kinds(fitted.model)["QuantizeLinear"] == 3
    assert kinds(fitted.model)["DequantizeLinear"] == 6
    held = {each.name: numpy_helper.to_array(each) for each in fitted.model.graph.initializer}
    assert all(not each.any() for name, each in held.items() if name.endswith("/zero"))
    assert {name: each.shape for name, each in held.items() if name.endswith("/step")} == {
        "r1/step": (), "w2/step": (8,), "r2/step": (), "w3/step": (16,), "m3/step": (), "w4/step": (8,),
    }  # fmt: skip
    assert held["w3/int8"].dtype == np.int8
    assert held["w3/int8"].min() >= -127
    assert "w3" not in held, "the float weights are gone"
    assert 0 < fitted.loss < 0.1


def test_both_variants_run_everywhere(tmp_path: Path) -> None:
    source = small(tmp_path / "a.onnx")
    wanted = outputs(onnx.load(source))[0]
    for kind in ("fp16", "int8"):
        variant = convert(source, tmp_path / f"{kind}.onnx", kind, input=SPEC, calibration=PICTURES)
        onnx.checker.check_model(onnx.load(variant))
        assert np.allclose(outputs(onnx.load(variant))[0], wanted, atol=0.02)
        assert np.allclose(on_openvino(variant, ITEMS[0])[0], wanted, atol=0.02)
        assert on_tensorrt(variant, (SIZE, SIZE)) > 0


def test_an_old_operator_set_is_brought_up(tmp_path: Path) -> None:
    old = onnx.load(small(tmp_path / "old.onnx", opset=11))
    new = upgraded(old)
    assert new.opset_import[0].version == 13
    assert np.allclose(outputs(new)[0], outputs(old)[0], atol=1e-6)
    assert fit(old, ITEMS, max_loss=0.5).int8 == 3


def test_the_layer_that_does_the_most_harm_stays_in_float32(tmp_path: Path) -> None:
    """One step for channels of very different size: the small ones vanish where the depthwise conv reads them."""
    harmed = onnx.load(small(tmp_path / "harmed.onnx", outlier=1000))
    assert fit(harmed, ITEMS, max_loss=0.5).int8 == 3
    fitted = fit(harmed, ITEMS, max_loss=0.02)
    reads = [tuple(node.input[:2]) for node in fitted.model.graph.node if node.op_type == "Conv"]
    assert reads == [("x", "w1"), ("r1", "w2"), ("r2/back", "w3/back"), ("m3/back", "w4/back")]
    assert fitted.int8 == 2
    assert fitted.loss <= 0.02


def test_a_loss_above_the_bound_is_refused(model: ModelProto) -> None:
    with pytest.raises(EngineError, match=r"int8 loses 0\.\d+ of the outputs' spread, more than 0.000"):
        fit(model, ITEMS, max_loss=1e-6)


def test_labels_are_right_or_wrong_and_not_near_or_far(model: ModelProto) -> None:
    """A network that gives the best class itself: most pictures keep it, so the loss is the share that do not."""
    model.graph.node.append(helper.make_node("ArgMax", ["g5"], ["best"], axis=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("best", TensorProto.INT64, ["n", 1]))
    del model.graph.node[-2]
    fitted = fit(model, ITEMS, max_loss=0.5)
    wrong = [int(outputs(model, item)[0].item() != outputs(fitted.model, item)[0].item()) for item in ITEMS[:4]]
    assert fitted.loss == pytest.approx(np.sqrt(np.mean(wrong)))


def test_the_bias_takes_up_what_rounding_does_to_the_mean(tmp_path: Path) -> None:
    model = onnx.load(small(tmp_path / "a.onnx", shift=0.3))
    layer = layers(model)[1]
    ranges = measure(model, [layer.activation], ITEMS)
    corrected = quantized(model, [layer], ranges)
    plain = ModelProto()
    plain.CopyFrom(corrected)
    node = next(each for each in plain.graph.node if each.op_type == "Conv" and each.input[1].endswith("/back"))
    del node.input[2:]
    wanted = np.mean([Session(model, ["c2"]).run(item, ["c2"])[0] for item in ITEMS], axis=(0, 1, 3, 4))
    means = [
        np.mean([Session(each, ["c2"]).run(item, ["c2"])[0] for item in ITEMS], axis=(0, 1, 3, 4))
        for each in (corrected, plain)
    ]
    assert np.abs(means[0] - wanted).sum() < 0.7 * np.abs(means[1] - wanted).sum()


def test_the_step_is_better_than_that_of_the_whole_range(model: ModelProto) -> None:
    random = np.random.default_rng(3)
    tailed = [random.standard_t(3, (1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(16)]
    values = np.concatenate(tailed)
    step, whole = measure(model, ["x"], tailed)["x"].step, float(np.abs(values).max()) / 127
    errors = [float(((as_int8(values, each) - values) ** 2).mean()) for each in (step, whole)]
    assert step < 0.95 * whole
    assert errors[0] < errors[1]
    assert measure(model, ["x"], ITEMS)["x"].step == pytest.approx(1 / 127, rel=0.02), "even values: nothing to clip"


def test_tensors_that_are_always_zero_are_left_alone(tmp_path: Path) -> None:
    dark = onnx.load(small(tmp_path / "dark.onnx", shift=-100.0))
    ranges = measure(dark, ["r1"], ITEMS)
    assert ranges["r1"].step == 0
    assert kinds(quantized(dark, [layers(dark)[1]], ranges))["QuantizeLinear"] == 0


def test_numbers_that_are_not_finite_are_told(tmp_path: Path) -> None:
    broken = onnx.load(small(tmp_path / "broken.onnx", shift=float("inf")))
    with pytest.raises(EngineError, match="not finite"):
        fit(broken, ITEMS)


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """ONNX Runtime starts its telemetry, with a file for it, when the library is loaded."""
    source = small(tmp_path / "a.onnx")
    code = (
        "import onnx, sys; from streamvision.engine.ranges import Session; "
        "Session(onnx.load(sys.argv[1])); sys.exit('onnxruntime' not in sys.modules)"
    )
    home = tmp_path / "home"
    home.mkdir()
    places = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    kept = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code, source], env=kept | places, check=True, timeout=120)
    assert not [path for path in home.rglob("*") if "onnxruntime" in path.name]


def test_a_network_for_batches_only_is_fitted_as_well(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert fit(model, ITEMS, max_loss=0.5).int8 == 3


def test_pictures_that_do_not_fit_the_network_are_told(model: ModelProto) -> None:
    with pytest.raises(EngineError, match="cannot be run on a calibration picture"):
        fit(model, [item[..., :8] for item in ITEMS])


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_int8_steps(step: float) -> None:
    values = np.array([-1000.0, -0.3, 0.1, 0.3, 1000.0])
    expected = [0.0] * 5 if step == 0 else [-63.5, -0.5, 0.0, 0.5, 63.5]
    assert as_int8(values, step).tolist() == expected


@pytest.mark.parametrize(
    ("kind", "spec", "pictures", "error", "words"),
    [
        ("int8", SPEC, PICTURES[:7], UsageError, "at least 8 calibration pictures, not 7"),
        ("int8", SPEC, None, UsageError, "at least 8 calibration pictures, not 0"),
        ("int8", TensorInput((3, SIZE, SIZE)), None, UsageError, "does not see any"),
        ("fp8", SPEC, None, UsageError, "no fp8 variant"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    tmp_path: Path, kind: str, spec: Any, pictures: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        convert(small(tmp_path / "a.onnx"), tmp_path / "b.onnx", kind, input=spec, calibration=pictures)
    assert not (tmp_path / "b.onnx").exists()


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(EngineError, match="no ONNX file"):
        convert(tmp_path / "a.onnx", tmp_path / "b.onnx", "fp16", input=SPEC)


def test_a_network_without_inner_layers_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [value], [out])
    with pytest.raises(EngineError, match="no layers"):
        fit(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), ITEMS)


@pytest.mark.parametrize(
    ("spec", "shape", "value"),
    [
        (ModelInput(size=(4, 2), mean=(1, 1, 1), std=(2, 2, 2)), (1, 3, 2, 4), 4.5),
        (ModelInput(size=(4, 2), layout="nhwc", dtype="uint8"), (1, 2, 4, 3), 10),
        (ModelInput(size=(4, 2), colour=Colour.GRAY, scale=0.1), (1, 1, 2, 4), 1.0),
    ],
)
def test_pictures_are_prepared_as_the_manifest_says(spec: ModelInput, shape: tuple[int, ...], value: float) -> None:
    item = prepared(np.full((2, 4, 3) if spec.channels == 3 else (2, 4), 10, np.uint8), spec)
    assert item.shape == shape
    assert item.dtype == spec.dtype
    assert item.ravel()[0] == pytest.approx(value)


# real networks


@pytest.mark.parametrize("name", ["yolox_nano", "yunet_n_dynamic"])
def test_float16_of_a_real_network(data: Path, tmp_path: Path, name: str) -> None:
    source = data / "models" / f"{name}.onnx"
    spec = load("yolox-nano").input
    item = prepared(samples.pictures(spec.spec(), limit=1)[0], spec)
    half = convert(source, tmp_path / "half.onnx", "fp16", input=spec)
    onnx.checker.check_model(onnx.load(half))
    for ours, others in zip(outputs(onnx.load(source), item), outputs(onnx.load(half), item), strict=True):
        assert np.linalg.norm(ours - others) / np.linalg.norm(ours) < 0.03
    for ours, others in zip(outputs(onnx.load(half), item), on_openvino(half, item), strict=True):
        assert np.linalg.norm(ours - others) / np.linalg.norm(ours) < 0.03
    assert on_tensorrt(half, spec.size) > 0


def test_int8_of_a_real_network_compiles_everywhere(data: Path, tmp_path: Path) -> None:
    model = upgraded(onnx.load(data / "models" / "yolox_nano.onnx"))
    spec = load("yolox-nano").input
    items = [prepared(each, spec) for each in samples.pictures(spec.spec(), limit=2)]
    inner = [layer for layer in layers(model) if not layer.end]
    assert (len(layers(model)), len(inner)) == (113, 86)
    variant = quantized(model, inner, measure(model, list(dict.fromkeys(each.activation for each in inner)), items))
    onnx.save(variant, tmp_path / "int8.onnx")
    onnx.checker.check_model(variant)
    wanted = outputs(model, items[0])[0]
    found = [outputs(variant, items[0])[0], on_openvino(tmp_path / "int8.onnx", items[0])[0]]
    errors = [float(np.linalg.norm(each - wanted) / np.linalg.norm(wanted)) for each in found]
    assert errors[0] == pytest.approx(errors[1], rel=0.1), "a value between two steps may fall to either side"
    assert on_tensorrt(tmp_path / "int8.onnx", spec.size) > 0
