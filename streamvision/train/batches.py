"""What the loop takes from the data, and nothing more: batches in an order that a seed, an epoch and a rank decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from streamvision.dataset import Example
from streamvision.geometry import Letterbox
from streamvision.train.networks import Target


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Pictures (B,3,h,w) uint8 RGB in the network's size, what they show, how they were fitted, where they are from."""

    pictures: Tensor
    targets: tuple[Target, ...]
    letterboxes: tuple[Letterbox, ...]
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.targets)


class Batches(Protocol):
    """One set of pictures, cut into batches."""

    def __len__(self) -> int:
        """Return how many batches an epoch has, for this process."""
        ...

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from number ``first`` on.

        Order and augmentation depend on the seed, the epoch and the place in it alone, so that training can go on in
        the middle of an epoch as if it had never ended.
        """
        ...
