"""A tiny network, a tiny set of pictures and listeners, for tests of what surrounds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from streamvision.dataset import Example
from streamvision.geometry import Letterbox
from streamvision.train.batches import Batch
from streamvision.train.networks import Target
from streamvision.train.reports import EpochDone, Stepped
from streamvision.types import Perception

SIDE = 8


class Brightness:
    """Learns a picture's mean brightness, with a normalisation and a dropout, so that hidden state would show."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 1),
        )  # fmt: skip

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        seen = pictures.float() / 255
        wanted = torch.tensor([float(target.label or 0) for target in targets]) / 255
        return {"square": ((self.module(seen)[:, 0] - wanted) ** 2).mean()}

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        return [Perception.of_nothing() for _ in letterboxes]


@dataclass
class Pictures:
    """Random pictures in an order that seed and epoch decide; ``poison``: batches (epoch, number) without numbers."""

    count: int = 12
    batch: int = 4
    seed: int = 0
    rank: int = 0
    size: int = 1
    poison: frozenset[tuple[int, int]] = frozenset()
    seen: list[tuple[int, int, tuple[str, ...]]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count // (self.batch * self.size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.seed * 1000 + number)).tolist()
        order = order[self.rank :: self.size]
        for index in range(first, len(self)):
            chosen = order[index * self.batch : (index + 1) * self.batch]
            batch = self._batch(chosen)
            self.seen.append((number, index, tuple(example.path.name for example in batch.examples)))
            if (number, index) in self.poison:
                batch.pictures.fill_(float("nan"))
            yield batch

    def _batch(self, chosen: Sequence[int]) -> Batch:
        pictures = torch.stack([self._picture(index) for index in chosen])
        targets = tuple(target(label=int(picture.mean())) for picture in pictures)
        box = Letterbox.stretch((SIDE, SIDE), (SIDE, SIDE))
        examples = tuple(Example(Path(f"{index}.png"), (SIDE, SIDE)) for index in chosen)
        return Batch(pictures, targets, (box,) * len(chosen), examples)

    def _picture(self, index: int) -> Tensor:
        base = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(index)) * 20
        return base + 10.0 * index


def target(**known: object) -> Target:
    nothing = {
        "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
        "ignore": torch.zeros(0, dtype=torch.bool),
    }  # fmt: skip
    return Target(**{**nothing, **known})  # type: ignore[arg-type]


@dataclass
class Listener:
    """Keeps what it is told."""

    steps: list[Stepped] = field(default_factory=list)
    epochs: list[EpochDone] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def stepped(self, step: Stepped) -> None:
        self.steps.append(step)

    def epoch_done(self, epoch: EpochDone) -> None:
        self.epochs.append(epoch)

    def warned(self, text: str) -> None:
        self.warnings.append(text)
