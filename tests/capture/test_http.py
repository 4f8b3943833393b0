from __future__ import annotations

import time
from pathlib import Path

import pytest

from streamvision.capture.http import HttpSource
from streamvision.clock import SystemClock
from streamvision.errors import (
    AuthFailed,
    CaptureError,
    ConnectError,
    EndOfStream,
    SourceNotFound,
    TimedOut,
)
from tests.servers import LOGIN, http_camera, refused_port, self_signed, silent_server

from .media import encode, picture_sizes, read_all, read_some


def _source(url: str, **options: object) -> HttpSource:
    return HttpSource(url, HttpSource.Options.model_validate(options), SystemClock())


@pytest.mark.parametrize("path", ["mjpeg", "mjpeg-nolength"])
def test_mjpeg_cameras_are_watched_and_have_no_times_of_their_own(path: str) -> None:
    with http_camera() as camera:
        source = _source(camera.url(path))
        source.open()
        pictures = read_some(source, 10)
        source.close()
    assert source.live
    assert set(picture_sizes(pictures)) == {(160, 120)}
    assert {picture.pts_s for picture in pictures} == {None}
    received = [picture.received_s for picture in pictures]
    assert received == sorted(received)


def test_mjpeg_pictures_are_the_right_ones() -> None:
    with http_camera() as camera:
        source = _source(camera.url("mjpeg"))
        source.open()
        levels = [int(picture.picture.rgb().mean()) for picture in read_some(source, 5)]
        source.close()
    assert levels == pytest.approx([0, 25, 50, 75, 100], abs=2)


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_a_file_on_a_web_server_ends(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", [(64, 48)] * 30)
    with http_camera({path.name: path}) as camera:
        pictures = read_all(_source(camera.url(path.name)))
    assert len(pictures) == 30
    assert all(picture.pts_s is not None for picture in pictures)


def test_a_server_that_ends_the_stream() -> None:
    with http_camera() as camera:
        source = _source(camera.url("mjpeg"))
        source.open()
        read_some(source, 2)
        camera.closing.set()
        with pytest.raises((EndOfStream, ConnectError)):
            read_some(source, 1000)
        source.close()


def test_a_stream_that_falls_silent() -> None:
    with http_camera() as camera:
        source = _source(camera.url("mjpeg"), read_timeout=0.4)
        source.open()
        read_some(source, 2)
        camera.interval_s = 30.0
        began_s = time.monotonic()
        with pytest.raises(TimedOut):
            read_some(source, 1000)
        source.close()
        assert time.monotonic() - began_s < 2.0


def test_credentials() -> None:
    with http_camera() as camera:
        source = _source(camera.url("private", LOGIN))
        source.open()
        assert read_some(source, 1)
        source.close()
        for login in (None, ("viewer", "wr0ng")):
            with pytest.raises(AuthFailed) as caught:
                _source(camera.url("private", login)).open()
            assert "wr0ng" not in f"{caught.value} {caught.value.__cause__}"


def test_a_path_that_is_not_there() -> None:
    with http_camera() as camera, pytest.raises(SourceNotFound, match="404"):
        _source(camera.url("nobody")).open()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_says_nothing(scheme: str) -> None:
    with silent_server() as port:
        began_s = time.monotonic()
        with pytest.raises(TimedOut):
            _source(f"{scheme}://127.0.0.1:{port}/x", open_timeout=0.4).open()
        assert time.monotonic() - began_s < 2.0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:{refused}/x", ConnectError),
        ("http://no-such-host.invalid/x", ConnectError),
    ],
)
def test_servers_that_are_not_there(url: str, expected: type[CaptureError]) -> None:
    with pytest.raises(expected):
        _source(url.format(refused=refused_port()), open_timeout=5.0).open()


def test_a_page_is_no_video(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("<html>hello</html>")
    with http_camera({"index.html": page}) as camera, pytest.raises(CaptureError) as caught:
        _source(camera.url("index.html")).open()
    assert caught.value.reason == "broken"


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_allowed(tmp_path: Path) -> None:
    with http_camera(certificate=self_signed(tmp_path)) as camera:
        with pytest.raises(ConnectError, match="certificate") as caught:
            _source(camera.url("mjpeg")).open()
        assert "tls_verify" in str(caught.value)
        source = _source(camera.url("mjpeg"), tls_verify=False)
        source.open()
        assert read_some(source, 2)
        source.close()
        with pytest.raises(SourceNotFound):
            _source(camera.url("nobody"), tls_verify=False).open()
