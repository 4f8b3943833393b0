"""Saliency by hiding parts, against engines that are known to look at one quadrant."""

from __future__ import annotations

import numpy as np
import pytest

from streamvision.explain.hiding import random_masks
from streamvision.explain.occlusion import CHECK_EVERY, Occlusion, Options, scores
from streamvision.explain.pictures import frame_of
from streamvision.explain.saliency import Saliency
from streamvision.explain.targets import Area, Object, PictureClass, Target
from streamvision.types import Fit, Perception
from tests.explain.engines import BOX, Answer, QuadrantEngine, a_class, a_dog, an_area, picture

# The frame's source is twice as large as the network's input, and so is the target's box.
DOG = Object(0, "dog", BOX)
OFTEN = Options(400)


def explained(engine: QuadrantEngine, target: Target = DOG, options: Options = OFTEN) -> Saliency:
    work = Occlusion(engine, frame_of(picture(), engine.input), target, options)
    for _ in work:
        pass
    assert engine.open == 0
    return work.saliency


def share_in_quadrant(values: np.ndarray) -> float:
    height, width = values.shape
    positive = np.maximum(values, 0)
    return float(positive[: height // 2, : width // 2].sum() / positive.sum())


@pytest.mark.parametrize(
    ("answer", "target", "method"),
    [
        (a_dog, DOG, "drise"),
        (a_class, PictureClass(1, "bright"), "rise"),
        (an_area, Area("ground", ("snow",)), "rise"),
        (an_area, Area("ground", ("snow",), ((0.2, 0.2), (0.9, 0.1), (0.7, 0.9))), "rise"),
    ],
)
def test_the_map_points_to_where_the_network_looks(answer: Answer, target: Target, method: str):
    found = explained(QuadrantEngine(answer), target)
    assert found.method == method
    assert found.values.shape == (64, 96)
    assert share_in_quadrant(found.values) > 0.75
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert row < 32 + 8
    assert column < 48 + 8
    assert found.agreement is not None
    assert found.agreement > 0.7


def test_what_speaks_against_a_class_is_negative_where_it_is_seen():
    found = explained(QuadrantEngine(a_class), PictureClass(0, "dark"))
    assert found.values[:24, :40].max() < 0
    assert abs(found.values[40:, 56:]).max() < abs(found.values[:24, :40]).max() / 2


def test_the_seed_decides_and_how_the_engine_works_does_not():
    plain = explained(QuadrantEngine(max_batch=1, in_flight=1))
    batched = explained(QuadrantEngine(max_batch=7, in_flight=3))
    other = explained(QuadrantEngine(), options=Options(400, seed=1))
    assert np.array_equal(plain.values, batched.values)
    assert not np.array_equal(plain.values, other.values)


def test_noise_does_not_agree_with_itself():
    random = np.random.default_rng(3)
    engine = QuadrantEngine(lambda level, batch, index: a_dog(float(random.random()), batch, index))
    found = explained(engine)
    assert found.agreement is not None
    assert found.agreement < 0.5


def test_it_ends_as_soon_as_the_map_is_settled():
    found = explained(QuadrantEngine(a_class), PictureClass(1, "bright"), Options(5000, settled=0.9))
    assert found.masks < 2000
    assert found.masks % CHECK_EVERY == 0


def test_it_ends_in_time():
    assert explained(QuadrantEngine(), options=Options(100_000, seconds=0.05, settled=1)).masks < 100_000


def test_what_was_begun_is_taken_back_when_nobody_wants_the_rest():
    engine = QuadrantEngine()
    work = iter(Occlusion(engine, frame_of(picture(), engine.input), DOG, Options(400)))
    next(work)
    work.close()  # type: ignore[attr-defined]
    assert engine.open == 0
    assert engine.asked < 20


def test_padding_is_neither_hidden_nor_mapped():
    engine = QuadrantEngine(fit=Fit.LETTERBOX)
    frame = frame_of(picture((100, 200)), engine.input)
    (left, top), (width, height) = frame.letterbox.offset_xy, frame.letterbox.inner_wh
    outside = np.ones(frame.pixels.shape[:2], bool)
    outside[top : top + height, left : left + width] = False
    seen: list[np.ndarray] = []

    def watched(level: float, batch, index: int) -> Perception:  # type: ignore[no-untyped-def]
        seen.append(batch.frames[index].pixels)
        return a_dog(level, batch, index)

    engine = QuadrantEngine(watched, fit=Fit.LETTERBOX)
    work = Occlusion(engine, frame, DOG, Options(20))
    assert list(work) == list(range(1, 21))
    assert work.saliency.values.shape == (height, width)
    assert outside.any()
    assert all(np.array_equal(each[outside], frame.pixels[outside]) for each in seen)
    assert any(not np.array_equal(each[~outside], frame.pixels[~outside]) for each in seen)


def test_a_class_of_another_kind_or_no_overlap_scores_nothing():
    engine = QuadrantEngine()
    frame = frame_of(picture(), engine.input)
    assert next(scores(engine, frame, [frame.pixels], Object(1, "cat", BOX))) == 0
    assert next(scores(engine, frame, [frame.pixels], Object(0, "dog", (60, 40, 90, 60)))) == 0
    half = Object(0, "dog", (BOX[0], BOX[1], BOX[2], (BOX[1] + BOX[3]) / 2))
    whole = next(scores(engine, frame, [frame.pixels], DOG))
    assert next(scores(engine, frame, [frame.pixels], half)) == pytest.approx(whole / 2, rel=1e-5)


def test_masks_show_as_much_as_they_should_everywhere():
    masks = random_masks((90, 50), 9, 0.3, np.random.default_rng(0))
    many = np.stack([next(masks) for _ in range(600)])
    assert many.shape == (600, 50, 90)
    assert many.min() >= 0
    assert many.max() <= 1
    assert np.abs(many.mean(0) - 0.3).max() < 0.12
    assert many.mean() == pytest.approx(0.3, abs=0.01)
