"""Which places learn which object: beside a slow and plain way of deciding it, and where it is not obvious."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.train.networks.street.assignment import Objects, Rules, assign  # noqa: E402

SIDE, STEP, CLASSES = 64, 8, 3


def grid() -> np.ndarray:
    at = np.arange(STEP / 2, SIDE, STEP, dtype=np.float32)
    return np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, one[2] - one[0]) * max(0.0, one[3] - one[1]) for one in (a, b)]
    return shared / (areas[0] + areas[1] - shared + 1e-7)


def plainly(
    scores: np.ndarray, boxes: np.ndarray, centres: np.ndarray, objects: list[tuple[np.ndarray, int]], rules: Rules
) -> tuple[list[int], list[float]]:
    """The same for one picture, an object and a place at a time."""
    chosen: dict[int, dict[int, float]] = {}
    for number, (box, label) in enumerate(objects):
        grow = [max(0.0, (12 - (box[axis + 2] - box[axis])) / 2) for axis in (0, 1)]
        inside = [
            place
            for place, (x, y) in enumerate(centres)
            if box[0] - grow[0] < x < box[2] + grow[0] and box[1] - grow[1] < y < box[3] + grow[1]
        ]
        worth = {
            place: scores[place, label] ** rules.score_power
            * max(overlap(box, boxes[place]), 0.01) ** rules.overlap_power
            for place in inside
        }
        best = sorted(worth, key=lambda place: (-worth[place], place))[: rules.places]
        chosen[number] = {place: worth[place] for place in best}
    owner = [-1] * len(centres)
    for place in range(len(centres)):
        wanting = [number for number in chosen if place in chosen[number]]
        if wanting:
            owner[place] = max(wanting, key=lambda number: (overlap(objects[number][0], boxes[place]), -number))
    target = [0.0] * len(centres)
    for number, (box, _) in enumerate(objects):
        own = [place for place in range(len(centres)) if owner[place] == number]
        if own:
            top = max(chosen[number][place] for place in own)
            peak = max(rules.least_target, *(overlap(box, boxes[place]) for place in own))
            for place in own:
                target[place] = chosen[number][place] / top * peak
    return owner, target


def scene(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, int]]]:
    centres = grid()
    scores = random.uniform(0.001, 1, (len(centres), CLASSES)).astype(np.float32)
    reach = random.uniform(1, 24, (len(centres), 4)).astype(np.float32)
    boxes = np.concatenate((centres - reach[:, :2], centres + reach[:, 2:]), 1)
    objects = []
    for _ in range(count):
        corner = random.uniform(0, SIDE - 4, 2)
        size = random.uniform(2, 40, 2)
        box = np.concatenate((corner, np.minimum(corner + size, SIDE))).astype(np.float32)
        objects.append((box, int(random.integers(CLASSES))))
    return scores, boxes, objects


def padded(scenes: list[list[tuple[np.ndarray, int]]]) -> Objects:
    most = max(len(objects) for objects in scenes)
    boxes, labels = np.zeros((len(scenes), most, 4), np.float32), np.zeros((len(scenes), most), np.int64)
    real = np.zeros((len(scenes), most), np.bool_)
    for item, objects in enumerate(scenes):
        for number, (box, label) in enumerate(objects):
            boxes[item, number], labels[item, number], real[item, number] = box, label, True
    return Objects(torch.tensor(boxes), torch.tensor(labels), torch.tensor(real))


@pytest.mark.parametrize("rules", [Rules(), Rules(3, 1.0, 6.0, 0.0)], ids=["usual", "other"])
@pytest.mark.parametrize("seed", range(12))
def test_batches_are_assigned_as_an_object_and_a_place_at_a_time(seed: int, rules: Rules):
    random = np.random.default_rng(seed)
    scenes = [scene(random, count) for count in (int(random.integers(1, 9)), 0, int(random.integers(1, 40)))]
    scores, boxes = (torch.tensor(np.stack([one[part] for one in scenes])) for part in (0, 1))
    found = assign(scores, boxes, torch.tensor(grid()), padded([one[2] for one in scenes]), rules)
    for item, (score, box, objects) in enumerate(scenes):
        owner, target = plainly(score, box, grid(), objects, rules)
        assert found.index[item].tolist() == owner
        assert found.target[item].numpy() == pytest.approx(np.array(target), abs=1e-4)


def alone(box: list[float], scores: np.ndarray | None = None, rules: Rules | None = None, copies: int = 1) -> tuple:
    centres = torch.tensor(grid())
    said = torch.full((1, len(centres), CLASSES), 0.5) if scores is None else torch.tensor(scores)[None]
    boxes = torch.cat((centres - 8, centres + 8), 1)[None]
    return assign(said, boxes, centres, padded([[(np.array(box, np.float32), 1)] * copies]), rules), centres


def test_a_batch_without_objects_learns_that_there_are_none():
    centres = torch.tensor(grid())
    none = Objects(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.bool))
    found = assign(torch.rand(2, len(centres), CLASSES), torch.zeros(2, len(centres), 4), centres, none)
    assert (found.index == -1).all()
    assert (found.target == 0).all()


def test_an_object_smaller_than_the_grid_is_learned_by_the_places_around_it():
    found, centres = alone([15.0, 15.0, 17.0, 17.0])  # between four places
    places = centres[found.index[0] == 0]
    assert sorted(map(tuple, places.tolist())) == [(12, 12), (12, 20), (20, 12), (20, 20)]
    assert found.target.max() >= Rules().least_target


def test_of_equal_places_no_more_learn_than_wanted():
    found, _ = alone([0.0, 0.0, 64.0, 64.0], rules=Rules(places=5))
    chosen = (found.index[0] == 0).nonzero()[:, 0].tolist()
    assert len(chosen) == 5
    inner = [place for place in range(64) if 8 <= grid()[place, 0] <= 56 and 8 <= grid()[place, 1] <= 56]
    assert set(chosen) <= set(inner), "the boxes at the border overlap less"


def test_of_two_objects_in_one_place_the_first_learns_and_the_other_is_left_out():
    found, _ = alone([8.0, 8.0, 24.0, 24.0], copies=2)
    assert set(found.index[0].tolist()) == {-1, 0}


def test_the_best_place_shall_score_what_its_box_is_worth():
    found, centres = alone([4.0, 4.0, 20.0, 20.0])
    best = int(found.target[0].argmax())
    assert centres[best].tolist() == [12, 12]
    assert found.target[0, best].item() == pytest.approx(1.0, abs=1e-5)


def test_more_wanted_places_than_there_are_is_no_error():
    found, _ = alone([0.0, 0.0, 64.0, 64.0], rules=Rules(places=1000))
    assert (found.index == 0).all()
