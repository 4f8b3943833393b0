"""What reading the answers costs beside the networks: every detector of the recipes at 416x416, interleaved.

    python tests/bench/bench_decoders.py [RECIPE ...] [--rounds N] [--pairs N]

Networks have random weights, 91 classes, and run on OpenVINO with one request. A random network sees something
everywhere, so the threshold of a single-stage detector is set such that so many pairs of box and class pass it: 200 are
a busy scene; a two-stage network proposes its thousand regions whatever it sees. Printed are medians of CPU time per
picture: of the networks alone, and of all that happens between and after them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from support import quiet

from streamvision import plugins
from streamvision.engine import manifest, models
from streamvision.engine.backends import Items, Network
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.network import NetworkEngine
from streamvision.engine.two_stage import build_two_stage
from streamvision.export import recipes
from streamvision.geometry import Letterbox
from streamvision.types import Batch, ClockSource, Frame, FrameInfo
from tests.export import seen
from tests.export.conftest import Exports

SIZE = (416, 416)


@dataclass
class Timed:
    """A compiled network that adds up what it computes; everything else is its own."""

    network: Any
    cpu_s: float = 0.0
    outputs: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def submit(self, items: Items) -> Future[Any]:
        start = time.process_time()
        future: Future[Any] = self.network.submit(items)
        self.outputs = future.result()
        self.cpu_s += time.process_time() - start
        return future


@dataclass
class Subject:
    """One detector."""

    name: str
    look: Callable[[Batch], Any]
    parts: list[Timed]
    inside_ms: list[float] = field(default_factory=list)
    outside_ms: list[float] = field(default_factory=list)
    found: int = 0

    def run(self, batch: Batch) -> None:
        before, start = sum(part.cpu_s for part in self.parts), time.process_time()
        self.found = len(self.look(batch)[0].detections)
        inside = sum(part.cpu_s for part in self.parts) - before
        self.inside_ms.append(inside * 1e3)
        self.outside_ms.append((time.process_time() - start - inside) * 1e3)


def subject(path: Path, batch: Batch, pairs: int) -> Subject:
    model = manifest.load(path)
    parts: list[Timed] = []

    def opened(network: Network) -> Any:
        plugin: Any = plugins.load("backend", "openvino")
        parts.append(Timed(plugin(network, plugin.Options(workers=1))))
        return parts[-1]

    if model.kind == "two_stage":
        engine: Any = build_two_stage(model, opened, {})
    else:
        assert model.decoder is not None
        compiled = opened(Network(model.name, models.require(model), model.input))
        reader: Any = plugins.load("decoder", model.decoder.type)
        shape = NetworkShape(
            model.name, SIZE, len(model.labels), compiled.output_shapes, compiled.output_names, model.labels
        )
        compiled.submit([frame.pixels for frame in batch.frames])
        scores = np.sort(compiled.outputs[compiled.output_names.index("scores")].ravel())
        options = model.decoder.options | {"min_score": float(scores[-pairs - 1])}
        engine = NetworkEngine(model, compiled, reader(reader.Options(**options), shape))
    return Subject(model.name, lambda batch: engine.decode(batch, engine.submit(batch).result()), parts)


def one_picture() -> Batch:
    nobody: Any = None
    info = FrameInfo("bench", 0, 0, 0.0, 0.0, datetime.now(UTC), ClockSource.FILE, 0.0, SIZE)
    return Batch((Frame(info, nobody, seen.pictures(SIZE, 1)[0], Letterbox.stretch(SIZE, SIZE), 0.0),))


def main() -> None:
    tasks = {name: recipes.load(name).task for name in recipes.names()}
    detectors = [name for name, task in tasks.items() if task in ("detection", "instance_segmentation")]
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="*", default=detectors)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    quiet()
    batch = one_picture()
    with tempfile.TemporaryDirectory() as folder:
        exports = Exports(Path(folder))
        subjects = [subject(exports(name, size=SIZE), batch, arguments.pairs) for name in arguments.recipes]
        for round_number in range(arguments.rounds + 1):
            for each in subjects:
                each.run(batch)
                if round_number == 0:  # the first is not like the others
                    each.inside_ms.clear()
                    each.outside_ms.clear()
    print(f"{'network':28s} {'networks ms':>12s} {'the rest ms':>12s} {'ratio':>7s} {'found':>6s}")
    for each in subjects:
        inside, outside = statistics.median(each.inside_ms), statistics.median(each.outside_ms)
        print(f"{each.name:28s} {inside:12.2f} {outside:12.2f} {outside / inside:7.1%} {each.found:6d}")


if __name__ == "__main__":
    main()
