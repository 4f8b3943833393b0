"""A decoder in its own process: the same pictures, the same errors, and its death is a stream's short break."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from streamvision import plugins
from streamvision.capture.isolated import IsolatedSource, memory, source
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError, DecoderLost, EndOfStream, SourceNotFound
from streamvision.interfaces import Source
from streamvision.types import InputSpec
from tests.harness import running, wait_until
from tests.scale import scaled

PICTURES = 12


def video(path: Path, codec: str = "libx264", size_wh: tuple[int, int] = (98, 54)) -> Path:
    """Write a small clip; its width is no multiple of what decoders align rows to."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(PICTURES):
            rgb = np.full((size_wh[1], size_wh[0], 3), number * 20, np.uint8)
            rgb[number : number + 9, 10:40, 0] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(rgb)):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def both(url: str) -> tuple[Source, IsolatedSource]:
    kind = plugins.load("source", "file")
    options = kind.Options()
    return kind(url, options, SystemClock()), IsolatedSource("file", url, options, SystemClock())


def everything(each: Source):
    found = []
    each.open()
    try:
        while True:
            found += each.read()
    except EndOfStream:
        return found
    finally:
        each.close()


def read_on(each: Source) -> None:
    for _ in range(PICTURES + 2):
        each.read()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_the_pictures_are_the_same_to_the_bit(tmp_path: Path, codec: str):
    own, isolated = both(str(video(tmp_path / "clip.mkv", codec)))
    expected, found = everything(own), everything(isolated)
    assert len(found) == len(expected) == PICTURES
    for one, other in zip(expected, found, strict=True):
        assert (one.pts_s, one.corrupt, one.sender_utc) == (other.pts_s, other.corrupt, other.sender_utc)
        np.testing.assert_array_equal(one.picture.rgb(), other.picture.rgb())
        spec = InputSpec((32, 32))
        apart = one.picture.prepare(spec)[0].astype(int) - other.picture.prepare(spec)[0]
        assert np.abs(apart).mean() < 0.5, "where a stream states the place of its chroma, that is not passed on"
    assert isolated.live is own.live
    assert isolated.started_at == getattr(own, "started_at", None)
    assert isolated.pid is None


def test_picture_files_come_as_they_are(tmp_path: Path):
    import cv2

    rgb = np.arange(30 * 50 * 3, dtype=np.uint8).reshape(30, 50, 3)
    cv2.imwrite(str(tmp_path / "a.png"), rgb)
    kind = plugins.load("source", "images")
    expected = everything(kind(str(tmp_path), kind.Options(), SystemClock()))
    found = everything(IsolatedSource("images", str(tmp_path), kind.Options(), SystemClock()))
    np.testing.assert_array_equal(expected[0].picture.rgb(), found[0].picture.rgb())


def test_errors_are_the_sources_own(tmp_path: Path):
    _, missing = both(str(tmp_path / "missing.mp4"))
    with pytest.raises(SourceNotFound, match=r"missing\.mp4"):
        missing.open()
    missing.close()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video" * 100)
    _, isolated = both(str(broken))
    with pytest.raises(BrokenMedia):
        isolated.open()
    isolated.close()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_is_named_and_leaves_nothing(tmp_path: Path, number: signal.Signals):
    _, isolated = both(str(video(tmp_path / "clip.mp4")))
    isolated.open()
    while not isolated.read():  # pictures come in another order than packets
        pass
    child = psutil.Process(isolated.pid)
    os.kill(child.pid, number)
    with pytest.raises(DecoderLost, match=f"has crashed: signal {int(number)}"):
        read_on(isolated)
    assert not child.is_running()
    isolated.close()
    with pytest.raises(DecoderLost, match="not running"):
        isolated.read()


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, isolated = both(str(video(tmp_path / "clip.mp4")))
    isolated.open()
    child = psutil.Process(isolated.pid)
    child.suspend()
    monkeypatch.setattr(source, "PATIENCE_S", 0.05)
    monkeypatch.setattr(source, "MARGIN_S", 0.05)
    with pytest.raises(DecoderLost, match="hangs and was ended"):
        read_on(isolated)
    assert not child.is_running()
    isolated.close()


def test_a_stream_cannot_take_the_memory_through_its_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "LOOK_S", 0.01)
    _, modest = both(str(video(tmp_path / "modest.mp4")))
    modest.open()
    monkeypatch.setattr(source, "MAX_MEMORY", memory.taken(modest.pid or 0) + (40 << 20))
    assert len(everything(modest)) == PICTURES
    _, greedy = both(str(video(tmp_path / "greedy.mp4", size_wh=(4096, 4096))))
    greedy.open()
    child = psutil.Process(greedy.pid)
    with pytest.raises(DecoderLost, match=r"was ended: it took more than \d+ MiB of memory"):
        read_on(greedy)
    assert not child.is_running()


