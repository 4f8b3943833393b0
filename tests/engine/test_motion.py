"""Background subtraction: what moves is found, what does not is not, in seconds and not in pictures."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from streamvision.capture.picture import ArrayPicture
from streamvision.engine.manifest import Manifest, load
from streamvision.engine.motion import MotionEngine
from streamvision.errors import ManifestError
from streamvision.types import Batch, ClockSource, Detections, Frame, FrameInfo, UInt8

WIDTH, HEIGHT = 960, 540
_GRAIN = np.random.default_rng(5).normal(0, 1.5, (4, HEIGHT, WIDTH, 1))


def scene(box: tuple[int, int, int, int] | None = None, *, light: float = 1.0, number: int = 0) -> UInt8:
    """A noisy plain with a pattern, and a dark thing in it."""
    picture = np.full((HEIGHT, WIDTH, 3), 110.0)
    picture[::60] = 70
    if box is not None:
        picture[box[1] : box[3], box[0] : box[2]] = (200, 60, 40)
    return np.clip(picture * light + _GRAIN[number % 4], 0, 255).astype(np.uint8)


class Camera:
    """Shows pictures to an engine at given media times."""

    def __init__(self, engine: MotionEngine | None = None, stream: str = "gate") -> None:
        self.engine = engine or MotionEngine(load("motion"))
        self.stream = stream
        self.count = 0

    def show(self, rgb: UInt8, media_s: float) -> Detections:
        picture = ArrayPicture(rgb)
        pixels, letterbox = picture.prepare(self.engine.input)
        now = datetime.now(UTC)
        size = picture.size_wh
        info = FrameInfo(self.stream, 0, self.count, media_s, media_s, now, ClockSource.FILE, 0.0, size)
        self.count += 1
        batch = Batch((Frame(info, picture, pixels, letterbox, 0.0),))
        return self.engine.decode(batch, self.engine.submit(batch).result())[0].detections

    def warm(self, until_s: float = 3.0, rate: float = 10.0) -> float:
        for number in range(round(until_s * rate)):
            self.show(scene(number=number), number / rate)
        return until_s


def test_nothing_moves_nothing_found() -> None:
    camera = Camera()
    start = camera.warm()
    assert all(len(camera.show(scene(number=n), start + n / 10)) == 0 for n in range(20))


@pytest.mark.parametrize("rate", [5.0, 25.0])
def test_a_moving_thing_is_boxed_at_any_rate(rate: float) -> None:
    camera = Camera()
    start = camera.warm(rate=rate)
    for number in range(round(2 * rate)):
        x = 100 + round(number / rate * 200)
        found = camera.show(scene((x, 200, x + 60, 320), number=number), start + number / rate)
        assert len(found) == 1
        assert found.xyxy[0] == pytest.approx([x, 200, x + 60, 320], abs=10)
        assert 0.5 < found.score[0] <= 0.95


@pytest.mark.parametrize("rate", [2.0, 10.0])
def test_who_waits_a_minute_is_still_there_and_not_for_ever(rate: float) -> None:
    manifest = load("motion").model_copy(update={"options": {"absorb": 70.0}})
    camera = Camera(MotionEngine(manifest))
    start = camera.warm()
    standing = scene((400, 200, 460, 320))
    counts = {}
    for number in range(round(100 * rate)):
        counts[number / rate] = len(camera.show(standing, start + number / rate))
    assert all(count == 1 for time_s, count in counts.items() if time_s < 65)
    assert all(count == 0 for time_s, count in counts.items() if time_s > 80)


def test_the_hole_that_something_leaves_is_soon_forgotten() -> None:
    camera = Camera()
    for number in range(30):
        camera.show(scene((400, 200, 460, 320), number=number), number / 10)
    found = [len(camera.show(scene(number=n), 3.0 + n / 10)) for n in range(40)]
    assert found[0] == 1
    assert not any(found[25:])


def test_light_that_changes_slowly_or_at_once_is_no_object() -> None:
    camera = Camera()
    start = camera.warm()
    for number in range(100):
        light = 1.0 - 0.3 * number / 100
        assert len(camera.show(scene(light=light, number=number), start + number / 10)) == 0
    assert len(camera.show(scene(light=0.95), start + 10.1)) == 0


def test_a_shadow_is_left_out() -> None:
    camera = Camera()
    start = camera.warm()
    picture = scene((400, 200, 460, 320)).astype(np.float64)
    picture[260:320, 460:640] *= 0.7
    found = camera.show(picture.astype(np.uint8), start)
    assert found.xyxy[0] == pytest.approx([400, 200, 460, 320], abs=14)


def test_streams_are_apart_and_can_be_forgotten() -> None:
    engine = MotionEngine(load("motion"))
    one, other = Camera(engine, "one"), Camera(engine, "other")
    start = one.warm()
    thing = scene((400, 200, 460, 320))
    assert len(other.show(thing, 0.0)) == 0
    assert len(one.show(thing, start)) == 1
    engine.forget("one")
    engine.forget("never seen")
    assert len(one.show(thing, start + 0.1)) == 0
    engine.close()
    engine.close()


def test_another_picture_size_starts_anew() -> None:
    camera = Camera()
    start = camera.warm()
    assert len(camera.show(np.ascontiguousarray(scene()[:, :720]), start)) == 0


def test_letterboxed_boxes_come_back_in_source_pixels() -> None:
    camera = Camera()
    for number in range(20):
        camera.show(np.ascontiguousarray(scene(number=number)[:, :720]), number / 10)
    found = camera.show(np.ascontiguousarray(scene((300, 200, 360, 320))[:, :720]), 2.0)
    assert found.xyxy[0] == pytest.approx([300, 200, 360, 320], abs=10)


@pytest.mark.parametrize(
    "change",
    [{"options": {"learn": -1}}, {"options": {"lern": 2}}, {"labels": ("a", "b")}],
    ids=["value", "key", "labels"],
)
def test_manifests_that_cannot_be_served(change: dict[str, object]) -> None:
    manifest: Manifest = load("motion").model_copy(update=change)
    with pytest.raises(ManifestError):
        MotionEngine(manifest)
