"""Export of torchvision's detectors that look once: SSD, SSDlite, RetinaNet, FCOS.

The graph starts at the normalised picture and ends at two outputs: every anchor's box, ``boxes`` (batch, N, 4) as xyxy
in model px inside the picture, and ``scores`` (batch, N, classes) after the softmax, the sigmoid or, for FCOS, the
geometric mean of class and centre scores. Anchors are constants. What is left outside are the threshold, the top-k and
the suppression, which the decoder ``dense`` does as torchvision's postprocessing does.

A background class (index 0) is left out of ``scores``: SSD's is no object by definition, and RetinaNet's and FCOS's is
never the target of a training picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from streamvision.errors import UsageError
from streamvision.export.package import example, header, labels_for, save_network, write_manifest
from streamvision.export.registry import Built, Request

_OUTPUTS = ("boxes", "scores")


def export(request: Request, built: Built) -> Path:
    """Write the network and its manifest; return the manifest's path. Raises `UsageError` for a size it cannot take."""
    labels, background = _labels(request, built)
    picture = example(request)
    features, anchors = _layout(built.module, picture, request)
    graph = _Dense(built.module, anchors, (picture.shape[3], picture.shape[2]), background)
    file = save_network(graph, (picture,), request.out / f"{request.name}.onnx", _OUTPUTS)
    decoder = {
        "type": "dense",
        "iou": built.module.nms_thresh,
        "candidates": built.module.topk_candidates,
        "max_detections": built.module.detections_per_img,
        "groups": _groups(built.module, features, len(anchors)),
        **request.recipe.decoder,
    }
    return write_manifest(request.out, header(request, built) | {"file": file, "decoder": decoder, "labels": labels})


def _labels(request: Request, built: Built) -> tuple[list[str], int]:
    """Return the labels, and how many of the network's classes, from index 0 on, are background.

    As many names as classes say that there is no background: RetinaNet and FCOS can be trained without.
    """
    named = len(request.labels) if request.labels is not None else 0
    background = 0 if named == built.classes and not isinstance(built.module, SSD) else 1
    return labels_for(request, built, built.classes - background), background


def _layout(module: Any, picture: Tensor, request: Request) -> tuple[list[Tensor], Tensor]:
    """Return the features of a picture of this size, and the anchors (N,4) on them."""
    try:
        with torch.no_grad():
            features = list(module.backbone(picture).values())
    except RuntimeError as error:
        raise UsageError(
            f"a picture of {'x'.join(map(str, request.size_wh))} is too small for this network",
            where=request.recipe.source,
            remedy=f"give a --size nearer to its own, {'x'.join(map(str, request.recipe.size))}",
        ) from error
    image = ImageList(picture, [(picture.shape[2], picture.shape[3])])
    return features, module.anchor_generator(image, features)[0]


