"""Engines and networks whose answer is known: they look at one quadrant of the picture and at nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from streamvision.types import Batch, Detections, Fit, InputSpec, Perception, Segmentation
from tests.engine.networks import save, write_manifest

SIZE_WH = (96, 64)
BOX = (8.0, 6.0, 40.0, 28.0)
"""Inside the top left quadrant."""

Answer = Callable[[float, Batch, int], Perception]


def brightness(pixels: NDArray[np.uint8]) -> float:
    """How bright the top left quadrant is, 0 to 1."""
    height, width = pixels.shape[:2]
    return float(pixels[: height // 2, : width // 2].mean()) / 255


def a_dog(level: float, batch: Batch, index: int) -> Perception:
    """A dog in `BOX`, as sure as the quadrant is bright."""
    box = np.array([BOX], np.float32)
    return Perception(Detections(box, np.array([level], np.float32), np.zeros(1, np.int32)))


def a_class(level: float, batch: Batch, index: int) -> Perception:
    return Perception(Detections.empty(), (), np.array([1 - level, level], np.float32))


def an_area(level: float, batch: Batch, index: int) -> Perception:
    """A label map whose top rows are snow, as many as the quadrant is bright."""
    letterbox = batch.frames[index].letterbox
    labels = np.zeros(letterbox.model_wh[::-1], np.uint8)
    labels[: round(level * len(labels))] = 1
    return Perception(Detections.empty(), (Segmentation("ground", labels, letterbox, ("bare", "snow")),))


class QuadrantEngine:
    """An `interfaces.Engine` that counts what is under way."""

    def __init__(
        self, answer: Answer = a_dog, *, fit: Fit = Fit.STRETCH, max_batch: int = 3, in_flight: int = 2
    ) -> None:
        self.input = InputSpec(SIZE_WH, fit)
        self.labels = ("dog",)
        self.max_batch, self.in_flight = max_batch, in_flight
        self.description = "quadrant"
        self.open = 0
        self.asked = 0
        self.seen: list[NDArray[np.uint8]] = []
        self.fault: Exception | None = None
        self._answer = answer
        self._lock = threading.Lock()

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        assert len(batch) <= self.max_batch
        if self.fault is not None:
            raise self.fault
        with self._lock:
            self.open += 1
            self.asked += len(batch)
        future: Future[list[NDArray[Any]]] = Future()
        future.set_result([np.array([brightness(frame.pixels) for frame in batch.frames])])
        return future

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        with self._lock:
            self.open -= 1
        return [self._answer(level, batch, index) for index, level in enumerate(outputs[0].tolist())]

    def forget(self, stream: str) -> None:
        pass

    def close(self) -> None:
        raise AssertionError("it belongs to somebody else")


def picture(size_wh: tuple[int, int] = (192, 128)) -> NDArray[np.uint8]:
    """A picture that is bright everywhere, with some texture."""
    texture = np.random.default_rng(0).integers(190, 256, (size_wh[1], size_wh[0], 3))
    return texture.astype(np.uint8)


def quadrant_network(folder: Path, size_wh: tuple[int, int] = (64, 32)) -> Path:
    """The manifest of an ONNX detector: a dog in a box of the top left quadrant, as sure as that is bright."""
    width, height = size_wh
    box = [4.0, 3.0, width / 2 - 4, height / 2 - 3]
    constants = [
        helper.make_tensor("starts", TensorProto.INT64, [2], [0, 0]),
        helper.make_tensor("ends", TensorProto.INT64, [2], [height // 2, width // 2]),
        helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("scale", TensorProto.FLOAT, [1], [1 / 256]),
        helper.make_tensor("shape", TensorProto.INT64, [3], [1, 1, 1]),
        helper.make_tensor("box", TensorProto.FLOAT, [1, 1, 4], box),
        helper.make_tensor("dog", TensorProto.FLOAT, [1, 1, 1], [1.0]),
    ]
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["part"]),
        helper.make_node("ReduceMean", ["part"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["level"]),
        helper.make_node("Reshape", ["level", "shape"], ["score"]),
        helper.make_node("Concat", ["box", "score", "dog"], ["y"], axis=2),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, height, width])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 6])]
    network = save(folder / "quadrant.onnx", nodes, inputs, outputs, constants)
    return write_manifest(folder, network, input={"size": list(size_wh), "fit": "stretch"}, decoder={"type": "end2end"})
