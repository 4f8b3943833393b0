"""`sv-street` in training: it can learn pictures by heart, and learns nothing where nobody said what is right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.export import recipes, registry  # noqa: E402
from streamvision.export.street.network import places  # noqa: E402
from streamvision.geometry import Letterbox, iou_matrix  # noqa: E402
from streamvision.train.networks import Target  # noqa: E402
from streamvision.train.networks.street import StreetNetwork, class_targets, padded  # noqa: E402
from streamvision.train.networks.street.assignment import Assigned  # noqa: E402
from streamvision.types import Perception  # noqa: E402
from tests.export import seen  # noqa: E402
from tests.export.networks import random_network  # noqa: E402

WIDTH, HEIGHT = 128, 96
COLOURS = ((220, 40, 40), (40, 60, 220))


def network(classes: int = 2, **changed: Any) -> StreetNetwork:
    recipe = recipes.load("sv-street").model_copy(update=changed)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = registry.build(recipe, None, classes).module
    return StreetNetwork.of(module.train(), recipe)


def drawn(random: np.random.Generator, objects: int = 3) -> tuple[np.ndarray, Target]:
    """A road with a lane line, and boxes of two colours, their class, on it."""
    picture = random.normal(110, 12, (HEIGHT, WIDTH, 3))
    drivable, lane = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    horizon, middle = int(random.integers(20, 50)), 2 * int(random.integers(20, 45))
    picture[horizon:] -= 60
    drivable[horizon:] = 1
    picture[horizon:, middle : middle + 12] = 230
    lane[horizon:, middle : middle + 12] = 1
    boxes, labels = [], []
    for number in range(objects):
        x, y = 5 + 40 * number + int(random.integers(0, 8)), int(random.integers(0, HEIGHT - 34))
        width, height = (int(side) for side in random.integers(10, 32, 2))
        label = int(random.integers(2))
        picture[y : y + height, x : x + width] = COLOURS[label]
        drivable[y : y + height, x : x + width] = lane[y : y + height, x : x + width] = 0
        boxes.append([x, y, x + width, y + height])
        labels.append(label)
    return np.clip(picture, 0, 255).astype(np.uint8).transpose(2, 0, 1), target(boxes, labels, drivable, lane)


def target(boxes: list[list[int]], labels: list[int], drivable: np.ndarray, lane: np.ndarray) -> Target:
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(labels), dtype=torch.bool),
        label_maps={"drivable": torch.from_numpy(drivable), "lane": torch.from_numpy(lane)},
    )


def batch(count: int, seed: int = 0) -> tuple[Any, list[Target]]:
    random = np.random.default_rng(seed)
    pictures, targets = zip(*(drawn(random) for _ in range(count)), strict=True)
    return torch.from_numpy(np.stack(pictures)), list(targets)


def average_precision(seen: list[Perception], targets: list[Target], label: int) -> float:
    """The area under precision over recall of one class, with boxes that overlap by half."""
    found = sorted(
        (
            (float(score), picture, box)
            for picture, each in enumerate(seen)
            for score, box, own in zip(
                each.detections.score, each.detections.xyxy, each.detections.class_id, strict=True
            )
            if own == label
        ),
        key=lambda one: -one[0],
    )
    there = [each.boxes[each.labels == label].numpy() for each in targets]
    taken, hits = [set() for _ in there], []
    for _, picture, box in found:
        overlap = iou_matrix(box[None], there[picture])[0] if len(there[picture]) else np.zeros(1)
        best = int(overlap.argmax())
        hits.append(overlap[best] >= 0.5 and best not in taken[picture])
        taken[picture].add(best)
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * np.array(hits)).sum() / sum(map(len, there)))


def mean_iou(seen: list[Perception], targets: list[Target], name: str) -> float:
    shared, either = np.zeros(2), np.zeros(2)
    for each, wanted in zip(seen, targets, strict=True):
        (found,) = [one.label_map for one in each.segmentation if one.name == name]
        truth = wanted.label_maps[name].numpy()[::2, ::2]
        for index in (0, 1):
            shared[index] += ((found == index) & (truth == index)).sum()
            either[index] += ((found == index) | (truth == index)).sum()
    return float((shared / either).mean())


def test_it_learns_pictures_by_heart():
    pictures, targets = batch(16)
    learner = network()
    optimiser = torch.optim.AdamW(learner.module.parameters(), lr=4e-3, weight_decay=0.01)
    steps = 80
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    totals = []
    for _ in range(steps):
        loss = sum(learner.losses(pictures, targets).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        totals.append(loss.item())
    learner.module.eval()
    read = learner.predict(pictures, [Letterbox.fit((WIDTH, HEIGHT), (WIDTH, HEIGHT))] * len(pictures))
    found = (
        [average_precision(read, targets, label) for label in (0, 1)],
        [mean_iou(read, targets, name) for name in ("drivable", "lane")],
    )
    assert min(found[0]) > 0.95, (found, totals[::10])
    assert min(found[1]) > 0.95, (found, totals[::10])


def gradient(learner: StreetNetwork, pictures: Any, targets: list[Target], *names: str) -> float:
    """How much the named losses move the network's weights."""
    losses = learner.losses(pictures, targets)
    learner.module.zero_grad()
    sum(losses[name] for name in names).backward()
    return float(sum(each.grad.abs().sum() for each in learner.module.parameters() if each.grad is not None))


def changed(one: Target, **given: Any) -> Target:
    return dataclasses.replace(one, **given)


