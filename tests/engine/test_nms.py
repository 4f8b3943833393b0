from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.engine.nms import best_first, nms
from streamvision.geometry import iou_matrix

Box = tuple[int, int, int, int]


def scalar_nms(boxes: list[Box], classes: list[int], iou: Fraction) -> list[int]:
    """The textbook algorithm, one box at a time, in exact arithmetic."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        rivals = [boxes[other] for other in kept if classes[other] == classes[index]]
        if all(exact_iou(box, rival) <= iou for rival in rivals):
            kept.append(index)
    return kept


def exact_iou(a: Box, b: Box) -> Fraction:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    return Fraction(width * height, union) if union else Fraction(0)


@st.composite
def box(draw: st.DrawFn) -> Box:
    x, y = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    return x, y, x + draw(st.integers(0, 8)), y + draw(st.integers(0, 8))


@given(
    st.lists(st.tuples(box(), st.integers(0, 2)), max_size=40),
    st.sampled_from([Fraction("0.1"), Fraction("0.45"), Fraction("0.5"), Fraction(1)]),
)
def test_equals_the_scalar_algorithm(rows: list[tuple[Box, int]], iou: Fraction) -> None:
    boxes, classes = [row[0] for row in rows], [row[1] for row in rows]
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    class_id = np.array(classes, np.int32)
    assert nms(xyxy, class_id, float(iou)).tolist() == scalar_nms(boxes, classes, iou)
    assert nms(xyxy, None, float(iou)).tolist() == scalar_nms(boxes, [0] * len(boxes), iou)


@pytest.mark.parametrize("classes", [1, 3, 40, 5000])
@pytest.mark.parametrize("count", [70, 513, 1300])
@pytest.mark.parametrize("limit", [None, 0, 25, 10_000])
def test_many_boxes_are_judged_like_few(count: int, classes: int, limit: int | None) -> None:
    rng = np.random.default_rng(count * classes)
    low = rng.integers(0, 100, (count, 2))
    boxes = np.concatenate((low, low + rng.integers(1, 60, (count, 2))), axis=1).astype(np.float32)
    class_id = rng.integers(0, classes, count).astype(np.int32)
    overlaps = (iou_matrix(boxes, boxes) > 0.45) & (class_id[:, None] == class_id)
    kept: list[int] = []
    for index in range(count):
        if not overlaps[kept, index].any():
            kept.append(index)
    assert nms(boxes, class_id, 0.45, limit).tolist() == kept[:limit]


def test_a_long_chain_of_overlaps_is_settled_link_by_link() -> None:
    left = np.arange(200, dtype=np.float32) * 4
    chain = np.stack((left, np.zeros_like(left), left + 10, np.full_like(left, 10)), axis=1)
    # Each box overlaps only its neighbours by 6/14, so every other box survives.
    assert nms(chain, None, 0.4).tolist() == list(range(0, 200, 2))


@given(st.lists(st.sampled_from([0.1, 0.5, 0.5, 0.9]), max_size=30), st.integers(1, 30))
def test_best_first_keeps_the_order_of_equals(scores: list[float], limit: int) -> None:
    expected = sorted(range(len(scores)), key=lambda index: -scores[index])[:limit]
    assert best_first(np.array(scores, np.float32), limit).tolist() == expected
