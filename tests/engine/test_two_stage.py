"""The engine of networks that look twice, over fakes: what happens between the stages, and what may go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from streamvision.engine import manifest
from streamvision.engine.backends import Network, TensorInput
from streamvision.engine.two_stage import TwoStageEngine, build_two_stage
from streamvision.errors import EngineError, ManifestError, ModelMissing, UsageError
from streamvision.geometry import Letterbox
from streamvision.types import Batch, ClockSource, Detections, Frame, FrameInfo, UInt8
from tests.engine import networks

SIZE = (64, 64)
SOURCE = (320, 160)
LETTERBOX = Letterbox.fit(SOURCE, SIZE, centre=False)
CELLS = 4
LIMIT_S = 20
Shapes = Mapping[str, tuple[int, ...]]
SEER: Shapes = {"objectness_0": (1, 3), "proposals_0": (1, 3, 4), "features_0": (1, CELLS, CELLS, 2)}
BOX: Shapes = {"deltas": (1, 3, 4), "scores": (1, 3)}
MASK: Shapes = {"masks": (1, 3, 4, 4)}
PROPOSED = np.asarray([[8, 8, 24, 24], [9, 8, 24, 24], [30, 4, 60, 40]], np.float32)


class FakeNetwork:
    """Answers as it is told, at once or when the test lets it; knows what it was asked."""

    name, device, in_flight = "fake", "CPU", 2

    def __init__(self, shapes: Shapes, answer: Callable[[int], list[Any]], max_batch: int = 4) -> None:
        self.output_names, self.output_shapes = tuple(shapes), tuple(shapes.values())
        self.max_batch = max_batch
        self.answer = answer
        self.asked: list[Any] = []
        self.held: queue.SimpleQueue[Future[list[Any]]] | None = None
        self.closed = 0

    def submit(self, items: Sequence[Any]) -> Future[list[Any]]:
        self.asked.append(items)
        future: Future[list[Any]] = Future()
        if self.held is not None:
            self.held.put(future)
            return future
        try:
            future.set_result(self.answer(len(items)))
        except EngineError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        self.closed += 1


def see(count: int) -> list[Any]:
    """Two proposals that overlap and one that does not; features tell the pictures apart."""
    features = np.ones((count, CELLS, CELLS, 2), np.float32) * np.arange(count, dtype=np.float32)[:, None, None, None]
    return [np.asarray([[3, 2, 1]] * count, np.float32), np.stack([PROPOSED] * count), features]


def judge(count: int) -> list[Any]:
    """Every region is a dog, and a little to the right of where it was proposed."""
    deltas = np.zeros((count, 3, 4), np.float32)
    deltas[..., 0] = 0.125
    return [deltas, np.tile(np.asarray([[0.1, 0.02, 0.88]], np.float32), (count, 1))]


def draw(count: int) -> list[Any]:
    """The dog is the left half of its box, the cat the upper one."""
    masks = np.zeros((count, 3, 4, 4), np.float32)
    masks[:, 1, :2] = masks[:, 2, :, :2] = 1
    return [masks]


class Kit:
    """A manifest with dummy files and the fake networks behind them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seer, self.box, self.mask = FakeNetwork(SEER, see), FakeNetwork(BOX, judge), FakeNetwork(MASK, draw)
        self.document: dict[str, Any] = {
            "name": "twice", "summary": "a toy", "licence": "Apache-2.0", "source": "made by a test",
            "kind": "two_stage", "task": "instance_segmentation", "labels": ["cat", "dog"],
            "input": {"size": list(SIZE), "fit": "letterbox_top_left"},
            "file": self.file("seer"),
            "heads": {"box": {"side": 7, "file": self.file("box")}, "mask": {"side": 14, "file": self.file("mask")}},
        }  # fmt: skip
        self.opened: list[Network] = []

    def file(self, name: str) -> dict[str, Any]:
        path = networks.echo(self.folder / f"{name}.onnx", [1, len(name)])
        return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    def load(self) -> manifest.Manifest:
        path = self.folder / "twice.yaml"
        YAML().dump(self.document, path)
        return manifest.load(path)

    def without_masks(self) -> None:
        del self.document["heads"]["mask"]
        self.document["task"] = "detection"

    def open(self, network: Network) -> FakeNetwork:
        self.opened.append(network)
        return {"seer": self.seer, "box": self.box, "mask": self.mask}[network.path.stem]

    def build(self, **options: Any) -> TwoStageEngine:
        return build_two_stage(self.load(), self.open, options)

    @contextlib.contextmanager
    def running(self, **options: Any) -> Iterator[TwoStageEngine]:
        with contextlib.closing(self.build(**options)) as engine:
            yield engine


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def frame(stream: str = "gate", media_s: float = 0.0, pixels: UInt8 | None = None) -> Frame:
    info = FrameInfo(stream, 0, 0, media_s, media_s, datetime.now(UTC), ClockSource.FILE, 0.0, SOURCE)
    nobody: Any = None
    blank = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    return Frame(info, nobody, blank if pixels is None else pixels, LETTERBOX, 0.0)


