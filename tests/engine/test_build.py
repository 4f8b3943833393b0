from __future__ import annotations

import re
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from streamvision.engine import choice, manifest
from streamvision.engine.build import Builder, Order, Workshop, build_engine
from streamvision.engine.cache import EngineCache, Key
from streamvision.engine.compile import NotCachedError
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
from streamvision.interfaces import Engine
from streamvision.types import Batch, ClockSource, Fit, Frame, FrameInfo
from tests.engine import networks
from tests.engine.fake_backends import FakeBackend, answer, workshop
from tests.engine.networks import write_manifest

SIZE = (64, 32)
SOURCE = (160, 80)


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
        ("auto", r"toy on (openvino|onnxruntime) \(CPU, \d+ requests\)"),
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
    engine = build_engine(toy, backend="openvino", backend_options={"workers": 1}, decoder_options={"min_score": 0.5})
    frames = batch()
    assert len(engine.decode(frames, engine.submit(frames).result(20))[0].detections) == 1
    assert engine.in_flight == 2
    engine.close()


def test_auto_falls_back_and_says_so(toy: manifest.Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with capture_logs() as logs:
        engine = build_engine(toy)
    assert engine.description.startswith("toy on onnxruntime")
    warnings = [(log["event"], log["backend"]) for log in logs if log["log_level"] == "warning"]
    assert warnings == [("backend_not_usable", "openvino")]
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
        ({"precision": "fp8"}, UsageError, "choose from auto, fp32, bf16, fp16, int8"),
        ({"backend": "openvino", "precision": "int8"}, UsageError, "int8 needs pictures to calibrate with"),
        ({"backend_options": {"wrokers": 2}}, UsageError, "option 'wrokers' of backend 'auto': none of openvino"),
        (
            {"backend": "openvino", "backend_options": {"wrokers": 2}},
            UsageError,
            "option 'wrokers' of backend 'openvino'",
        ),
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


def build(toy: manifest.Manifest, shop: Workshop, **order: Any) -> Engine:
    return Builder(toy, Order(**order), shop).build()


def test_a_built_engine_is_proven_once_and_then_loaded(toy: manifest.Manifest, tmp_path: Path) -> None:
    good, other = FakeBackend("good"), FakeBackend("other")
    shop = workshop(tmp_path, other, good)
    for _ in range(2):
        build(toy, shop, backend="good").close()
    assert (good.compiled, len(good.opened), len(other.opened)) == (1, 2, 1)
    entry = shop.cache.entries()[0]
    assert entry.facts["reference"] == "other"
    assert entry.facts["parity"]["ok"]
    assert all(network.closed.is_set() for network in (*good.opened, *other.opened))


@pytest.mark.parametrize(
    ("change", "builds"),
    [
        ({}, 1),
        ({"precision": "bf16"}, 2),
        ({"max_batch": 4}, 2),
        ({"options": {"workers": 2}}, 2),
        ({"decoder_options": {"min_score": 0.5}}, 1),
        ({"force": True}, 2),
    ],
)
def test_what_is_ordered_otherwise_is_built_anew(
    toy: manifest.Manifest, tmp_path: Path, change: dict[str, Any], builds: int
) -> None:
    good = FakeBackend("good")
    shop = workshop(tmp_path, good, FakeBackend("other"))
    build(toy, shop, backend="good").close()
    build(toy, shop, backend="good", **change).close()
    assert good.compiled == builds


@pytest.mark.parametrize("part", ["version", "driver"])
def test_an_engine_of_another_version_or_driver_is_built_anew(
    toy: manifest.Manifest, tmp_path: Path, part: str
) -> None:
    good = FakeBackend("good")
    shop = workshop(tmp_path, good, FakeBackend("other"))
    first = good.device[part]
    for value in (first, "another", first):
        good.device[part] = value
        build(toy, shop, backend="good").close()
    assert good.compiled == 2


def test_another_byte_in_the_network_or_another_size_is_another_engine(tmp_path: Path) -> None:
    good = FakeBackend("good")
    shop = workshop(tmp_path, good, FakeBackend("other"))
    values = answer()
    for number, size in enumerate([SIZE, SIZE, (32, 64)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        values[0, 0, 0] = number
        path = networks.constant(folder / "toy.onnx", values, SIZE)
        build(manifest.load(write_manifest(folder, path, input={"size": list(size)})), shop, backend="good").close()
    assert good.compiled == 3


def test_an_engine_that_its_backend_does_not_take_any_more_is_built_anew(
    toy: manifest.Manifest, tmp_path: Path
) -> None:
    good = FakeBackend("good")
    shop = workshop(tmp_path, good, FakeBackend("other"))
    build(toy, shop, backend="good").close()
    entry = shop.cache.entries()[0]
    shop.cache.store(Key("toy", entry.meta["key"]), lambda file: file.write_bytes(b"{}") and None, {"seconds": 0})
    build(toy, shop, backend="good").close()
    assert good.compiled == 2


def test_without_a_place_for_engines_they_are_used_from_memory(toy: manifest.Manifest, tmp_path: Path) -> None:
    (tmp_path / "engines").write_bytes(b"")
    good = FakeBackend("good")
    shop = workshop(tmp_path, good, FakeBackend("other"))
    with capture_logs() as logs:
        for _ in range(2):
            engine = build(toy, shop, backend="good")
            assert len(engine.decode(batch(), engine.submit(batch()).result(20))[0].detections) == 2
            engine.close()
    assert good.compiled == 2
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["engine_cache_not_written"]


def test_a_real_engine_is_used_from_memory_too(toy: manifest.Manifest, tmp_path: Path) -> None:
    (tmp_path / "engines").write_bytes(b"")
    shop = Workshop(EngineCache(tmp_path / "engines", extra=()))
    for backend in ("openvino", "onnxruntime"):
        engine = build(toy, shop, backend=backend)
        assert len(engine.decode(batch(), engine.submit(batch()).result(20))[0].detections) == 2
        engine.close()


def test_an_engine_that_deviates_is_refused_with_the_numbers_and_stays_refused(
    toy: manifest.Manifest, tmp_path: Path
) -> None:
    wrong = FakeBackend("wrong")
    wrong.answer[0, 4, 3] = 0.5
    shop = workshop(tmp_path, FakeBackend("good"), wrong)
    with pytest.raises(EngineError, match=r"the wrong engine in fp32 deviates from good: .*!score 0\.25"):
        build(toy, shop, backend="wrong")
    with pytest.raises(EngineError, match=r"deviates from the reference: .*!score 0\.25.*--force"):
        build(toy, shop, backend="wrong")
    assert wrong.compiled == 1
    assert [(entry.engine, entry.facts["parity"]["ok"]) for entry in shop.cache.entries()] == [(None, False)]
    assert all(network.closed.is_set() for network in wrong.opened)
    wrong.answer = answer()
    build(toy, shop, backend="wrong", force=True).close()
    build(toy, shop, backend="wrong").close()
    assert wrong.compiled == 2


def test_an_evaluations_low_scores_do_not_sway_the_proof(toy: manifest.Manifest, tmp_path: Path) -> None:
    noisy = FakeBackend("noisy")
    noisy.answer[0, :, 15] = [30, 20, 8, 6, 0.002, 0]
    shop = workshop(tmp_path, FakeBackend("good"), noisy)
    engine = build(toy, shop, backend="noisy", decoder_options={"min_score": 0.001})
    assert len(engine.decode(batch(), engine.submit(batch()).result(20))[0].detections) == 3
    engine.close()


def test_a_race_counts_every_picture_of_every_engine(toy: manifest.Manifest, tmp_path: Path) -> None:
    opened = {
        name: build(toy, workshop(tmp_path, FakeBackend(name, max_batch=size)), backend=name)
        for name, size in (("one", 1), ("many", 16))
    }
    rates = choice.race(opened, [batch().frames[0].pixels], seconds=0.02)
    assert set(rates) == {"one", "many"}
    assert min(rates.values()) > 0
    for engine in opened.values():
        engine.close()


def test_auto_takes_the_faster_one_and_remembers_it(
    toy: manifest.Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, lame = FakeBackend("quick", max_batch=16), FakeBackend("lame")
    monkeypatch.setattr(choice, "race", lambda engines, pictures: {name: engines[name].max_batch for name in engines})
    for _ in range(2):
        engine = build(toy, workshop(tmp_path, lame, quick))
        assert engine.description.startswith("toy on quick")
        engine.close()
    assert len(lame.opened) == 2  # for the race, and as the reference; not at the second start
    assert lame.opened[0].closed.is_set()
    chosen = next(e for e in workshop(tmp_path).cache.entries() if e.facts.get("kind") == "choice")
    assert chosen.facts["backend"] == "quick"
    assert set(chosen.facts["pictures_per_second"]) == {"quick", "lame"}


@pytest.mark.parametrize("failure", [BackendUnavailable("no driver"), EngineError("out of memory"), "deviates"])
def test_auto_prefers_the_gpu_and_falls_back_from_it(
    toy: manifest.Manifest, tmp_path: Path, failure: Exception | str
) -> None:
    gpu, cpu = FakeBackend("gpu"), FakeBackend("cpu")
    shop = workshop(tmp_path, cpu, gpu, on_gpu=("gpu",))
    builder = Builder(toy, Order(), shop)
    builder.build().close()
    assert (builder.backend, builder.fallback) == ("gpu", "")
    if isinstance(failure, str):
        gpu.answer[0, 4, 3] = 0.5
    elif isinstance(failure, BackendUnavailable):
        gpu.missing = failure
    else:
        gpu.fails = failure  # type: ignore[assignment]
    builder = Builder(toy, Order(force=True), shop)
    builder.build().close()
    assert builder.backend == "cpu"
    assert str(failure) in builder.fallback
    assert builder.fallback.startswith("gpu: ")


def test_a_reference_that_cannot_be_had_leaves_an_engine_unproven(toy: manifest.Manifest, tmp_path: Path) -> None:
    good, other = FakeBackend("good"), FakeBackend("other")
    other.missing = BackendUnavailable("not installed")
    shop = workshop(tmp_path, good, other)
    with capture_logs() as logs:
        build(toy, shop, backend="good").close()
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["engine_not_verified"]
    other.missing = None
    build(toy, shop, backend="good").close()
    assert shop.cache.entries()[0].facts["parity"]["ok"]
    assert good.compiled == 1


def test_an_engine_for_a_device_elsewhere_is_compiled_and_proven_where_it_is_loaded(
    toy: manifest.Manifest, tmp_path: Path
) -> None:
    gpu, cpu = FakeBackend("gpu"), FakeBackend("cpu")
    away = workshop(tmp_path, cpu, gpu, slow=("gpu",))
    gpu.device["driver"], gpu.no_device = "none", BackendUnavailable("there is no GPU")
    with pytest.raises(BackendUnavailable, match="no GPU"):
        build(toy, away, backend="gpu")
    assert gpu.compiled == 0
    entries = Builder(toy, Order(backend="gpu"), away).ahead("gpu")
    assert [entry is not None and "parity" in entry.facts for entry in entries] == [False]
    assert (gpu.compiled, gpu.opened) == (1, [])
    gpu.device["driver"], gpu.no_device = "580", None
    builder = Builder(toy, Order(), workshop(tmp_path, cpu, gpu, on_gpu=("gpu",)), patient=False)
    builder.build().close()
    assert (builder.backend, gpu.compiled) == ("gpu", 1)
    assert away.cache.entries()[0].facts["parity"]["ok"]


def test_an_impatient_builder_leaves_nothing_open(toy: manifest.Manifest, tmp_path: Path) -> None:
    first, second = FakeBackend("first"), FakeBackend("second")
    shop = workshop(tmp_path, first, second, FakeBackend("third"))
    build(toy, shop, backend="first", precision="bf16").close()
    impatient = Builder(toy, Order(precision="bf16"), replace(shop, slow=frozenset({"second"})), patient=False)
    with pytest.raises(NotCachedError):
        impatient.build()
    assert all(network.closed.is_set() for network in first.opened)
    assert second.compiled == 0
