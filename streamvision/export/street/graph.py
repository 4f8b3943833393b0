"""Export of `sv-street`: one graph from the normalised picture to boxes, scores and finished label maps.

``boxes`` (batch,N,4) xyxy in model px inside the picture, ``scores`` (batch,N,classes) after the sigmoid, and for each
map an output of its name, (batch,h/2,w/2) uint8. Of the maps' logits at stride 4 these are made by bilinear
interpolation. What is left outside are the threshold and the suppression, which the decoder ``street`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamvision.errors import UsageError
from streamvision.export.package import example, header, labels_for, save_network, write_manifest
from streamvision.export.registry import Built, Request
from streamvision.export.street.network import MULTIPLE, boxes_at, channels_of, places

OUTPUTS = ("boxes", "scores")
"""What comes before the maps."""


def export(request: Request, built: Built) -> Path:
    """Write the network and its manifest; return the manifest's path.

    Raises `UsageError` for a size whose sides are no multiples of `MULTIPLE`, or labels that do not fit.
    """
    if any(side % MULTIPLE for side in request.size_wh):
        raise UsageError(
            f"a picture of {'x'.join(map(str, request.size_wh))} does not suit this network",
            where=request.recipe.source,
            remedy=f"give a --size of multiples of {MULTIPLE}, for example {'x'.join(map(str, request.recipe.size))}",
        )
    maps = {name: list(classes) for name, classes in request.recipe.segmentation.items()}
    labels = labels_for(request, built, built.classes)
    graph = Finished(built.module, request.size_wh)
    file = save_network(graph, (example(request),), request.out / f"{request.name}.onnx", (*OUTPUTS, *maps))
    decoder = {"type": "street", **request.recipe.decoder}
    known: dict[str, Any] = {"file": file, "decoder": decoder, "labels": labels}
    return write_manifest(request.out, header(request, built) | known | ({"segmentation": maps} if maps else {}))


class Finished(nn.Module):
    """Normalised pictures (n,3,h,w) of one size -> boxes, scores and every label map, as the decoder reads them."""

    def __init__(self, network: Any, size_wh: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("centres", places(size_wh)[0])
        self.register_buffer("limit", torch.tensor(size_wh * 2, dtype=torch.float32))

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (n,N,4) xyxy px, scores (n,N,classes) and the label maps (n,h/2,w/2) uint8."""
        logits, distances, maps = self.network(picture)
        boxes = torch.minimum(torch.clamp(boxes_at(self.centres, distances), min=0), self.limit)
        return boxes, torch.sigmoid(logits), *label_maps(maps, self.network.maps)


def doubled(maps: Tensor) -> Tensor:
    """Return map logits (n,channels,h,w) with sides twice as long."""
    return functional.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


def label_maps(maps: Tensor, classes: Sequence[int]) -> list[Tensor]:
    """Return the label map (n,h/2,w/2) uint8 of each map, for all maps' logits (n,channels,h/4,w/4)."""
    if not classes:
        return []
    parts = torch.split(doubled(maps), [channels_of(count) for count in classes], 1)
    return [_labels(part) for part in parts]


def _labels(logits: Tensor) -> Tensor:
    winner = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)
    # By way of float32, because TensorRT turns nothing else into uint8.
    return winner.to(torch.float32).to(torch.uint8)
