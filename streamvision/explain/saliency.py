"""A saliency map, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass

from streamvision.geometry import Letterbox
from streamvision.types import Float32


@dataclass(frozen=True, slots=True, eq=False)
class Saliency:
    """What a score rests on.

    values (h,w) float32: one for each pixel of the picture's part of the network's input, the larger the more the score
    rests on it. ``score`` is that of the picture as it is; ``letterbox`` maps model px to source px. ``method``:
    ``drise``, ``rise`` or ``gradcam``; for the first two, values are by how much the score is larger when the pixel is
    shown than when it is hidden, ``masks`` is how many were tried, and ``agreement`` how well the map would agree with
    one of as many other masks, 1 for the same map, 0 for noise.
    """

    method: str
    values: Float32
    letterbox: Letterbox
    score: float
    masks: int = 0
    agreement: float | None = None
