"""Export of torchvision's detectors that look twice: Faster R-CNN and Mask R-CNN, as two or three dense graphs.

The first stage takes a normalised picture and gives the feature maps that regions are cut from, ``features_i``
(batch, h, w, channels), and per level of the pyramid what the region proposal network says, ``objectness_i`` (batch, A)
logits and ``proposals_i`` (batch, A, 4) as xyxy in model px, not yet clipped; anchors are constants. The heads take
regions (R, side, side, channels): the box head gives ``scores`` (R, classes) and ``deltas`` (R, classes, 4) in units of
the region's size, the mask head ``masks`` (R, classes, m, m) as probabilities. Channels come last, because RoIAlign
outside of the graph sums feature vectors. Class 0 is the background.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from streamvision.errors import UsageError
from streamvision.export.package import example, header, labels_for, save_network, write_manifest
from streamvision.export.registry import Built, Request

_STRIDE = 32
"""The coarsest level that regions are cut from; torchvision pads pictures to multiples of it."""
_REGIONS = 2
"""How many regions a head is traced with; it takes any number."""


def export(request: Request, built: Built) -> Path:
    """Write the networks and their manifest; return the manifest's path. Raises `UsageError` for an odd size."""
    if any(side % _STRIDE for side in request.size_wh):
        raise UsageError(
            f"a picture of {request.size_wh[0]}x{request.size_wh[1]} does not fit this network's pyramid",
            where=request.recipe.source,
            remedy=f"take multiples of {_STRIDE} for both sides",
        )
    module, picture = built.module, example(request)
    options = {**_thresholds(module), **request.recipe.decoder}
    first = _Seer(module, picture, proposes=options.get("regions") != "motion")
    file = save_network(first, (picture,), request.out / f"{request.name}.onnx", first.outputs)
    document = {
        "kind": "two_stage",
        "file": file,
        "heads": _heads(module, request),
        "options": options,
        "labels": labels_for(request, built, built.classes - 1),
    }
    return write_manifest(request.out, header(request, built) | document)


def _thresholds(module: Any) -> dict[str, Any]:
    """Return torchvision's own limits for this network, as the manifest's options."""
    rpn, heads = module.rpn, module.roi_heads
    return {
        "min_score": heads.score_thresh,
        "iou": heads.nms_thresh,
        "max_detections": heads.detections_per_img,
        "proposals": {
            "candidates": rpn.pre_nms_top_n(),
            "keep": rpn.post_nms_top_n(),
            "iou": rpn.nms_thresh,
            "min_score": rpn.score_thresh,
            "min_side": rpn.min_size,
        },
    }


def _heads(module: Any, request: Request) -> dict[str, Any]:
    parts: dict[str, tuple[nn.Module, Any, tuple[str, ...]]] = {
        "box": (_BoxHead(module), module.roi_heads.box_roi_pool, ("scores", "deltas"))
    }
    if module.roi_heads.has_mask():
        parts["mask"] = (_MaskHead(module), module.roi_heads.mask_roi_pool, ("masks",))
    described = {}
    for name, (graph, pool, outputs) in parts.items():
        side = pool.output_size[0]
        regions = torch.zeros(_REGIONS, side, side, module.backbone.out_channels)
        path = request.out / f"{request.name}-{name}.onnx"
        described[name] = {"side": side, "file": save_network(graph, (regions,), path, outputs, ("regions",))}
    return described


class _Seer(nn.Module):
    """Backbone, feature pyramid and region proposal network."""

    def __init__(self, module: Any, picture: Tensor, *, proposes: bool) -> None:
        super().__init__()
        self.backbone = module.backbone
        self.rpn = module.rpn.head if proposes else None
        with torch.inference_mode():
            named = self.backbone(picture)
            maps = list(named.values())
            anchors = module.rpn.anchor_generator(ImageList(picture, [(picture.shape[2], picture.shape[3])]), maps)[0]
        each = module.rpn.anchor_generator.num_anchors_per_location()
        self._cut_from = [name for name in named if name in module.roi_heads.box_roi_pool.featmap_names]
        counts = [one.shape[2] * one.shape[3] * count for one, count in zip(maps, each, strict=True)]
        self.anchors = [_Anchors(part, module.rpn.box_coder) for part in anchors.clone().split(counts)]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names in the order of what `forward` gives."""
        levels = range(len(self.anchors)) if self.rpn is not None else ()
        pairs = [name for level in levels for name in (f"objectness_{level}", f"proposals_{level}")]
        return (*(f"features_{level}" for level in range(len(self._cut_from))), *pairs)

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(picture)
        features = [maps[name].permute(0, 2, 3, 1) for name in self._cut_from]
        if self.rpn is None:
            return tuple(features)
        proposals: list[Tensor] = []
        for logits, deltas, anchors in zip(*self.rpn(list(maps.values())), self.anchors, strict=True):
            per_cell = logits.shape[1]
            proposals.append(logits.permute(0, 2, 3, 1).flatten(1))
            rows = deltas.unflatten(1, (per_cell, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
            proposals.append(anchors.moved(rows))
        return (*features, *proposals)


class _Anchors:
    """The anchors of one level as constants: boxes from deltas as torchvision's ``BoxCoder`` computes them."""

    def __init__(self, xyxy: Tensor, coder: Any) -> None:
        self._size = xyxy[:, 2:] - xyxy[:, :2]
        self._centre = xyxy[:, :2] + 0.5 * self._size
        self._weights = torch.tensor(coder.weights)
        self._limit = coder.bbox_xform_clip

    def moved(self, deltas: Tensor) -> Tensor:
        """Return the boxes (batch, A, 4) that deltas (batch, A, 4) make of the anchors."""
        deltas = deltas / self._weights
        centre = deltas[..., :2] * self._size + self._centre
        half = 0.5 * torch.exp(deltas[..., 2:].clamp(max=self._limit)) * self._size
        return torch.cat([centre - half, centre + half], -1)


class _BoxHead(nn.Module):
    """What a region shows, and how far its box is off."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.head, self.predictor = module.roi_heads.box_head, module.roi_heads.box_predictor
        self._weights = torch.tensor(module.roi_heads.box_coder.weights)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.predictor(self.head(regions.permute(0, 3, 1, 2)))
        return torch.softmax(logits, -1), deltas.unflatten(1, (-1, 4)) / self._weights


class _MaskHead(nn.Module):
    """Which parts of a region belong to the object, for every class it might be."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.head, self.predictor = module.roi_heads.mask_head, module.roi_heads.mask_predictor

    def forward(self, regions: Tensor) -> Tensor:
        return torch.sigmoid(self.predictor(self.head(regions.permute(0, 3, 1, 2))))
