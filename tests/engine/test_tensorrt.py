"""What only the TensorRT backend does: memory, graphs, pictures on the GPU, and failures. Over fakes; no GPU needed."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from streamvision.engine.backends import Network, TensorInput
from streamvision.engine.backends.tensorrt.cuda import typed_error
from streamvision.engine.backends.tensorrt.device import device_picture, on_device
from streamvision.engine.backends.tensorrt.memory import Answers
from streamvision.engine.manifest import ModelInput
from streamvision.errors import (
    BackendUnavailable,
    DeviceLost,
    EngineError,
    OutOfDeviceMemory,
    StaleEngine,
    StreamvisionError,
)
from tests.engine import networks
from tests.engine.fake_tensorrt import DAMAGED, fake_backend

WAIT_S = 20
SIZE = (6, 4)
Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Builds a backend on fakes around `networks.echo` with an open batch, at most 4."""
    built: list[Any] = []

    def build(input: ModelInput | TensorInput | None = None, **options: Any) -> Any:
        network = Network("test", tmp_path / "net.onnx", input or ModelInput(size=SIZE), max_batch=4)
        networks.echo(network.path, ["n", *network.input.shape], network.input.dtype)
        plugin = fake_backend()
        built.append(plugin(network, plugin.Options(**options)))
        return built[-1]

    yield build
    for backend in built:
        backend.close()


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(7).integers(0, 256, (count, 4, 6, 3), np.uint8))


def test_no_memory_is_allocated_per_batch(make: Make) -> None:
    backend = make()
    for size in (4, 1, 2, 3, 4):
        backend.submit(pictures(size)).result(WAIT_S)
    gc.collect()
    before = backend.cuda.calls.copy()
    for size in [1, 4, 2, 3] * 5:
        backend.submit(pictures(size)).result(WAIT_S)
    after = backend.cuda.calls - before
    assert after["cudaMemcpyHostToDevice"] == 50
    assert after["cudaMemcpyDeviceToHost"] == 2 * 20
    assert not {name for name in after if "Malloc" in name or "Free" in name or "Create" in name}


def test_answers_that_are_kept_are_not_overwritten_and_their_memory_comes_back(make: Make) -> None:
    backend = make(contexts=1)
    kept = [backend.submit([picture]).result(WAIT_S)[0][0, 0] for picture in pictures(20)]
    for values, picture in zip(kept, pictures(20), strict=True):
        np.testing.assert_array_equal(values, picture[:, :, 0])
    blocks = len(backend.cuda.host)
    del kept, values
    gc.collect()
    again = [backend.submit([picture]).result(WAIT_S)[0][0, 0] for picture in pictures(19)]
    assert len(backend.cuda.host) == blocks
    assert len(again) == 19


def test_closing_frees_all_but_what_somebody_still_looks_at(make: Make) -> None:
    backend = make()
    kept = backend.submit(pictures(1)).result(WAIT_S)[0]
    backend.close()
    cuda = backend.cuda
    assert (len(cuda.device), len(cuda.streams), len(cuda.graphs), len(cuda.host)) == (0, 0, 0, 1)
    np.testing.assert_array_equal(kept[0], pictures(1)[0].transpose(2, 0, 1))
    del kept
    gc.collect()
    assert not cuda.host


def test_a_block_goes_to_one_at_a_time_until_the_last_view_is_gone() -> None:
    memory: dict[int, Any] = {}

    def allocate(size: int) -> int:
        block = (ctypes.c_uint8 * size)()
        memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    answers = Answers(8, allocate, memory.pop)
    first, block = answers.take()
    part = block[2:4].view(np.uint16)
    del block
    second, other = answers.take()
    assert first != second
    del part
    third, last = answers.take()
    assert third == first
    del last
    answers.close()
    assert list(memory) == [second]
    del other
    assert not memory


def test_every_batch_size_becomes_one_graph_per_context(make: Make) -> None:
    backend = make(contexts=1)
    assert len(backend.cuda.graphs) == 2  # warmed up with one and with four
    (context,) = backend.trt.contexts
    enqueued = context.enqueued
    for size in (1, 4, 1, 4):
        backend.submit(pictures(size)).result(WAIT_S)
    assert (context.enqueued, backend.cuda.calls["cudaGraphLaunch"]) == (enqueued, 4)
    for _ in range(3):  # computed once, captured once, then launched
        backend.submit(pictures(3)).result(WAIT_S)
    assert (context.enqueued, len(backend.cuda.graphs)) == (enqueued + 2, 3)


