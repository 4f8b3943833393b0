"""Run by torchrun: trains a network without hidden state in each process, and writes its weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from streamvision.train import optimiser, precision
from streamvision.train.checkpoint import Parts
from streamvision.train.distributed import connected, crew_of
from streamvision.train.ema import Ema
from streamvision.train.freezing import Freezing
from streamvision.train.loop import Loop, Options
from streamvision.train.schedule import Budget, Schedule
from tests.train.fakes import Brightness, Listener, Pictures

CPU = torch.device("cpu")


class TwoHeads(Brightness):
    """Each picture teaches one of two heads, by its brightness, so that a batch may teach one head alone."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))

    def losses(self, pictures, targets):
        seen = self.module(pictures.float() / 255)
        dark = torch.tensor([float(target.label or 0) < 60 for target in targets])
        wanted = torch.tensor([float(target.label or 0) for target in targets]) / 255
        heads = {"dark": (seen[:, 0] - wanted) ** 2 * dark, "bright": (seen[:, 1] - wanted) ** 2 * ~dark}
        return {name: loss.mean() for name, loss in heads.items() if bool(loss.any())}


def train(folder: Path) -> None:
    """Train in as many processes as there are; each writes its weights into the folder."""
    crew = crew_of()
    network = TwoHeads()
    pictures = Pictures(count=16, batch=8 // crew.size, rank=crew.rank, size=crew.size)
    parts = Parts(
        network.module, Ema(network.module, 0.9),
        optimiser.build(network.module, "sgd", lr=0.1, momentum=0.9, weight_decay=0.0),
        precision.scaler_for("fp32", CPU),
    )  # fmt: skip
    options = Options(lr=0.1, budget=Budget(12), schedule=Schedule(warmup=2), seed=0, clip_norm=1.0)
    with connected(crew, CPU):
        loop = Loop(
            network, pictures, parts, options, evaluate=lambda: {"score": 1.0}, reporter=Listener(), folder=folder,
            crew=crew, device=CPU, freezing=Freezing(network.module),
        )  # fmt: skip
        at = loop.run()
    assert at.step == 12
    torch.save(network.module.state_dict(), folder / f"{crew.size}-{crew.rank}.pth")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
