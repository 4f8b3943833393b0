"""TensorRT's real compiler, which needs no GPU in TensorRT for RTX; skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamvision.engine.backends import Network, TensorInput
from streamvision.engine.backends.tensorrt import TensorRtBackend
from streamvision.engine.backends.tensorrt.options import Options
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError, ManifestError
from tests.engine import networks

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install 'streamvision[tensorrt]'")

SIZE = (6, 4)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"layout": "nhwc"},
        {"colour": "gray"},
        {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"dtype": "float16", "scale": 1 / 255},
        {"dtype": "uint8"},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, "n"])
def test_every_kind_of_input_compiles(tmp_path: Path, spec: dict[str, Any], batch: int | str) -> None:
    network = networks.network(tmp_path / "net.onnx", size=SIZE, **spec)
    networks.echo(network.path, [batch, *network.input.shape], network.input.dtype)
    assert len(TensorRtBackend.compile(network)) > 1000


def test_a_second_stage_compiles(tmp_path: Path) -> None:
    path = networks.echo(tmp_path / "net.onnx", ["n", 5, 7])
    assert len(TensorRtBackend.compile(Network("test", path, TensorInput((5, 7)), max_batch=100))) > 1000


@pytest.mark.parametrize("dims", [["n", 3, "h", "w"], ["n", 3, 4, 6]], ids=str)
def test_open_dimensions_are_closed(tmp_path: Path, dims: list[Any]) -> None:
    path = networks.echo(tmp_path / "net.onnx", dims)
    TensorRtBackend.compile(
        networks.network(path, size=SIZE), Options(batch=4, opt_batch=2, workspace_mb=64, tf32=True)
    )


def test_progress_goes_up_to_one(tmp_path: Path) -> None:
    told: list[float] = []
    path = networks.echo(tmp_path / "net.onnx", ["n", 3, 4, 6])
    TensorRtBackend.compile(networks.network(path, size=SIZE), None, told.append)
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] == 1


def test_the_preparation_does_not_change_the_network_file(tmp_path: Path) -> None:
    path = networks.echo(tmp_path / "net.onnx", ["n", 3, 4, 6])
    before = path.read_bytes()
    TensorRtBackend.compile(networks.network(path, size=SIZE, scale=1 / 255, std=(1, 2, 3)))
    assert path.read_bytes() == before


def test_what_the_compiler_cannot_read_is_named_with_its_operator(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["where"], name="looks_for_more")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 6])]
    output = helper.make_tensor_value_info("where", TensorProto.INT64, [4, "n"])
    path = networks.save(tmp_path / "net.onnx", nodes, inputs, [output])
    with pytest.raises(EngineError, match=r"NonZero looks_for_more.*export only the network's dense part"):
        TensorRtBackend.compile(networks.network(path, size=SIZE))


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x08"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises((EngineError, ManifestError)):
        TensorRtBackend.compile(networks.network(path, size=SIZE))


def test_a_manifest_that_lies_is_refused_before_anything_is_compiled(tmp_path: Path) -> None:
    path = networks.echo(tmp_path / "net.onnx", [1, 3, 8, 8])
    with pytest.raises(ManifestError, match="1x3x4x6"):
        TensorRtBackend.compile(networks.network(path, size=SIZE))


def test_a_fixed_batch_stays_what_it_is(tmp_path: Path) -> None:
    path = networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6])
    TensorRtBackend.compile(networks.network(path, size=SIZE))
    with pytest.raises(EngineError, match="takes 1 at a time, not 4"):
        TensorRtBackend.compile(networks.network(path, size=SIZE), Options(batch=4))


def test_weights_in_another_file_are_part_of_the_engine(tmp_path: Path) -> None:
    path = networks.constant(tmp_path / "net.onnx", np.ones((1, 64, 64), np.float32), SIZE)
    model = onnx.load(path)
    for weight in model.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight), weight.name))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1000)
    assert (tmp_path / "weights.bin").is_file()
    assert len(TensorRtBackend.compile(networks.network(path, size=SIZE))) > 64 * 64 * 4


def test_bfloat16_is_a_matter_of_the_file(tmp_path: Path) -> None:
    path = networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6])
    with pytest.raises(BackendUnavailable, match="bf16 only where the ONNX file says so"):
        TensorRtBackend.compile(Network("test", path, ModelInput(size=SIZE), "bf16"))


def test_without_a_gpu_it_compiles_but_does_not_run(tmp_path: Path) -> None:
    identity = TensorRtBackend.identity()
    if not identity["device"].startswith("none"):
        pytest.skip(f"there is a GPU: {identity['device']}")
    assert (identity["module"], identity["compute_capability"]) == ("tensorrt_rtx", "any")
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    engine = tmp_path / "net.engine"
    engine.write_bytes(TensorRtBackend.compile(network))
    with pytest.raises(BackendUnavailable, match="look at nvidia-smi"):
        TensorRtBackend(network, engine=engine)
