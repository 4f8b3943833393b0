"""The contract of `interfaces.Backend`, over every implementation and a fake."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pydantic import BaseModel

from streamvision import plugins
from streamvision.engine import manifest, models
from streamvision.engine.backends import (
    CompiledNetwork,
    Items,
    Network,
    Outputs,
    Progress,
    RequestPool,
    TensorInput,
    picture_shape,
)
from streamvision.engine.backends.onnxruntime import OnnxRuntimeBackend
from streamvision.engine.backends.openvino import check_precision
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError, ManifestError, StaleEngine
from streamvision.types import UInt8
from tests.engine import networks
from tests.engine.fake_tensorrt import fake_backend

SIZE = (6, 4)
WAIT_S = 20


class FakeBackend:
    """Computes what `networks.echo` computes, with numpy."""

    class Options(BaseModel):
        workers: int = 2
        batch: int | None = None

    name = "fake"
    device = "none"
    output_names = ("y", "peak")

    def __init__(self, network: Network, options: Options | None = None, engine: Path | None = None) -> None:
        options = options or self.Options()
        if engine and engine.read_bytes() != b"a fake engine":
            raise EngineError("this is no engine", where=network.model)
        batch = onnx.load(network.path).graph.input[0].type.tensor_type.shape.dim[0]
        self.in_flight = options.workers
        self.max_batch = network.largest_batch(batch.dim_value or None, options.batch, parallel=True)
        intake = network.intake(self.max_batch)
        self._spec = network.input
        self._pool = RequestPool("fake", intake, [self._infer] * self.in_flight)
        self.output_shapes = self._pool.warm_up()

    @classmethod
    def identity(cls, options: Options | None = None) -> Mapping[str, str]:
        return {"backend": cls.name}

    @classmethod
    def compile(cls, network: Network, options: Options | None = None, progress: Progress | None = None) -> bytes:
        return b"a fake engine"

    def submit(self, pictures: Items) -> Future[Outputs]:
        return self._pool.submit(pictures)

    def close(self) -> None:
        self._pool.close()

    def _infer(self, items: Items) -> Outputs:
        if isinstance(items, np.ndarray):
            values = items.astype(np.float32)
        else:
            values = np.concatenate([prepared(item, self._spec) for item in items])
        return [values, values.reshape(len(values), -1).max(1, keepdims=True)]


def prepared(picture: UInt8, spec: Any) -> np.ndarray:
    """What the manifest promises the network to see, written plainly."""
    values = picture.reshape(*picture.shape[:2], -1).astype(np.float64) * spec.scale
    values = (values - np.array(spec.mean or [0])) / np.array(spec.std or [1])
    if spec.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return values[None].astype(np.float32)


REAL = [
    "openvino",
    "onnxruntime",
    "torch",
    pytest.param("tensorrt", marks=pytest.mark.gpu),
    "tensorrt on fakes",
]
Make = Callable[..., CompiledNetwork]


def plugin(name: str) -> Any:
    """Return a backend's class, or skip where what it needs is not installed."""
    if name == "fake":
        return FakeBackend
    if name == "tensorrt on fakes":
        return fake_backend()
    found = plugins.load("backend", name)
    try:
        found.identity(found.Options())
        if name == "tensorrt":
            found.require_gpu()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(params=["fake", *REAL])
def backend(request: pytest.FixtureRequest) -> Any:
    return plugin(request.param)


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> Any:
    return plugin(request.param)


@pytest.fixture
def make(backend: Any, tmp_path: Path) -> Iterator[Make]:
    """Builds a backend around `networks.echo`, by itself or from a compiled file; closes all of them afterwards."""
    built: list[CompiledNetwork] = []

    def build(
        shape: list[Any] | None = None,
        input: ModelInput | TensorInput | None = None,
        options: dict[str, Any] | None = None,
        compiled: bool = False,
        max_batch: int = 16,
        **spec: Any,
    ) -> CompiledNetwork:
        network = Network(
            "test", tmp_path / f"{len(built)}.onnx", input or ModelInput(size=SIZE, **spec), max_batch=max_batch
        )
        networks.echo(network.path, shape or [1, *network.input.shape], network.input.dtype)
        chosen = backend.Options(**options or {})
        engine = None
        if compiled:
            engine = network.path.with_suffix(".engine")
            engine.write_bytes(backend.compile(network, chosen))
        built.append(backend(network, chosen, engine))
        return built[-1]

    yield build
    for each in built:
        each.close()


