"""A small network of the shape of YOLO-seg with random weights, and what it says read in plain PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import batched_nms

SIZE = (128, 96)
CLASSES, COEFFICIENTS, STRIDE = 3, 8, 8


class ToySeg(nn.Module):
    """v8-style: (batch, 4 + classes + coefficients, anchors) and prototypes at a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 7, 4, 3), nn.ReLU(), nn.Conv2d(12, 12, 5, 1, 2), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(12, 24, 5, 2, 2), nn.ReLU())
        self.head = nn.Conv2d(24, 4 + CLASSES + COEFFICIENTS, 1)
        self.prototypes = nn.Conv2d(12, COEFFICIENTS, 7, 1, 3)
        rows, columns = SIZE[1] // STRIDE, SIZE[0] // STRIDE
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        self.register_buffer("cells", (torch.stack((x, y)).reshape(1, 2, -1) + 0.5) * STRIDE)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shallow = self.stem(images)
        raw = self.head(self.deep(shallow)).flatten(2)
        boxes = torch.cat((self.cells + raw[:, :2], raw[:, 2:4].exp() * 3 * STRIDE), 1)
        scores = raw[:, 4 : 4 + CLASSES].sigmoid()
        return torch.cat((boxes, scores, raw[:, 4 + CLASSES :]), 1), self.prototypes(shallow)


class EndToEnd(nn.Module):
    """The same network with finished rows: the best of each anchor's classes, 20 best anchors, nothing suppressed."""

    def __init__(self, inner: ToySeg) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, prototypes = self.inner(images)
        anchors = values.transpose(1, 2)
        score, kind = anchors[..., 4 : 4 + CLASSES].max(2)
        best, index = score.topk(20, dim=1)
        chosen = anchors.gather(1, index[..., None].expand(-1, -1, anchors.shape[2]))
        half = chosen[..., 2:4] / 2
        corners = torch.cat((chosen[..., :2] - half, chosen[..., :2] + half), 2)
        finished = (corners, best[..., None], kind.gather(1, index)[..., None].float(), chosen[..., 4 + CLASSES :])
        return torch.cat(finished, 2), prototypes


def random_network(view: torch.Tensor) -> ToySeg:
    """Weights such that some anchors are sure and masks have two sides."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        module = ToySeg().eval()
    with torch.no_grad():
        shallow = module.stem(view)
        for layer, seen, mean, std in (
            (module.head, module.deep(shallow), 0.0, 1.0),
            (module.prototypes, shallow, 0.0, 1.0),
        ):
            out = layer(seen)
            each = out.std((0, 2, 3)).clamp(min=1e-6)
            layer.weight.mul_((std / each)[:, None, None, None])
            layer.bias.sub_(out.mean((0, 2, 3))).mul_(std / each).add_(mean)
        module.head.bias[4 : 4 + CLASSES] -= 2.0
        module.head.weight[2:4] *= 0.4
        module.head.bias[2:4] *= 0.4
    return module


def eager(module: nn.Module, view: torch.Tensor, min_score: float, iou: float) -> list[tuple[Any, Any, Any, Any]]:
    """Return boxes, scores, classes and full-size bitmaps of each picture, in the way of the network's makers."""
    with torch.no_grad():
        values, prototypes = module(view)
    finished = isinstance(module, EndToEnd)
    return [
        _read(rows if finished else rows.T, own, min_score, None if finished else iou)
        for rows, own in zip(values, prototypes, strict=True)
    ]


def _read(rows: Any, prototypes: Any, min_score: float, iou: float | None) -> tuple[Any, Any, Any, Any]:
    if iou is None:
        boxes, score, kind, coefficients = rows[:, :4], rows[:, 4], rows[:, 5].long(), rows[:, 6:]
        keep = torch.nonzero(score >= min_score)[:, 0]
    else:
        score, kind = rows[:, 4 : 4 + CLASSES].max(1)
        boxes = torch.cat((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), 1)
        coefficients = rows[:, 4 + CLASSES :]
        sure = torch.nonzero(score >= min_score)[:, 0]
        keep = sure[batched_nms(boxes[sure], score[sure], kind[sure], iou)]
    boxes = boxes[keep].clamp(min=0)
    boxes = torch.minimum(boxes, torch.tensor(SIZE * 2))
    fields = torch.einsum("nc,chw->nhw", coefficients[keep], prototypes)
    fields = functional.interpolate(fields[None], SIZE[::-1], mode="bilinear")[0]
    y, x = torch.arange(SIZE[1])[None, :, None] + 0.5, torch.arange(SIZE[0])[None, None, :] + 0.5
    x1, y1, x2, y2 = boxes.T[:, :, None, None]
    masks = (fields > 0) & (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    return boxes.numpy(), score[keep].numpy(), kind[keep].numpy(), masks.numpy()
