from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from streamvision.capture.rtsp import RtspSource
from streamvision.clock import SystemClock
from streamvision.errors import (
    AuthFailed,
    CaptureError,
    ConnectError,
    EndOfStream,
    SourceNotFound,
    TimedOut,
)
from tests.servers import RtspServer, refused_port, requires_rtsp, silent_server

from .media import encode, picture_sizes, read_some

pytestmark = [pytest.mark.e2e]


def _source(url: str, **options: object) -> RtspSource:
    return RtspSource(url, RtspSource.Options.model_validate(options), SystemClock())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", [(320, 240)] * 100, rate=50, gop=25)


@pytest.fixture(scope="module")
def server(clip: Path) -> Iterator[RtspServer]:
    with RtspServer({"gate": clip}) as running:
        yield running


@requires_rtsp
@pytest.mark.parametrize(("transport", "used"), [("tcp", "tcp"), ("udp", "udp"), ("auto", "tcp")])
def test_pictures_come_over_every_transport(server: RtspServer, transport: str, used: str) -> None:
    source = _source(server.url("gate"), transport=transport)
    source.open()
    pictures = read_some(source, 40)
    source.close()
    assert source.live
    assert source.transport == used
    times = [picture.pts_s for picture in pictures if picture.pts_s is not None]
    assert len(times) >= len(pictures) - 3, "only the first pictures after a connect have no time"
    assert times == sorted(set(times))
    assert set(picture_sizes(pictures)) == {(320, 240)}
    assert not any(picture.corrupt for picture in pictures)


@requires_rtsp
def test_hevc_and_b_frames_come_in_the_order_of_showing(data: Path) -> None:
    with RtspServer({"shop": data / "videos" / "shop-hevc-1080p.mp4"}) as server:
        source = _source(server.url("shop"), transport="udp")
        source.open()
        pictures = read_some(source, 30)
        source.close()
    times = [picture.pts_s for picture in pictures if picture.pts_s is not None]
    assert times == sorted(set(times))
    assert set(picture_sizes(pictures)) == {(1920, 1080)}


@requires_rtsp
def test_sender_reports_give_the_wall_time_of_pictures(clip: Path) -> None:
    with RtspServer({"gate": clip}) as server:
        source = _source(server.url("gate"))
        source.open()
        timed = []
        while len(timed) < 50:  # the first report comes within RFC 3550's 5 s
            timed += [picture for picture in source.read() if picture.sender_utc is not None]
        now = datetime.now(UTC)
        source.close()
    offsets = [picture.sender_utc.timestamp() - picture.pts_s for picture in timed if picture.pts_s is not None]
    assert len(offsets) == len(timed)
    assert max(offsets) - min(offsets) < 0.001, "wall time and media time run alike"
    assert 0 <= now.timestamp() - timed[-1].sender_utc.timestamp() < 1


@requires_rtsp
def test_a_loop_of_the_server_goes_on_without_a_seam(tmp_path: Path) -> None:
    short = encode(tmp_path / "clip.mp4", [(64, 48)] * 20, rate=50, gop=10)
    with RtspServer({"gate": short}) as server:
        source = _source(server.url("gate"))
        source.open()
        pictures = read_some(source, 70)
        source.close()
    times = [picture.pts_s for picture in pictures if picture.pts_s is not None]
    steps = [after - before for before, after in pairwise(times)]
    assert steps == pytest.approx([0.02] * len(steps), abs=0.001)


@requires_rtsp
def test_the_end_of_the_stream_is_told(tmp_path: Path) -> None:
    short = encode(tmp_path / "clip.mp4", [(64, 48)] * 20, rate=50)
    with RtspServer({"gate": short}, loop=False) as server:
        source = _source(server.url("gate"))
        source.open()
        with pytest.raises(EndOfStream):
            read_some(source, 1000)
        source.close()


