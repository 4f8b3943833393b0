"""Exported networks through the cache: every part of one that looks twice is compiled, proven and found again."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamvision.engine import manifest, samples
from streamvision.engine.build import Builder, Order, Workshop
from streamvision.engine.cache import EngineCache
from tests.export.conftest import Exports


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_that_looks_twice_is_compiled_once_part_by_part(
    exported: Exports, tmp_path: Path, backend: str
) -> None:
    model = manifest.load(exported("faster-rcnn-mobilenetv3", size=(128, 96), num_classes=6))
    cache = EngineCache(tmp_path, extra=())
    shop = Workshop(cache, on_gpu=())
    batch = samples.batch_of(samples.pictures(model.input.spec(), limit=1))
    seen = []
    for _ in range(2):
        with capture_logs() as logs:
            engine = Builder(model, Order(backend), shop).build()
        seen.append(engine.decode(batch, engine.submit(batch).result(60))[0].detections)
        engine.close()
    assert "engine_build" not in [log["event"] for log in logs]
    parts = cache.entries()
    assert len(parts) == 2
    assert all(part.facts["parity"]["ok"] for part in parts)
    assert len(seen[0]) == len(seen[1])
