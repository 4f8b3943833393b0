from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from streamvision import plugins
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.decoders.semantic import SemanticDecoder, winners
from streamvision.errors import EngineError, ManifestError
from streamvision.geometry import Letterbox
from streamvision.types import Segmentation

SIZE = (16, 8)
ROAD = {"scene": ("sky", "road", "car")}
TWO = {"drivable": ("background", "drivable"), "lane": ("background", "lane")}


def decoder(
    shapes: list[tuple[int, ...]], maps: Mapping[str, tuple[str, ...]] = ROAD, **options: Any
) -> SemanticDecoder:
    network = NetworkShape("toy", SIZE, 0, tuple(shapes), segmentation=maps)
    return SemanticDecoder(SemanticDecoder.Options(**options), network)


def labels(seed: int = 0, shape: tuple[int, ...] = (2, 8, 16), classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape)


def scores(maps: np.ndarray, classes: int = 3) -> np.ndarray:
    """Logits (batch, classes, h, w) of which the labels win."""
    return (np.eye(classes)[maps].transpose(0, 3, 1, 2) * 5 - 2).astype(np.float32)


def one_map(decoder: SemanticDecoder, output: np.ndarray) -> list[Segmentation]:
    seen = decoder.decode([output], [Letterbox.fit((32, 16), SIZE)] * len(output))
    return [perception.segmentation[0] for perception in seen]


@pytest.mark.parametrize(
    ("what", "output"),
    [
        ("label map", labels().astype(np.uint8)),
        ("label map of int64", labels()),
        ("label map with its axis kept", labels()[:, None]),
        ("label map of floats", labels().astype(np.float32)),
        ("scores", scores(labels())),
        ("half precision", scores(labels()).astype(np.float16)),
        ("scores, channels last", scores(labels()).transpose(0, 2, 3, 1)),
    ],
)
def test_every_form_of_output_is_the_same_map(what: str, output: np.ndarray):
    found = one_map(decoder([output.shape]), output)
    assert [segmentation.name for segmentation in found] == ["scene", "scene"]
    assert found[0].class_names == ROAD["scene"]
    for segmentation, truth in zip(found, labels(), strict=True):
        assert segmentation.label_map.dtype == np.uint8
        np.testing.assert_array_equal(segmentation.label_map, truth)


def test_the_plugin_is_found_by_its_name():
    assert plugins.load("decoder", "semantic") is SemanticDecoder


@pytest.mark.parametrize(("threshold", "values"), [(0.0, (-0.1, 0.1)), (0.5, (0.4, 0.6))])
def test_a_single_channel_of_scores_is_a_map_of_two_classes(threshold: float, values: tuple[float, float]):
    truth = labels(classes=2)
    raw = np.asarray(values, np.float32)[truth][:, None]
    found = one_map(decoder([raw.shape], {"water": ("dry", "wet")}, threshold=threshold), raw)
    np.testing.assert_array_equal(found[1].label_map, truth[1])


def test_two_heads_are_two_maps_in_the_manifests_order():
    first, second = labels(1, classes=2), labels(2, classes=2)
    outputs = [scores(first, 2), second.astype(np.uint8)]
    seen = decoder([o.shape for o in outputs], TWO).decode(outputs, [Letterbox.fit((32, 16), SIZE)] * 2)
    assert [[s.name for s in one.segmentation] for one in seen] == [["drivable", "lane"]] * 2
    np.testing.assert_array_equal(seen[1].segmentation[0].label_map, first[1])
    np.testing.assert_array_equal(seen[1].segmentation[1].label_map, second[1])
    assert len(seen[0].detections) == 0


def test_outputs_that_the_manifest_does_not_name_are_left_alone():
    outputs = [scores(labels()), np.zeros((2, 21, 4, 4), np.float32)]
    seen = decoder([o.shape for o in outputs]).decode(outputs, [Letterbox.fit((32, 16), SIZE)] * 2)
    assert [len(one.segmentation) for one in seen] == [1, 1]


def test_a_smaller_raster_has_a_letterbox_of_its_own():
    letterbox = Letterbox.fit((100, 100), (64, 32))
    raw = np.zeros((1, 8, 16), np.uint8)
    (seen,) = decoder([raw.shape]).decode([raw], [letterbox])
    own = seen.segmentation[0].letterbox
    assert (own.model_wh, own.inner_wh, own.offset_xy) == ((16, 8), (8, 8), (4, 0))
    whole = np.array([[0, 0, 100, 100]], np.float32)
    np.testing.assert_allclose(own.to_model(whole), [[4, 0, 12, 8]], atol=1e-4)
    assert letterbox.resized(letterbox.model_wh) == letterbox


@given(st.data())
def test_a_resized_letterbox_stays_inside_its_raster_and_maps_the_whole_picture(data: st.DataObject):
    side = st.integers(1, 4000)
    source, model, small = (data.draw(st.tuples(side, side)) for _ in range(3))
    own = Letterbox.fit(source, model).resized(small)
    x1, y1, x2, y2 = own.to_model(np.array([[0, 0, *source]], np.float32))[0]
    assert -0.01 <= x1 <= x2 <= small[0] + 1.01
    assert -0.01 <= y1 <= y2 <= small[1] + 1.01
    np.testing.assert_allclose([x2 - x1, y2 - y1], own.inner_wh, rtol=1e-3)


SCORES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 5)),
    elements=st.sampled_from([-1.5, 0.0, 0.5, 2.0]),
)


@given(SCORES)
def test_the_winner_is_numpys_argmax_also_among_equals(raw: np.ndarray):
    np.testing.assert_array_equal(winners(raw), raw.argmax(0))


@pytest.mark.parametrize(
    ("shapes", "maps", "words"),
    [
        ([(1, 8, 16)], TWO, r"2 label maps \(drivable, lane\), but the network has 1 output"),
        ([(1, 21, 8, 16)], ROAD, r"'scene' has 3 classes.*\(batch, 3, h, w\).*gives \(batch, 21, 8, 16\)"),
        ([(1, 84)], ROAD, r"gives \(batch, 84\)"),
        ([(1, 3, 8, 16), (1, 3, 8, 16)], {**ROAD, "lane": ("none", "lane")}, r"'lane' has 2 classes"),
    ],
)
def test_a_network_that_contradicts_its_manifest_is_refused(
    shapes: list[tuple[int, ...]], maps: Mapping[str, tuple[str, ...]], words: str
):
    with pytest.raises(ManifestError, match=words):
        decoder(shapes, maps)


@pytest.mark.parametrize("wrong", [3, 255, -1])
def test_a_class_that_nobody_named_is_an_error(wrong: int):
    raw = labels()
    raw[1, 2, 3] = wrong
    with pytest.raises(EngineError, match=f"has class {wrong}, but the manifest names 3"):
        one_map(decoder([raw.shape]), raw)


def test_options_are_checked():
    with pytest.raises(ValidationError):
        SemanticDecoder.Options(threshold=float("nan"))
