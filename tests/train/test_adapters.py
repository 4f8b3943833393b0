"""Adapters against plain references: what is normalised, hidden, weighed and left out."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from torch import nn  # noqa: E402

from streamvision.dataset import UNLABELLED  # noqa: E402
from streamvision.engine.manifest import ModelInput  # noqa: E402
from streamvision.geometry import Letterbox  # noqa: E402
from streamvision.train.distributed import Losses  # noqa: E402
from streamvision.train.networks.classifiers import Classifier  # noqa: E402
from streamvision.train.networks.detectors import Detector  # noqa: E402
from streamvision.train.networks.pixels import Normalise, hidden  # noqa: E402
from streamvision.train.networks.segmenters import Segmenter, dice_loss  # noqa: E402
from streamvision.train.networks.task import Task  # noqa: E402
from tests.train import tiny  # noqa: E402
from tests.train.fakes import target  # noqa: E402

SPEC = ModelInput(size=(4, 4), scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
MAPS = {"scene": ("background", "disc", "square")}


class Fixed(nn.Module):
    """Says the same whatever it sees."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.answer


def boxed(boxes, labels, ignore):
    return target(
        boxes=torch.tensor(boxes, dtype=torch.float32), labels=torch.tensor(labels), ignore=torch.tensor(ignore)
    )


def test_pictures_are_normalised_as_the_manifest_says():
    picture = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4) * 5
    seen = Normalise(SPEC)(picture)
    for channel in range(3):
        for row, column in ((0, 0), (1, 3), (3, 2)):
            pixel = float(picture[0, channel, row, column])
            wanted = (pixel / 255 - SPEC.mean[channel]) / SPEC.std[channel]
            assert float(seen[0, channel, row, column]) == pytest.approx(wanted, abs=1e-5)


def test_what_does_not_count_is_hidden_but_not_what_does():
    pictures = torch.ones(2, 3, 8, 8)
    crowd = boxed([[0.5, 1.0, 6.2, 7.0], [4.0, 4.0, 8.0, 8.0]], [0, 1], [True, False])
    shown = hidden(pictures, [crowd, boxed([[0.0, 0.0, 8.0, 8.0]], [0], [False])])
    wanted = torch.ones(8, 8)
    wanted[1:7, 0:7] = 0
    wanted[4:8, 4:8] = 1
    assert torch.equal(shown[0, 0], wanted)
    assert torch.equal(shown[1], pictures[1])
    assert hidden(pictures, [target(), target()]) is pictures
    assert bool((pictures == 1).all())


def test_cross_entropy_counts_labelled_pixels_by_their_class():
    scores = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    truth[0, :2] = UNLABELLED
    weights = (1.0, 2.0, 0.5)
    network = Segmenter(Fixed(scores), Task(SPEC, (), MAPS, weights))
    targets = [target(label_maps={"scene": each}) for each in truth]
    total = weight = 0.0
    for picture in range(2):
        for row in range(4):
            for column in range(4):
                kind = int(truth[picture, row, column])
                if kind != UNLABELLED:
                    logits = scores[picture, :, row, column].double()
                    total -= weights[kind] * float(logits[kind] - torch.logsumexp(logits, 0))
                    weight += weights[kind]
    losses = network.losses(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), targets)
    assert {name: float(value) for name, value in losses.items()} == {"scene": pytest.approx(total / weight, rel=1e-5)}


def test_a_map_of_one_channel_learns_yes_and_no():
    scores = torch.tensor([[[[2.0, -1.0], [0.5, 3.0]]]])
    truth = torch.tensor([[1, 0], [UNLABELLED, 0]], dtype=torch.uint8)
    network = Segmenter(Fixed((scores,)), Task(SPEC, (), {"lane": ("background", "lane")}))
    losses = network.losses(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), [target(label_maps={"lane": truth})])
    wanted = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 3
    assert float(losses["lane"]) == pytest.approx(wanted)
    seen = network.predict(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), [Letterbox.stretch((2, 2), (2, 2))])
    assert seen[0].segmentation[0].label_map.tolist() == [[1, 0], [1, 1]]


def test_pictures_without_a_map_teach_nothing_of_it():
    network = Segmenter(Fixed(torch.zeros(2, 3, 4, 4)), Task(SPEC, (), MAPS))
    assert network.losses(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [target(), target()]) == {}
    blank = torch.full((4, 4), UNLABELLED, dtype=torch.uint8)
    network = Segmenter(Fixed(torch.zeros(1, 3, 4, 4)), Task(SPEC, (), MAPS))
    losses = network.losses(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [target(label_maps={"scene": blank})])
    assert float(losses["scene"]) == 0.0