def pictures(count: int, shape: tuple[int, ...] = (4, 6, 3)) -> list[UInt8]:
    return list(np.random.default_rng(7).integers(0, 256, (count, *shape), np.uint8))


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"layout": "nhwc"},
        {"colour": "gray"},
        {"colour": "gray", "layout": "nhwc", "mean": (7,), "std": (3,)},
        {"scale": 1 / 255},
        {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"layout": "nhwc", "mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)},
        {"dtype": "float16", "scale": 1 / 255},
        {"dtype": "uint8"},
    ],
    ids=str,
)
def test_the_network_sees_what_the_manifest_promises(make: Make, spec: dict[str, Any]) -> None:
    backend = make(**spec)
    network = networks.network(Path(), size=SIZE, **spec)
    (picture,) = pictures(1, picture_shape(network.input))
    echoed, peak = backend.submit([picture]).result(WAIT_S)
    expected = prepared(picture, network.input)
    np.testing.assert_allclose(echoed, expected, rtol=1e-2 if spec.get("dtype") == "float16" else 1e-4, atol=1e-3)
    assert (echoed.shape, peak.shape) == backend.output_shapes == (expected.shape, (1, 1))


@pytest.mark.parametrize("shape", [["n", 3, 4, 6], ["n", 3, "h", "w"], [1, 3, "h", "w"]], ids=str)
def test_open_dimensions_are_closed_by_the_manifest(make: Make, shape: list[Any]) -> None:
    backend = make(shape)
    assert backend.output_shapes == ((1, 3, 4, 6), (1, 1))
    assert backend.submit(pictures(1)).result(WAIT_S)[0].shape == (1, 3, 4, 6)


def test_every_future_answers_its_own_picture_and_keeps_its_answer(make: Make) -> None:
    backend = make()
    shown = pictures(40)
    # All results are kept until the end: a request that wrote into memory it gave away would be seen.
    answers = [future.result(WAIT_S) for future in [backend.submit([picture]) for picture in shown]]
    for picture, (echoed, _) in zip(shown, answers, strict=True):
        np.testing.assert_array_equal(echoed[0], picture.transpose(2, 0, 1))
    for echoed, _ in answers:
        echoed += 1  # they belong to the caller


def test_pictures_may_be_views(make: Make) -> None:
    picture = pictures(1, (4, 6, 3))[0]
    flipped = picture[:, ::-1]
    np.testing.assert_array_equal(make().submit([flipped]).result(WAIT_S)[0][0], flipped.transpose(2, 0, 1))


def test_many_threads_may_submit(make: Make) -> None:
    backend = make()

    def worker(picture: UInt8) -> bool:
        return bool((backend.submit([picture]).result(WAIT_S)[0][0] == picture.transpose(2, 0, 1)).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(worker, pictures(64)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([np.zeros((4, 7, 3), np.uint8)], r"expected a picture of uint8 \(4, 6, 3\), got uint8 \(4, 7, 3\)"),
        ([np.zeros((4, 6, 3), np.float32)], "got float32"),
        ([np.zeros((4, 6, 3), np.uint8)] * 2, "got 2"),
        ([], "got 0"),
    ],
)
def test_a_wrong_picture_fails_in_its_future_and_hurts_nobody_else(make: Make, wrong: list[Any], words: str) -> None:
    backend = make()
    future = backend.submit(wrong)
    with pytest.raises(EngineError, match=words):
        future.result(WAIT_S)
    for _ in range(backend.in_flight + 1):  # every request is still there
        backend.submit(pictures(1)).result(WAIT_S)


def test_close_can_be_repeated_and_nothing_is_accepted_afterwards(make: Make) -> None:
    backend = make()
    last = backend.submit(pictures(1))
    backend.close()
    backend.close()
    assert last.result(0)[0].shape == (1, 3, 4, 6)
    for _ in range(backend.in_flight + 1):
        with pytest.raises(EngineError, match="closed"):
            backend.submit(pictures(1))


