"""Engines that are exchanged while they run, and what is said meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from streamvision.config import load_settings
from streamvision.engine import manifest
from streamvision.engine.build import Order, Workshop
from streamvision.engine.serving import Serving, StreamPictures
from streamvision.engine.switching import SwitchingEngine
from streamvision.errors import BackendUnavailable, BatchLost, DeviceLost, EngineError, OutOfDeviceMemory
from streamvision.geometry import Letterbox
from streamvision.health import Heartbeats
from streamvision.interfaces import Engine
from streamvision.metrics import EngineStats, Metrics
from streamvision.sinks.store import EventStore
from streamvision.status import StatusBoard
from streamvision.types import Batch, ClockSource, Colour, Fit, Frame, FrameInfo, InputSpec
from tests.engine import networks
from tests.engine.fake_backends import FakeBackend, answer, workshop
from tests.engine.networks import write_manifest
from tests.fakes import FakeClock

SIZE = (64, 32)
BOUND_S = 20.0


@pytest.fixture
def toy(tmp_path: Path) -> manifest.Manifest:
    path = networks.constant(tmp_path / "toy.onnx", answer(), SIZE)
    return manifest.load(write_manifest(tmp_path, path, input={"size": list(SIZE)}))


def frame(seq: int = 0, *, stream: str = "gate", media_s: float = 0.0) -> Frame:
    info = FrameInfo(stream, 0, seq, media_s, 0.0, datetime.now(UTC), ClockSource.FILE, 0.0, SIZE)
    nobody: Any = None
    return Frame(info, nobody, np.full((32, 64, 3), seq % 256, np.uint8), Letterbox.stretch(SIZE, SIZE), 0.0)


def batch(count: int = 1) -> Batch:
    return Batch(tuple(frame(seq) for seq in range(count)))


def seen(engine: Engine, size: int = 1) -> int:
    """How many detections the engine finds in all pictures of a batch."""
    work = batch(size)
    perceptions = engine.decode(work, engine.submit(work).result(BOUND_S))
    assert len(perceptions) == size
    return sum(len(each.detections) for each in perceptions)


class Stand:
    """A good backend, a slow one for GPUs, and an engine that serves."""

    def __init__(self, toy: manifest.Manifest, folder: Path) -> None:
        self.toy = toy
        self.good, self.slow = FakeBackend("good"), FakeBackend("slow", max_batch=4)
        self.shop = workshop(folder, self.good, self.slow, on_gpu=("slow",))
        self.stats = EngineStats("toy")
        self.told: list[str] = []

    def open(self, **order: Any) -> Engine:
        self.serving = Serving(self.toy, Order(**order), self.shop, self.stats)
        self.engine = self.serving.open()
        self.serving.follow(lambda engine: self.told.append(engine.description))
        return self.engine

    def finish(self) -> None:
        self.slow.gate.set()
        assert self.serving.join(BOUND_S)

    def state(self) -> tuple[str, str]:
        return self.stats.state, self.stats.description.split(" (")[0]


@pytest.fixture
def stand(toy: manifest.Manifest, tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(toy, tmp_path)
    yield stand
    stand.slow.gate.set()
    stand.engine.close()


@pytest.mark.parametrize("backend", ["auto", "slow"])
def test_a_ready_backend_serves_while_a_slow_one_compiles(stand: Stand, backend: str) -> None:
    stand.slow.gate.clear()
    engine = stand.open(backend=backend)
    assert stand.slow.building.wait(BOUND_S)
    assert stand.state() == ("building", "toy on good")
    assert stand.stats.build_progress == 0.5
    assert stand.stats.detail == "building slow, 50%; toy on good (fake, 2 requests) serves meanwhile"
    assert (seen(engine, 3), stand.good.opened[0].batches[-3:]) == (6, [1, 1, 1])
    stand.finish()
    assert stand.state() == ("ready", "toy on slow")
    assert (stand.stats.detail, stand.stats.build_progress, engine.max_batch) == ("", 1.0, 4)
    assert (seen(engine, 3), stand.slow.opened[-1].batches[-1]) == (6, 3)
    assert stand.good.opened[0].closed.wait(BOUND_S)
    assert [text.split(" (")[0] for text in stand.told] == ["toy on good", "toy on slow"]


def test_what_the_old_engine_has_in_flight_is_finished_by_it(stand: Stand) -> None:
    stand.slow.gate.clear()
    engine = stand.open()
    old = stand.good.opened[0]
    stand.good.hold = True
    work = batch(2)
    future = engine.submit(work)
    assert len(old.held) == 2
    stand.good.hold = False  # a reference for the proof answers at once
    stand.finish()
    assert seen(engine) == 2
    assert not old.closed.is_set()
    for held in old.held:
        held.set_result(old.outputs(1))
    assert not old.closed.is_set()  # what it computed has to be decoded yet
    stand.slow.answer = np.zeros_like(answer())
    assert [len(each.detections) for each in engine.decode(work, future.result(BOUND_S))] == [2, 2]
    assert old.closed.wait(BOUND_S)


def test_what_is_in_the_cache_serves_at_once(stand: Stand) -> None:
    stand.open().close()
    stand.finish()
    stand.slow.gate.clear()
    stand.open()
    assert stand.state() == ("ready", "toy on slow")
    assert stand.slow.compiled == 1


@pytest.mark.parametrize("again", [False, True])
def test_the_fallback_stays_when_the_better_engine_deviates(stand: Stand, again: bool) -> None:
    stand.slow.answer[0, 4, 3] = 0.5
    for _ in range(1 + again):
        engine = stand.open()
        stand.finish()
        assert stand.state() == ("fallback", "toy on good")
        assert "!score 0.25" in stand.stats.detail
        assert seen(engine) == 2
    assert stand.slow.compiled == 1


@pytest.mark.parametrize("error", [EngineError("out of memory"), RuntimeError("a bug")])
def test_the_fallback_stays_when_the_better_engine_cannot_be_built(stand: Stand, error: Any) -> None:
    stand.slow.fails = error
    engine = stand.open()
    stand.finish()
    assert stand.state() == ("fallback", "toy on good")
    assert str(error) in stand.stats.detail
    assert seen(engine) == 2


def test_a_gpu_that_is_not_usable_is_told(stand: Stand) -> None:
    stand.slow.missing = BackendUnavailable("the driver is too old")
    stand.open()
    assert stand.state() == ("fallback", "toy on good")
    assert stand.stats.detail == "slow: the driver is too old"


def test_a_named_backend_that_is_missing_is_an_error(stand: Stand) -> None:
    stand.slow.missing = BackendUnavailable("the driver is too old")
    stand.engine = SwitchingEngine(stand.open())
    with pytest.raises(BackendUnavailable):
        Serving(stand.toy, Order(backend="slow"), stand.shop, stand.stats).open()
    assert (stand.stats.state, stand.stats.detail) == ("failed", "the driver is too old")


def served_by_the_gpu(stand: Stand, **order: Any) -> Engine:
    stand.open(**order)
    stand.finish()
    stand.engine.close()
    engine = stand.open(**order)
    assert stand.state() == ("ready", "toy on slow")
    return engine


@pytest.mark.parametrize("kind", [DeviceLost, OutOfDeviceMemory])
def test_another_backend_takes_the_place_of_a_lost_device(stand: Stand, kind: type[EngineError]) -> None:
    engine = served_by_the_gpu(stand)
    stand.slow.lost = kind("it has fallen off the bus")
    with pytest.raises(BatchLost, match="off the bus"):
        engine.submit(batch()).result(BOUND_S)
    assert seen(engine) == 2  # waits for the other one
    stand.finish()
    assert stand.state() == ("fallback", "toy on good")
    assert stand.stats.detail == "slow: it has fallen off the bus"
    assert stand.slow.opened[-1].closed.wait(BOUND_S)
    assert stand.told[-1].startswith("toy on good")


def test_every_batch_that_was_on_a_lost_device_is_lost_and_no_other(stand: Stand) -> None:
    engine = served_by_the_gpu(stand)
    stand.slow.hold = True
    futures = [engine.submit(batch()) for _ in range(2)]
    for held in stand.slow.opened[-1].held:
        held.set_exception(DeviceLost("gone"))
    for future in futures:
        with pytest.raises(BatchLost):
            future.result(BOUND_S)
    assert seen(engine) == 2


def test_a_lost_device_with_nothing_to_take_its_place_ends_the_engine(stand: Stand) -> None:
    engine = served_by_the_gpu(stand)
    stand.slow.lost, stand.good.missing = DeviceLost("gone"), BackendUnavailable("not installed")
    with pytest.raises(BatchLost):
        engine.submit(batch()).result(BOUND_S)
    with pytest.raises(EngineError, match=r"no engine takes the place of the lost one: .*not installed"):
        engine.submit(batch())
    assert stand.stats.state == "failed"


def test_a_named_backend_is_not_replaced_when_its_device_is_lost(stand: Stand) -> None:
    engine = served_by_the_gpu(stand, backend="slow")
    stand.slow.lost = DeviceLost("gone")
    with pytest.raises(DeviceLost):
        engine.submit(batch()).result(BOUND_S)


def test_an_engine_that_is_closed_takes_nothing_and_closes_what_comes(stand: Stand) -> None:
    stand.slow.gate.clear()
    engine = stand.open()
    assert stand.slow.building.wait(BOUND_S)
    threading.Timer(0.1, stand.slow.gate.set).start()  # while it closes, which waits for the builder
    engine.close()
    stand.finish()
    assert all(network.closed.is_set() for network in (*stand.slow.opened, *stand.good.opened))
    with pytest.raises(EngineError, match="closed"):
        engine.submit(batch())
    engine.close()


def test_the_state_is_in_readyz_and_in_the_metrics(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("streams: [{id: gate, url: 'rtsp://192.0.2.1/x'}]\n")
    clock, metrics = FakeClock(), Metrics()
    stand.stats = metrics.engine("toy")
    store = EventStore(tmp_path / "events.db", clock)
    board = StatusBoard(load_settings(path), metrics, Heartbeats(clock), store, clock)
    assert not board.readiness().ready
    stand.slow.gate.clear()
    stand.open()
    assert stand.slow.building.wait(BOUND_S)
    body = board.readiness().as_json()
    assert (body["status"], body["models"]["toy"]["state"]) == ("ready", "building")
    assert "building slow, 50%" in body["models"]["toy"]["detail"]
    text = metrics.render().decode()
    assert 'streamvision_engine_build_progress{model="toy"} 0.5' in text
    assert 'streamvision_engine_state{model="toy",state="building"} 1' in text
    assert 'streamvision_engine_state{model="toy",state="ready"} 0' in text
    stand.finish()
    assert board.readiness().as_json()["models"]["toy"]["state"] == "ready"
    store.close()


def pictures(count: int, *, stream: str = "gate") -> Callable[[StreamPictures], None]:
    def show(collector: StreamPictures) -> None:
        for seq in range(count):
            collector.see(Batch((frame(seq, stream=stream, media_s=seq * 0.5),)))

    return show


def test_pictures_to_calibrate_with_come_from_the_streams_not_too_close_together() -> None:
    told: list[tuple[int, int]] = []
    spec = InputSpec(SIZE, Fit.LETTERBOX, Colour.RGB, 114)
    collector = StreamPictures(spec, count=10, told=lambda *numbers: told.append(numbers))
    pictures(10)(collector)
    assert told[-1] == (5, 10)
    waiting: list[Any] = []
    thread = threading.Thread(target=lambda: waiting.extend(collector.pictures(None)))  # type: ignore[arg-type]
    thread.start()
    pictures(20, stream="yard")(collector)
    thread.join(BOUND_S)
    assert [int(each[0, 0, 0]) for each in waiting] == [0, 2, 4, 6, 8, 0, 2, 4, 6, 8]


def test_nobody_waits_for_pictures_of_an_engine_that_is_closed() -> None:
    collector = StreamPictures(InputSpec(SIZE, Fit.LETTERBOX, Colour.RGB, 114))
    collector.close()
    with pytest.raises(EngineError, match="closed"):
        collector.pictures(InputSpec(SIZE, Fit.LETTERBOX, Colour.RGB, 114))


def convolved(path: Path) -> Path:
    """Three convolutions whose mean is added, a millionth of it, to the toy's answer."""
    rng = np.random.default_rng(1)
    nodes, constants, last = [], [], "x"
    for number, inlets in enumerate((3, 4, 4)):
        weights = rng.normal(size=(4, inlets, 3, 3)).astype(np.float32)
        constants.append(helper.make_tensor(f"w{number}", TensorProto.FLOAT, weights.shape, weights.ravel()))
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [last := f"r{number}"]))
    nodes += [
        helper.make_node("ReduceMean", [last], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "little"], ["nothing"]),
        helper.make_node("Add", ["values", "nothing"], ["y"]),
    ]
    constants += [
        helper.make_tensor("little", TensorProto.FLOAT, [1], [1e-6]),
        helper.make_tensor("values", TensorProto.FLOAT, [1, 6, 20], answer().ravel()),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 64])]
    return networks.save(
        path, nodes, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 20])], constants
    )


def test_int8_is_calibrated_with_the_streams_own_pictures_while_float32_serves(tmp_path: Path) -> None:
    toy = manifest.load(write_manifest(tmp_path, convolved(tmp_path / "toy.onnx"), input={"size": list(SIZE)}))
    stats = EngineStats("toy")
    shop = Workshop(workshop(tmp_path).cache, on_gpu=())
    serving = Serving(toy, Order(backend="onnxruntime", precision="int8"), shop, stats)
    engine = serving.open()
    assert stats.state == "building"
    for seq in range(200):
        if seq == 5:
            assert stats.detail.startswith("collecting pictures to calibrate with, 5 of 100; toy on ")
        engine.submit(Batch((frame(seq, media_s=float(seq)),))).result(BOUND_S)
    assert serving.join(60)
    assert (stats.state, stats.detail) == ("ready", "")
    assert seen(engine) == 2
    engine.close()
    again = Serving(toy, Order(backend="onnxruntime", precision="int8"), shop, stats).open()
    assert stats.state == "ready"  # from the cache: fitted once
    again.close()
