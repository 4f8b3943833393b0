"""Collecting beside the flow: pre-labels, privacy masks, budgets, and what is not even converted."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamvision.collect.collector import Collector, Observed
from streamvision.config import CollectSettings
from streamvision.dataset import label_map, read, rgb
from streamvision.engine.manifest import Manifest
from streamvision.explain.pictures import frame_of
from streamvision.metrics import StreamStats
from streamvision.types import Analysis, Detections, Fit, Frame, InputSpec, Segmentation, Tracks
from tests.fakes import FakeClock

HIDDEN = {"door": ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))}
SPEC = InputSpec((96, 96), Fit.LETTERBOX)
MANIFEST = Manifest.model_validate({
    "name": "toy", "summary": "a toy", "licence": "Apache-2.0", "source": "a test", "labels": ["person", "car"],
    "input": {"size": [96, 96]}, "file": {"name": "toy.onnx", "sha256": "0" * 64}, "decoder": {"type": "yolo"},
    "segmentation": {"ground": ["bare", "snow"]},
})  # fmt: skip


def scene(number: int, *, score: float = 0.3) -> tuple[Frame, Analysis]:
    """A rough picture of its own, with a doubtful car that is followed and a person that is hardly seen."""
    texture = np.random.default_rng(number).integers(60, 255, (9, 16, 3)).repeat(20, 0).repeat(20, 1)
    frame = frame_of(texture.astype(np.uint8), SPEC, "gate")
    info = replace(frame.info, seq=number, media_s=float(number * 10))
    boxes = np.array([(40.25, 30.5, 120.75, 90.0), (200.0, 20.0, 240.0, 100.0)], np.float32)
    found = Detections(boxes, np.array([score, 0.1], np.float32), np.array([1, 0], np.int32))
    tracks = Tracks(
        np.array([17], np.int64), boxes[:1], np.zeros((1, 2), np.float32), np.ones(1, np.int32), found.score[:1],
        np.ones(1, np.bool_), np.ones(1, np.bool_), np.ones(1, np.float32), np.zeros(1, np.int32),
    )  # fmt: skip
    labels = np.full((48, 48), 1, np.uint8)
    labels[: 24 - 2] = 0
    ground = Segmentation("ground", labels, frame.letterbox.resized((48, 48)), ("bare", "snow"))
    return replace(frame, info=info), Analysis(info, found, tracks, ("person", "car"), (ground,))


class Bench:
    def __init__(self, folder: Path, clock: FakeClock | None = None, *, live: bool = False, **changes: object) -> None:
        self.stats, self.clock = StreamStats("gate"), clock or FakeClock()
        settings = CollectSettings.model_validate({"sample": 0, "every": 1, **changes})
        observed = {"gate": Observed("street", MANIFEST, self.stats, live, HIDDEN)}
        self.collector = Collector(settings, folder, observed, self.clock, lambda _: None, random.Random(0))

    def collect(self, *scenes: tuple[Frame, Analysis]) -> None:
        self.collector.start()
        for frame, analysis in scenes:
            self.collector.see(frame, analysis, [])
        assert self.collector.stop(30)
        assert self.collector.crashed is None


def test_pictures_are_written_with_what_the_network_saw(tmp_path: Path):
    bench = Bench(tmp_path)
    bench.collect(scene(0), scene(1))
    found = read(tmp_path)
    assert (len(found), found.classes, dict(found.maps)) == (2, ("person", "car"), {"ground": ("bare", "snow")})
    one = found.examples[0]
    assert one.objects is not None
    assert one.objects.class_id.tolist() == [1]  # the person is below `low`
    assert one.objects.xyxy[0] == pytest.approx([40.25, 30.5, 120.75, 90.0])
    assert (one.group, one.metadata["reason"], one.metadata["model"]) == ("gate", "doubtful", "street")
    assert one.size_wh == (320, 180)
    ground = label_map(found, one, "ground")
    assert ground.shape == (180, 320)
    assert set(np.unique(ground)) == {0, 1}
    (written,) = bench.collector.journal.entries[0].objects
    assert (written["score"], written["track_id"], written["model"]) == (0.3, 17, "street")
    assert dict(bench.stats.collected) == {"doubtful": 2}


def test_privacy_masks_are_black_whatever_the_picture_was(tmp_path: Path):
    Bench(tmp_path).collect(scene(0))
    picture = rgb(read(tmp_path).examples[0].path)
    assert picture[96:, 168:].max() <= 8
    assert picture[:80, :150].min() > 30


def test_the_same_is_not_kept_twice_also_after_a_restart(tmp_path: Path):
    first = Bench(tmp_path)
    first.collect(scene(0), (replace(scene(0)[0], info=scene(5)[0].info), replace(scene(0)[1], info=scene(5)[1].info)))
    assert (dict(first.stats.collected), dict(first.stats.uncollected)) == ({"doubtful": 1}, {"duplicate": 1})
    second = Bench(tmp_path)
    second.collect(scene(0), scene(1))
    assert (dict(second.stats.collected), dict(second.stats.uncollected)) == ({"doubtful": 1}, {"duplicate": 1})
    assert len(read(tmp_path)) == 2


def test_what_is_not_kept_is_not_even_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench = Bench(tmp_path)
    frame, analysis = scene(0)
    same = replace(frame, info=scene(3)[0].info)
    asked = []
    kind = type(frame.picture)
    plain = kind.rgb
    monkeypatch.setattr(kind, "rgb", lambda picture, size_wh=None: asked.append(1) or plain(picture, size_wh))
    bench.collect(
        scene(1, score=0.9), (frame, analysis), (same, replace(analysis, info=same.info)), scene(2, score=0.1)
    )
    assert len(asked) == 1
    assert len(read(tmp_path)) == 1


def test_a_days_budget_is_for_a_day_also_after_a_restart(tmp_path: Path):
    clock = FakeClock()
    Bench(tmp_path, clock, pictures_per_day=2).collect(*map(scene, range(2)))
    second = Bench(tmp_path, clock, pictures_per_day=2)
    second.collect(scene(2))
    assert dict(second.stats.uncollected) == {"budget": 1}
    clock.advance(86_400)
    third = Bench(tmp_path, clock, pictures_per_day=2)
    third.collect(*map(scene, range(3, 6)))
    assert (dict(third.stats.collected), dict(third.stats.uncollected)) == ({"doubtful": 2}, {"budget": 1})
    assert len(read(tmp_path)) == 4


def test_a_full_folder_takes_nothing_more(tmp_path: Path):
    bench = Bench(tmp_path, max_pictures=3)
    bench.collect(*map(scene, range(6)))
    assert bench.collector.full
    assert bench.stats.uncollected["full"] == 3
    assert len(read(tmp_path)) == 3
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_bytes_are_bounded(tmp_path: Path):
    bench = Bench(tmp_path)
    bench.collector._size = (bench.collector._settings.max_mb << 20) - 1  # as if so much were there
    bench.collect(scene(0), scene(1))
    assert bench.collector.full
    assert sum(bench.stats.collected.values()) == 1


def test_a_camera_is_not_held_up_and_the_loss_is_counted(tmp_path: Path):
    bench = Bench(tmp_path, live=True)
    for number in range(12):  # nobody writes yet
        bench.collector.see(*scene(number), [])
    assert dict(bench.stats.uncollected) == {"queue": 4}
    bench.collect()
    assert sum(bench.stats.collected.values()) == 8
    bench.collector.see(*scene(20), [])
    assert bench.stats.uncollected["stopped"] == 1


def test_a_disk_that_refuses_costs_pictures_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench = Bench(tmp_path)
    good = bench.collector.journal.add

    def refuse_the_first(entry, files):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(bench.collector.journal, "add", good)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.collector.journal, "add", refuse_the_first)
    bench.collect(scene(0), scene(1))
    assert (dict(bench.stats.collected), dict(bench.stats.uncollected)) == ({"doubtful": 1}, {"disk": 1})
    assert len(read(tmp_path)) == 1


def test_a_network_of_pictures_as_a_whole_leaves_objects_unknown(tmp_path: Path):
    bench = Bench(tmp_path)
    whole = MANIFEST.model_copy(update={"task": "classification", "segmentation": {}})
    bench.collector._observed = {"gate": replace(bench.collector._observed["gate"], manifest=whole)}
    frame, analysis = scene(0)
    blank = replace(analysis, detections=Detections.empty(), tracks=Tracks.empty(), segmentation=())
    bench.collector._choices["gate"]._follow_s = 0.0  # the picture after an event
    bench.collect((frame, blank))
    assert read(tmp_path).examples[0].objects is None


def test_pictures_are_jpegs_of_the_cameras_size(tmp_path: Path):
    Bench(tmp_path).collect(scene(0))
    (path,) = (tmp_path / "pictures").iterdir()
    assert path.name.startswith("gate-20")
    assert cv2.imread(str(path)).shape == (180, 320, 3)
