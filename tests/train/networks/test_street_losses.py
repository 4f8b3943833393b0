"""Losses of `sv-street`: their gradients, and their values beside slow and plain ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.train.networks.street import boxes, losses  # noqa: E402

REPEATS = 40


def random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corners = random.uniform(0, 30, (count, 2))
    return np.concatenate((corners, corners + random.uniform(1, 30, (count, 2))), 1)


def plain_iou(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """IoU, and the share of the hull that neither covers."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return wide * high / union, (hull - union) / hull


def test_overlaps_and_giou_are_those_of_the_definition():
    random = np.random.default_rng(0)
    first, second = random_boxes(random, REPEATS), random_boxes(random, REPEATS)
    second[:3] = first[:3]
    second[3] = first[3] + 100
    table = boxes.overlaps(torch.tensor(first)[:, None], torch.tensor(second)).numpy()
    found = boxes.giou_loss(torch.tensor(first), torch.tensor(second)).numpy()
    for row, a in enumerate(first):
        iou, empty = plain_iou(a, second[row])
        assert found[row] == pytest.approx(1 - iou + empty, abs=1e-6)
        assert table[row] == pytest.approx([plain_iou(a, b)[0] for b in second], abs=1e-6)


def test_boxes_without_area_have_a_finite_loss_and_gradient():
    flat = torch.tensor([[5.0, 5.0, 5.0, 5.0]], requires_grad=True)
    loss = boxes.giou_loss(flat, torch.tensor([[5.0, 5.0, 5.0, 5.0]])).sum()
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(flat.grad).all()


def test_the_gradient_of_the_box_loss():
    random = np.random.default_rng(1)
    first, second = (torch.tensor(random_boxes(random, 12)) for _ in range(2))
    assert torch.autograd.gradcheck(lambda one: boxes.giou_loss(one, second), first.requires_grad_())
    each, weights = torch.rand(5, dtype=torch.float64, requires_grad=True), torch.rand(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda one: losses.box_loss(one, weights), each)


def plain_entropy(logit: float, target: float) -> float:
    chance = 1 / (1 + math.exp(-logit))
    return -target * math.log(chance) - (1 - target) * math.log(1 - chance)


def test_the_class_loss_is_the_entropy_of_what_counts():
    random = np.random.default_rng(2)
    logits, targets = random.normal(0, 3, (2, 5, 3)), random.uniform(0, 1, (2, 5, 3)) * (random.random((2, 5, 3)) < 0.3)
    counts = random.random((2, 5, 3)) < 0.8
    wanted = sum(plain_entropy(logits[at], targets[at]) for at in np.ndindex(2, 5, 3) if counts[at]) / max(
        1.0, targets.sum()
    )
    found = losses.class_loss(torch.tensor(logits), torch.tensor(targets), torch.tensor(counts))
    assert found.item() == pytest.approx(wanted)
    inputs = torch.tensor(logits, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda one: losses.class_loss(one, torch.tensor(targets), torch.tensor(counts)), inputs
    )


def test_logits_of_any_size_have_a_finite_class_loss():
    logits = torch.tensor([[[1e4, -1e4]]], requires_grad=True)
    loss = losses.class_loss(logits, torch.tensor([[[0.0, 1.0]]]), torch.tensor(True))
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad.tolist() == [[[1.0, -1.0]]]


def label_maps(random: np.random.Generator, classes: int) -> np.ndarray:
    maps = random.integers(0, classes, (2, 8, 12)).astype(np.uint8)
    maps[random.random(maps.shape) < 0.3] = losses.UNLABELLED
    maps[0, :4, :4] = losses.UNLABELLED
    return maps


