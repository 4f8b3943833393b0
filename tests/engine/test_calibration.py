"""int8 without a folder of pictures: those of the streams are taken while float32 serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamvision.engine import manifest
from streamvision.engine.build import Order, Workshop
from streamvision.engine.cache import EngineCache
from streamvision.engine.samples import batch_of
from streamvision.engine.serving import Serving, StreamPictures
from streamvision.errors import EngineError
from streamvision.metrics import EngineStats
from streamvision.types import Batch, InputSpec
from tests.engine.networks import CLASSIFIER_SIDE, classifier, write_manifest

SPEC = InputSpec((CLASSIFIER_SIDE, CLASSIFIER_SIDE))
ENOUGH = 300
"""Seconds of pictures within which there must be enough."""


def batch(seed: int, media_s: float, *streams: str) -> Batch:
    """One random picture of each stream."""
    random = np.random.default_rng(seed)
    pictures = [random.integers(0, 256, (CLASSIFIER_SIDE, CLASSIFIER_SIDE, 3), np.uint8) for _ in streams]
    frames = zip(batch_of(pictures).frames, streams, strict=True)
    return Batch(
        tuple(replace(frame, info=replace(frame.info, stream=name, media_s=media_s)) for frame, name in frames)
    )


def test_neighbours_of_one_stream_are_left_out() -> None:
    heard: list[tuple[int, int]] = []
    collected = StreamPictures(SPEC, 8, lambda taken, wanted: heard.append((taken, wanted)))
    for tenth in range(40):
        collected.see(batch(tenth, tenth / 10, "a", "b"))
    pictures = collected.pictures(SPEC)
    assert len(pictures) == 8, "two streams, one picture a second each"
    assert heard[-1] == (8, 8)
    first = batch(0, 0.0, "a", "b")
    assert [np.array_equal(one, frame.pixels) for one, frame in zip(pictures, first.frames, strict=False)] == [True] * 2


def test_pictures_are_copies() -> None:
    collected = StreamPictures(SPEC, 8)
    for second in range(8):
        one = batch(second, float(second), "a")
        collected.see(one)
        one.frames[0].pixels[:] = 0
    assert all(each.any() for each in collected.pictures(SPEC))


def test_who_waits_hears_of_the_end() -> None:
    collected = StreamPictures(SPEC, 8)
    collected.close()
    with pytest.raises(EngineError, match="before there were enough pictures"):
        collected.pictures(SPEC)


def test_float32_serves_until_int8_is_fitted_to_the_stream(tmp_path: Path) -> None:
    source = classifier(tmp_path / "five.onnx")
    model = manifest.load(
        write_manifest(
            tmp_path, source, task="classification", labels=list("abcde"),
            input={"size": [CLASSIFIER_SIDE] * 2, "scale": 1 / 255, "fit": "stretch"},
            decoder={"type": "classification", "softmax": False},
        )
    )  # fmt: skip
    workshop = Workshop(
        EngineCache(tmp_path / "cache", []), on_gpu=(), on_cpu=("onnxruntime",), references=("onnxruntime",)
    )
    stats = EngineStats("toy")
    serving = Serving(model, Order("onnxruntime", "int8"), workshop, stats)
    engine = serving.open()
    try:
        assert "int8" not in stats.description
        plain = [engine.decode(one, engine.submit(one).result()) for one in (batch(n, float(n), "a") for n in range(4))]
        for second in range(4, ENOUGH):
            engine.submit(batch(second, float(second), "a")).result()
        assert serving.join(120)
        assert (stats.state, stats.detail) == ("ready", "")
        assert "int8" in stats.description
        fitted = [
            engine.decode(one, engine.submit(one).result()) for one in (batch(n, float(n), "a") for n in range(4))
        ]
    finally:
        engine.close()
    for (before,), (after,) in zip(plain, fitted, strict=True):
        assert before.classification is not None
        assert after.classification is not None
        assert np.abs(before.classification - after.classification).max() < 0.02
        assert not np.array_equal(before.classification, after.classification), "these are other numbers"
