from __future__ import annotations

import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from streamvision.engine import manifest
from streamvision.engine.build import build_engine
from streamvision.errors import (
    BackendUnavailable,
    EngineError,
    ManifestError,
    ModelMissing,
    PluginError,
    StreamvisionError,
    UsageError,
)
from streamvision.geometry import Letterbox
from streamvision.types import Batch, ClockSource, Fit, Frame, FrameInfo
from tests.engine import networks
from tests.engine.networks import write_manifest

SIZE = (64, 32)
SOURCE = (160, 80)


def answer() -> np.ndarray:
    """One cat and one faint dog, as a v8-style network says it, in model px."""
    values = np.zeros((1, 6, 20), np.float32)
    values[0, :, 3] = [20, 10, 8, 6, 0.75, 0.1]
    values[0, :, 9] = [40, 20, 8, 6, 0, 0.125]
    return values


@pytest.fixture
def toy(tmp_path: Path) -> manifest.Manifest:
    path = networks.constant(tmp_path / "toy.onnx", answer(), SIZE)
    return manifest.load(write_manifest(tmp_path, path, input={"size": list(SIZE), "fit": "letterbox_top_left"}))


def batch() -> Batch:
    letterbox = Letterbox.fit(SOURCE, SIZE, centre=False)
    info = FrameInfo("gate", 0, 0, 0.0, 0.0, datetime.now(UTC), ClockSource.FILE, 0.0, SOURCE)
    nobody: Any = None
    return Batch((Frame(info, nobody, np.zeros((32, 64, 3), np.uint8), letterbox, 0.0),))


@pytest.mark.parametrize(
    ("backend", "description"),
    [
        ("auto", r"toy on openvino \(CPU, \d+ requests\)"),
        ("openvino", r"toy on openvino"),
        ("onnxruntime", r"toy on onnxruntime"),
    ],
)
def test_an_engine_turns_frames_into_detections(toy: manifest.Manifest, backend: str, description: str) -> None:
    engine = build_engine(toy, backend=backend)
    assert re.match(description, engine.description)
    assert (engine.labels, engine.max_batch, engine.input.fit) == (("cat", "dog"), 1, Fit.LETTERBOX_TOP_LEFT)
    frames = batch()
    found = engine.decode(frames, engine.submit(frames).result(20))[0].detections
    np.testing.assert_allclose(found.xyxy, [[40, 17.5, 60, 32.5], [90, 42.5, 110, 57.5]], atol=1e-3)
    assert found.class_id.tolist() == [0, 1]
    engine.forget("gate")
    engine.close()
    engine.close()


def test_options_reach_the_decoder_and_the_backend(toy: manifest.Manifest) -> None:
    engine = build_engine(toy, backend_options={"workers": 1}, decoder_options={"min_score": 0.5})
    frames = batch()
    assert len(engine.decode(frames, engine.submit(frames).result(20))[0].detections) == 1
    assert engine.in_flight == 2
    engine.close()


def test_auto_falls_back_and_says_so(toy: manifest.Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with capture_logs() as logs:
        engine = build_engine(toy)
    assert engine.description.startswith("toy on onnxruntime")
    assert [(log["event"], log["backend"], log["log_level"]) for log in logs] == [
        ("backend_not_usable", "openvino", "warning")
    ]
    engine.close()


def test_without_any_backend_every_reason_is_given(toy: manifest.Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable, match=r"OpenVINO .* ONNX Runtime"):
        build_engine(toy)


def test_bfloat16_is_used_where_the_cpu_has_it(toy: manifest.Manifest) -> None:
    try:
        engine = build_engine(toy, backend="openvino", precision="bf16")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    assert "(CPU, bf16, " in engine.description
    frames = batch()
    assert len(engine.decode(frames, engine.submit(frames).result(20))[0].detections) == 2
    engine.close()


def test_a_backend_without_bfloat16_says_so(toy: manifest.Manifest) -> None:
    with pytest.raises(BackendUnavailable, match="does not compute in bf16"):
        build_engine(toy, backend="onnxruntime", precision="bf16")


def test_a_named_backend_is_not_replaced(toy: manifest.Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendUnavailable, match="OpenVINO"):
        build_engine(toy, backend="openvino")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"backend": "openvina"}, PluginError, "did you mean 'openvino'"),
        ({"precision": "int8"}, UsageError, "choose from auto, fp32, bf16"),
        ({"backend_options": {"wrokers": 2}}, UsageError, "option 'wrokers' of backend 'openvino'"),
        ({"decoder_options": {"iou": 2}}, UsageError, "option 'iou' of decoder 'yolo'"),
    ],
)
def test_arguments_that_cannot_be_served(
    toy: manifest.Manifest, arguments: dict[str, Any], error: type[StreamvisionError], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_engine(toy, **arguments)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_labels_that_do_not_fit_the_network_are_refused_and_nothing_is_left_running(
    tmp_path: Path, backend: str
) -> None:
    path = networks.constant(tmp_path / "toy.onnx", answer(), SIZE)
    wrong = manifest.load(write_manifest(tmp_path, path, labels=["cat", "dog", "cow", "hen"]))
    before = threading.active_count()
    with pytest.raises(ManifestError, match="4 labels one side must be 8 or 9, but the network gives 6x20"):
        build_engine(wrong, backend=backend)
    assert threading.active_count() == before


def test_a_missing_file_is_said_before_anything_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        build_engine(manifest.load(write_manifest(tmp_path)))


def test_a_file_that_is_no_network_fails_on_every_backend(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(b"no network at all")
    with pytest.raises((EngineError, BackendUnavailable)):
        build_engine(manifest.load(write_manifest(tmp_path, path)))


def test_an_algorithm_takes_no_backend() -> None:
    with pytest.raises(UsageError, match="motion is an algorithm"):
        build_engine(manifest.Manifest.model_validate(
            {"name": "motion", "summary": "", "licence": "", "source": "", "kind": "motion", "labels": ("a",)}
            | {"input": {"size": (64, 32)}}
        ), backend="openvino")  # fmt: skip