def look(engine: TwoStageEngine, *frames: Frame) -> list[Detections]:
    batch = Batch(frames or (frame(),))
    return [each.detections for each in engine.decode(batch, engine.submit(batch).result(LIMIT_S))]


def test_proposals_become_detections_with_masks_in_source_px(kit: Kit):
    with kit.running() as engine:
        (found,) = look(engine)
    # The letterbox halves nothing: 64 of 320 px is a fifth, and rows from 32 on are padding.
    np.testing.assert_allclose(found.xyxy, [[50, 40, 130, 120], [168.75, 20, 318.75, 160]], atol=1e-3)
    np.testing.assert_allclose(found.score, 0.88)
    assert found.class_id.tolist() == [1, 1]
    assert found.masks is not None
    assert (found.masks.values[0, 1:-1, 1:-1] > 0).tolist() == [[True, True, False, False]] * 4
    assert found.masks.region[0].tolist() == [30, 20, 151, 141]


def test_networks_are_opened_as_what_they_are(kit: Kit):
    with kit.running() as engine:
        assert engine.description == "twice on fake (CPU, 2 requests, two stages)"
        assert (engine.in_flight, engine.max_batch, engine.labels) == (2, 4, ("cat", "dog"))
    assert [network.model for network in kit.opened] == ["twice", "twice-box", "twice-mask"]
    assert [network.input for network in kit.opened[1:]] == [TensorInput((7, 7, 2)), TensorInput((14, 14, 2))]


def test_regions_of_all_pictures_are_looked_at_together_and_come_back_to_their_own(kit: Kit):
    with kit.running() as engine:
        found = look(engine, frame("a"), frame("b"), frame("c"))
    assert [len(each) for each in found] == [2, 2, 2]
    (first, second) = kit.box.asked
    assert (len(first), len(second)) == (4, 2)  # no more than the head takes at a time
    assert [round(float(region.max())) for region in (*first, *second)] == [0, 0, 1, 1, 2, 2]


def test_options_go_over_the_manifests(kit: Kit):
    kit.without_masks()
    kit.document["options"] = {"min_score": 0.5, "max_detections": 1}
    with kit.running() as engine:
        assert [len(each) for each in look(engine)] == [1]
    with kit.running(max_detections=5) as engine:
        assert [len(each) for each in look(engine)] == [2]
    with kit.running(min_score=0.01, max_detections=9) as engine:  # the cat too
        assert look(engine)[0].class_id.tolist() == [1, 1, 0, 0]
    with kit.running(min_score=0.9) as engine:
        assert look(engine)[0].masks is None


def test_where_nothing_is_found_no_head_is_asked(kit: Kit):
    with kit.running(proposals={"min_side": 60}) as engine:
        (found,) = look(engine)
    assert (len(found), kit.box.asked, kit.mask.asked) == (0, [], [])
    with kit.running(min_score=0.95) as engine:
        (found,) = look(engine)
    assert (len(found), len(kit.box.asked), kit.mask.asked) == (0, 1, [])
    assert found.masks is not None


def broken(count: int) -> list[Any]:
    raise EngineError("the device is lost")


def surprising(count: int) -> list[Any]:
    return [np.zeros((count, 3, 4), np.float32), np.zeros(7, np.float32)]


@pytest.mark.parametrize(
    ("part", "answer", "words"),
    [
        ("seer", broken, "the device is lost"),
        ("box", broken, "the device is lost"),
        ("mask", broken, "the device is lost"),
        ("box", surprising, "twice: the second stage failed"),
    ],
)
def test_a_failure_is_an_engine_error_in_the_future_and_the_engine_goes_on(
    kit: Kit, part: str, answer: Callable[[int], list[Any]], words: str
):
    network = getattr(kit, part)
    usual = network.answer
    with kit.running() as engine:
        for _ in range(2 * engine.in_flight):  # each failure gives its place back
            network.answer = answer
            with pytest.raises(EngineError, match=words):
                engine.submit(Batch((frame(),))).result(LIMIT_S)
        network.answer = usual
        assert len(look(engine)[0]) == 2


def test_no_more_than_in_flight_are_under_way_and_none_waits_for_another(kit: Kit):
    kit.seer.held = queue.SimpleQueue()
    batch = Batch((frame(),))
    with kit.running() as engine:
        first, second = engine.submit(batch), engine.submit(batch)
        third: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        thread = threading.Thread(target=lambda: third.put(engine.submit(batch)), daemon=True)
        thread.start()
        held = [kit.seer.held.get(timeout=LIMIT_S) for _ in range(2)]
        with pytest.raises(queue.Empty):
            kit.seer.held.get(timeout=0.1)  # the third is not even begun
        held[1].set_result(see(1))
        assert len(second.result(LIMIT_S)) == 4
        assert not first.done()
        kit.seer.held.get(timeout=LIMIT_S).set_result(see(1))
        thread.join(LIMIT_S)
        assert len(third.get(timeout=LIMIT_S).result(LIMIT_S)) == 4
        held[0].set_result(see(1))
        first.result(LIMIT_S)