def test_pictures_that_nobody_looked_at_teach_nothing():
    pictures, targets = batch(2)
    blank = [changed(each, objects_known=False, label_maps={}) for each in targets]
    learner = network()
    losses = learner.losses(pictures, blank)
    assert set(losses) == {"class", "box", "drivable", "lane"}
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)
    assert gradient(learner, pictures, blank, *losses) == 0.0


def test_one_picture_that_nobody_looked_at_does_not_change_what_the_other_teaches():
    pictures, targets = batch(2)
    learner = network()
    learner.module.eval()  # a normalisation would mix the two
    both = learner.losses(pictures, [targets[0], changed(targets[1], objects_known=False, label_maps={})])
    alone = learner.losses(pictures[:1], targets[:1])
    for name, loss in both.items():
        assert loss.item() == pytest.approx(alone[name].item(), rel=1e-4)


def test_a_picture_without_objects_teaches_that_there_are_none():
    pictures, targets = batch(2)
    empty = changed(
        targets[0],
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        ignore=torch.zeros(0, dtype=torch.bool),
    )
    learner = network()
    losses = learner.losses(pictures, [empty, empty])
    assert losses["box"].item() == 0
    assert losses["class"].item() > 0
    assert gradient(learner, pictures, [empty, empty], "class") > 0


def test_scores_of_its_class_inside_an_ignored_object_are_neither_right_nor_wrong():
    box = torch.tensor([[0.0, 0.0, 64.0, 96.0]])
    target = Target(box, torch.tensor([1]), torch.tensor([True]))
    centres = places((WIDTH, HEIGHT))[0]
    none = padded([target])
    assert none.labels.shape == (1, 0)
    index = torch.full((1, len(centres)), -1)
    wanted, counts = class_targets(Assigned(index, torch.zeros(1, len(centres))), none, [target], centres, 3)
    inside = centres[:, 0] <= 64
    assert (wanted == 0).all()
    assert torch.equal(counts[0, :, 1], ~inside)
    assert counts[0, :, [0, 2]].all()


def test_an_object_inside_an_ignored_one_is_learned_all_the_same():
    boxes = torch.tensor([[0.0, 0.0, 64.0, 96.0], [16.0, 16.0, 48.0, 48.0]])
    target = Target(boxes, torch.tensor([1, 1]), torch.tensor([True, False]))
    centres = places((WIDTH, HEIGHT))[0]
    index = torch.full((1, len(centres)), -1)
    index[0, 18] = 0
    wanted, counts = class_targets(Assigned(index, (index == 0) * 0.7), padded([target]), [target], centres, 3)
    assert wanted[0, 18].tolist() == pytest.approx([0, 0.7, 0])
    assert counts[0, 18, 1]
    assert not counts[0, 17, 1]


def test_before_training_every_class_is_rare_and_the_losses_are_of_one_order():
    pictures, targets = batch(4)
    learner = network(8)
    logits = learner.module(pictures.float() / 255)[0]
    assert 0.003 < float(logits.detach().sigmoid().mean()) < 0.03
    losses = {name: loss.item() for name, loss in learner.losses(pictures, targets).items()}
    assert all(0.1 < loss < 30 for loss in losses.values()), losses


def test_half_precision_changes_the_losses_little():
    pictures, targets = batch(2)
    learner = network()
    whole = learner.losses(pictures, targets)
    with torch.autocast("cpu", torch.bfloat16):
        half = learner.losses(pictures, targets)
    for name, loss in half.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(whole[name].item(), rel=0.1)
    assert gradient(learner, pictures, targets, *half) > 0


@pytest.mark.parametrize("size", [(32, 32), (96, 160)])
def test_every_size_of_multiples_of_32_will_do(size: tuple[int, int]):
    height, width = size
    one = changed(
        batch(1)[1][0],
        boxes=torch.tensor([[1.0, 1.0, 20.0, 20.0]]),
        labels=torch.tensor([0]),
        ignore=torch.tensor([False]),
        label_maps={"lane": torch.ones(size, dtype=torch.uint8)},
    )
    losses = network().losses(torch.zeros(2, 3, height, width, dtype=torch.uint8), [one, one])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["drivable"].item() == 0 < losses["lane"].item()


def test_without_maps_it_learns_objects_alone():
    pictures, targets = batch(2)
    learner = network(2, segmentation={})
    assert set(learner.losses(pictures, targets)) == {"class", "box"}


def test_in_source_px_it_sees_what_the_exported_network_sees(tmp_path: Path):
    recipe = recipes.load("sv-street")
    state, size = tmp_path / "state.pth", (WIDTH, HEIGHT)
    module = random_network(recipe, size, None)
    torch.save(module.state_dict(), state)
    path = registry.export(registry.Request(recipe, tmp_path, "sv-street", size, state))
    shown = seen.pictures(size, 2)
    (wanted,) = seen.perceived(path, "onnxruntime", [shown])
    pictures = torch.from_numpy(np.stack(shown).transpose(0, 3, 1, 2).copy())
    found = StreetNetwork.of(module, recipe).predict(pictures, [Letterbox.stretch((256, 96), size)] * 2)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(theirs.detections) > 3
        half = np.array([0.5, 1, 0.5, 1], np.float32)
        twin = dataclasses.replace(ours.detections, xyxy=ours.detections.xyxy * half)
        seen.assert_same(twin, theirs.detections)
        for one, other in zip(ours.segmentation, theirs.segmentation, strict=True):
            assert one.name == other.name
            assert (one.label_map == other.label_map).mean() > 0.99


def test_maps_that_are_not_the_networks_own_are_refused():
    module = network().module
    with pytest.raises(ValueError, match="makes maps of"):
        StreetNetwork(module, {"drivable": ("background", "drivable")})
