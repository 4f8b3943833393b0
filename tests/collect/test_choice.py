"""Which pictures are wanted, and which are known."""

from __future__ import annotations

import random

import numpy as np
import pytest

from streamvision.collect.choice import Choice, Look, Memory, difference_hash
from streamvision.config import CollectSettings
from streamvision.explain.pictures import frame_of
from streamvision.types import Detections, Fit, InputSpec

BOX = (10.0, 10.0, 30.0, 40.0)


def seen(*scores: float) -> Detections:
    count = len(scores)
    boxes = np.tile(np.array(BOX, np.float32), (count, 1))
    return Detections(boxes, np.array(scores, np.float32), np.zeros(count, np.int32))


def choice(**changes: object) -> Choice:
    return Choice(CollectSettings.model_validate({"sample": 0, **changes}), random.Random(0))


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [((), None), ((0.19,), None), ((0.2,), "doubtful"), ((0.49, 0.9), "doubtful"), ((0.5,), None), ((0.1, 0.8), None)],
)
def test_what_the_network_doubts_is_wanted(scores: tuple[float, ...], wanted: str | None):
    assert choice().reason(seen(*scores), 5.0, event=False) == wanted


def test_doubtful_pictures_are_apart():
    one = choice(every="2s")
    kept = []
    for tenth in range(60):
        if one.reason(seen(0.3), tenth / 10, event=False):
            one.kept(tenth / 10)
            kept.append(tenth / 10)
    assert kept == [0.0, 2.0, 4.0]


def test_an_event_and_what_follows_it_are_wanted():
    one = choice(every="2s")
    told = [one.reason(seen(0.9), tenth / 10, event=tenth == 5) for tenth in range(60)]
    assert [(number, why) for number, why in enumerate(told) if why] == [(5, "event"), (25, "event")]


def test_the_sample_is_thin_and_even():
    one = choice(sample="10s")
    times = [tenth / 10 for tenth in range(60_000) if one.reason(seen(), tenth / 10, event=False)]
    assert len(times) == pytest.approx(600, rel=0.15)
    assert sum(time < 3000 for time in times) == pytest.approx(300, rel=0.2)


def look(known: int, *boxes: tuple[float, float, float, float], kind: int = 0) -> Look:
    return Look(known, np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), kind, np.int32))


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (look(0b0, BOX), True),
        (look(0b111, BOX), True),
        (look(0b1111, BOX), False),
        (look(0b0), False),
        (look(0b0, BOX, BOX), False),
        (look(0b0, (10, 10, 31, 40)), True),
        (look(0b0, (25, 10, 45, 40)), False),
        (look(0b0, BOX, kind=1), False),
    ],
)
def test_a_picture_is_known_by_its_hash_and_its_boxes(other: Look, alike: bool):
    memory = Memory(3)
    memory.add(look(0b0, BOX))
    assert memory.knows(other) is alike


def test_pictures_without_boxes_are_known_by_their_hash():
    memory = Memory(0)
    memory.add(look(0b101))
    assert memory.knows(look(0b101))
    assert not memory.knows(look(0b100))


def test_the_hash_ignores_padding_and_light_and_sees_a_change():
    random = np.random.default_rng(0)
    rough = random.integers(40, 180, (8, 9, 3)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
    plain = difference_hash(frame_of(rough, InputSpec((96, 96), Fit.LETTERBOX)))
    stretched = difference_hash(frame_of(rough, InputSpec((180, 160), Fit.STRETCH)))
    brighter = difference_hash(frame_of((rough + 30).astype(np.uint8), InputSpec((96, 96), Fit.LETTERBOX)))
    mirrored = difference_hash(frame_of(np.ascontiguousarray(rough[:, ::-1]), InputSpec((96, 96), Fit.LETTERBOX)))
    assert (plain ^ brighter).bit_count() <= 2
    assert (plain ^ stretched).bit_count() <= 6
    assert (plain ^ mirrored).bit_count() > 12
