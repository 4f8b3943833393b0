"""Every kind of network learns sixteen pictures by heart: losses, targets, weights and figures fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")
pytest.importorskip("pycocotools", reason="average precision needs the extra eval")

from streamvision.dataset import Dataset, read  # noqa: E402
from streamvision.engine.manifest import ModelInput  # noqa: E402
from streamvision.train import optimiser, precision  # noqa: E402
from streamvision.train.augmentation import Augmentation  # noqa: E402
from streamvision.train.checkpoint import Parts  # noqa: E402
from streamvision.train.data import Batches  # noqa: E402
from streamvision.train.distributed import Crew  # noqa: E402
from streamvision.train.ema import Ema  # noqa: E402
from streamvision.train.freezing import Freezing  # noqa: E402
from streamvision.train.loop import Loop, Options  # noqa: E402
from streamvision.train.networks.classifiers import Classifier  # noqa: E402
from streamvision.train.networks.detectors import Detector  # noqa: E402
from streamvision.train.networks.segmenters import Segmenter  # noqa: E402
from streamvision.train.networks.task import Task  # noqa: E402
from streamvision.train.schedule import Budget, Schedule  # noqa: E402
from streamvision.train.validation import Validation, names_of  # noqa: E402
from tests.train import shapes, tiny  # noqa: E402
from tests.train.fakes import Listener  # noqa: E402

CPU = torch.device("cpu")
ENOUGH = 0.95
NORMALISED = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass
class _Until(Listener):
    """Ends a training as soon as it is good enough."""

    loop: Loop | None = None
    best: float = 0.0

    def epoch_done(self, epoch) -> None:
        self.best = max([self.best, *list(epoch.figures.values())[:1]])
        if self.best > ENOUGH:
            self.loop.stop()


def learnt(
    folder: Path, network, task: Task, data: Dataset, metric: str, *, steps: int, lr: float, masks: bool = False
) -> float:
    """Return the best figure that a network reaches on the pictures that it is trained on."""
    torch.manual_seed(0)
    size = task.input.size
    batches = Batches(data, size, 8, Augmentation(preset="none"), masks=masks)
    whole = isinstance(network, Classifier)
    validation = Validation(network, Batches(data, size, 8), data, names_of(task, whole=whole), metric, CPU, "fp32")
    listener = _Until()
    parts = Parts(
        network.module, Ema(network.module, 0.9),
        optimiser.build(network.module, "adamw", lr=lr, momentum=0.9, weight_decay=0.01),
        precision.scaler_for("fp32", CPU),
    )  # fmt: skip
    options = Options(lr=lr, budget=Budget(steps), schedule=Schedule(warmup=5), seed=0, clip_norm=5.0, evaluate_every=5)
    listener.loop = Loop(
        network, batches, parts, options, evaluate=validation, reporter=listener, folder=folder, crew=Crew(),
        device=CPU, freezing=Freezing(network.module),
    )  # fmt: skip
    listener.loop.run()
    return listener.best


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read(shapes.draw(tmp_path_factory.mktemp("shapes") / "set", side=64))


@pytest.fixture(scope="module")
def whole_pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read(shapes.draw_classes(tmp_path_factory.mktemp("whole") / "set", side=64))


@pytest.mark.parametrize(
    ("make", "metric", "lr", "steps"),
    [
        (tiny.faster_rcnn, "AP50", 3e-3, 160),
        (tiny.mask_rcnn, "mask_AP50", 3e-3, 160),
        (tiny.ssd, "AP50", 3e-3, 160),
        (tiny.ssdlite, "AP50", 3e-3, 160),
        (tiny.retinanet, "AP50", 5e-3, 160),
        (tiny.plain_retinanet, "AP50", 5e-3, 500),
        (tiny.fcos, "AP50", 5e-3, 160),
    ],
)
def test_a_detector_learns_its_pictures(tmp_path: Path, pictures: Dataset, make, metric: str, lr: float, steps: int):
    torch.manual_seed(0)
    task = Task(ModelInput(size=(64, 64), **NORMALISED), pictures.classes)
    reached = learnt(tmp_path, Detector(make(), task), task, pictures, metric, steps=steps, lr=lr, masks=True)
    assert reached > ENOUGH


@pytest.mark.parametrize(
    "make",
    [tiny.unet, tiny.pspnet, tiny.deeplabv3plus, tiny.deeplabv3, tiny.lraspp, tiny.fcn],
)
def test_a_segmenter_learns_its_pictures(tmp_path: Path, pictures: Dataset, make):
    torch.manual_seed(0)
    task = Task(ModelInput(size=(64, 64), **NORMALISED), (), pictures.maps)
    reached = learnt(tmp_path, Segmenter(make(), task), task, pictures, "mIoU", steps=160, lr=5e-3)
    assert reached > ENOUGH


@pytest.mark.parametrize(
    "make", [tiny.vgg16, tiny.resnet, tiny.mobilenetv3, pytest.param(tiny.inception, marks=pytest.mark.slow)]
)
def test_a_classifier_learns_its_pictures(tmp_path: Path, whole_pictures: Dataset, make):
    torch.manual_seed(0)
    side = 80 if make is tiny.inception else 64
    task = Task(ModelInput(size=(side, side), **NORMALISED), whole_pictures.classes)
    reached = learnt(tmp_path, Classifier(make(), task), task, whole_pictures, "top1", steps=80, lr=1e-3)
    assert reached > ENOUGH
