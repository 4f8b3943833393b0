"""``demo:street`` as a source: its URL, its pace, its end; and the film it writes."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import av
import pytest

from streamvision.capture.demo import DemoOptions, DemoSource, parse_demo_url
from streamvision.capture.street.encode import write_street
from streamvision.clock import SystemClock
from streamvision.errors import EndOfStream, SourceNotFound, UsageError


class HurriedClock:
    """A clock on which waiting costs no time: it jumps on at each look."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        with self._lock:
            self._now_s += 0.05
            return self._now_s

    def utcnow(self) -> datetime:
        return datetime.now(UTC)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("demo:street", DemoOptions()),
        ("demo:street?seed=7", DemoOptions(seed=7)),
        ("demo:street?size=1280x720&fps=25", DemoOptions(size=(1280, 720), fps=25)),
        ("demo:street?size=360p&start=60", DemoOptions(size=(640, 360), start=60)),
    ],
)
def test_url(url: str, expected: DemoOptions) -> None:
    assert parse_demo_url(url) == ("street", expected)


def test_the_url_wins_over_the_options() -> None:
    _, options = parse_demo_url("demo:street?seed=7", DemoOptions(seed=1, fps=5))
    assert (options.seed, options.fps) == (7, 5)


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("demo:beach", SourceNotFound, "write demo:street or demo:drive"),
        ("demo:street?sed=1", UsageError, "sed: unknown key"),
        ("demo:street?seed=x", UsageError, "seed"),
        ("demo:street?size=big", UsageError, "WIDTHxHEIGHT"),
        ("demo:street?size=961x540", UsageError, "even"),
        ("demo:street?fps=0", UsageError, "fps"),
    ],
)
def test_wrong_urls(url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_demo_url(url)


def test_pictures_come_in_order_with_their_times() -> None:
    source = DemoSource("demo:street?size=320x180&fps=10", DemoOptions(), HurriedClock())
    source.open()
    try:
        pictures = [picture for _ in range(12) for picture in source.read()]
    finally:
        source.close()
    assert [picture.pts_s for picture in pictures] == pytest.approx([n / 10 for n in range(len(pictures))])
    assert {picture.picture.size_wh for picture in pictures} == {(320, 180)}
    assert not any(picture.corrupt for picture in pictures)


def test_nothing_is_left_behind() -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = held()
    for _ in range(3):
        source = DemoSource("demo:street?size=160x96&fps=25", DemoOptions(), SystemClock())
        source.open()
        source.read()
        source.close()
        source.close()
    assert held() == before
    with pytest.raises(EndOfStream):
        source.read()


def test_a_reader_that_never_reads_does_not_keep_the_painter() -> None:
    source = DemoSource("demo:street?size=640x360&fps=100", DemoOptions(), HurriedClock())
    source.open()  # the pipe fills up while nobody reads
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("street-")]


def test_film_with_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "street.mp4"
    truth = write_street(path, seed=2, seconds=2.0, size_wh=(320, 180), fps=25, start_s=30.0)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 320, 180)
        times = [frame.time for frame in container.decode(video)]
    assert times == pytest.approx([n / 25 for n in range(50)])
    assert truth.boxes(0.0)
