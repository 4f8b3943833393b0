"""A board whose streams, pictures and events are made by hand, and a server over it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np

from streamvision.clock import SystemClock
from streamvision.draw import to_jpeg
from streamvision.interfaces import StoredEvent
from streamvision.metrics import Metrics
from streamvision.types import Analysis, ClockSource, Detections, FrameInfo, StreamState, Tracks, UInt8
from streamvision.web import (
    Counts,
    EngineReadiness,
    EventExplanation,
    Health,
    LiveHub,
    Readiness,
    StreamStatus,
    Tokens,
    WebServer,
    create_app,
)

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("person", "car")


class FakePicture:
    """A street at one moment; counts how often it was converted."""

    def __init__(self, step: int = 0, size_wh: tuple[int, int] = (640, 360)) -> None:
        self.size_wh = size_wh
        self.step = step
        self.conversions = 0

    def rgb(self, size_wh: tuple[int, int] | None = None) -> UInt8:
        self.conversions += 1
        width, height = self.size_wh
        canvas = np.full((height, width, 3), (148, 160, 168), np.uint8)
        cv2.rectangle(canvas, (0, height // 2), (width, height), (92, 96, 100), -1)
        for left in range(-80, width, 80):
            x = left + self.step * 4 % 80
            cv2.rectangle(canvas, (x, height * 3 // 4), (x + 40, height * 3 // 4 + 4), (220, 220, 210), -1)
        return canvas if size_wh is None else np.asarray(cv2.resize(canvas, size_wh))

    def jpeg(self, quality: int = 85, size_wh: tuple[int, int] | None = None) -> bytes:
        return to_jpeg(self.rgb(size_wh), quality)


def analysis_of(stream: str, step: int = 0, size_wh: tuple[int, int] = (640, 360)) -> Analysis:
    x = float(step * 6 % 500)
    boxes = np.array([(x, 150, x + 60, 300), (400, 200, 520, 270)], np.float32)
    tracks = Tracks(
        np.array([17, 18], np.int64), boxes, np.zeros((2, 2), np.float32), np.array([0, 1], np.int32),
        np.array([0.83, 0.71], np.float32), np.ones(2, np.bool_), np.ones(2, np.bool_), np.ones(2, np.float32),
        np.array([0, 1], np.int32),
    )  # fmt: skip
    found = Detections(boxes, tracks.score, tracks.class_id)
    when = START + timedelta(seconds=step / 10)
    info = FrameInfo(stream, 0, step, step / 10, 0.0, when, ClockSource.FILE, 0.0, size_wh)
    return Analysis(info, found, tracks, NAMES)


def event(position: int, kind: str = "zone", phase: str = "start", stream: str = "gate") -> StoredEvent:
    when = START + timedelta(seconds=position)
    data = {
        "stream": stream, "rule": "intruder", "phase": phase, "event": f"H{position}", "media_s": float(position),
        "track": {"id": 17, "class": "person", "score": 0.8, "xyxy": [1, 2, 3, 4], "velocity": [0, 0]},
        "evidence": {"dwell_s": 4.2},
    }  # fmt: skip
    data |= {"line": "fence", "direction": "a_to_b"} if kind == "line" else {"zone": "yard"}
    body = {
        "specversion": "1.0", "id": f"E{position:04}", "source": f"streamvision/host/{stream}",
        "type": f"streamvision.{kind}.{phase}", "time": when.isoformat().replace("+00:00", "Z"),
        "subject": f"{stream}/intruder", "datacontenttype": "application/json", "data": data,
    }  # fmt: skip
    return StoredEvent(position, body["id"], stream, body["type"], when, json.dumps(body))


class FakeEvents:
    """An event store in memory; ``fault`` is raised by every reading while it is set."""

    def __init__(self) -> None:
        self.kept: list[StoredEvent] = []
        self.fault: Exception | None = None

    def add(self, kind: str = "zone", phase: str = "start", stream: str = "gate") -> StoredEvent:
        one = event(len(self.kept) + 1, kind, phase, stream)
        self.kept.append(one)
        return one

    def latest(self, limit: int, *, stream: str | None = None, type_prefix: str | None = None) -> list[StoredEvent]:
        self._check()
        found = [
            one for one in self.kept[::-1]
            if (stream is None or one.stream == stream) and one.type.startswith(type_prefix or "")
        ]  # fmt: skip
        return found[:limit]

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        self._check()
        return [one for one in self.kept if one.position > position][:limit]

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


def status(name: str, **changes: object) -> StreamStatus:
    live = StreamStatus(
        name, f"rtsp://***@192.0.2.11/{name}", StreamState.LIVE, "", 754.0, (640, 360), 25.0, 9.9, 0.084,
        Counts(1000, 400, 590, 9), "street", {"person": 1, "car": 1}, ("yard",), ("fence",),
    )  # fmt: skip
    return replace(live, **changes)  # type: ignore[arg-type]


class FakeBoard:
    """A `Board` that says what it is told to say."""

    def __init__(self, *statuses: StreamStatus, max_watchers: int = 32) -> None:
        self.metrics = Metrics()
        self.events = FakeEvents()
        self.live = LiveHub(SystemClock(), max_fps=50.0, max_watchers=max_watchers)
        self.statuses = list(statuses)
        self.silent: list[str] = []
        self.explanations: dict[str, EventExplanation] = {}
        self.engine = EngineReadiness("ready", "yolox-nano on openvino (CPU, 2 requests)")

    def health(self) -> Health:
        return Health({"analysis": 0.12, "capture gate": 0.03}, self.silent)

    def readiness(self) -> Readiness:
        return Readiness({"street": self.engine})

    def explanation(self, event: str) -> EventExplanation:
        return self.explanations.get(event, EventExplanation(reason="nobody asked for it"))

    def streams(self) -> list[StreamStatus]:
        return list(self.statuses)


@contextmanager
def serving(board: FakeBoard, tokens: Tokens | None = None, port: int = 0) -> Iterator[str]:
    """Serve a board on a free port; gives the address."""
    server = WebServer(create_app(board, tokens), "127.0.0.1", port)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        assert server.stop(5.0), "the server did not stop in time"


@contextmanager
def filming(board: FakeBoard, *streams: str) -> Iterator[list[FakePicture]]:
    """Publish pictures of streams, as an analysis thread does, for as long as the context lasts."""
    over = threading.Event()
    published: list[FakePicture] = []

    def film() -> None:
        step = 0
        while not over.wait(0.02):
            step += 1
            for stream in streams:
                if board.live.wanted(stream):
                    picture = FakePicture(step)
                    published.append(picture)
                    zones = {"yard": [(0.55, 0.5), (0.95, 0.5), (0.95, 0.9), (0.55, 0.9)]}
                    board.live.publish(
                        stream, analysis_of(stream, step), picture, zones, {"fence": [(0.1, 0.6), (0.5, 0.6)]}
                    )

    thread = threading.Thread(target=film)
    thread.start()
    try:
        yield published
    finally:
        over.set()
        thread.join()
