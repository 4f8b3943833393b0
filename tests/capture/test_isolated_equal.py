"""A source in a process of its own hands over what the same source does in this one: every kind, picture by picture.

Pixels (planes and RGB), format, colours, size, times and flags are compared. Only when a picture arrived may differ.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest

from streamvision import plugins
from streamvision.capture.isolated import IsolatedSource
from streamvision.capture.picture import DecodedPicture
from streamvision.clock import SystemClock
from streamvision.interfaces import Source, SourcePicture
from streamvision.types import InputSpec, UInt8
from tests.servers.http import http_camera
from tests.servers.rtsp import RtspServer, requires_rtsp

from .media import encode, read_all, read_some

LIMIT_S = 60.0
RATE = 25


class Seen(NamedTuple):
    """What a picture is, without when it arrived."""

    content: str
    size_wh: tuple[int, int]
    colours: tuple[Any, ...]
    pts_s: float | None
    corrupt: bool
    lost_packets: int


def seen(each: SourcePicture) -> Seen:
    digest = hashlib.sha256(each.picture.rgb().tobytes())
    colours: tuple[Any, ...] = ()
    if isinstance(each.picture, DecodedPicture):
        frame = each.picture.frame
        digest.update(frame.to_ndarray().tobytes())
        colours = (frame.format.name, int(frame.colorspace), int(frame.color_range))
    return Seen(digest.hexdigest(), each.picture.size_wh, colours, each.pts_s, each.corrupt, each.lost_packets)


def ways(kind: str, url: str, **options: object) -> tuple[Source, Source]:
    """Return a source in this process, and the same one in a process of its own."""
    plugin = plugins.load("source", kind)
    chosen = plugin.Options.model_validate(options)
    return plugin(url, chosen, SystemClock()), IsolatedSource(kind, url, chosen, SystemClock())


def first(source: Source, count: int) -> list[Seen]:
    source.open()
    try:
        return [seen(each) for each in read_some(source, count)[:count]]
    finally:
        source.close()


def film(path: Path) -> Path:
    return encode(path, [(98, 54)] * 12, rate=RATE, gop=12)


def test_files_of_pictures_are_equal_and_one_that_is_broken_is_so_in_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, (width, height) in enumerate([(50, 30), (33, 47), (64, 64)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (height, width, 3), np.uint8))
    (tmp_path / "1b.jpg").write_bytes(b"\xff\xd8\xff no picture")
    own, isolated = ([seen(each) for each in read_all(way)] for way in ways("images", str(tmp_path), rate=5))
    assert own == isolated
    assert [each.corrupt for each in own] == [False, False, True, False]


def test_an_mjpeg_camera_is_equal() -> None:
    with http_camera() as camera:
        own, isolated = (first(way, 12) for way in ways("http", camera.url("mjpeg")))
    assert own == isolated
    assert len({each.content for each in own}) == 10, "it sends ten pictures in turn"


def test_a_film_from_a_web_server_is_equal(tmp_path: Path) -> None:
    with http_camera({"film.mkv": film(tmp_path / "film.mkv")}) as camera:
        own, isolated = ([seen(each) for each in read_all(way)] for way in ways("http", camera.url("film.mkv")))
    assert own == isolated
    assert [each.pts_s for each in own] == pytest.approx([number / RATE for number in range(12)], abs=1e-3)


@pytest.mark.parametrize("scene", ["street", "drive"])
def test_the_drawn_cameras_are_equal(scene: str) -> None:
    own, isolated = (first(way, 6) for way in ways("demo", f"demo:{scene}?seed=4&size=160x96&fps=20"))
    assert own == isolated
    assert len({each.content for each in own}) == 6


@pytest.mark.parametrize(("name", "pixel_format"), [("film.avi", "bgr24"), ("film.avi", "bgra"), ("film.nut", "gray")])
def test_raw_video_that_lies_bottom_up_stands_upright_in_both(tmp_path: Path, name: str, pixel_format: str) -> None:
    grey = np.zeros((54, 98), np.uint8)
    grey[:20, :30] = 200  # at the top, on the left
    path = bottom_up(tmp_path / name, np.dstack([grey] * 3), pixel_format)
    spec, window = InputSpec((32, 32)), (10, 10, 60, 50)
    own, isolated = ([each.picture for each in read_all(way)] for way in ways("file", str(path)))
    assert len(own) == len(isolated) == 3
    for one, other in zip(own, isolated, strict=True):
        assert one.frame.planes[0].line_size < 0 < other.frame.planes[0].line_size
        assert np.abs(one.rgb()[:, :, 0].astype(int) - grey).max() <= 1
        np.testing.assert_array_equal(one.rgb(), other.rgb())
        np.testing.assert_array_equal(one.prepare(spec)[0], other.prepare(spec)[0])
        np.testing.assert_array_equal(one.crop(window, spec).pixels, other.crop(window, spec).pixels)


def bottom_up(path: Path, rgb: UInt8, pixel_format: str) -> Path:
    """Write three pictures as Windows' bitmaps lie: the last line first."""
    with av.open(str(path), "w", options={"flipped_raw_rgb": "1"} if path.suffix == ".avi" else {}) as container:
        stream = container.add_stream("rawvideo", rate=RATE)
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = pixel_format
        if path.suffix == ".nut":
            stream.codec_context.extradata = b"BottomUp\0"  # FFmpeg's own mark; AVI has a negative height for it
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[::-1]))))
        container.mux(stream.encode(None))
    return path


@requires_rtsp
@pytest.mark.e2e
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_is_equal(tmp_path: Path, transport: str) -> None:
    """It sends the same film for ever; each way sees one passage of it whole, and both passages are that film."""
    path = film(tmp_path / "film.mp4")
    known = [seen(each) for each in read_all(ways("file", str(path))[0])]
    with RtspServer({"gate": path}) as server:
        own, isolated = (passage(way, known) for way in ways("rtsp", server.url("gate"), transport=transport))
    assert own == isolated
    assert [each.content for each in own] == [each.content for each in known]


def passage(source: Source, known: Sequence[Seen]) -> list[Seen]:
    """Return one whole passage through the film, from its first picture on, its times counted from there.

    The server leaves out time where the machine holds it up; such a passage is passed over.
    """
    until_s = time.monotonic() + LIMIT_S
    found: list[Seen] = []
    source.open()
    try:
        while time.monotonic() < until_s:
            for each in map(seen, source.read()):
                if each.content == known[0].content:
                    found = []
                found.append(each)
                if len(found) == len(known) and found[0].content == known[0].content and even(found):
                    return from_zero(found)
    finally:
        source.close()
    raise AssertionError(f"no passage without a gap within {LIMIT_S:g} s")


def even(pictures: Sequence[Seen]) -> bool:
    times_s = [each.pts_s for each in pictures if each.pts_s is not None]
    return bool(np.allclose(np.diff(times_s), 1 / RATE, atol=2e-4)) and not any(each.lost_packets for each in pictures)


def from_zero(pictures: Sequence[Seen]) -> list[Seen]:
    start_s = pictures[0].pts_s or 0.0
    return [each._replace(pts_s=round((each.pts_s or 0.0) - start_s, 4)) for each in pictures]
