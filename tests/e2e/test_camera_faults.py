"""Cameras that die, freeze, refuse, stay silent or come late: each has its own state; neighbours do not notice."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamvision.pipeline import Pipeline
from streamvision.types import StreamState
from tests.harness import assert_balanced, free_port, running, wait_until
from tests.servers import RtspServer, requires_rtsp

pytestmark = [pytest.mark.e2e, pytest.mark.slow, requires_rtsp]

GOP_S = 1.0
RECOVERY_S = 2.0
NOISE_S = 2.0
"""What a busy machine may add."""


@pytest.fixture(scope="module")
def neighbour(data: Path) -> Iterator[RtspServer]:
    with RtspServer({"good": data / "videos" / "car-detection.mp4"}, gop_s=GOP_S) as server:
        yield server


def config(**urls: str) -> str:
    rows = "".join(
        f"  - {{id: {name}, url: '{url}', read_timeout: 2s, open_timeout: 2s}}\n" for name, url in urls.items()
    )
    return f"streams:\n{rows}"


def state(pipeline: Pipeline, stream: str) -> StreamState:
    return pipeline.metrics.stream(stream).state


def is_live(pipeline: Pipeline, *streams: str) -> bool:
    return all(
        state(pipeline, name) is StreamState.LIVE and pipeline.metrics.stream(name).analysed > 3 for name in streams
    )


def advances(pipeline: Pipeline, stream: str, pictures: int = 5) -> None:
    """Wait until a stream has analysed some more pictures."""
    stats = pipeline.metrics.stream(stream)
    goal = stats.analysed + pictures
    wait_until(lambda: stats.analysed >= goal, 20, pipeline)


def assert_undisturbed(pipeline: Pipeline, stream: str) -> None:
    """Nothing of a neighbour's frames was late, lost, or asked for anew."""
    stats = pipeline.metrics.stream(stream)
    ages = stats.ages["analysis"]
    late = sum(count for bound, count in zip((*ages.bounds, float("inf")), ages.counts, strict=True) if bound > 0.5)
    assert late <= 0.01 * sum(ages.counts)
    assert sum(stats.dropped.values()) <= 0.01 * stats.decoded
    assert not stats.reconnects


def test_a_killed_server_is_met_again(data: Path, neighbour: RtspServer, tmp_path: Path):
    with RtspServer({"cam": data / "videos" / "car-detection.mp4"}, gop_s=GOP_S) as server:
        urls = {"good": neighbour.url("good"), "cam": server.url("cam")}
        with running(config(**urls), tmp_path) as pipeline:
            wait_until(lambda: is_live(pipeline, "good", "cam"), 30, pipeline)
            server.kill()
            wait_until(lambda: state(pipeline, "cam") is StreamState.BACKING_OFF, 10, pipeline)
            reasons = dict(pipeline.metrics.stream("cam").reconnects)
            assert reasons, "the loss has a reason"
            assert set(reasons) <= {"end", "connect", "timeout", "broken"}
            advances(pipeline, "good", 30)
            before = pipeline.metrics.stream("cam").analysed
            server.restart()
            returned_s = time.monotonic()
            wait_until(lambda: pipeline.metrics.stream("cam").analysed > before, 30, pipeline)
            assert time.monotonic() - returned_s <= RECOVERY_S + GOP_S + NOISE_S
            advances(pipeline, "cam")
            assert_undisturbed(pipeline, "good")
    assert_balanced(pipeline.metrics.stream("cam"))
    outages = [event for event in _stored(pipeline) if event.type.startswith("streamvision.outage")]
    assert [event.type.rpartition(".")[2] for event in outages if event.stream == "cam"] == ["start", "end"]


def _stored(pipeline: Pipeline):  # type: ignore[no-untyped-def]
    from streamvision.clock import SystemClock
    from streamvision.sinks.store import EventStore

    store = EventStore(pipeline.settings.state_dir / "events.db", SystemClock())
    try:
        return store.after(0, 10_000)
    finally:
        store.close()