def test_what_a_process_has_for_itself_is_counted():
    before = memory.taken(os.getpid())
    size = 64 << 20
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:  # no memory that was freed before
        held.write(b"1" * size)
        assert memory.taken(os.getpid()) - before > size // 2
    assert memory.taken(1 << 30) == 0
    assert (256 << 20) < memory.MAX_MEMORY <= 2 << 30


def test_what_lies_in_the_files_for_pictures_counts_as_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "LOOK_S", 0.01)
    _, isolated = both(str(video(tmp_path / "clip.mp4")))
    isolated.open()
    child = psutil.Process(isolated.pid)
    monkeypatch.setattr(source, "MAX_MEMORY", memory.taken(child.pid) + (60 << 20))
    held = memory.taken(child.pid)
    for fd in isolated._files:  # as a child does it; they are the same files
        for at in range(40):
            os.pwrite(fd, bytes(1 << 20), (at + 100) << 20)
    assert memory.taken(child.pid) - held < 40 << 20, "to the process itself it does not count"
    with pytest.raises(DecoderLost, match=r"was ended: it took more than \d+ MiB of memory"):
        read_on(isolated)
    assert not child.is_running()


def test_a_file_for_pictures_cannot_grow():
    fd = memory.memory_file(1 << 20)
    try:
        assert memory.filled([fd]) == 0
        os.pwrite(fd, bytes(3 << 17), 1 << 19)
        assert 3 << 17 <= memory.filled([fd]) <= 1 << 20
        for beyond in (lambda: os.pwrite(fd, b"x", 1 << 20), lambda: os.ftruncate(fd, 1 << 21)):
            with pytest.raises(PermissionError):
                beyond()
    finally:
        os.close(fd)


def test_nothing_is_left_behind_by_many_crashes(tmp_path: Path):
    clip = str(video(tmp_path / "clip.mp4"))
    me = psutil.Process()
    before = me.num_fds()
    for _ in range(scaled(3, 200)):
        _, isolated = both(clip)
        isolated.open()
        os.kill(isolated.pid or 0, signal.SIGKILL)
        with pytest.raises(CaptureError):
            read_on(isolated)
        isolated.close()
    assert me.num_fds() <= before
    assert not [each for each in me.children() if each.status() == psutil.STATUS_ZOMBIE]


def test_the_child_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CAM_PASSWORD", "canary-in-the-environment")
    _, isolated = both(str(video(tmp_path / "canary-in-the-url.mp4")))
    isolated.open()
    child = psutil.Process(isolated.pid)
    assert "canary" not in " ".join(child.cmdline())
    assert "CAM_PASSWORD" not in child.environ()
    assert child.cwd() == "/"
    isolated.close()


def test_the_child_ends_with_its_parent(tmp_path: Path):
    import subprocess
    import sys

    clip = str(video(tmp_path / "clip.mp4"))
    program = (
        "import sys; from streamvision import plugins; from streamvision.clock import SystemClock\n"
        "from streamvision.capture.isolated import IsolatedSource\n"
        "kind = plugins.load('source', 'file')\n"
        f"it = IsolatedSource('file', {clip!r}, kind.Options(), SystemClock()); it.open()\n"
        "print(it.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        child.suspend()  # it could not notice by itself
        parent.kill()
        parent.wait(60)
        with contextlib.suppress(psutil.NoSuchProcess):
            child.wait(60)


@pytest.mark.e2e
def test_a_stream_goes_on_after_its_decoder_was_killed(tmp_path: Path):
    clip = video(tmp_path / "clip.mp4", size_wh=(160, 96))
    config = (
        f"models: {{default: {{manifest: motion}}}}\nstreams:\n"
        f"  - {{id: frail, url: '{clip}', loop: true, pace: realtime, isolation: process}}\n"
        f"  - {{id: good, url: '{clip}', loop: true, pace: realtime}}\n"
    )
    with running(config, tmp_path) as pipeline:
        frail, good = (pipeline.metrics.stream(name) for name in ("frail", "good"))
        for kills in range(1, scaled(2, 20) + 1):
            seen = frail.analysed
            wait_until(lambda seen=seen: frail.analysed > seen + 3, 60, pipeline)
            for child in psutil.Process().children():
                if "streamvision.capture.isolated.child" in " ".join(child.cmdline()):
                    child.kill()
            wait_until(lambda kills=kills: frail.reconnects["decoder_crashed"] >= kills, 60, pipeline)
        seen = frail.analysed
        wait_until(lambda: frail.analysed > seen + 3, 60, pipeline)
        assert sum(good.reconnects.values()) == 0
