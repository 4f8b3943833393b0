"""What the tests of reloads share: streams and rules as text, a witness of every picture, a step that fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from streamvision.changes import Plan
from streamvision.config import load_settings
from streamvision.errors import StreamvisionError
from streamvision.pipeline import Pipeline
from streamvision.types import Analysis, Frame, FrameInfo
from tests.engine import networks
from tests.engine.fake_backends import answer
from tests.engine.networks import write_manifest
from tests.harness import wait_until

WAIT_S = 90
STREAMS = "models: {m: {manifest: motion}}\nstreams:\n"
ZONE = "zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]], left: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}"


class Recorder:
    """Sees every analysed picture."""

    def __init__(self) -> None:
        self.seen: dict[str, list[FrameInfo]] = defaultdict(list)
        self.tracks: dict[str, list[frozenset[int]]] = defaultdict(list)

    def wanted(self, stream: str) -> bool:
        return True

    def show(self, frame: Frame, analysis: Analysis, min_score: float) -> None:
        self.seen[frame.info.stream].append(frame.info)
        self.tracks[frame.info.stream].append(frozenset(analysis.tracks.ids.tolist()))

    def tick(self) -> None:
        pass

    def numbers(self, stream: str) -> list[int]:
        return [info.seq for info in self.seen[stream]]


def change(pipeline: Pipeline, config: str, folder: Path) -> Plan:
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    return pipeline.change(load_settings(path))


def more(pipeline: Pipeline, *streams: str, by: int = 5) -> None:
    """Wait until some more pictures of every stream have been analysed."""
    stats = [pipeline.metrics.stream(name) for name in streams]
    targets = [each.analysed + by for each in stats]
    wait_until(
        lambda: all(each.analysed >= target for each, target in zip(stats, targets, strict=True)), WAIT_S, pipeline
    )


def stream(name: str, url: Path | str, rest: str = "", options: str = "loop: true, pace: realtime") -> str:
    return f"  - {{id: {name}, url: '{url}', {options}{', ' + rest if rest else ''}}}\n"


def rule(name: str, zone: str = "all", rest: str = "") -> str:
    return f"{{name: {name}, type: zone, zone: {zone}{', ' + rest if rest else ''}}}"


def unbroken(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def toy(folder: Path, name: str, **changes: object) -> Path:
    (folder / name).mkdir()
    return write_manifest(folder / name, networks.constant(folder / name / "toy.onnx", answer(), (64, 32)), **changes)


class Hook:
    """Fails the step that it is told to."""

    def __init__(self, pipeline: Pipeline, method: str, at: int) -> None:
        self.running, self.method, self.left = pipeline._running, method, at

    def __enter__(self) -> None:
        original: Callable[..., None] = getattr(type(self.running), self.method)

        def failing(running: object, *args: object) -> None:
            self.left -= 1
            if self.left == 0:
                raise StreamvisionError("this step fails")
            original(running, *args)

        self.original = original
        setattr(type(self.running), self.method, failing)

    def __exit__(self, *_: object) -> None:
        setattr(type(self.running), self.method, self.original)
