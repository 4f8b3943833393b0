"""Networks that can be trained, each behind the same two questions: what are the losses, and what do you see.

The module itself comes from `streamvision.export.registry.build`, so that what is trained is what is exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from streamvision.geometry import Letterbox
from streamvision.types import Perception


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What one picture of a batch shows, in model px.

    boxes (N,4) float32 xyxy; labels (N,) int64 into the set's classes, without a background; ignore (N,) bool;
    ``objects_known``: False where nobody looked for objects, so that finding none is not an error. masks (N,h,w) bool
    or None. label_maps: by name (h,w) uint8, 255 where unlabelled. label: the class of the picture as a whole.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    objects_known: bool = True
    masks: Tensor | None = None
    label_maps: Mapping[str, Tensor] = field(default_factory=dict)
    label: int | None = None


class Network(Protocol):
    """A network in training. ``module`` holds the weights, on any device and in any mode."""

    module: nn.Module

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return named scalar losses, whose sum is minimised.

        pictures: (B,3,h,w) uint8 RGB on the module's device; normalised here.
        """
        ...

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return what the network sees, in source px; pictures as for `losses`; the module is in evaluation mode."""
        ...
