from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamvision.capture.file import FileSource
from streamvision.capture.http import HttpSource
from streamvision.capture.probing import probe_source
from streamvision.capture.rtsp import RtspSource
from streamvision.cli import main
from streamvision.clock import SystemClock
from streamvision.errors import EndOfStream, SourceNotFound
from streamvision.types import ClockSource
from tests.capture.media import encode
from tests.servers import LOGIN, RtspServer, http_camera, refused_port, requires_rtsp


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["probe", *arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_a_file_is_measured_in_its_own_time(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(320, 240)] * 60, rate=20, gop=10)
    found = probe_source(FileSource(str(path), FileSource.Options(), SystemClock()), SystemClock(), 2.0)
    assert (found.live, found.size_wh, found.codec, found.pixel_format) == (False, (320, 240), "h264", "yuv420p")
    assert found.seconds == pytest.approx(2.0)
    assert (found.declared_fps, found.real_fps) == pytest.approx((20.0, 20.0))
    assert (found.gop_s, found.gop_pictures) == pytest.approx((0.5, 10.0))
    assert found.clock is ClockSource.FILE
    assert found.corrupt == 0
    assert found.ended is None
    assert found.bitrate_bps is not None
    assert 0 < found.bitrate_bps < 8 * path.stat().st_size


def test_a_short_file_says_that_it_ended(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(64, 48)] * 5)
    found = probe_source(FileSource(str(path), FileSource.Options(), SystemClock()), SystemClock(), 60.0)
    assert found.pictures == 5
    assert found.ended == "the file is done"


def test_what_cannot_be_opened_raises(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        probe_source(FileSource(str(tmp_path / "no.mp4"), FileSource.Options(), SystemClock()), SystemClock(), 1.0)


def test_the_real_rate_of_mjpeg_is_counted_not_believed() -> None:
    with http_camera(interval_s=0.1) as camera:
        source = HttpSource(camera.url("mjpeg"), HttpSource.Options(), SystemClock())
        found = probe_source(source, SystemClock(), 1.5)
    assert found.codec == "mjpeg"
    assert found.clock is ClockSource.ARRIVAL
    assert found.real_fps is not None
    assert found.real_fps < 15, "FFmpeg would say 25"


@requires_rtsp
@pytest.mark.e2e
def test_a_camera_is_measured_with_its_clock(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(320, 240)] * 100, rate=25, gop=25)
    with RtspServer({"gate": path}) as server:
        source = RtspSource(server.url("gate"), RtspSource.Options(transport="udp"), SystemClock())
        found = probe_source(source, SystemClock(), 6.0)
    assert (found.live, found.transport, found.clock) == (True, "udp", ClockSource.RTCP)
    assert found.gop_pictures == pytest.approx(25, abs=1)
    assert found.real_fps == pytest.approx(25, abs=3)


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = encode(tmp_path / "clip.mp4", [(320, 240)] * 30)
    code, out, _ = _run(capsys, str(path), "--seconds", "1")
    assert code == 0
    for word in ("h264", "320x240", "25.00/s", "key frames", "clock", "Mbit/s"):
        assert word in out


def test_json_is_for_programs_and_keeps_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    with http_camera() as camera:
        code, out, err = _run(capsys, camera.url("private", LOGIN), "--seconds", "0.5", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["reachable"], found["codec"], found["size_wh"]) == (True, "mjpeg", [160, 120])
    assert LOGIN[1] not in out + err


@pytest.mark.parametrize(
    ("path", "login", "reason", "advice"),
    [("private", ("viewer", "wr0ng"), "auth", "%40"), ("nobody", None, "not_found", "manual")],
)
def test_a_failure_says_what_and_what_to_try(
    path: str, login: tuple[str, str] | None, reason: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with http_camera() as camera:
        code, out, err = _run(capsys, camera.url(path, login))
        json_code, json_out, _ = _run(capsys, camera.url(path, login), "--json")
    assert (code, json_code, out) == (3, 3, "")
    assert reason in err
    assert advice in err
    assert "wr0ng" not in err + json_out
    failure = json.loads(json_out)
    assert (failure["reachable"], failure["reason"]) == (False, reason)
    assert any(advice in one for one in failure["try"])


def test_a_refused_connection(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, f"rtsp://u:pw@127.0.0.1:{refused_port()}/x", "--transport", "tcp")
    assert code == 3
    assert "refused" in err
    assert "pw" not in err


@pytest.mark.parametrize("arguments", [["x.mp4", "--transport", "tcp"], ["rtsp://h/x", "--transport", "smoke"]])
def test_wrong_arguments_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, *arguments)
    assert code == 2
    assert "transport" in err


def test_end_of_stream_is_an_error_of_a_source_that_gave_nothing() -> None:
    class Empty:
        live = True

        def open(self) -> None: ...

        def read(self) -> list[object]:
            raise EndOfStream("the server hung up")

        def close(self) -> None: ...

    with pytest.raises(EndOfStream):
        probe_source(Empty(), SystemClock(), 1.0)
