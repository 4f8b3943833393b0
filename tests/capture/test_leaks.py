"""A thousand failed opens and many good ones leave nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from streamvision.capture.file import FileSource
from streamvision.capture.http import HttpSource
from streamvision.capture.rtsp import RtspSource
from streamvision.clock import SystemClock
from streamvision.errors import CaptureError
from streamvision.interfaces import Source
from tests.servers import refused_port, silent_server

from .media import encode, read_all

MEMORY_SLACK = 8 << 20
"""Bytes that the allocator may keep after a thousand opens; a leaked context (some 100 kB) would take 100 MB."""


def _fails(source: Source) -> None:
    with pytest.raises(CaptureError):
        source.open()
    source.close()


def _footprint() -> tuple[int, int, int]:
    gc.collect()
    process = psutil.Process()
    return process.num_threads(), process.num_fds(), process.memory_info().rss


def _assert_steady(work: Callable[[], None], warm_up: int, rounds: int) -> None:
    for _ in range(warm_up):
        work()
    threads, descriptors, memory = _footprint()
    for _ in range(rounds):
        work()
    threads_after, descriptors_after, memory_after = _footprint()
    assert threads_after <= threads
    assert descriptors_after <= descriptors
    assert memory_after - memory <= MEMORY_SLACK


def test_a_thousand_failed_opens_leave_nothing_behind(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(bytes(range(256)) * 64)
    truncated = encode(tmp_path / "truncated.mp4", [(320, 240)] * 10)
    truncated.write_bytes(truncated.read_bytes()[:2000])
    port = refused_port()
    clock = SystemClock()

    def five() -> None:
        _fails(RtspSource(f"rtsp://u:p@127.0.0.1:{port}/x", RtspSource.Options(), clock))
        _fails(HttpSource(f"http://127.0.0.1:{port}/x", HttpSource.Options(), clock))
        for path in (tmp_path / "missing.mp4", garbage, truncated):
            _fails(FileSource(str(path), FileSource.Options(), clock))

    _assert_steady(five, warm_up=20, rounds=200)


def test_opens_that_time_out_leave_nothing_behind() -> None:
    clock = SystemClock()
    with silent_server() as port:

        def one() -> None:
            _fails(RtspSource(f"rtsp://127.0.0.1:{port}/x", RtspSource.Options(open_timeout=0.06), clock))

        for _ in range(3):
            one()
        threads, _, memory = _footprint()  # the silent server's own descriptors are ours too
        for _ in range(30):
            one()
        threads_after, _, memory_after = _footprint()
    assert threads_after <= threads
    assert memory_after - memory <= MEMORY_SLACK


def test_reading_and_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(320, 240)] * 5, b_frames=2)

    def one() -> None:
        assert len(read_all(FileSource(str(path), FileSource.Options(), SystemClock()))) == 5

    _assert_steady(one, warm_up=20, rounds=150)


def test_closing_in_mid_stream_leaves_nothing_behind(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(320, 240)] * 10, b_frames=2)

    def one() -> None:
        source = FileSource(str(path), FileSource.Options(), SystemClock())
        source.open()
        source.read()
        source.close()

    _assert_steady(one, warm_up=20, rounds=150)