def test_shapes_are_right_where_graphs_and_plain_runs_take_turns(make: Make) -> None:
    backend = make(contexts=1)
    backend.trt.contexts[0].is_stream_capturable = lambda stream: False
    for size in (3, 1, 3, 4, 2, 3):
        shown = pictures(size)
        echoed = backend.submit(shown).result(WAIT_S)[0]
        np.testing.assert_array_equal(echoed, np.stack(shown).transpose(0, 3, 1, 2))
    assert len(backend.cuda.graphs) == 2


def test_without_graphs_nothing_is_captured(make: Make) -> None:
    backend = make(cuda_graphs=False)
    backend.submit(pictures(2)).result(WAIT_S)
    assert backend.cuda.calls["cudaStreamBeginCapture"] == 0


def test_a_graph_that_cannot_be_captured_is_done_without(make: Make) -> None:
    backend = make(contexts=1)
    backend.cuda.fail["cudaGraphInstantiate"] = [801]
    with capture_logs() as logs:
        first = backend.submit(pictures(2)).result(WAIT_S)
        second = backend.submit(pictures(2)).result(WAIT_S)
        backend.submit(pictures(3)).result(WAIT_S)
    np.testing.assert_array_equal(first[0], second[0])
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["cuda_graphs_off"]
    assert len(backend.cuda.graphs) == 2


class OnGpu:
    """A picture in the fake's device memory, as a decoder would give it; rows may be ``pitch`` bytes apart."""

    def __init__(self, values: np.ndarray, pitch: int | None = None, stream: int | None = None) -> None:
        row = values[0].nbytes
        self._memory = np.zeros((len(values), pitch or row), np.uint8)
        self._memory[:, :row] = values.reshape(len(values), -1).view(np.uint8)
        self.__cuda_array_interface__ = {
            "data": (self._memory.ctypes.data, True),
            "shape": values.shape,
            "typestr": values.dtype.str,
            "strides": (pitch, *values.strides[1:]) if pitch else None,
            "stream": stream,
            "version": 3,
        }

    def __len__(self) -> int:
        return len(self._memory)