@requires_rtsp
@pytest.mark.parametrize("method", ["basic", "digest"])
def test_credentials(clip: Path, method: str) -> None:
    with RtspServer({"gate": clip}, auth=("viewer", "right", method)) as server:
        source = _source(server.url("gate"))
        source.open()
        assert read_some(source, 1)
        source.close()
        for url in (server.url("gate", user="viewer", password="wr0ng"), f"rtsp://127.0.0.1:{server.port}/gate"):
            with pytest.raises(AuthFailed) as caught:
                _source(url).open()
            assert "wr0ng" not in f"{caught.value} {caught.value.__cause__} {caught.value.__cause__!r}"


@requires_rtsp
def test_auto_takes_udp_where_the_server_refuses_tcp(clip: Path) -> None:
    with RtspServer({"gate": clip}, transports=["udp"]) as server:
        with pytest.raises(ConnectError, match="transport"):
            _source(server.url("gate")).open()
        source = _opened_in_the_end(server.url("gate"), transport="auto")
        assert read_some(source, 3)
        source.close()
        assert source.transport == "udp"


def _opened_in_the_end(url: str, **options: str) -> RtspSource:
    """Open as the capture thread does: this server answers 503 while it still clears up after a refused client."""
    for _ in range(20):
        source = _source(url, **options)
        try:
            source.open()
        except ConnectError as error:
            if "5xx" not in str(error):
                raise
        else:
            return source
    raise AssertionError("refused twenty times")


@requires_rtsp
def test_a_path_that_is_not_there(server: RtspServer) -> None:
    with pytest.raises(SourceNotFound, match="404"):
        _source(server.url("nobody")).open()


@requires_rtsp
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_killed_server_is_noticed(clip: Path, transport: str) -> None:
    with RtspServer({"gate": clip}) as server:
        source = _source(server.url("gate"), transport=transport, read_timeout=2.0)
        source.open()
        read_some(source, 5)
        server.kill()
        began_s = time.monotonic()
        with pytest.raises((EndOfStream, ConnectError, TimedOut)):
            read_some(source, 10_000)
        source.close()
        assert time.monotonic() - began_s < 4.0


@requires_rtsp
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_frozen_server_times_out_once_and_serves_again_when_thawed(clip: Path, transport: str) -> None:
    with RtspServer({"gate": clip}) as server:
        source = _source(server.url("gate"), transport=transport, read_timeout=0.5, open_timeout=0.5)
        source.open()
        read_some(source, 5)
        server.freeze()
        began_s = time.monotonic()
        with pytest.raises(TimedOut):
            read_some(source, 10_000)
        source.close()
        assert time.monotonic() - began_s < 2 * 0.5, "FFmpeg itself would wait twice as long"
        with pytest.raises(TimedOut):
            _source(server.url("gate"), open_timeout=0.5).open()
        server.thaw()
        again = _source(server.url("gate"))
        again.open()
        assert read_some(again, 5)
        again.close()


@requires_rtsp
def test_a_server_restarts_on_its_port(clip: Path) -> None:
    with RtspServer({"gate": clip}) as server:
        url = server.url("gate")
        server.kill()
        with pytest.raises(ConnectError):
            _source(url).open()
        server.restart()
        source = _source(url)
        source.open()
        assert read_some(source, 1)
        source.close()


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_a_server_that_accepts_and_says_nothing(scheme: str) -> None:
    with silent_server() as port:
        began_s = time.monotonic()
        with pytest.raises(TimedOut):
            _source(f"{scheme}://127.0.0.1:{port}/x", open_timeout=0.4).open()
        assert time.monotonic() - began_s < 2.0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://127.0.0.1:{refused}/x", ConnectError),
        ("rtsp://no-such-host.invalid/x", ConnectError),
        ("rtsp://127.0.0.1:99999/x", SourceNotFound),
    ],
)
def test_servers_that_are_not_there(url: str, expected: type[CaptureError]) -> None:
    with pytest.raises(expected):
        _source(url.format(refused=refused_port()), open_timeout=5.0).open()


@pytest.mark.parametrize("wrong", [{"transport": "smoke"}, {"open_timeout": 0}, {"retries": 3}])
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RtspSource.Options.model_validate(wrong)
