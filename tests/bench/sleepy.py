"""A backend plug-in that computes nothing and takes its time: an engine of known speed, whatever else the CPU does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from streamvision.engine.backends import Items, Network, Outputs
from tests.engine.networks import constant, write_manifest

SIZE_WH = (64, 32)
SEEN = np.array([[[8, 6, 40, 28, 0.9, 0]]], np.float32)
"""What it sees in every picture: one cat."""


class SleepyBackend:
    """One request at a time, ``seconds`` for each picture of it."""

    class Options(BaseModel):
        """``batch``: the most pictures that it takes at a time."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        seconds: float = 0.02
        batch: int = 4

    name = "sleepy"
    device = "CPU"
    in_flight = 1
    output_names = ("y",)
    output_shapes = (SEEN.shape,)

    def __init__(self, network: Network, options: Options | None = None, engine: Path | None = None) -> None:
        self._options = options or self.Options()
        self.max_batch = min(self._options.batch, network.max_batch)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sleepy")

    @classmethod
    def identity(cls, options: Options | None = None) -> Mapping[str, str]:
        return {"backend": cls.name, "version": "1", "device": cls.device}

    @classmethod
    def compile(cls, network: Network, options: Any = None, progress: Any = None) -> bytes:
        return b"sleepy"

    def submit(self, pictures: Items) -> Future[Outputs]:
        return self._thread.submit(self._sleep, len(pictures))

    def _sleep(self, count: int) -> Outputs:
        time.sleep(self._options.seconds * count)
        return [np.repeat(SEEN, count, axis=0)]

    def close(self) -> None:
        self._thread.shutdown()


def install(folder: Path) -> Path:
    """Install the plug-in into a folder of its own, which is to be put on PYTHONPATH; return the folder."""
    info = folder / "sleepy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamvision.backend]\nsleepy = tests.bench.sleepy:SleepyBackend\n")
    return folder


def manifest(folder: Path) -> Path:
    """Write a manifest for it, with a network that sees the same."""
    network = constant(folder / "sleepy.onnx", SEEN, SIZE_WH)
    return write_manifest(
        folder, network, name="sleepy", input={"size": list(SIZE_WH), "dtype": "float32"}, decoder={"type": "end2end"}
    )