def _groups(module: Any, features: Sequence[Tensor], anchors: int) -> list[int]:
    """Return how many anchors each level of the pyramid has; none for SSD, which limits candidates per class."""
    if isinstance(module, SSD):
        return []
    cells = [feature.shape[2] * feature.shape[3] for feature in features]
    return [count * anchors // sum(cells) for count in cells]


class _Dense(nn.Module):
    """Normalised pictures (n,3,h,w) -> boxes (n,N,4) and scores (n,N,classes)."""

    def __init__(self, module: Any, anchors: Tensor, size_wh: tuple[int, int], background: int) -> None:
        super().__init__()
        self.backbone = module.backbone
        self.heads, self.coder = _parts(module, anchors)
        self._background = background
        self.register_buffer("limit", torch.tensor(size_wh * 2, dtype=torch.float32))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        codes, scores = self.heads(list(self.backbone(picture).values()))
        boxes = torch.minimum(torch.clamp(self.coder(codes), min=0), self.limit)
        return boxes, scores[:, :, self._background :]


def _parts(module: Any, anchors: Tensor) -> tuple[nn.Module, nn.Module]:
    if isinstance(module, SSD):
        return _Branches(module.head), _Shifts(anchors, module.box_coder)
    if hasattr(module.head.regression_head, "bbox_ctrness"):
        return _CentredTowers(module.head), _Edges(anchors)
    return _Towers(module.head), _Shifts(anchors, module.head.regression_head.box_coder)


def _rows(maps: Tensor, columns: int) -> Tensor:
    """Return maps (n, anchors * columns, h, w) as (n, h * w * anchors, columns)."""
    rows = int(maps.shape[1]) // columns * int(maps.shape[2]) * int(maps.shape[3])
    return maps.permute(0, 2, 3, 1).reshape(-1, rows, columns)


class _Branches(nn.Module):
    """SSD's heads (Liu et al., arXiv:1512.02325): a convolution of its own for each level; a softmax over classes."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.scores, self.boxes = head.classification_head, head.regression_head

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        codes, logits = (
            torch.cat(
                [
                    _rows(layer(level), branch.num_columns)
                    for layer, level in zip(branch.module_list, features, strict=True)
                ],
                dim=1,
            )
            for branch in (self.boxes, self.scores)
        )
        return codes, torch.softmax(logits, dim=-1)


class _Towers(nn.Module):
    """RetinaNet's heads (Lin et al., arXiv:1708.02002): two towers of convolutions for all levels, and sigmoids."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.scores, self.boxes = head.classification_head, head.regression_head

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits, codes = [], []
        for level in features:
            logits.append(_rows(self.scores.cls_logits(self.scores.conv(level)), self.scores.num_classes))
            codes.append(_rows(self.boxes.bbox_reg(self.boxes.conv(level)), 4))
        return torch.cat(codes, dim=1), torch.sigmoid(torch.cat(logits, dim=1))


class _CentredTowers(nn.Module):
    """FCOS's heads (Tian et al., arXiv:2006.09214): as RetinaNet's, and how near a place is to its object's centre."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.scores, self.boxes = head.classification_head, head.regression_head

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits, codes, centres = [], [], []
        for level in features:
            seen = self.boxes.conv(level)
            logits.append(_rows(self.scores.cls_logits(self.scores.conv(level)), self.scores.num_classes))
            codes.append(_rows(torch.relu(self.boxes.bbox_reg(seen)), 4))
            centres.append(_rows(self.boxes.bbox_ctrness(seen), 1))
        scores = torch.sigmoid(torch.cat(logits, dim=1)) * torch.sigmoid(torch.cat(centres, dim=1))
        return torch.cat(codes, dim=1), torch.sqrt(scores)


class _Shifts(nn.Module):
    """Codes (n,N,4) -> boxes: a shift of the anchor's centre in its sides, and the logarithm of a factor for each side.

    The code of R-CNN (Girshick et al., arXiv:1311.2524), with torchvision's weights and its limit on the factor.
    """

    def __init__(self, anchors: Tensor, coder: Any) -> None:
        super().__init__()
        side = anchors[:, 2:] - anchors[:, :2]
        shift, stretch = torch.tensor(coder.weights[:2]), torch.tensor(coder.weights[2:])
        self._largest = coder.bbox_xform_clip
        self.register_buffer("side", side)
        self.register_buffer("centre", anchors[:, :2] + 0.5 * side)
        self.register_buffer("shift", shift)
        self.register_buffer("stretch", stretch)

    def forward(self, codes: Tensor) -> Tensor:
        centre = codes[:, :, :2] / self.shift * self.side + self.centre
        half = torch.exp(torch.clamp(codes[:, :, 2:] / self.stretch, max=self._largest)) * self.side * 0.5
        return torch.cat((centre - half, centre + half), dim=-1)


class _Edges(nn.Module):
    """Codes (n,N,4) -> boxes: distances from the anchor's centre to the four edges, in the anchor's sides."""

    def __init__(self, anchors: Tensor) -> None:
        super().__init__()
        self.register_buffer("side", anchors[:, 2:] - anchors[:, :2])
        self.register_buffer("centre", 0.5 * (anchors[:, :2] + anchors[:, 2:]))

    def forward(self, codes: Tensor) -> Tensor:
        low = self.centre - codes[:, :, :2] * self.side
        return torch.cat((low, self.centre + codes[:, :, 2:] * self.side), dim=-1)
