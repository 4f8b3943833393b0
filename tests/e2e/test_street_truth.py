"""The main job against a truth that is known exactly: engine, tracker and rules on the drawn street.

Both engines that need no download are measured: the embedded network, and `motion`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest

from streamvision.capture.picture import DecodedPicture
from streamvision.capture.street.encode import write_street
from streamvision.capture.street.truth import StreetTruth
from streamvision.engine.build import build_engine
from streamvision.engine.manifest import load
from streamvision.interfaces import Engine, RuleContext, Scene
from streamvision.rules.line import LineRule
from streamvision.rules.zone import ZoneRule
from streamvision.track.bytetrack import ByteTrack
from streamvision.types import Batch, ClockSource, Event, Frame, FrameInfo, Phase

ROAD = ((0.543, 0.552), (0.463, 0.282))
PLAZA = ((0.341, 0.986), (0.884, 0.839), (0.81, 0.699), (0.335, 0.809))
SIZE = (960, 540)
SECONDS = 40.0
SEEDS = (1, 2, 3)
MIN_DWELL_S = 3.0
TOLERANCE_S = 1.0


@dataclass
class Watcher:
    """Engine, tracker and the two rules of one stream."""

    engine: Engine
    line: Sequence[Sequence[float]]
    zone: Sequence[Sequence[float]]
    events: list[Event] = field(default_factory=list)
    tracks: int = 0

    def __post_init__(self) -> None:
        numbers = itertools.count()
        context = RuleContext(
            stream="s", rule="r", zones={"plaza": self.zone}, lines={"road": self.line},
            new_id=lambda: str(next(numbers)),
        )  # fmt: skip
        self.tracker = ByteTrack(ByteTrack.Options(), self._ids)
        self.rules = [
            LineRule(LineRule.Options(line="road"), context),
            ZoneRule(ZoneRule.Options(zone="plaza", min_dwell=MIN_DWELL_S), context),
        ]

    def _ids(self, count: int) -> np.ndarray:
        self.tracks += count
        return np.arange(self.tracks - count + 1, self.tracks + 1)

    def watch(self, frames: Iterator[Frame]) -> None:
        info = None
        for frame in frames:
            batch, info = Batch((frame,)), frame.info
            detections = self.engine.decode(batch, self.engine.submit(batch).result())[0].detections
            scene = Scene(info, self.tracker.update(detections, info.media_s), self.engine.labels)
            self.events += [event for rule in self.rules for event in rule.update(scene)]
        assert info is not None
        self.events += [event for rule in self.rules for event in rule.close(info, "end")]

    def crossings(self) -> list[tuple[float, str]]:
        return [(event.media_s, event.data["direction"]) for event in self.events if event.kind == "line"]

    def stays(self) -> list[tuple[float, float]]:
        ends = [event for event in self.events if event.kind == "zone" and event.phase is Phase.END]
        return [(event.media_s - event.evidence["dwell_s"], event.media_s) for event in ends]


def read(path: Path, engine: Engine, *, every: int = 1, drop: float = 0.0, seed: int = 0) -> Iterator[Frame]:
    """Decode a file as the pipeline sees it at a lower rate, or with pictures lost at random."""
    luck, spec = random.Random(seed), engine.input
    with av.open(str(path)) as container:
        for number, decoded in enumerate(container.decode(video=0)):
            if number % every == 0 and luck.random() >= drop:
                picture = DecodedPicture(decoded)
                pixels, letterbox = picture.prepare(spec)
                when = datetime.now(UTC)
                info = FrameInfo(
                    "s", 0, number, decoded.time, decoded.time, when, ClockSource.FILE, 0.0, picture.size_wh
                )
                yield Frame(info, picture, pixels, letterbox, 0.0)


@pytest.fixture(scope="module", params=SEEDS)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StreetTruth]:
    path = tmp_path_factory.mktemp("street") / f"{request.param}.mp4"
    return path, write_street(path, request.param, SECONDS, SIZE, fps=25)


@pytest.fixture(params=["default", "motion"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with closing(build_engine(load(request.param))) as built:
        yield built


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "drop"), [(2, 0.0), (5, 0.0), (2, 0.1)], ids=["12.5 per second", "5 per second", "a tenth dropped"]
)
def test_every_crossing_and_every_stay_and_no_other(
    film: tuple[Path, StreetTruth], engine: Engine, every: int, drop: float
) -> None:
    path, truth = film
    watcher = Watcher(engine, ROAD, PLAZA)
    watcher.watch(read(path, engine, every=every, drop=drop))
    # Whoever is in the first picture leaves a hole in the background; a crossing at the end may not be complete.
    true = [(c.time_s, c.direction) for c in truth.crossings(ROAD, SECONDS)]
    seen = watcher.crossings()
    _agree([c for c in true if _settled(c[0])], [c for c in seen if _settled(c[0])])
    _same_stays([(s.start_s, s.end_s) for s in truth.stays(PLAZA, SECONDS, min_dwell_s=MIN_DWELL_S)], watcher.stays())


def _settled(time_s: float) -> bool:
    return 4.0 < time_s < SECONDS - 1.0


def _agree(true: list[tuple[float, str]], seen: list[tuple[float, str]]) -> None:
    for way in ("a_to_b", "b_to_a"):
        expected = sorted(time_s for time_s, direction in true if direction == way)
        reported = sorted(time_s for time_s, direction in seen if direction == way)
        assert len(expected) == len(reported), (way, expected, reported)
        assert reported == pytest.approx(expected, abs=TOLERANCE_S)


def _same_stays(true: list[tuple[float, float]], seen: list[tuple[float, float]]) -> None:
    sure = [stay for stay in sorted(true) if stay[1] - stay[0] > MIN_DWELL_S + TOLERANCE_S]
    assert len(seen) == len(sure), (sure, seen)
    for expected, reported in zip(sure, sorted(seen), strict=True):
        assert reported == pytest.approx(expected, abs=TOLERANCE_S)


@pytest.mark.slow
def test_four_cars_cross_a_real_car_park(data: Path) -> None:
    middle = ((0.0, 0.5), (1.0, 0.5))
    with closing(build_engine(load("motion"))) as engine:
        watcher = Watcher(engine, middle, ((0.0, 0.0), (0.1, 0.0), (0.1, 0.1)))
        watcher.watch(read(data / "videos" / "car-detection.mp4", engine))
    # Up the picture is from the right-hand side of a line that runs from left to right to its left-hand side.
    assert [way for _, way in sorted(watcher.crossings())].count("b_to_a") == 2
    assert [way for _, way in sorted(watcher.crossings())].count("a_to_b") == 2
    assert watcher.tracks == 4