def test_a_frozen_server_is_a_stall_and_comes_back(data: Path, neighbour: RtspServer, tmp_path: Path):
    with RtspServer({"cam": data / "videos" / "car-detection.mp4"}, gop_s=GOP_S) as server:
        seen: list[StreamState] = []
        urls = {"good": neighbour.url("good"), "cam": server.url("cam")}
        with running(config(**urls), tmp_path) as pipeline:
            wait_until(lambda: is_live(pipeline, "good", "cam"), 30, pipeline)
            server.freeze()

            def lost() -> bool:
                seen.append(state(pipeline, "cam"))
                return state(pipeline, "cam") is StreamState.BACKING_OFF

            wait_until(lost, 20, pipeline)
            assert StreamState.STALLED in seen
            assert pipeline.metrics.stream("cam").reconnects["timeout"] >= 1
            before = pipeline.metrics.stream("cam").analysed
            server.thaw()
            thawed_s = time.monotonic()
            wait_until(lambda: pipeline.metrics.stream("cam").analysed > before, 30, pipeline)
            # The attempt that hung when the server thawed may have to run into its open deadline of 2 s first.
            assert time.monotonic() - thawed_s <= 2.0 + RECOVERY_S + GOP_S + NOISE_S
            assert_undisturbed(pipeline, "good")


def test_a_wrong_password_is_not_a_lost_camera(data: Path, neighbour: RtspServer, tmp_path: Path):
    video = data / "videos" / "car-detection.mp4"
    with RtspServer({"cam": video}, auth=("admin", "right", "digest")) as server:
        urls = {"good": neighbour.url("good"), "cam": server.url("cam", user="admin", password="wrong-word")}
        with running(config(**urls), tmp_path) as pipeline:
            wait_until(lambda: state(pipeline, "cam") is StreamState.AUTH_FAILED, 20, pipeline)
            stats = pipeline.metrics.stream("cam")
            assert "wrong-word" not in stats.cause
            assert stats.cause
            wait_until(lambda: is_live(pipeline, "good"), 20, pipeline)
            advances(pipeline, "good", 20)
            assert_undisturbed(pipeline, "good")
    assert list(stats.reconnects) in ([], ["auth"])


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        over = threading.Event()
        accepted: list[socket.socket] = []

        def accept() -> None:
            while not over.is_set():
                try:
                    accepted.append(listener.accept()[0])
                except TimeoutError:
                    continue

        worker = threading.Thread(target=accept)
        worker.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            worker.join()
            for connection in accepted:
                connection.close()


def test_a_server_that_says_nothing_times_out(neighbour: RtspServer, tmp_path: Path):
    with silent_server() as port:
        urls = {"good": neighbour.url("good"), "cam": f"rtsp://127.0.0.1:{port}/cam"}
        with running(config(**urls), tmp_path) as pipeline:
            stats = pipeline.metrics.stream("cam")
            wait_until(lambda: state(pipeline, "cam") is StreamState.BACKING_OFF, 20, pipeline)
            assert "timeout" in stats.reconnects or "time" in stats.cause.lower() or "answer" in stats.cause.lower()
            wait_until(lambda: is_live(pipeline, "good"), 20, pipeline)
            advances(pipeline, "good", 20)
            assert_undisturbed(pipeline, "good")
            assert stats.decoded == 0


def test_a_camera_that_appears_late_joins(data: Path, neighbour: RtspServer, tmp_path: Path):
    port = free_port()
    late = RtspServer({"cam": data / "videos" / "car-detection.mp4"}, port=port, gop_s=GOP_S)
    urls = {"good": neighbour.url("good"), "cam": f"rtsp://127.0.0.1:{port}/cam"}
    with running(config(**urls), tmp_path) as pipeline:
        wait_until(lambda: is_live(pipeline, "good"), 30, pipeline)
        begin_s = time.monotonic()
        wait_until(lambda: time.monotonic() - begin_s > 10.0, 15, pipeline)
        assert state(pipeline, "cam") in {StreamState.BACKING_OFF, StreamState.CONNECTING}
        with late:
            returned_s = time.monotonic()
            wait_until(lambda: pipeline.metrics.stream("cam").analysed > 0, 30, pipeline)
            assert time.monotonic() - returned_s <= RECOVERY_S + GOP_S + NOISE_S
            assert_undisturbed(pipeline, "good")