def test_says_what_it_is(make: Make) -> None:
    backend = make()
    assert (backend.max_batch, backend.output_names) == (1, ("y", "peak"))
    assert backend.name
    assert backend.device
    assert backend.in_flight >= 1


OPEN = ["n", 3, 4, 6]


@pytest.mark.parametrize("spec", [{}, {"colour": "gray"}, {"scale": 1 / 255, "std": (0.2, 0.3, 0.4)}], ids=str)
def test_a_batch_is_one_answer_with_a_row_for_each_picture(make: Make, spec: dict[str, Any]) -> None:
    channels = 1 if "colour" in spec else 3
    backend = make(["n", channels, 4, 6], options={"batch": 4}, **spec)
    assert backend.max_batch == 4
    assert backend.output_shapes == ((1, channels, 4, 6), (1, 1))
    network = networks.network(Path(), size=SIZE, **spec)
    shown = pictures(10, picture_shape(network.input))
    batches = [shown[:4], shown[4:5], shown[5:8], shown[8:]]
    for batch, future in zip(batches, [backend.submit(batch) for batch in batches], strict=True):
        echoed, peaks = future.result(WAIT_S)
        expected = np.concatenate([prepared(picture, network.input) for picture in batch])
        np.testing.assert_allclose(echoed, expected, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(peaks[:, 0], expected.max((1, 2, 3)), rtol=1e-4)


def test_the_batch_is_no_larger_than_what_anybody_submits(make: Make) -> None:
    assert make(OPEN, options={"batch": 8}, max_batch=2).max_batch == 2


def test_batches_and_single_pictures_from_many_threads_keep_apart(make: Make) -> None:
    backend = make(OPEN, options={"batch": 4})
    shown = pictures(60)

    def worker(start: int) -> bool:
        batch = shown[start : start + 1 + start % 4]
        echoed = backend.submit(batch).result(WAIT_S)[0]
        return bool((echoed == np.stack(batch).transpose(0, 3, 1, 2)).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(worker, range(56)))


def test_too_large_a_batch_fails_in_its_future(make: Make) -> None:
    backend = make(OPEN, options={"batch": 2})
    with pytest.raises(EngineError, match="expected 1 to 2 pictures, got 3"):
        backend.submit(pictures(3)).result(WAIT_S)


def test_a_network_for_one_picture_cannot_take_a_batch(make: Make) -> None:
    with pytest.raises(EngineError, match="takes 1 at a time, not 4; export the network with an open batch"):
        make([1, 3, 4, 6], options={"batch": 4})


ARRAYS = TensorInput((5, 7), name="x")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_second_stage_is_given_arrays(make: Make, compiled: bool) -> None:
    backend = make(["n", 5, 7], ARRAYS, compiled=compiled, max_batch=9)
    assert (backend.max_batch, backend.output_shapes) == (9, ((1, 5, 7), (1, 1)))
    random = np.random.default_rng(3)
    given = [random.normal(size=(count, 5, 7)).astype(np.float32) for count in (9, 1, 4)]
    for values, future in zip(given, [backend.submit(values) for values in given], strict=True):
        echoed, peaks = future.result(WAIT_S)
        np.testing.assert_array_equal(echoed, values)
        np.testing.assert_array_equal(peaks[:, 0], values.max((1, 2)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((10, 5, 7), np.float32), "expected 1 to 9 tensors, got 10"),
        (np.zeros((0, 5, 7), np.float32), "got 0"),
        (np.zeros((2, 7, 5), np.float32), r"expected a tensor of float32 \(2, 5, 7\), got float32 \(2, 7, 5\)"),
        (np.zeros((2, 5, 7), np.float64), "got float64"),
    ],
)
def test_a_wrong_array_fails_in_its_future(make: Make, wrong: np.ndarray, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        make(["n", 5, 7], ARRAYS, max_batch=9).submit(wrong).result(WAIT_S)


def test_a_second_stage_must_take_all_that_comes(make: Make) -> None:
    with pytest.raises(EngineError, match="takes 1 at a time, not 9"):
        make([1, 5, 7], ARRAYS, max_batch=9)


def test_another_name_of_the_input_is_a_lie(tmp_path: Path, real: Any) -> None:
    path = networks.echo(tmp_path / "net.onnx", ["n", 5, 7])
    with pytest.raises(ManifestError, match=r"an input called 'rois', but .* has 'x'"):
        real(Network("test", path, TensorInput((5, 7), name="rois")))


@pytest.mark.parametrize("options", [{}, {"batch": 4}], ids=str)
@pytest.mark.parametrize("spec", [{}, {"layout": "nhwc", "scale": 1 / 255}, {"colour": "gray"}], ids=str)
def test_a_compiled_file_answers_as_the_network_does(make: Make, spec: dict[str, Any], options: dict[str, int]) -> None:
    shape = ["n", *networks.network(Path(), size=SIZE, **spec).input.shape]
    fresh, loaded = (make(shape, options=options, compiled=compiled, **spec) for compiled in (False, True))
    assert (fresh.max_batch, fresh.output_shapes) == (loaded.max_batch, loaded.output_shapes)
    assert fresh.output_names == loaded.output_names == ("y", "peak")
    shown = pictures(fresh.max_batch, (4, 6) if "colour" in spec else (4, 6, 3))
    for one, other in zip(fresh.submit(shown).result(WAIT_S), loaded.submit(shown).result(WAIT_S), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no engine at all", bytes(9000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_engine_is_an_engine_error(tmp_path: Path, real: Any, content: bytes) -> None:
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    engine = tmp_path / "net.engine"
    engine.write_bytes(content)
    with pytest.raises(StaleEngine, match="engine"):
        real(network, engine=engine)


def test_half_an_engine_is_an_engine_error(tmp_path: Path, real: Any) -> None:
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    engine = tmp_path / "net.engine"
    whole = real.compile(network)
    engine.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StaleEngine, match="engine"):
        real(network, engine=engine)


def test_an_engine_that_is_gone_is_an_engine_error(tmp_path: Path, real: Any) -> None:
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    with pytest.raises(StaleEngine, match="cannot be read"):
        real(network, engine=tmp_path / "none.engine")


def test_an_engine_of_another_input_is_refused(tmp_path: Path, real: Any) -> None:
    small = networks.network(networks.echo(tmp_path / "small.onnx", [1, 3, 4, 6]), size=SIZE)
    large = networks.network(networks.echo(tmp_path / "large.onnx", [1, 3, 8, 6]), size=(6, 8))
    engine = tmp_path / "net.engine"
    engine.write_bytes(real.compile(large))
    with pytest.raises((EngineError, ManifestError)):
        real(small, engine=engine)


def test_identity_names_version_and_device(backend: Any) -> None:
    identity = backend.identity()
    assert identity == backend.identity(backend.Options())
    assert identity["backend"] == backend.name
    assert all(isinstance(value, str) and value for value in identity.values())
    if backend.name != "fake":
        assert set(identity) >= {"version", "device"}


def test_memory_does_not_grow_with_pictures(make: Make) -> None:
    backend = make(["n", 3, 64, 96], ModelInput(size=(96, 64)), options={"batch": 2})
    shown = pictures(2, (64, 96, 3))

    def run(count: int) -> None:
        for _ in range(count):
            for output in backend.submit(shown).result(WAIT_S):
                assert len(output) == 2

    run(200)
    before = resident_mb()
    run(1000)  # each makes 150 kB of outputs: what is kept would show
    assert resident_mb() - before < 30


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize(
    ("shape", "dtype", "spec", "words"),
    [
        ([1, 3, 8, 8], "float32", {}, r"input 1x3x4x6 \(nchw\), but net.onnx has 1x3x8x8"),
        ([1, 3, 4, 6], "float32", {"layout": "nhwc"}, "1x4x6x3"),
        ([1, 3, 4, 6], "float32", {"colour": "gray"}, "1x1x4x6"),
        ([1, 1, 4, 6], "float32", {}, "1x3x4x6"),
        ([2, 3, 4, 6], "float32", {}, "has 2x3x4x6"),
        ([1, 72], "float32", {}, "has 1x72"),
        ([1, 3, 4, 6], "float16", {}, "input of float32, but net.onnx has float16"),
    ],
)
def test_a_manifest_that_lies_about_the_input_is_told_both_truths(
    tmp_path: Path, real: Any, shape: list[int], dtype: str, spec: dict[str, Any], words: str
) -> None:
    path = networks.echo(tmp_path / "net.onnx", shape, dtype)
    with pytest.raises(ManifestError, match=words):
        real(networks.network(path, size=SIZE, **spec))


def test_a_network_with_two_inputs_is_refused(tmp_path: Path, real: Any) -> None:
    with pytest.raises(ManifestError, match=r"one input, but .* has 2 inputs"):
        real(networks.network(networks.two_inputs(tmp_path / "net.onnx"), size=SIZE))


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x08"])
def test_a_file_that_is_no_network_is_an_engine_error(tmp_path: Path, real: Any, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises((EngineError, ManifestError)):
        real(networks.network(path, size=SIZE))


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_network_that_fails_on_a_picture_fails_in_that_future(tmp_path: Path, name: str) -> None:
    backend = plugin(name)(networks.network(networks.fragile(tmp_path / "net.onnx"), size=SIZE))
    bad = backend.submit([np.full((4, 6, 3), 9, np.uint8)])
    with pytest.raises(EngineError, match="inference failed"):
        bad.result(WAIT_S)
    assert backend.submit([np.zeros((4, 6, 3), np.uint8)]).result(WAIT_S)[0].shape == (72,)
    backend.close()


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("openvino", ["openvino"]),
        ("onnxruntime", ["onnxruntime"]),
        ("torch", ["torch"]),
        ("tensorrt", ["tensorrt", "tensorrt_rtx"]),
    ],
)
def test_a_missing_runtime_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, modules: list[str]
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    missing = plugins.load("backend", name)
    network = networks.network(tmp_path / "net.onnx", size=SIZE)
    for use in (missing, missing.compile, lambda _: missing.identity()):
        with pytest.raises(BackendUnavailable, match="pip install") as caught:
            use(network)
        assert caught.value.exit_code == 3


