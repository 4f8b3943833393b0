"""The decoder of networks that find objects and label the road: both parts as their own decoders read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamvision import plugins
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.dense import DenseDecoder
from streamvision.engine.decoders.semantic import SemanticDecoder
from streamvision.engine.decoders.street import StreetDecoder
from streamvision.errors import EngineError, ManifestError
from streamvision.geometry import Letterbox

SIZE = (64, 32)
PLACES, CLASSES = 40, 3
MAPS = {"drivable": ("background", "drivable"), "lane": ("background", "lane")}
BOXES = [Letterbox.fit((200, 80), SIZE), Letterbox.fit((64, 64), SIZE)]


def outputs(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 32, (2, PLACES, 2))
    return {
        "boxes": np.concatenate((corners, corners + random.uniform(2, 30, (2, PLACES, 2))), 2).astype(np.float32),
        "scores": random.uniform(0, 1, (2, PLACES, CLASSES)).astype(np.float32),
        "drivable": random.integers(0, 2, (2, 16, 32)).astype(np.uint8),
        "lane": random.integers(0, 2, (2, 16, 32)).astype(np.uint8),
    }


def shape(given: dict[str, np.ndarray], maps: dict[str, tuple[str, ...]] = MAPS) -> NetworkShape:
    sizes = tuple(each.shape for each in given.values())
    return NetworkShape("toy", SIZE, CLASSES, sizes, tuple(given), segmentation=maps)


def decode(given: dict[str, np.ndarray], maps: dict[str, tuple[str, ...]] = MAPS, **options: Any) -> list[Any]:
    decoder = StreetDecoder(StreetDecoder.Options(**options), shape(given, maps))
    return decoder.decode(list(given.values()), BOXES)


def test_it_is_found_by_name():
    assert plugins.load("decoder", "street") is StreetDecoder


@pytest.mark.parametrize("order", [("boxes", "scores", "drivable", "lane"), ("lane", "scores", "drivable", "boxes")])
def test_objects_and_maps_are_those_of_their_own_decoders(order: tuple[str, ...]):
    given = {name: outputs()[name] for name in order}
    found = decode(given, min_score=0.4, iou=0.5)
    dense = DenseDecoder(DenseDecoder.Options(min_score=0.4, iou=0.5), shape(given)).decode(list(given.values()), BOXES)
    only = {name: given[name] for name in MAPS}
    semantic = SemanticDecoder(SemanticDecoder.Options(), shape(only)).decode(list(only.values()), BOXES)
    for ours, objects, parts in zip(found, dense, semantic, strict=True):
        assert len(ours.detections) > 3
        assert np.array_equal(ours.detections.xyxy, objects.detections.xyxy)
        assert np.array_equal(ours.detections.score, objects.detections.score)
        for one, other in zip(ours.segmentation, parts.segmentation, strict=True):
            assert (one.name, one.class_names, one.letterbox) == (other.name, other.class_names, other.letterbox)
            assert np.array_equal(one.label_map, other.label_map)


def test_a_map_may_be_logits():
    given = outputs()
    given["lane"] = np.random.default_rng(1).normal(0, 1, (2, 1, 16, 32)).astype(np.float32)
    found = decode(given, threshold=0.5)
    assert np.array_equal(found[1].segmentation[1].label_map, (given["lane"][1, 0] > 0.5).astype(np.uint8))


def test_without_maps_there_are_objects_alone():
    found = decode({name: outputs()[name] for name in ("boxes", "scores")}, {})
    assert found[0].segmentation == ()
    assert len(found[0].detections)


@pytest.mark.parametrize("missing", ["boxes", "scores", "lane"])
def test_a_missing_output_is_named(missing: str):
    given = outputs()
    del given[missing]
    with pytest.raises(ManifestError, match=missing):
        decode(given)


def test_a_class_that_nobody_named_is_an_error():
    given = outputs()
    given["lane"][1, 3, 4] = 2
    with pytest.raises(EngineError, match="'lane' has class 2"):
        decode(given)