def test_closing_waits_closes_every_part_and_may_be_repeated(kit: Kit):
    engine = kit.build()
    kit.seer.held = queue.SimpleQueue()
    future = engine.submit(Batch((frame(),)))
    closer = threading.Thread(target=engine.close, daemon=True)
    closer.start()
    assert kit.seer.closed == 0
    kit.seer.held.get(timeout=LIMIT_S).set_result(see(1))
    closer.join(LIMIT_S)
    assert future.done()
    engine.close()
    assert min(kit.seer.closed, kit.box.closed, kit.mask.closed) >= 1
    for _ in range(2 * engine.in_flight):
        with pytest.raises(EngineError, match="is closed"):
            engine.submit(Batch((frame(),)))


def moving(kit: Kit) -> list[Frame]:
    """A grey square that runs over a dark picture, after a while in which nothing moves."""
    frames = []
    for number in range(40):
        pixels = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
        if number >= 30:
            left = 2 * (number - 30)
            pixels[8:20, left : left + 12] = 200
        frames.append(frame("gate", number / 10, pixels))
    return frames


def test_what_moves_is_looked_at_instead_of_proposals(kit: Kit):
    kit.seer = FakeNetwork({"features_0": SEER["features_0"]}, lambda count: see(count)[2:])
    kit.without_masks()
    kit.document["options"] = {"regions": "motion", "margin": 0.0}
    with kit.running() as engine:
        *quiet, last = [look(engine, each)[0] for each in moving(kit)]
        assert not any(len(found) for found in quiet[:30])
        assert len(last) == 1
        # The square is at 18-30 x 8-20 of the input; a twelfth of it to the right is what the head says.
        np.testing.assert_allclose(last.xyxy / 5, [[19.5, 8, 31.5, 20]], atol=3)
        engine.forget("gate")
        assert len(look(engine, moving(kit)[-1])[0]) == 0


def drop(shapes: Shapes, name: str) -> Shapes:
    return {key: shape for key, shape in shapes.items() if key != name}


@pytest.mark.parametrize(
    ("part", "shapes", "words"),
    [
        ("seer", drop(SEER, "features_0"), "no outputs features_0"),
        ("seer", {**SEER, "features_0": (1, 4, 4)}, "no outputs features_0"),
        ("seer", {**SEER, "features_1": (1, 2, 2, 9)}, "no outputs features_0"),
        ("seer", {**SEER, "features_0": (1, 0, 4, 2)}, "no outputs features_0"),
        ("seer", drop(SEER, "proposals_0"), "objectness_i"),
        ("seer", {**SEER, "proposals_0": (1, 4, 4)}, "objectness_i"),
        ("seer", {"features_0": (1, 4, 4, 2)}, "`regions: rpn` needs a first stage that proposes"),
        ("box", {**BOX, "scores": (1, 4)}, "box.onnx has no output 'scores' of 1x3"),
        ("box", drop(BOX, "deltas"), "box.onnx has no output 'deltas' of 1x3x4"),
        ("mask", {"masks": (1, 2, 4, 4)}, r"mask.onnx has no output 'masks' of 1x3x\?x\?"),
        ("mask", {"logits": (1, 3, 4, 4)}, "it has logits 1x3x4x4"),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_nothing_stays_open(kit: Kit, part: str, shapes: Shapes, words: str):
    setattr(kit, part, FakeNetwork(shapes, see))
    with pytest.raises(ManifestError, match=words):
        kit.build()
    assert all(getattr(kit, network.path.stem).closed for network in kit.opened)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": None}, "needs both `file` and `heads`"),
        ({"file": None}, "needs both `file` and `heads`"),
        ({"decoder": {"type": "yolo"}}, "has no `decoder`"),
        ({"task": "detection"}, "a mask head makes instance_segmentation"),
        ({"kind": "network", "decoder": {"type": "yolo"}}, "`heads` belong to a network of kind two_stage"),
        ({"kind": "motion", "file": None}, "`heads` belong to a network of kind two_stage"),
        ({"options": {"iuo": 0.5}}, "options.iuo"),
        ({"options": {"proposals": {"iou": 2}}}, "options.proposals.iou"),
    ],
)
def test_manifests_that_contradict_themselves(kit: Kit, changes: Mapping[str, Any], words: str):
    merged = {**kit.document, **changes}
    kit.document = {key: value for key, value in merged.items() if value is not None}
    with pytest.raises(ManifestError, match=words):
        kit.build()
    assert kit.opened == []


def test_a_wrong_option_of_the_caller_is_the_callers_mistake(kit: Kit):
    with pytest.raises(UsageError, match="option of twice: min_score"):
        kit.build(min_score=7)


def test_every_file_must_be_there_and_be_the_right_one(kit: Kit):
    (kit.folder / "mask.onnx").write_bytes(b"another")
    with pytest.raises(ManifestError, match=r"mask\.onnx is another file"):
        kit.build()
    (kit.folder / "box.onnx").unlink()
    with pytest.raises(ModelMissing, match=r"box\.onnx is not on this machine"):
        kit.build()
    assert kit.seer.closed == 2
