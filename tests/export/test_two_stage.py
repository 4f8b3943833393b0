"""What the engines of exported Faster and Mask R-CNNs see is what eager torchvision sees, pasted masks and all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from streamvision import plugins
from streamvision.cli import main
from streamvision.engine import manifest
from streamvision.engine.backends import CompiledNetwork, Network
from streamvision.engine.background import MotionOptions
from streamvision.engine.motion import Movers
from streamvision.engine.proposals import widened
from streamvision.engine.two_stage import TwoStageEngine, build_two_stage
from streamvision.engine.two_stage_results import TwoStageOptions, window_of
from streamvision.errors import UsageError
from streamvision.export import recipes, registry
from streamvision.geometry import Letterbox
from streamvision.masks import bitmaps
from streamvision.types import Batch, ClockSource, Detections, Frame, FrameInfo, UInt8
from tests.export import seen
from tests.export.conftest import Exports

SIZE = (128, 96)
BATCH = 4
CLASSES = 6
SOURCE = (200, 110)
"""Fits into the network's input with 25 rows of padding below."""
BOXES_ONLY = ("faster-rcnn-mobilenetv3", "faster-rcnn-resnet50", "faster-rcnn-resnet50-v2")
WITH_MASKS = ("mask-rcnn-resnet50", "mask-rcnn-resnet50-v2")
ALL = (*BOXES_ONLY, "faster-rcnn-mobilenetv3-320", *WITH_MASKS)


def export_of(exported: Exports, name: str) -> tuple[manifest.Manifest, Any]:
    return (
        manifest.load(exported(name, size=SIZE, num_classes=CLASSES)),
        exported.module(name, size=SIZE, num_classes=CLASSES),
    )


def build(model: manifest.Manifest, module: Any, backend: str, batch: int, **options: Any) -> TwoStageEngine:
    """The engine, with as few proposals and detections as the module of the test has."""

    def open_network(network: Network) -> CompiledNetwork:
        plugin: Any = plugins.load("backend", backend)
        compiled: CompiledNetwork = plugin(network, plugin.Options(workers=1, batch=batch))
        return compiled

    few = {**model.options["proposals"], "keep": module.rpn.post_nms_top_n()}
    limits = {"proposals": few, "max_detections": module.roi_heads.detections_per_img}
    return build_two_stage(model, open_network, {**limits, **options})


def batch_of(shown: Sequence[UInt8], letterbox: Letterbox, media_s: float = 0.0) -> Batch:
    nobody: Any = None
    frames = []
    for number, pixels in enumerate(shown):
        info = FrameInfo(
            f"s{number}", 0, 0, media_s, media_s, datetime.now(UTC), ClockSource.FILE, 0.0, letterbox.source_wh
        )
        frames.append(Frame(info, nobody, pixels, letterbox, 0.0))
    return Batch(tuple(frames))


def padded(shown: list[UInt8], letterbox: Letterbox) -> list[UInt8]:
    for picture in shown:
        picture[letterbox.inner_wh[1] :] = 114
        picture[:, letterbox.inner_wh[0] :] = 114
    return shown