class Exported:
    """Gives a numpy array by DLPack, as if it were on a GPU."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, stream: int) -> object:
        self.streams.append(stream)
        return self._values.__dlpack__()


@pytest.mark.parametrize("pitch", [None, 32])
def test_a_picture_on_the_gpu_is_neither_copied_down_nor_up(make: Make, pitch: int | None) -> None:
    backend = make()
    before = backend.cuda.calls["cudaMemcpyHostToDevice"]
    shown = pictures(3)
    echoed = backend.submit([OnGpu(picture, pitch) for picture in shown]).result(WAIT_S)[0]
    np.testing.assert_array_equal(echoed, np.stack(shown).transpose(0, 3, 1, 2))
    assert backend.cuda.calls["cudaMemcpyHostToDevice"] == before


def test_pictures_on_the_gpu_and_on_the_host_may_share_a_batch(make: Make) -> None:
    shown = pictures(4)
    mixed = [shown[0], OnGpu(shown[1]), Exported(shown[2]), shown[3]]
    echoed = make().submit(mixed).result(WAIT_S)[0]
    np.testing.assert_array_equal(echoed, np.stack(shown).transpose(0, 3, 1, 2))
    assert mixed[2].streams[0] > 2  # a real stream, not one of the default ones


def test_a_gray_picture_on_the_gpu_needs_no_channel_dimension(make: Make) -> None:
    gray = pictures(1)[0][:, :, 0].copy()
    backend = make(ModelInput(size=SIZE, colour="gray"))
    for picture in (OnGpu(gray, 16), OnGpu(gray[:, :, None], 16)):
        np.testing.assert_array_equal(backend.submit([picture]).result(WAIT_S)[0][0, 0], gray)


def test_what_writes_a_picture_is_waited_for_on_the_gpu(make: Make) -> None:
    backend = make(contexts=1)
    picture, late = OnGpu(np.zeros((4, 6, 3), np.uint8), stream=7), pictures(1)[0]
    backend.cuda.streams[7] = [lambda: np.copyto(picture._memory, late.reshape(4, -1))]
    echoed = backend.submit([picture]).result(WAIT_S)[0]
    np.testing.assert_array_equal(echoed[0], late.transpose(2, 0, 1))
    del backend.cuda.streams[7]


@pytest.mark.parametrize("wrap", [OnGpu, Exported])
def test_a_second_stage_takes_arrays_on_the_gpu(make: Make, wrap: Any) -> None:
    backend = make(TensorInput((5, 7)))
    values = np.random.default_rng(1).normal(size=(3, 5, 7)).astype(np.float32)
    np.testing.assert_array_equal(backend.submit(wrap(values)).result(WAIT_S)[0], values)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (OnGpu(np.zeros((4, 7, 3), np.uint8)), r"expected uint8 \(4, 6, 3\), got uint8 \(4, 7, 3\) on the GPU"),
        (OnGpu(np.zeros((4, 6, 3), np.float32)), "got float32"),
    ],
)
def test_a_wrong_picture_on_the_gpu_fails_in_its_future(make: Make, wrong: Any, words: str) -> None:
    backend = make()
    with pytest.raises(EngineError, match=words):
        backend.submit([wrong]).result(WAIT_S)
    backend.submit(pictures(1)).result(WAIT_S)


def test_too_many_arrays_on_the_gpu_fail_in_their_future(make: Make) -> None:
    backend = make(TensorInput((5, 7)))
    with pytest.raises(EngineError, match="1 to 4 at a time, got 5"):
        backend.submit(OnGpu(np.zeros((5, 5, 7), np.float32))).result(WAIT_S)


def test_rows_must_be_contiguous() -> None:
    item = SimpleNamespace(
        __cuda_array_interface__={"data": (1, True), "shape": (4, 6, 3), "typestr": "|u1", "strides": (1, 4, 24)}
    )
    assert on_device(item)
    with pytest.raises(EngineError, match="rows are not contiguous"):
        device_picture(item, 0, "test")


def test_memory_on_the_host_is_not_on_the_device() -> None:
    assert not on_device(np.zeros(3))
    assert not on_device(SimpleNamespace(__dlpack_device__=lambda: (1, 0)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (2, OutOfDeviceMemory),
        (35, BackendUnavailable),
        (100, BackendUnavailable),
        (700, DeviceLost),
        (719, DeviceLost),
        (1, EngineError),
    ],
)
def test_what_cuda_says_becomes_an_error_of_ours(status: int, kind: type[StreamvisionError]) -> None:
    error = typed_error(status, "it says so", "gate")
    assert type(error) is kind
    assert bool(error.remedy) is (kind is not EngineError)


def test_a_full_gpu_fails_one_batch_and_the_next_one_works(make: Make) -> None:
    backend = make(contexts=1)
    backend.cuda.fail["cudaMemcpyAsync"] = [2]
    with pytest.raises(OutOfDeviceMemory, match="set a smaller batch"):
        backend.submit(pictures(1)).result(WAIT_S)
    np.testing.assert_array_equal(backend.submit(pictures(1)).result(WAIT_S)[0][0], pictures(1)[0].transpose(2, 0, 1))


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaMallocHost"])
@pytest.mark.parametrize("works", [0, 1, 2])
def test_a_gpu_that_is_full_when_loading_keeps_nothing(tmp_path: Path, call: str, works: int) -> None:
    plugin = fake_backend()
    plugin.cuda.fail[call] = [0] * works + [2]
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    with pytest.raises(OutOfDeviceMemory):
        plugin(network)
    gc.collect()  # the traceback holds what other contexts answered
    assert not plugin.cuda.device
    assert not plugin.cuda.host
    assert not plugin.cuda.streams


def test_a_context_that_cannot_be_made_is_missing_memory(tmp_path: Path) -> None:
    plugin = fake_backend()
    plugin.trt.fail_contexts = 1
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    with pytest.raises(OutOfDeviceMemory, match="no scratch memory"):
        plugin(network)


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaGraphLaunch"])
def test_a_lost_gpu_fails_everything_and_can_still_be_closed(make: Make, call: str) -> None:
    backend = make()
    backend.cuda.fail[call] = [719]
    for _ in range(4):
        with pytest.raises(DeviceLost, match="restart the program"):
            backend.submit(pictures(1)).result(WAIT_S)
    backend.close()
    backend.close()


@pytest.mark.parametrize(
    ("said", "kind"), [("shapes do not match", EngineError), ("CUDA out of memory", OutOfDeviceMemory)]
)
def test_tensorrt_says_why_it_failed(make: Make, said: str, kind: type[EngineError]) -> None:
    backend = make(contexts=1, cuda_graphs=False)
    backend.trt.fail_runs.append(said)
    with pytest.raises(kind, match=said):
        backend.submit(pictures(1)).result(WAIT_S)
    backend.submit(pictures(1)).result(WAIT_S)


def test_without_a_gpu_it_says_so_before_it_compiles(tmp_path: Path) -> None:
    plugin = fake_backend(gpus=0)
    with pytest.raises(BackendUnavailable, match="there is no GPU; look at nvidia-smi"):
        plugin(networks.network(tmp_path / "none.onnx", size=SIZE))
    with pytest.raises(BackendUnavailable):
        plugin.require_gpu()
    assert plugin.identity()["device"] == "none: compiled ahead of time"


def test_a_gpu_that_is_not_there_is_named() -> None:
    plugin = fake_backend(gpus=2)
    with pytest.raises(BackendUnavailable, match="there are 2 GPUs, none of them is number 5"):
        plugin.require_gpu(plugin.Options(device=5))


def test_identity_tells_gpus_and_profiles_apart() -> None:
    plugin = fake_backend()
    identity = plugin.identity()
    assert identity["device"] == "Fake GPU"
    assert (identity["compute_capability"], identity["driver"]) == ("8.9", "13.0")
    for other in ({"batch": 3}, {"opt_batch": 3}, {"workspace_mb": 64}, {"tf32": True}):
        assert plugin.identity(plugin.Options(**other)) != identity
    for same in ({"contexts": 7}, {"cuda_graphs": False}):
        assert plugin.identity(plugin.Options(**same)) == identity


def test_an_engine_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    old, new = fake_backend(), fake_backend()
    new.trt.__version__ = "2.0"
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    engine = tmp_path / "net.engine"
    engine.write_bytes(old.compile(network))
    with pytest.raises(StaleEngine, match=r"an engine of fake_tensorrt 1.0 does not run on fake_tensorrt 2.0; compile"):
        new(network, engine=engine)


def test_an_engine_that_tensorrt_does_not_take_says_why(tmp_path: Path) -> None:
    plugin = fake_backend()
    network = networks.network(networks.echo(tmp_path / "net.onnx", [1, 3, 4, 6]), size=SIZE)
    engine = tmp_path / "net.engine"
    engine.write_bytes(plugin.compile(network).split(b"\n")[0] + b"\nnot what it was")
    with pytest.raises(StaleEngine, match="the magic number does not match; compile it again"):
        plugin(network, engine=engine)


def test_batches_come_back_in_order_while_several_are_in_flight(make: Make) -> None:
    backend = make(contexts=3)
    assert backend.in_flight == 3
    shown = pictures(48)
    futures: list[Future[Any]] = [backend.submit(shown[start : start + 3]) for start in range(0, 48, 3)]
    echoed = np.concatenate([future.result(WAIT_S)[0] for future in futures])
    np.testing.assert_array_equal(echoed, np.stack(shown).transpose(0, 3, 1, 2))


def test_measurements_are_kept_in_a_file_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    plugin = fake_backend()
    cache = tmp_path / "timings"
    network = networks.network(networks.echo(tmp_path / "net.onnx", ["n", 3, 4, 6]), size=SIZE)
    for expected in (b".", b".."):
        plugin.compile(network, plugin.Options(timing_cache=cache))
        assert cache.read_bytes() == expected
    cache.write_bytes(DAMAGED)
    plugin.compile(network, plugin.Options(timing_cache=cache))
    assert cache.read_bytes() == b"."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "timings"]
