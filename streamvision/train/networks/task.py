"""What a network is to learn, as its adapter needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamvision.engine.manifest import ModelInput


@dataclass(frozen=True, slots=True)
class Task:
    """``input``: what the network sees, at its size. ``classes``: names of objects or of pictures, no background.

    ``maps``: the classes of each label map that the network makes, in its order. ``class_weights``: how much a mistake
    counts, for each class of ``classes`` or, for a network that makes one map, of that map; None: all alike.
    """

    input: ModelInput
    classes: tuple[str, ...] = ()
    maps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    dice: float = 0.0