def eager(module: Any, view: Any, letterbox: Letterbox) -> list[tuple[Detections, Any]]:
    """Torchvision's network on prepared pictures, mapped to the source picture: detections, and bitmaps or None."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    with torch.no_grad():
        images = ImageList(view, [letterbox.inner_wh[::-1]] * len(view))
        features = module.backbone(view)
        rows, _ = module.roi_heads(features, module.rpn(images, features)[0], images.image_sizes)
        rows = module.transform.postprocess(rows, images.image_sizes, [letterbox.source_wh[::-1]] * len(view))
    return [as_detections(row) for row in rows]


def as_detections(row: Any) -> tuple[Detections, Any]:
    class_id = row["labels"].numpy().astype(np.int32) - 1
    found = Detections(row["boxes"].numpy(), row["scores"].numpy(), class_id)
    return found, row["masks"][:, 0].numpy() > 0.5 if "masks" in row else None


def assert_same_masks(ours: Detections, theirs: Detections, pasted: Any, source_wh: tuple[int, int]) -> None:
    assert ours.masks is not None
    drawn = bitmaps(ours.masks, source_wh)
    for box, class_id, expected in zip(theirs.xyxy, theirs.class_id, pasted, strict=True):
        off = np.abs(ours.xyxy - box).max(axis=1) + 1e6 * (ours.class_id != class_id)
        mine = drawn[off.argmin()]
        union = np.count_nonzero(mine | expected)
        assert np.count_nonzero(mine & expected) >= 0.99 * union


@pytest.mark.parametrize("backend", seen.BACKENDS)
@pytest.mark.parametrize("name", ALL)
def test_an_engine_sees_what_torchvision_sees(exported: Exports, name: str, backend: str):
    model, module = export_of(exported, name)
    letterbox = Letterbox.fit(SOURCE, SIZE, centre=False)
    shown = padded(seen.pictures(SIZE, BATCH), letterbox)
    expected = eager(module, seen.prepared(model.input, shown), letterbox)
    with contextlib.closing(build(model, module, backend, BATCH)) as engine:
        assert engine.max_batch == BATCH
        for frames in (batch_of(shown[:1], letterbox), batch_of(shown, letterbox)):
            perceptions = engine.decode(frames, engine.submit(frames).result(120))
            for perception, (theirs, pasted) in zip(perceptions, expected, strict=False):
                assert_same(perception.detections, theirs, pasted)


def assert_same(ours: Detections, theirs: Detections, pasted: Any) -> None:
    assert len(theirs) > 10
    assert len(set(theirs.class_id.tolist())) > 1
    seen.assert_same(ours, theirs)
    assert (ours.masks is None) == (pasted is None)
    if pasted is not None:
        assert pasted.any(axis=(1, 2)).any()
        assert_same_masks(ours, theirs, pasted, SOURCE)


def test_the_whole_of_torchvision_sees_the_same_in_a_picture_of_the_right_size(exported: Exports):
    import torch

    model, module = export_of(exported, "mask-rcnn-resnet50")
    shown = seen.pictures(SIZE, 1)
    module.transform.min_size, module.transform.max_size = (min(SIZE),), max(SIZE)
    with torch.no_grad():
        theirs, pasted = as_detections(module([torch.from_numpy(shown[0]).permute(2, 0, 1) / 255])[0])
    frames = batch_of(shown, Letterbox.stretch(SIZE, SIZE))
    with contextlib.closing(build(model, module, "openvino", 1)) as engine:
        ours = engine.decode(frames, engine.submit(frames).result(120))[0].detections
    assert len(theirs) > 10
    seen.assert_same(ours, theirs)
    assert_same_masks(ours, theirs, pasted, SIZE)


@pytest.mark.parametrize("name", ["faster-rcnn-mobilenetv3", "mask-rcnn-resnet50"])
def test_a_picture_in_which_nothing_is_proposed_shows_nothing(exported: Exports, name: str):
    model, module = export_of(exported, name)
    frames = batch_of(seen.pictures(SIZE, 1), Letterbox.stretch(SIZE, SIZE))
    with contextlib.closing(build(model, module, "openvino", 1, proposals={"min_side": 1000})) as engine:
        found = engine.decode(frames, engine.submit(frames).result(120))[0].detections
    assert len(found) == 0
    assert (found.masks is not None) == ("mask" in name)


def test_regions_from_outside_are_judged_as_torchvision_judges_them(exported: Exports):
    import torch

    model, module = export_of(exported, "fast-rcnn-mobilenetv3")
    letterbox = Letterbox.fit(SOURCE, SIZE, centre=False)
    movers, judged = Movers(MotionOptions()), 0
    with contextlib.closing(build(model, module, "openvino", 1)) as engine:
        for number in range(36):
            frames = batch_of([crossing(number, letterbox)], letterbox, number / 10)
            mine = engine.decode(frames, engine.submit(frames).result(120))
            moved = movers.find(frames.frames[0])[:, :4]
            regions = widened(moved, TwoStageOptions().margin, window_of(letterbox))
            if number % 5 or not len(regions):
                continue
            judged += 1
            with torch.no_grad():
                features = module.backbone(seen.prepared(model.input, [frames.frames[0].pixels]))
                inner, source = letterbox.inner_wh[::-1], letterbox.source_wh[::-1]
                rows, _ = module.roi_heads(features, [torch.from_numpy(regions)], [inner])
                rows = module.transform.postprocess(rows, [inner], [source])
            theirs, _ = as_detections(rows[0])
            seen.assert_same(mine[0].detections, theirs)
            assert len(theirs)
    assert judged == 2


def crossing(number: int, letterbox: Letterbox) -> UInt8:
    """A still picture; from the 30th on a bright block crosses it."""
    picture = padded(seen.pictures(SIZE, 1), letterbox)[0]
    if number >= 30:
        left = 10 + 6 * (number - 30)
        picture[20:50, left : left + 30] = (250, 240, 20)
    return picture


def frugal(path: Path) -> Path:
    """The same network by a manifest that looks at fewer regions."""
    document = YAML().load(path)
    document["options"] |= {"max_detections": 4, "proposals": {"keep": 16}}
    frugal = path.with_name("frugal.yaml")
    YAML().dump(document, frugal)
    return frugal


@pytest.mark.slow
def test_detect_reports_boxes_and_masks_of_a_real_video(exported: Exports, data: Path, tmp_path: Path):
    path = frugal(exported("mask-rcnn-resnet50", size=SIZE, num_classes=CLASSES))
    out, video = tmp_path / "found.jsonl", tmp_path / "found.mp4"
    film = str(data / "videos" / "car-detection.mp4")
    limits = ["--fps", "2", "--seconds", "1", "--backend", "openvino"]
    with pytest.raises(SystemExit) as ended:
        main(["detect", film, "--model", str(path), "--masks", "--json", str(out), "--video", str(video), *limits])
    assert not ended.value.code
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert 2 <= len(rows) <= 4
    found = [one for row in rows for one in row["detections"]]
    assert found
    for one in found:
        assert one["class"] in {f"class_{number}" for number in range(1, CLASSES)}
        assert one["rle"]["size"] == [432, 768]
        x1, y1, x2, y2 = one["xyxy"]
        assert 0 <= x1 < x2 <= 768
        assert 0 <= y1 < y2 <= 432
    assert video.stat().st_size > 0


def test_the_manifest_says_what_torchvision_does(exported: Exports):
    model, module = export_of(exported, "faster-rcnn-mobilenetv3-320")
    heads = module.roi_heads
    assert model.kind == "two_stage"
    assert model.labels == tuple(f"class_{number}" for number in range(1, CLASSES))
    limits = {"min_score": heads.score_thresh, "iou": heads.nms_thresh, "max_detections": 100}
    assert {key: model.options[key] for key in limits} == limits
    sifting = {"candidates": 150, "keep": 150, "iou": 0.7, "min_score": 0.05, "min_side": 1e-3}
    assert model.options["proposals"] == sifting
    mean, std = model.input.normalisation
    np.testing.assert_allclose(np.divide(mean, 255), module.transform.image_mean, atol=1e-4)
    np.testing.assert_allclose(np.divide(std, 255), module.transform.image_std, atol=1e-4)


def test_a_size_that_the_pyramid_cannot_halve_is_refused(tmp_path: Path):
    pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'streamvision[train]'")
    recipe = recipes.load("faster-rcnn-mobilenetv3-320")
    with pytest.raises(UsageError, match="multiples of 32"):
        registry.export(registry.Request(recipe, tmp_path, "odd", (120, 96)))


def test_a_network_of_torchvision_is_found_under_its_own_name():
    assert recipes.find("torchvision:fasterrcnn_mobilenet_v3_large_fpn").name == "faster-rcnn-mobilenetv3"
