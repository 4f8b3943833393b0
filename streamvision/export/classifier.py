"""Export of networks that judge a picture as a whole: one output, ``logits`` (batch, classes)."""

from __future__ import annotations

from pathlib import Path

import torch

from streamvision.errors import UsageError
from streamvision.export.package import example, header, labels_for, save_network, write_manifest
from streamvision.export.pooling import fix_pools
from streamvision.export.registry import Built, Request


def export(request: Request, built: Built) -> Path:
    """Write the network and its manifest; return the manifest's path. Raises `UsageError` for a size it cannot take."""
    labels, picture = labels_for(request, built, built.classes), example(request)
    try:
        with torch.no_grad():
            built.module(picture)
    except RuntimeError as error:
        raise UsageError(
            f"a picture of {'x'.join(map(str, request.size_wh))} does not suit this network",
            where=request.recipe.source,
            remedy=f"give a --size nearer to its own, {'x'.join(map(str, request.recipe.size))}",
        ) from error
    fix_pools(built.module)
    file = save_network(built.module, (picture,), request.out / f"{request.name}.onnx", ("logits",))
    decoder = {"type": "classification", **request.recipe.decoder}
    return write_manifest(request.out, header(request, built) | {"file": file, "decoder": decoder, "labels": labels})
