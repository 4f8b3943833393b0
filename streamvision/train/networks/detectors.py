"""torchvision's detectors in training: Faster and Mask R-CNN, SSD, SSDlite, RetinaNet, FCOS, with their own losses.

Their own resizing and normalising is taken out: pictures come in the network's size, fitted and normalised exactly as
the exported network will get them. Class 0 is the background, in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from streamvision.engine.decoders import to_detections
from streamvision.engine.two_stage_results import to_perception
from streamvision.geometry import Letterbox
from streamvision.train.networks import Target
from streamvision.train.networks.pixels import Normalise, hidden
from streamvision.train.networks.task import Task
from streamvision.types import Perception

MIN_SCORE = 0.001
"""Evaluation asks for the whole curve, so nearly everything is kept."""
_MAX_DETECTIONS = 100
_MIN_SIDE = 1.0
"""Model px; a thinner box cannot be learned from, and torchvision refuses empty ones."""


class Detector:
    """A `Network` around a torchvision detector."""

    def __init__(self, module: nn.Module, task: Task) -> None:
        self.module = module
        self.min_score = MIN_SCORE
        self._normalise = Normalise(task.input)
        self._masks = hasattr(module, "roi_heads") and module.roi_heads.has_mask()
        module.transform = Untouched()

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the module's own losses; pictures that nobody looked for objects in are left out."""
        known = [number for number, target in enumerate(targets) if target.objects_known]
        if not known:
            return {}
        seen = self._normalise(pictures[known] if len(known) < len(targets) else pictures)
        chosen = [targets[number] for number in known]
        wanted = [self._target(target, pictures.shape[2:]) for target in chosen]
        losses: dict[str, Tensor] = self.module(list(hidden(seen, chosen)), wanted)
        return losses

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return detections in source px, each with a mask if the network makes masks."""
        transform: Any = self.module.transform
        with transform.windows(letterboxes), _generous(self.module, self.min_score):
            found = self.module(list(self._normalise(pictures)))
        return [self._perception(*each) for each in zip(found, letterboxes, strict=True)]

    def _target(self, target: Target, size_hw: Sequence[int]) -> dict[str, Tensor]:
        sides = target.boxes[:, 2:] - target.boxes[:, :2]
        good = ~target.ignore & (sides >= _MIN_SIDE).all(1)
        wanted = {"boxes": target.boxes[good], "labels": target.labels[good] + 1}
        if self._masks:
            masks = target.masks
            wanted["masks"] = _filled(target.boxes, size_hw)[good] if masks is None else masks[good].to(torch.uint8)
        return wanted

    def _perception(self, found: dict[str, Tensor], letterbox: Letterbox) -> Perception:
        xyxy, score, labels = (found[name].detach().float().cpu().numpy() for name in ("boxes", "scores", "labels"))
        class_id = (labels - 1).astype("int32")
        if "masks" in found:
            return to_perception(letterbox, xyxy, score, class_id, found["masks"][:, 0].float().cpu().numpy())
        return Perception(to_detections(xyxy, score, class_id, letterbox))


def _filled(boxes: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Return boxes (N,4) as masks (N,h,w) uint8: objects that nobody outlined are taken to fill their boxes."""
    rows = torch.arange(size_hw[0], device=boxes.device)[None, :, None] + 0.5
    columns = torch.arange(size_hw[1], device=boxes.device)[None, None, :] + 0.5
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
    return ((rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)).to(torch.uint8)


class Untouched(nn.Module):
    """Takes the place of torchvision's transform: pictures stay as they are, and so do boxes."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: list[tuple[int, int]] | None = None

    @contextmanager
    def windows(self, letterboxes: Sequence[Letterbox]) -> Iterator[None]:
        """Within the block boxes end where the picture ends in its letterbox, as they do in the exported network."""
        self._sizes = [
            (each.offset_xy[1] + each.inner_wh[1], each.offset_xy[0] + each.inner_wh[0]) for each in letterboxes
        ]
        try:
            yield
        finally:
            self._sizes = None

    def forward(
        self, images: Sequence[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Return the pictures as a batch, and the targets as they are."""
        whole = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        return ImageList(torch.stack(list(images)), self._sizes or whole), targets

    def postprocess(self, result: list[dict[str, Tensor]], *_: object) -> list[dict[str, Tensor]]:
        """Return boxes in model px, and masks in their boxes."""
        return result


@contextmanager
def _generous(module: Any, min_score: float) -> Iterator[None]:
    """Within the block a detector keeps all that scores more than ``min_score``."""
    part = module.roi_heads if hasattr(module, "roi_heads") else module
    kept = part.score_thresh, part.detections_per_img
    part.score_thresh, part.detections_per_img = min_score, max(_MAX_DETECTIONS, kept[1])
    try:
        yield
    finally:
        part.score_thresh, part.detections_per_img = kept
