"""What a training says of itself, and to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step: its losses by name, learning rate, norm of the gradients, and how much of the training is done."""

    epoch: int
    step: int
    losses: Mapping[str, float]
    lr: float
    norm: float
    progress: float
    elapsed_s: float
    pictures: int

    @property
    def loss(self) -> float:
        """The sum that is minimised."""
        return sum(self.losses.values())


@dataclass(frozen=True, slots=True)
class EpochDone:
    """One epoch, counted from 0: mean losses, and the figures of an evaluation if there was one."""

    epoch: int
    step: int
    elapsed_s: float
    lr: float
    losses: Mapping[str, float]
    figures: Mapping[str, float] = field(default_factory=dict)
    best: bool = False


class Reporter(Protocol):
    """Somebody who is told."""

    def stepped(self, step: Stepped) -> None:
        """One step is done."""
        ...

    def epoch_done(self, epoch: EpochDone) -> None:
        """One epoch is done and, where that was its turn, evaluated."""
        ...

    def warned(self, text: str) -> None:
        """Something happened that the user should know."""
        ...


@dataclass(frozen=True, slots=True)
class Everybody:
    """Tells several reporters."""

    reporters: Sequence[Reporter]

    def stepped(self, step: Stepped) -> None:
        """Tell of a step."""
        for each in self.reporters:
            each.stepped(step)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Tell of an epoch."""
        for each in self.reporters:
            each.epoch_done(epoch)

    def warned(self, text: str) -> None:
        """Tell of a warning."""
        for each in self.reporters:
            each.warned(text)
