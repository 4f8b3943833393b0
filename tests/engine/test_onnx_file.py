"""Files that are no networks, lie, or would do harm: each gets its own clear error, in bounded time and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from streamvision.engine import manifest, models, onnx_file, onnx_tensor
from streamvision.engine.wire import BadWire, Wire
from streamvision.errors import EngineError, ManifestError
from tests.engine.networks import TINY, write_manifest

PICTURE = [1, 3, 8, 8]


def value(name: str, shape: list[Any] | None = None, dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, PICTURE if shape is None else shape)


def model(
    nodes: list[Any] | None = None, constants: list[Any] | None = None, inputs: list[Any] | None = None, **more: Any
) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", ["x"], ["y"])] if nodes is None else nodes
    graph = helper.make_graph(nodes, "g", [value("x")] if inputs is None else inputs, [value("y")], constants or [])
    opsets = more.pop("opsets", [helper.make_opsetid("", 13)])
    return helper.make_model(graph, opset_imports=opsets, **more)


def write(folder: Path, network: onnx.ModelProto | bytes) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(network if isinstance(network, bytes) else network.SerializeToString())
    return path


def tensor(dims: list[int], raw: bytes = b"", dtype: int = TensorProto.FLOAT, **fields: Any) -> TensorProto:
    made = TensorProto(name="w", dims=dims, data_type=dtype, **fields)
    if raw:
        made.raw_data = raw
    return made


def test_the_facts_are_those_of_the_onnx_package(data: Path) -> None:
    for name in ("yolox_nano", "yunet_n_dynamic"):
        path = data / f"models/{name}.onnx"
        facts, loaded = onnx_file.check(path), onnx.load(path)
        assert facts.nodes == len(loaded.graph.node)
        assert facts.operators == {node.op_type for node in loaded.graph.node}
        assert [port.name for port in facts.outputs] == [output.name for output in loaded.graph.output]
        constants = [
            *loaded.graph.initializer,
            *(a.t for n in loaded.graph.node for a in n.attribute if a.HasField("t")),
        ]
        assert facts.weights == sum(int(np.prod(each.dims)) for each in constants)
        assert (facts.opsets, facts.external, facts.custom_ops) == ({"": 11}, (), ())


def test_names_types_and_open_sides_are_told(tmp_path: Path) -> None:
    ports = [value("x", ["batch", 3, None, 8], TensorProto.FLOAT16), value("w", [2])]
    network = model(inputs=ports, constants=[helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])])
    network.producer_name, network.producer_version = "a test", "1.2"
    helper.set_model_props(network, {"names": "{0: 'cat'}", "é": "\u2603"})
    facts = onnx_file.check(write(tmp_path, network))
    assert [str(port) for port in facts.inputs] == ["x (float16 batchx3x?x8)"]  # an initialiser is no input
    assert facts.producer == "a test 1.2"
    assert facts.metadata == {"names": "{0: 'cat'}", "é": "\u2603"}


@pytest.mark.parametrize(
    "dtype",
    [
        TensorProto.FLOAT,
        TensorProto.INT64,
        TensorProto.FLOAT16,
        TensorProto.BOOL,
        TensorProto.DOUBLE,
        TensorProto.COMPLEX64,
        TensorProto.INT8,
        TensorProto.BFLOAT16,
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_every_way_to_store_a_tensor_is_understood(tmp_path: Path, dtype: int, raw: bool) -> None:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    values = np.arange(300).reshape(3, 100).astype(kind)
    made = numpy_helper.from_array(values, "w") if raw else helper.make_tensor("w", dtype, [3, 100], values.ravel())
    assert onnx_file.check(write(tmp_path, model(constants=[made]))).weights == 300


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    whole = model([helper.make_node("Conv", ["x", "w"], ["y"])], [weights], producer_name="p").SerializeToString()
    assert onnx_file.check(write(tmp_path, whole)).nodes == 1
    for length in range(len(whole)):
        with pytest.raises(EngineError) as caught:
            onnx_file.check(write(tmp_path, whole[:length]))
        assert caught.value.remedy
        assert caught.value.where == str(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"no network at all", "no whole ONNX file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "no whole ONNX file|no ONNX network"),
        (b"PK\x03\x04" + bytes(200), "no whole ONNX file|no ONNX network"),
        (b"<html>404: Not Found</html>", "no whole ONNX file|no ONNX network"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no whole ONNX file|no ONNX network"),
        (b"\xff" * 100, "no whole ONNX file"),
        (b"\x08" + b"\x80" * 12, "a number without an end"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "bytes should follow"),
    ],
)
def test_what_is_no_network_is_said_to_be_none(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        onnx_file.check(write(tmp_path, content))


def test_folders_missing_files_and_giants_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.onnx"):
        with pytest.raises(EngineError, match="no such file"):
            onnx_file.check(path)
    giant = tmp_path / "giant.onnx"
    with giant.open("wb") as file:
        file.truncate(3 << 30)  # takes no place on the disk
    with pytest.raises(EngineError, match="3221225472 bytes"):
        onnx_file.check(giant)


def nodes(count: int) -> list[Any]:
    return [helper.make_node("Identity", ["x" if i == 0 else f"a{i}"], [f"a{i + 1}"]) for i in range(count)]


def test_a_hundred_thousand_nodes_are_too_many(tmp_path: Path) -> None:
    path = write(tmp_path, model(nodes(100_000)))
    assert peak_of(lambda: refused(path, "more than 50000 nodes")) < 64 << 20


def test_a_million_empty_nodes_cost_nothing(tmp_path: Path) -> None:
    graph = b"\x0a\x00" * 1_000_000
    length = len(graph)
    varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    path = write(tmp_path, b"\x08\x08\x42\x02\x10\x0d\x3a" + varint + graph)
    assert peak_of(lambda: refused(path, "more than 50000 nodes")) < 64 << 20


def test_a_node_of_a_million_attributes_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_FIELDS", 10_000)
    network = model()
    network.graph.node[0].attribute.extend([onnx.AttributeProto()] * 20_000)
    refused(write(tmp_path, network), "more parts than any network has")


def test_nodes_inside_of_nodes_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_NODES", 60)
    inner = helper.make_graph(nodes(50), "inner", [], [value("y")])
    branches = [helper.make_node("If", ["x"], [f"y{i}"], then_branch=inner, else_branch=inner) for i in range(1)]
    refused(write(tmp_path, model(branches)), "more than 60 nodes")


def test_graphs_in_graphs_end(tmp_path: Path) -> None:
    graph = helper.make_graph(nodes(1), "inner", [], [value("y")])
    for _ in range(25):
        graph = helper.make_graph([helper.make_node("Loop", ["x"], ["y"], body=graph)], "g", [], [value("y")])
    refused(write(tmp_path, model(list(graph.node))), "graphs lie in graphs")


def peak_of(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(path: Path, words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        onnx_file.check(path)
    assert caught.value.remedy


LIES: dict[str, tuple[TensorProto, str]] = {
    "too few bytes": (tensor([4, 4], bytes(12)), "claims 4x4 numbers of float32, but has 12 bytes"),
    "too many bytes": (tensor([1], bytes(400)), "but has 400 bytes"),
    "nothing at all": (tensor([1000]), "claims 1000 numbers of float32, but has 0"),
    "a petabyte of nothing": (tensor([1 << 25, 1 << 25]), "more than any network needs"),
    "sides that overflow": (tensor([1 << 62, 1 << 62], bytes(4)), "more than any network needs"),
    "a negative side": (tensor([-4], bytes(16)), "negative side"),
    "no such type": (tensor([1], bytes(4), dtype=99), "unknown type"),
    "too many dimensions": (tensor([1] * 1000, bytes(4)), "no sane number of dimensions"),
    "short list": (tensor([3], float_data=[1.0, 2.0]), "but has 2"),
    "long list": (tensor([1], dtype=TensorProto.INT64, int64_data=[1, 2]), "but has 2"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("place", ["initialiser", "attribute", "sparse", "inside a graph"])
def test_tensors_that_lie_are_refused_wherever_they_are(tmp_path: Path, lie: str, place: str) -> None:
    wrong, words = LIES[lie]
    if place == "initialiser":
        network = model(constants=[wrong])
    elif place == "attribute":
        network = model([helper.make_node("Constant", [], ["y"], value=wrong)])
    elif place == "sparse":
        network = model()
        network.graph.sparse_initializer.add().values.CopyFrom(wrong)
    else:
        inner = helper.make_graph(nodes(1), "inner", [], [value("y")], [wrong])
        network = model([helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)])
    refused(write(tmp_path, network), words)


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile"])
@pytest.mark.parametrize("by", ["raw initialiser", "listed initialiser", "Constant node"])
def test_a_bomb_is_not_lit(tmp_path: Path, operator: str, by: str) -> None:
    shape = np.array([1 << 20, 1 << 20], np.int64)
    listed = helper.make_tensor("shape", TensorProto.INT64, [2], shape)
    raw = numpy_helper.from_array(shape, "shape")
    inputs = ["shape"] if operator == "ConstantOfShape" else ["x", "shape"]
    work = [helper.make_node(operator, inputs, ["y"])]
    if by == "Constant node":
        network = model([helper.make_node("Constant", [], ["shape"], value=raw), *work])
    else:
        network = model(work, [raw if by.startswith("raw") else listed])
    refused(write(tmp_path, network), f"{operator} makes a tensor of 1048576x1048576")


def test_ports_of_absurd_sizes_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, model(inputs=[value("x", [1, 3, 1 << 20, 1 << 20])])), "'x' is a tensor of")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (model([]), "no nodes"),
        (model(inputs=[]), "no inputs"),
        (model(opsets=[]), None),
        (model([helper.make_node("Magic", ["x"], ["y"], domain="org.example")]), "org.example::Magic"),
    ],
)
def test_graphs_that_nothing_can_run_are_refused(tmp_path: Path, network: onnx.ModelProto, words: str | None) -> None:
    if words is None:
        del network.opset_import[:]
        words = "no ONNX network"
    refused(write(tmp_path, network), words)


def test_functions_of_the_file_itself_are_no_strangers(tmp_path: Path) -> None:
    twice = helper.make_function(
        "org.example", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    network = model([helper.make_node("Twice", ["x"], ["y"], domain="org.example")], functions=[twice])
    facts = onnx_file.check(write(tmp_path, network))
    assert (facts.nodes, facts.custom_ops) == (2, ())


def test_operators_of_a_runtime_are_told(tmp_path: Path) -> None:
    network = model([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")])
    assert onnx_file.check(write(tmp_path, network)).custom_ops == ("com.microsoft::Gelu",)


def external(location: str, elements: int = 4, offset: str = "0", length: str | None = None) -> onnx.ModelProto:
    made = tensor([elements])
    external_data_helper.set_external_data(
        tensor_with_data(made), location, offset=int(offset), length=None if length is None else int(length)
    )
    made.ClearField("raw_data")
    return model(constants=[made])


def tensor_with_data(made: TensorProto) -> TensorProto:
    made.raw_data = bytes(4)
    return made


def test_weights_beside_the_network_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights.bin").write_bytes(bytes(32))
    path = write(tmp_path, external("sub/weights.bin", offset="16", length="16"))
    assert onnx_file.check(path).external == ("sub/weights.bin",)


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../secret.bin", "sub/../../secret.bin", "..", "C:\\secret.bin", "..\\secret.bin", "a\0b",
     "file:///etc/passwd", "\\\\server\\share"],
)  # fmt: skip
def test_weights_elsewhere_are_never_opened(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    refused(write(tmp_path / "in", external(location)), "outside its own folder")


def test_a_link_out_of_the_folder_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "in" / "door").symlink_to(tmp_path)
    refused(write(tmp_path / "in", external("weights.bin")), "a link that leads out of its folder")
    refused(write(tmp_path / "in", external("door/secret.bin")), "a link that leads out of its folder")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (external("nothing.bin"), "are not there"),
        (external("."), "are not there"),
        (external("weights.bin", elements=5), "does not hold that"),
        (external("weights.bin", offset="8"), "does not hold that"),
        (external("weights.bin", length="4"), "does not hold that"),
    ],
)
def test_weights_that_are_not_there_are_missed(tmp_path: Path, network: onnx.ModelProto, words: str) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    refused(write(tmp_path, network), words)


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("text", ["-1", "many", "1e3", "9" * 30])
def test_places_that_are_no_numbers_are_refused(tmp_path: Path, key: str, text: str) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    network = external("weights.bin")
    del network.graph.initializer[0].external_data[1:]
    network.graph.initializer[0].external_data.add(key=key, value=text)
    with pytest.raises(EngineError):
        onnx_file.check(write(tmp_path, network))


def test_no_bytes_make_it_fail_in_another_way(tmp_path: Path) -> None:
    whole = bytearray(TINY)
    rng = np.random.default_rng(0)
    for _ in range(400):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            broken[at] = rng.integers(0, 256)
        try:
            onnx_file.check(write(tmp_path, bytes(broken)))
        except EngineError:
            continue


def test_the_numbers_are_those_of_the_format() -> None:
    assert onnx_tensor.TYPES.keys() >= {number for number in TensorProto.DataType.values() if 0 < number <= 26}
    for number, (name, bits) in onnx_tensor.TYPES.items():
        if bits >= 8 and name not in ("bfloat16",) and not name.startswith("float8"):
            assert np.dtype(name).itemsize * 8 == bits, number
    fields = {"graph": 7, "opset_import": 8, "metadata_props": 14, "functions": 25}
    assert {name: onnx.ModelProto.DESCRIPTOR.fields_by_name[name].number for name in fields} == fields


def test_a_wire_reads_negative_numbers_and_counts_its_work() -> None:
    shape = TensorProto(dims=[-1, 300]).SerializeToString()
    wire = Wire(memoryview(shape), 10)
    assert [n for each in wire.fields(0, len(shape)) for n in wire.numbers(each)] == [-1, 300]
    with pytest.raises(BadWire, match="more parts"):
        list(Wire(memoryview(shape), 0).fields(0, len(shape)))


def test_a_model_s_file_is_judged_before_any_runtime_gets_it(tmp_path: Path) -> None:
    path = write(tmp_path, external("../weights.bin"))
    loaded = manifest.load(write_manifest(tmp_path, path))
    with pytest.raises(EngineError, match="outside its own folder"):
        models.require(loaded)
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    path = write(tmp_path, external("weights.bin"))
    with pytest.raises(ManifestError, match="no sha256 vouches for"):
        models.require(manifest.load(write_manifest(tmp_path, path)))


def test_one_file_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    first = onnx_file.check(path, "a" * 64)
    assert onnx_file.check(path, "a" * 64) is first
    assert onnx_file.check(path) is not first
