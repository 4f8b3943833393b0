"""The contract of `interfaces.Backend`, over every implementation and a fake."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamvision.engine import manifest, models
from streamvision.engine.backends import CompiledNetwork, Intake, Items, Network, Outputs, RequestPool, picture_shape
from streamvision.engine.backends.onnxruntime import OnnxRuntimeBackend
from streamvision.engine.backends.openvino import OpenVinoBackend, check_precision
from streamvision.engine.manifest import ModelInput
from streamvision.errors import BackendUnavailable, EngineError, ManifestError
from streamvision.types import UInt8
from tests.engine import networks

SIZE = (6, 4)
WAIT_S = 20
PIXEL = Intake((1, 1, 3), np.dtype(np.uint8), 1, "picture")


class FakeBackend:
    """Computes what `networks.echo` computes, with numpy."""

    name = "fake"
    device = "none"
    max_batch = 1

    def __init__(self, network: Network) -> None:
        self._spec = network.input
        self.in_flight = 2
        self._pool = RequestPool("fake", network.intake(self.max_batch), [self._infer] * self.in_flight)
        self.output_shapes = self._pool.warm_up()

    def submit(self, pictures: Sequence[UInt8]) -> Future[Outputs]:
        return self._pool.submit(pictures)

    def close(self) -> None:
        self._pool.close()

    def _infer(self, items: Items) -> Outputs:
        values = prepared(items[0], self._spec)
        return [values, values.max(keepdims=True).reshape(1, 1)]


def prepared(picture: UInt8, spec: Any) -> np.ndarray:
    """What the manifest promises the network to see, written plainly."""
    values = picture.reshape(*picture.shape[:2], -1).astype(np.float64) * spec.scale
    values = (values - np.array(spec.mean or [0])) / np.array(spec.std or [1])
    if spec.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return values[None].astype(np.float32)


BACKENDS: dict[str, Callable[[Network], CompiledNetwork]] = {
    "openvino": OpenVinoBackend,
    "onnxruntime": OnnxRuntimeBackend,
    "fake": FakeBackend,
}
REAL = [OpenVinoBackend, OnnxRuntimeBackend]
Make = Callable[..., CompiledNetwork]


@pytest.fixture(params=BACKENDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Builds a backend around `networks.echo`; closes all of them afterwards."""
    built: list[CompiledNetwork] = []

    def build(shape: list[Any] | None = None, **spec: Any) -> CompiledNetwork:
        network = networks.network(tmp_path / f"{len(built)}.onnx", size=SIZE, **spec)
        networks.echo(network.path, shape or [1, *network.input.shape], network.input.dtype)
        built.append(BACKENDS[request.param](network))
        return built[-1]

    yield build
    for backend in built:
        backend.close()


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
    assert backend.name in BACKENDS
    assert backend.max_batch == 1
    assert backend.in_flight >= 1


@pytest.mark.parametrize("backend", REAL)
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
    tmp_path: Path, backend: Any, shape: list[int], dtype: str, spec: dict[str, Any], words: str
) -> None:
    path = networks.echo(tmp_path / "net.onnx", shape, dtype)
    with pytest.raises(ManifestError, match=words):
        backend(networks.network(path, size=SIZE, **spec))


@pytest.mark.parametrize("backend", REAL)
def test_a_network_with_two_inputs_is_refused(tmp_path: Path, backend: Any) -> None:
    with pytest.raises(ManifestError, match=r"one input, but .* has 2 inputs"):
        backend(networks.network(networks.two_inputs(tmp_path / "net.onnx"), size=SIZE))


@pytest.mark.parametrize("backend", REAL)
@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x08"])
def test_a_file_that_is_no_network_is_an_engine_error(tmp_path: Path, backend: Any, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises((EngineError, ManifestError)):
        backend(networks.network(path, size=SIZE))


def test_a_network_that_fails_on_a_picture_fails_in_that_future(tmp_path: Path) -> None:
    backend = OnnxRuntimeBackend(networks.network(networks.fragile(tmp_path / "net.onnx"), size=SIZE))
    bad = backend.submit([np.full((4, 6, 3), 9, np.uint8)])
    with pytest.raises(EngineError, match="inference failed"):
        bad.result(WAIT_S)
    assert backend.submit([np.zeros((4, 6, 3), np.uint8)]).result(WAIT_S)[0].shape == (72,)
    backend.close()


@pytest.mark.parametrize(("backend", "module"), list(zip(REAL, ["openvino", "onnxruntime"], strict=True)))
def test_a_missing_runtime_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable, match="pip install") as caught:
        backend(networks.network(tmp_path / "net.onnx", size=SIZE))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("backend", REAL)
def test_the_number_of_workers_can_be_chosen(tmp_path: Path, backend: Any) -> None:
    path = networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6])
    built = backend(networks.network(path, size=SIZE), backend.Options(workers=1))
    assert built.in_flight == {"openvino": 2, "onnxruntime": 1}[built.name]
    built.close()


def test_a_cpu_without_bfloat16_is_not_asked_for_it() -> None:
    class OldCpu:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    spec = ModelInput(size=SIZE)
    check_precision(OldCpu(), Network("test", Path(), spec))
    with pytest.raises(BackendUnavailable, match="does not compute in bfloat16; set precision"):
        check_precision(OldCpu(), Network("test", Path(), spec, "bf16"))


def test_submit_waits_for_a_free_request() -> None:
    gate = threading.Event()

    def infer(items: Items) -> Outputs:
        gate.wait(WAIT_S)
        return [items[0]]

    pool = RequestPool("gated", PIXEL, [infer, infer])
    blank = np.zeros((1, 1, 3), np.uint8)
    first = [pool.submit([blank]) for _ in range(2)]
    third: list[Future[Outputs]] = []
    blocked = threading.Thread(target=lambda: third.append(pool.submit([blank])))
    blocked.start()
    blocked.join(0.05)
    assert not third
    gate.set()
    blocked.join(WAIT_S)
    assert [future.result(WAIT_S)[0].shape for future in [*first, *third]] == [(1, 1, 3)] * 3
    pool.close()


def test_close_waits_for_what_is_running() -> None:
    started, gate = threading.Event(), threading.Event()

    def infer(items: Items) -> Outputs:
        started.set()
        gate.wait(WAIT_S)
        return [items[0]]

    pool = RequestPool("gated", PIXEL, [infer])
    future = pool.submit([np.zeros((1, 1, 3), np.uint8)])
    assert started.wait(WAIT_S)
    closing = threading.Thread(target=pool.close)
    closing.start()
    assert not future.done()
    gate.set()
    closing.join(WAIT_S)
    assert future.done()


def test_a_request_that_cannot_warm_up_leaves_no_thread_behind() -> None:
    def infer(items: Items) -> Outputs:
        raise ValueError("out of order")

    before = threading.active_count()
    pool = RequestPool("broken", PIXEL, [infer])
    with pytest.raises(EngineError, match="inference failed: out of order"):
        pool.warm_up()
    assert threading.active_count() == before


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


def test_backends_agree_on_a_real_network(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    nano = manifest.load("yolox-nano")
    network = Network(nano.name, models.require(nano), nano.input)
    (picture,) = pictures(1, (416, 416, 3))
    answers = []
    for backend in REAL:
        built = backend(network, backend.Options(workers=1))
        answers.append(built.submit([picture]).result(WAIT_S)[0])
        built.close()
    assert answers[0].shape == (1, 3549, 85)
    np.testing.assert_allclose(answers[0], answers[1], atol=2e-3)
