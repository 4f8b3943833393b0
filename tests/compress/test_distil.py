"""What a student takes from a teacher: probabilities, objects, label maps; and that it helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="distillation needs the extra train")

from torch import Tensor, nn  # noqa: E402

from streamvision.compress.distil import Distilled, soft_loss, with_objects  # noqa: E402
from streamvision.engine.manifest import ModelInput  # noqa: E402
from streamvision.errors import UsageError  # noqa: E402
from streamvision.geometry import Letterbox  # noqa: E402
from streamvision.train.networks import Target  # noqa: E402
from streamvision.train.networks.classifiers import Classifier  # noqa: E402
from streamvision.train.networks.segmenters import Segmenter  # noqa: E402
from streamvision.train.networks.task import Task  # noqa: E402
from streamvision.types import Detections, Perception, Segmentation  # noqa: E402

SIDE = 16
SPEC = ModelInput(size=(SIDE, SIDE), scale=1 / 255)
CLASSES = ("red", "green", "blue")


class Fixed:
    """A teacher that says what it was told to say."""

    def __init__(
        self, labels: Sequence[str] = (), maps: Mapping[str, tuple[str, ...]] | None = None, *,
        seen: Sequence[Perception] = (), say: Any = None,
    ) -> None:  # fmt: skip
        self.labels, self.maps = tuple(labels), dict(maps or {})
        self._seen, self._say = list(seen), say

    def see(self, pictures: Tensor) -> list[Perception]:
        return self._seen

    def scores(self, pictures: Tensor) -> list[Tensor] | None:
        return None if self._say is None else [self._say(pictures)]


def blank(label: int | None = None, **maps: Tensor) -> Target:
    none = torch.zeros(0, dtype=torch.int64)
    return Target(torch.zeros(0, 4), none, none.bool(), label=label, label_maps=maps)


def detections(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    boxes, scores, ids = zip(*rows, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(ids, np.int32))


# probabilities


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5, 5)])
def test_the_divergence_is_that_of_the_definition(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 2, shape), rng.normal(0, 2, shape)

    def shares(scores: Any, temperature: float) -> Any:
        raised = np.exp(scores / temperature)
        return raised / raised.sum(1, keepdims=True)

    ours, theirs = shares(student, 3.0), shares(teacher, 3.0)
    wanted = 9.0 * (theirs * np.log(theirs / ours)).sum(1).mean()
    found = soft_loss(torch.from_numpy(student), torch.from_numpy(teacher), 3.0)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_one_channel_is_two_classes() -> None:
    student, teacher = torch.tensor([[[[0.3]]]]), torch.tensor([[[[-1.2]]]])
    pairs = [torch.cat((torch.zeros_like(each), each), 1) for each in (student, teacher)]
    assert float(soft_loss(student, teacher, 2.0)) == pytest.approx(float(soft_loss(pairs[0], pairs[1], 2.0)))


def test_equal_opinions_cost_nothing() -> None:
    scores = torch.randn(4, 3)
    assert float(soft_loss(scores, scores + 5, 2.0)) == pytest.approx(0, abs=1e-6)


# objects


BOX = (2.0, 2.0, 8.0, 8.0)


def test_what_the_teacher_is_sure_of_becomes_an_object() -> None:
    seen = detections((BOX, 0.9, 1), ((9.0, 9.0, 14.0, 14.0), 0.3, 1), ((1.0, 9.0, 5.0, 14.0), 0.1, 1))
    found = with_objects(blank(), seen, np.array([-1, 2]))
    assert found.labels.tolist() == [2, 2], "under the student's number; what nobody believes is not there"
    assert found.ignore.tolist() == [False, True], "and what it is not sure of is neither right nor wrong"
    assert found.objects_known
    assert found.boxes[0].tolist() == list(BOX)


def test_labelled_objects_are_not_doubled() -> None:
    target = Target(torch.tensor([BOX]), torch.tensor([2]), torch.tensor([False]))
    seen = detections(((2.5, 2.0, 8.0, 8.0), 0.9, 0), (BOX, 0.9, 1))
    found = with_objects(target, seen, np.array([2, 0]))
    assert found.labels.tolist() == [2, 0], "another class in the same place is another object"


def test_what_does_not_count_is_left_alone() -> None:
    target = Target(torch.tensor([BOX]), torch.tensor([2]), torch.tensor([True]))
    assert len(with_objects(target, detections((BOX, 0.9, 0)), np.array([1])).boxes) == 1


def test_classes_that_the_student_does_not_know_are_left_out() -> None:
    assert not len(with_objects(blank(), detections((BOX, 0.9, 0)), np.array([-1])).boxes)


def test_a_picture_of_nothing() -> None:
    assert not len(with_objects(blank(), Detections.empty(), np.array([0])).boxes)


# networks


def classifier(seed: int = 0) -> tuple[nn.Module, Task]:
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 3)), Task(SPEC, CLASSES)


def pictures(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator).to(torch.uint8)


def brightest(shown: Tensor) -> Tensor:
    """The truth: which colour is brightest, as clear scores."""
    return shown.float().mean((2, 3)) / 4


def accuracy(module: nn.Module) -> float:
    shown = pictures(600, 99)
    with torch.no_grad():
        return float((module(shown / 255).argmax(1) == brightest(shown).argmax(1)).float().mean())


def taught(teacher: Fixed | None) -> float:
    """Train on labels of which a half are wrong; return the accuracy on right ones."""
    module, task = classifier()
    network: Any = Classifier(module, task)
    if teacher is not None:
        network = Distilled(network, task, teacher, whole=True, origin="teacher")
    shown = pictures(96, 1)
    labels = brightest(shown).argmax(1)
    labels[::2] = torch.randint(0, 3, (48,), generator=torch.Generator().manual_seed(3))
    targets = [blank(int(each)) for each in labels]
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        torch.stack(list(network.losses(shown, targets).values())).sum().backward()
        optimiser.step()
    return accuracy(module)


def test_a_teacher_helps() -> None:
    alone, helped = taught(None), taught(Fixed(CLASSES, say=brightest))
    assert helped > alone + 0.1
    assert helped == taught(Fixed(CLASSES, say=brightest)), "and does the same every time"


def test_an_engine_teaches_by_its_probabilities() -> None:
    module, task = classifier()
    shown = pictures(5, 0)
    shares = brightest(shown).softmax(1)
    seen = [Perception(Detections.empty(), (), each.numpy()) for each in shares]
    student = Distilled(Classifier(module, task), task, Fixed(CLASSES, seen=seen), whole=True, origin="teacher")
    losses = student.losses(shown, [blank(0)] * 5)
    wanted = soft_loss(module(shown / 255), brightest(shown), 2.0)
    assert float(losses["teacher"].detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_classes_are_matched_by_name() -> None:
    module, task = classifier()
    shown, order = pictures(5, 0), [2, 0, 1]
    teacher = Fixed(
        ("none", *(CLASSES[at].upper() for at in order)),
        say=lambda each: torch.cat((torch.full((5, 1), 9.0), brightest(each)[:, order]), 1),
    )
    student = Distilled(Classifier(module, task), task, teacher, whole=True, origin="teacher")
    losses = student.losses(shown, [blank(0)] * 5)
    wanted = soft_loss(module(shown / 255), brightest(shown), 2.0)
    assert float(losses["teacher"].detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_teachers_that_know_nothing_or_too_little_are_refused() -> None:
    module, task = classifier()
    for labels, why in ((("cat",), "knows nothing"), (("red", "green"), "does not know blue")):
        with pytest.raises(UsageError, match=why):
            Distilled(Classifier(module, task), task, Fixed(labels), whole=True, origin="teacher")


def segmenter() -> tuple[nn.Module, Task]:
    torch.manual_seed(0)
    return nn.Conv2d(3, 2, 1), Task(SPEC, maps={"road": ("background", "road")})


def test_label_maps_are_filled_where_nobody_labelled_them() -> None:
    module, task = segmenter()
    theirs = np.zeros((8, 8), np.uint8)
    theirs[4:] = 1  # road below, at half the size
    letterbox = Letterbox.stretch((SIDE, SIDE), (8, 8))
    seen = Perception(Detections.empty(), (Segmentation("road", theirs, letterbox, ("road", "background")),))
    heard: list[Sequence[Target]] = []

    class Listening(Segmenter):
        def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
            heard.append(targets)
            return super().losses(pictures, targets)

    own = torch.full((SIDE, SIDE), 255, dtype=torch.uint8)
    own[:, :4] = 1
    teacher = Fixed(maps={"road": ("road", "background")}, seen=[seen, seen])
    student = Distilled(Listening(module, task), task, teacher, whole=False, origin="teacher")
    losses = student.losses(pictures(2, 0), [blank(road=own), blank()])
    assert set(losses) == {"road"}
    first, second = (each.label_maps["road"] for each in heard[0])
    assert bool((first[:, :4] == 1).all()), "what is labelled stays"
    assert first[0, 8] == 1, "the teacher's class 0 is called road"
    assert first[-1, 8] == 0
    assert torch.equal(second[:, 0], second[:, 1])
    assert second.shape == (SIDE, SIDE)


def test_scores_of_pixels_are_learnt() -> None:
    module, task = segmenter()
    truth = nn.Conv2d(3, 2, 1)
    shown = pictures(2, 0)

    def say(each: Tensor) -> Tensor:
        return truth(each / 255)

    teacher = Fixed(maps={"floor": ("background", "road")}, say=say)
    student = Distilled(Segmenter(module, task), task, teacher, whole=False, origin="teacher")
    losses = student.losses(shown, [blank(road=torch.zeros(SIDE, SIDE, dtype=torch.uint8))] * 2)
    wanted = soft_loss(module(shown / 255), say(shown), 2.0)
    assert float(losses["teacher"].detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)