def test_a_helper_head_counts_half():
    scores, aux = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 2, 2)
    truth = torch.randint(0, 3, (4, 4), dtype=torch.uint8)
    network = Segmenter(Fixed({"out": scores, "aux": aux}), Task(SPEC, (), MAPS))
    losses = network.losses(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [target(label_maps={"scene": truth})])
    larger = nn.functional.interpolate(aux, (4, 4), mode="bilinear")
    assert float(losses["scene_helper"]) == pytest.approx(
        0.5 * float(nn.functional.cross_entropy(larger, truth[None].long())), rel=1e-5
    )


def test_dice_is_what_the_sets_say():
    truth = torch.tensor([[[0, 0, 1, 1], [0, 0, UNLABELLED, 1]]], dtype=torch.uint8)
    right = nn.functional.one_hot(torch.tensor([[[0, 0, 1, 1], [0, 0, 2, 1]]]), 3).permute(0, 3, 1, 2) * 100.0
    assert float(dice_loss(right, truth)) == pytest.approx(0.0, abs=1e-6)
    all_zero = torch.zeros(1, 3, 2, 4)
    all_zero[:, 0] = 100.0
    # class 0: 2*4/(7+4); class 1: 0/(0+3); class 2 is not there
    assert float(dice_loss(all_zero, truth)) == pytest.approx(1 - (8 / 11 + 0) / 2, abs=1e-6)


def test_a_classifier_leaves_out_pictures_without_a_class():
    scores = torch.tensor([[2.0, 0.0]])
    network = Classifier(Fixed((scores, scores * 2)), Task(SPEC, ("disc", "square")))
    pictures = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    losses = network.losses(pictures, [target(), target(label=1)])
    assert float(losses["class"]) == pytest.approx(math.log(1 + math.exp(2)))
    assert float(losses["helper"]) == pytest.approx(0.4 * math.log(1 + math.exp(4)))
    assert network.losses(pictures, [target(), target()]) == {}


def test_a_detector_leaves_out_pictures_that_nobody_looked_at():
    torch.manual_seed(0)
    network = Detector(tiny.ssd(), Task(ModelInput(size=(64, 64)), ("disc", "square")))
    network.module.train()
    pictures = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    shown = boxed([[10.0, 10.0, 30.0, 30.0]], [1], [False])
    assert network.losses(pictures, [target(objects_known=False)] * 2) == {}
    nothing = Losses(network)(pictures, [target(objects_known=False)] * 2)
    nothing["nothing"].backward()  # hangs on the weights, so that several processes stay together
    assert nothing["nothing"].item() == 0.0
    one = network.losses(pictures, [target(objects_known=False), shown])
    assert set(one) == {"bbox_regression", "classification"}
    assert one["bbox_regression"].item() > 0


@pytest.mark.parametrize("make", [tiny.faster_rcnn, tiny.mask_rcnn, tiny.retinanet, tiny.fcos])
def test_a_picture_without_objects_teaches_what_is_nothing(make):
    torch.manual_seed(0)
    network = Detector(make(), Task(ModelInput(size=(64, 64)), ("disc", "square")))
    network.module.train()
    empty = boxed([[5.0, 5.0, 5.2, 40.0]], [0], [False])  # too thin to be learnt
    losses = network.losses(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8), [target(), empty])
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    assert sum(value.item() for value in losses.values()) > 0


def test_boxes_end_where_the_picture_ends():
    torch.manual_seed(0)
    network = Detector(tiny.faster_rcnn(), Task(ModelInput(size=(64, 64)), ("disc", "square")))
    network.module.eval()
    boxes = [Letterbox.fit((100, 50), (64, 64), centre=False), Letterbox.fit((50, 100), (64, 64), centre=False)]
    with torch.no_grad():
        seen = network.predict(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8), boxes)
    for perception, (width, height) in zip(seen, ((100, 50), (50, 100)), strict=True):
        found = perception.detections
        assert len(found)
        assert found.xyxy[:, [0, 2]].max() <= width
        assert found.xyxy[:, [1, 3]].max() <= height
        assert set(found.class_id.tolist()) <= {0, 1}
