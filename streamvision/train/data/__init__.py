"""From labelled pictures to batches: decoding in several processes, augmentation, an order that seeds decide."""

from __future__ import annotations

from streamvision.train.augmentation import Augmentation
from streamvision.train.batches import Batch
from streamvision.train.data.batches import Batches

__all__ = ["Augmentation", "Batch", "Batches"]
