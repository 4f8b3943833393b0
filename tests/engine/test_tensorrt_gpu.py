"""TensorRT on a real GPU: parity, batches, profiles, CUDA graphs, pictures on the card, recovery.

Skipped, with the reason, where there is no GPU or its TensorRT refuses it. `pytest -m gpu` runs these and the contract
suite's.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamvision.engine import manifest, models
from streamvision.engine.backends import Network
from streamvision.engine.backends.onnxruntime import OnnxRuntimeBackend
from streamvision.engine.backends.tensorrt import TensorRtBackend
from streamvision.engine.backends.tensorrt.cuda import open_cuda
from streamvision.engine.backends.tensorrt.options import Options
from streamvision.errors import BackendUnavailable, EngineError, OutOfDeviceMemory, StaleEngine
from tests.engine import networks

pytestmark = pytest.mark.gpu

WAIT_S = 60
SIZE = (96, 64)


@pytest.fixture(scope="module", autouse=True)
def gpu(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        TensorRtBackend.require_gpu()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    path = networks.echo(tmp_path_factory.mktemp("probe") / "net.onnx", [1, 3, 4, 6])
    try:
        TensorRtBackend(networks.network(path, size=(6, 4))).close()
    except EngineError as error:
        pytest.skip(f"this GPU and this TensorRT do not go together: {error}")


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = networks.echo(tmp_path / "net.onnx", ["n", 3, SIZE[1], SIZE[0]])
    return Network("test", path, networks.network(path, size=SIZE).input, max_batch=8)


@pytest.fixture
def backend(network: Network) -> Iterator[TensorRtBackend]:
    built = TensorRtBackend(network)
    yield built
    built.close()


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(7).integers(0, 256, (count, SIZE[1], SIZE[0], 3), np.uint8))


def echoes(shown: list[np.ndarray]) -> np.ndarray:
    return np.stack(shown).transpose(0, 3, 1, 2)


def free_bytes() -> int:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    gc.collect()
    status, free, _ = runtime.cudaMemGetInfo()
    assert int(status) == 0
    return int(free)


def test_a_real_network_computes_what_onnx_runtime_computes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    nano = manifest.load("yolox-nano")
    network = Network(nano.name, models.require(nano), nano.input)
    picture = np.random.default_rng(1).integers(0, 256, (416, 416, 3), np.uint8)
    answers = []
    for built in (OnnxRuntimeBackend(network), TensorRtBackend(network)):
        answers.append(built.submit([picture]).result(WAIT_S)[0])
        built.close()
    np.testing.assert_allclose(answers[0], answers[1], atol=2e-3)


@pytest.mark.parametrize("options", [{}, {"cuda_graphs": False}, {"opt_batch": 2}, {"contexts": 4}], ids=str)
def test_every_batch_of_the_profile_is_right(network: Network, options: dict[str, Any]) -> None:
    backend = TensorRtBackend(network, Options(**options))
    for count in (8, 1, 3, 8, 2, 5, 1):
        shown = pictures(count)
        echoed, peaks = backend.submit(shown).result(WAIT_S)
        np.testing.assert_array_equal(echoed, echoes(shown))
        np.testing.assert_array_equal(peaks[:, 0], echoes(shown).max((1, 2, 3)))
    backend.close()


def test_a_batch_above_the_profile_is_refused(backend: TensorRtBackend) -> None:
    with pytest.raises(EngineError, match="expected 1 to 8 pictures, got 9"):
        backend.submit(pictures(9)).result(WAIT_S)


def test_an_engine_from_a_file_answers_the_same(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "net.engine"
    file.write_bytes(TensorRtBackend.compile(network))
    loaded = TensorRtBackend(network, engine=file)
    np.testing.assert_array_equal(loaded.submit(pictures(4)).result(WAIT_S)[0], echoes(pictures(4)))
    loaded.close()


def test_a_damaged_engine_is_refused_and_the_gpu_goes_on(
    network: Network, backend: TensorRtBackend, tmp_path: Path
) -> None:
    file = tmp_path / "net.engine"
    content = TensorRtBackend.compile(network)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(StaleEngine):
        TensorRtBackend(network, engine=file)
    np.testing.assert_array_equal(backend.submit(pictures(2)).result(WAIT_S)[0], echoes(pictures(2)))


def test_many_threads_each_get_their_own_answer(backend: TensorRtBackend) -> None:
    shown = pictures(64)

    def worker(start: int) -> bool:
        batch = shown[start : start + 1 + start % 4]
        return bool((backend.submit(batch).result(WAIT_S)[0] == echoes(batch)).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(worker, range(60)))


@pytest.mark.parametrize("protocol", ["cuda_array_interface", "dlpack"])
def test_pictures_on_the_card_stay_there(backend: TensorRtBackend, protocol: str) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch does not see this GPU")
    shown = pictures(4)
    on_card = [torch.from_numpy(picture).cuda() for picture in shown]
    given = [_OnlyDlpack(tensor) for tensor in on_card] if protocol == "dlpack" else on_card
    np.testing.assert_array_equal(backend.submit([*given[:3], shown[3]]).result(WAIT_S)[0], echoes(shown))


class _OnlyDlpack:
    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._tensor.__dlpack_device__()
        return int(kind), int(number)

    def __dlpack__(self, stream: int) -> object:
        return self._tensor.__dlpack__(stream=stream)


def test_neither_host_nor_card_memory_grows(backend: TensorRtBackend) -> None:
    def run(count: int) -> None:
        for number in range(count):
            backend.submit(shown[: 1 + number % 4]).result(WAIT_S)

    shown = pictures(4)
    run(200)
    free = free_bytes()
    run(2000)
    assert free - free_bytes() < 8 << 20


def test_closing_gives_the_card_its_memory_back(network: Network) -> None:
    TensorRtBackend(network).close()  # what the library itself keeps is there afterwards
    free = free_bytes()
    for _ in range(5):
        backend = TensorRtBackend(network)
        backend.submit(pictures(8)).result(WAIT_S)
        backend.close()
        del backend
    assert free - free_bytes() < 32 << 20


def test_a_full_card_is_a_typed_error_and_what_runs_goes_on(network: Network, backend: TensorRtBackend) -> None:
    cuda = open_cuda("test")
    taken = []
    for size in (1 << 30, 1 << 26, 1 << 22, 1 << 20):
        try:
            while True:
                taken.append(cuda.allocate(size))
        except OutOfDeviceMemory:
            continue
    try:
        with pytest.raises(EngineError, match="memory"):
            TensorRtBackend(network, Options(contexts=16))
        np.testing.assert_array_equal(backend.submit(pictures(4)).result(WAIT_S)[0], echoes(pictures(4)))
    finally:
        for address in taken:
            cuda.free(address)
    TensorRtBackend(network).close()
