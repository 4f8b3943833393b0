"""Proposals and the heads' answers are sifted step by step as torchvision does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamvision.engine.proposals import ProposalOptions, nms_within, propose, refine, widened
from streamvision.engine.two_stage_results import TwoStageOptions, boxed_masks, select
from streamvision.types import Float32

WINDOW = (0.0, 0.0, 160.0, 96.0)
LEVELS = (600, 150, 30)


def boxes_around(rng: np.random.Generator, count: int) -> Float32:
    centre, half = rng.uniform(-10, 170, (count, 2)) * (1, 0.6), rng.exponential(12, (count, 2))
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def rpn(options: ProposalOptions) -> Any:
    pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'streamvision[train]'")
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

    few, many = {"training": 1, "testing": options.candidates}, {"training": 1, "testing": options.keep}
    network = RegionProposalNetwork(
        AnchorGenerator(), RPNHead(4, 3), 0.7, 0.3, 8, 0.5, few, many, options.iou, options.min_score
    )
    network.min_size = options.min_side
    return network.eval()


@pytest.mark.parametrize(
    "options",
    [
        ProposalOptions(),
        ProposalOptions(candidates=40, keep=25),
        ProposalOptions(iou=0.3),
        ProposalOptions(min_score=0.6),
        ProposalOptions(min_side=16),
        ProposalOptions(min_score=0.999),
    ],
    ids=str,
)
def test_proposals_are_those_of_torchvision(options: ProposalOptions):
    network = rpn(options)
    import torch

    rng = np.random.default_rng(3)
    objectness = [rng.normal(0, 2, count).astype(np.float32) for count in LEVELS]
    boxes = [boxes_around(rng, count) for count in LEVELS]
    together = torch.from_numpy(np.concatenate(boxes))[None], torch.from_numpy(np.concatenate(objectness))[None]
    expected = network.filter_proposals(*together, [(96, 160)], list(LEVELS))[0][0].numpy()
    found = propose(objectness, boxes, WINDOW, options)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (len(found) > 20) == (options.min_score < 0.9)


def test_boxes_are_cut_off_at_the_picture_and_not_at_the_padding():
    boxes = [np.asarray([[10, 10, 300, 300], [0, 0, 18, 60], [100, 80, 120, 90]], np.float32)]
    found = propose([np.asarray([3, 2, 1], np.float32)], boxes, (20, 5, 84, 48), ProposalOptions())
    assert found.tolist() == [[20, 10, 84, 48]]


def test_a_level_without_a_good_box_and_a_network_without_any():
    nothing = np.empty(0, np.float32), np.empty((0, 4), np.float32)
    one = np.asarray([1.0], np.float32), np.asarray([[1, 2, 30, 40]], np.float32)
    for levels, count in (([nothing], 0), ([nothing, one], 1)):
        objectness, boxes = (list(each) for each in zip(*levels, strict=True))
        assert propose(objectness, boxes, WINDOW, ProposalOptions()).shape == (count, 4)


def test_logits_beyond_what_exp_can_take_are_sure():
    boxes = np.asarray([[0, 0, 9, 9], [20, 20, 40, 40]], np.float32)
    found = propose([np.asarray([-2000, 2000], np.float32)], [boxes], WINDOW, ProposalOptions(min_score=0.5))
    assert found.tolist() == [[20, 20, 40, 40]]


def test_deltas_move_boxes_as_torchvision_says():
    pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'streamvision[train]'")
    import torch
    from torchvision.models.detection._utils import BoxCoder

    rng = np.random.default_rng(4)
    boxes, deltas = boxes_around(rng, 50), rng.normal(0, 2, (50, 4)).astype(np.float32)
    deltas[0, 2:] = 1000  # grows by 62.5 at most
    expected = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(torch.from_numpy(deltas), torch.from_numpy(boxes))
    np.testing.assert_allclose(refine(boxes, deltas), expected.numpy(), rtol=1e-5, atol=1e-3)


def test_boxes_compete_within_their_group_only():
    box = np.asarray([[0, 0, 10, 10]] * 4, np.float32)
    score = np.asarray([0.5, 0.9, 0.7, 0.8], np.float32)
    assert nms_within(np.asarray([0, 1, 0, 1]), box, score, 0.5).tolist() == [1, 2]


def heads(options: TwoStageOptions) -> Any:
    pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'streamvision[train]'")
    from torchvision.models.detection.roi_heads import RoIHeads

    weights = (10.0, 10.0, 5.0, 5.0)
    return RoIHeads(None, None, None, 0.5, 0.5, 8, 0.5, weights, options.min_score, options.iou, options.max_detections)


@pytest.mark.parametrize(
    "options",
    [TwoStageOptions(min_score=0.05), TwoStageOptions(min_score=0.5, iou=0.2), TwoStageOptions(max_detections=7)],
    ids=["torchvision", "strict", "few"],
)
def test_detections_are_those_of_torchvision(options: TwoStageOptions):
    reference = heads(options)
    import torch

    rng = np.random.default_rng(6)
    regions = boxes_around(rng, 80)
    logits, deltas = rng.normal(0, 2, (80, 4)).astype(np.float32), rng.normal(0, 1, (80, 16)).astype(np.float32)
    boxes, scores, labels = reference.postprocess_detections(
        torch.from_numpy(logits), torch.from_numpy(deltas), [torch.from_numpy(regions)], [(96, 160)]
    )
    shares = torch.softmax(torch.from_numpy(logits), -1).numpy()
    found = select(shares, deltas.reshape(-1, 4, 4) / np.asarray([10, 10, 5, 5], np.float32), regions, WINDOW, options)
    assert len(found.score) == len(scores[0]) > 5
    np.testing.assert_allclose(found.xyxy, boxes[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(found.score, scores[0].numpy(), atol=1e-6)
    assert (found.class_id + 1).tolist() == labels[0].tolist()


def test_moving_regions_get_a_margin_within_the_picture():
    found = np.asarray([[10, 20, 30, 60], [150, 90, 170, 100], [200, 200, 220, 220]], np.float32)
    assert widened(found, 0.5, WINDOW).tolist() == [[0, 0, 40, 80], [140, 85, 160, 96]]


def test_masks_end_within_their_raster_and_cover_whole_pixels():
    masks = boxed_masks(np.ones((1, 4, 4), np.float32), np.asarray([[10, 20, 18.4, 28]], np.float32))
    assert masks.values.shape == (1, 6, 6)
    assert (masks.values[0, 1:-1, 1:-1] == 0.5).all()
    assert (masks.values[0, [0, -1]] == -0.5).all()
    assert (masks.values[0, :, [0, -1]] == -0.5).all()
    assert masks.region.tolist() == [[7, 18, 21, 31]]