def test_the_number_of_inferences_at_a_time_can_be_chosen(make: Make, backend: Any) -> None:
    built = make(options={"contexts" if backend.name == "tensorrt" else "workers": 1})
    assert built.in_flight == {"openvino": 2}.get(built.name, 1)
    assert built.submit(pictures(1)).result(WAIT_S)[1].shape == (1, 1)


def test_a_cpu_without_bfloat16_is_not_asked_for_it() -> None:
    class OldCpu:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    spec = ModelInput(size=SIZE)
    check_precision(OldCpu(), Network("test", Path(), spec))
    with pytest.raises(BackendUnavailable, match="does not compute in bfloat16; set precision"):
        check_precision(OldCpu(), Network("test", Path(), spec, "bf16"))


def test_openvino_is_loaded_without_its_telemetry(tmp_path: Path) -> None:
    import subprocess

    script = (
        "import sys\n"
        "from streamvision.engine.backends.openvino import OpenVinoBackend\n"
        "from tests.engine.networks import network\n"
        "try:\n"
        f"    OpenVinoBackend(network(__import__('pathlib').Path({str(tmp_path / 'none.onnx')!r}), size=(6, 4)))\n"
        "except Exception as error:\n"
        "    assert 'openvino' in sys.modules, error\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_backends_agree_on_a_real_network(data: Path, monkeypatch: pytest.MonkeyPatch, real: Any) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    nano = manifest.load("yolox-nano")
    network = Network(nano.name, models.require(nano), nano.input)
    (picture,) = pictures(1, (416, 416, 3))
    answers = []
    for backend in (OnnxRuntimeBackend, real):
        built = backend(network)
        answers.append(built.submit([picture]).result(WAIT_S)[0])
        built.close()
    assert answers[0].shape == (1, 3549, 85)
    np.testing.assert_allclose(answers[0], answers[1], atol=2e-3)
