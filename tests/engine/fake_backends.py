"""Backends that compile when they are told to, give the answers that they are told to give, and lose their device."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from streamvision.engine.backends import CompiledNetwork, Items, Network, Outputs, Progress
from streamvision.engine.build import Workshop
from streamvision.engine.cache import EngineCache
from streamvision.errors import EngineError, StaleEngine

BOUND_S = 20.0


def answer() -> np.ndarray:
    """One cat and one faint dog, as a v8-style network says it, in px of a 64x32 model."""
    values = np.zeros((1, 6, 20), np.float32)
    values[0, :, 3] = [20, 10, 8, 6, 0.75, 0.1]
    values[0, :, 9] = [40, 20, 8, 6, 0, 0.125]
    return values


class FakeNetwork:
    """A network that gives the same answer to every picture, unless its device is lost."""

    def __init__(self, backend: FakeBackend) -> None:
        self.name = backend.name
        self.device = "fake"
        self.in_flight = 2
        self.max_batch = backend.max_batch
        self.output_names = ("y",)
        self.output_shapes = (backend.answer.shape,)
        self.closed = threading.Event()
        self.batches: list[int] = []
        self.held: list[Future[Outputs]] = []
        self._backend = backend

    def submit(self, pictures: Items) -> Future[Outputs]:
        assert len(pictures) <= self.max_batch
        assert not self.closed.is_set()
        self.batches.append(len(pictures))
        future: Future[Outputs] = Future()
        if self._backend.lost is not None:
            future.set_exception(self._backend.lost)
        elif self._backend.hold:
            self.held.append(future)
        else:
            future.set_result(self.outputs(len(pictures)))
        return future

    def outputs(self, count: int) -> Outputs:
        return [np.repeat(self._backend.answer, count, axis=0)]

    def close(self) -> None:
        self.closed.set()


class FakeBackend:
    """Implements `backends.BackendPlugin`.

    ``gate`` holds every compilation up until it is set; ``fails`` is raised by one; ``no_device`` by whatever needs
    one; ``lost`` by every inference;
    ``hold`` leaves inferences open, in the network's ``held``.
    """

    class Options(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")

        workers: int = 1

    def __init__(self, name: str, *, max_batch: int = 1) -> None:
        self.name = name
        self.max_batch = max_batch
        self.answer = answer()
        self.device = {"backend": name, "version": "1", "driver": "580"}
        self.gate = threading.Event()
        self.gate.set()
        self.building = threading.Event()
        self.fails: EngineError | None = None
        self.missing: Exception | None = None
        self.no_device: Exception | None = None
        self.ahead = {"driver": "none"}
        self.lost: EngineError | None = None
        self.hold = False
        self.compiled = 0
        self.opened: list[FakeNetwork] = []

    def identity(self, options: Any = None) -> Mapping[str, str]:
        if self.missing is not None:
            raise self.missing
        return {**self.device, "workers": str(options.workers)}

    def require_gpu(self, options: Any = None) -> None:
        if self.no_device is not None:
            raise self.no_device

    def compile(self, network: Network, options: Any = None, progress: Progress | None = None) -> bytes:
        self.compiled += 1
        if progress is not None:
            progress(0.5)
        self.building.set()
        assert self.gate.wait(BOUND_S)
        if self.fails is not None:
            raise self.fails
        return json.dumps(self.device).encode()

    def __call__(self, network: Network, options: Any = None, engine: Path | None = None) -> CompiledNetwork:
        for reason in (self.missing, self.no_device):
            if reason is not None:
                raise reason
        if engine is not None and json.loads(engine.read_bytes()).get("version") != self.device["version"]:
            raise StaleEngine("an engine of another device")
        self.opened.append(FakeNetwork(self))
        return self.opened[-1]


def workshop(
    folder: Path, *backends: FakeBackend, on_gpu: tuple[str, ...] = (), slow: tuple[str, ...] = ()
) -> Workshop:
    """Return a workshop that knows these backends and no others; the first that is not for GPUs is the reference."""
    known = {backend.name: backend for backend in backends}
    on_cpu = tuple(name for name in known if name not in (*on_gpu, *slow))
    return Workshop(
        EngineCache(folder / "engines", extra=()),
        known.__getitem__,
        on_gpu,
        on_cpu,
        on_cpu,
        frozenset((*on_gpu, *slow)),
    )