def plain_shares(maps: np.ndarray, classes: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    wanted = [1] if classes == 2 else list(range(classes))
    batch, height, width = maps.shape[0], maps.shape[1] // step, maps.shape[2] // step
    shares, known = np.zeros((batch, len(wanted), height, width)), np.zeros((batch, 1, height, width))
    for item, row, column in np.ndindex(batch, height, width):
        block = maps[item, row * step : (row + 1) * step, column * step : (column + 1) * step].ravel()
        seen = block[block != losses.UNLABELLED]
        known[item, 0, row, column] = len(seen) / len(block)
        for channel, index in enumerate(wanted):
            shares[item, channel, row, column] = (seen == index).mean() if len(seen) else 0
    return shares, known


@pytest.mark.parametrize("classes", [2, 3])
def test_a_coarser_raster_says_which_share_of_it_is_which_class(classes: int):
    maps = label_maps(np.random.default_rng(3), classes)
    found = losses.shares(torch.tensor(maps), classes, (4, 6))
    for ours, wanted in zip(found, plain_shares(maps, classes, 2), strict=True):
        assert np.abs(ours.numpy() - wanted).max() < 1e-6


def plain_dice(chances: np.ndarray, target: np.ndarray, known: np.ndarray) -> float:
    found = []
    for channel in range(chances.shape[1]):
        one, other, counts = chances[:, channel], target[:, channel], known[:, 0]
        found.append(1 - (2 * (one * other * counts).sum() + 1) / (((one + other) * counts).sum() + 1))
    return float(np.mean(found))


def test_the_loss_of_a_map_of_two_classes():
    random = np.random.default_rng(4)
    logits = random.normal(0, 2, (2, 1, 4, 6))
    target, known = plain_shares(label_maps(random, 2), 2, 2)
    there, total = (target * known).sum(), known.sum()
    rarity = min(losses._MOST_WEIGHT, max(1.0, math.sqrt((total - there) / max(1, there))))
    weights = known * (1 + (rarity - 1) * target)
    entropy = (
        sum(weights[at] * plain_entropy(logits[at], target[at]) for at in np.ndindex(logits.shape)) / weights.sum()
    )
    wanted = entropy + plain_dice(1 / (1 + np.exp(-logits)), target, known)
    found = losses.map_loss(torch.tensor(logits), torch.tensor(target), torch.tensor(known))
    assert found.item() == pytest.approx(wanted)


def test_the_loss_of_a_map_of_more_classes():
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (2, 3, 4, 6))
    target, known = plain_shares(label_maps(random, 3), 3, 2)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = (-(target * np.log(chances)).sum(1, keepdims=True) * known).sum() / known.sum()
    found = losses.map_loss(torch.tensor(logits), torch.tensor(target), torch.tensor(known))
    assert found.item() == pytest.approx(entropy + plain_dice(chances, target, known))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_of_the_map_loss(channels: int):
    random = np.random.default_rng(6)
    target, known = (
        torch.tensor(each) for each in plain_shares(label_maps(random, max(2, channels)), max(2, channels), 2)
    )
    logits = torch.tensor(random.normal(0, 2, (2, channels, 4, 6)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: losses.map_loss(one, target, known), logits)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_nobody_labelled_teaches_nothing(channels: int):
    random = np.random.default_rng(7)
    classes = max(2, channels)
    maps = label_maps(random, classes)
    logits = torch.tensor(random.normal(0, 2, (2, channels, 4, 6)), requires_grad=True)
    losses.map_loss(logits, *losses.shares(torch.tensor(maps), classes, (4, 6))).backward()
    unknown = torch.tensor(plain_shares(maps, classes, 2)[1][:, 0] == 0)
    assert unknown.any()
    assert (logits.grad.abs().sum(1)[unknown] == 0).all()
    assert (logits.grad.abs().sum(1)[~unknown] > 0).all()


def test_a_map_without_any_label_costs_nothing():
    logits = torch.randn(2, 1, 4, 6, requires_grad=True)
    blank = torch.full((2, 8, 12), losses.UNLABELLED, dtype=torch.uint8)
    loss = losses.map_loss(logits, *losses.shares(blank, 2, (4, 6)))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
