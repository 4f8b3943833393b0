"""Export of networks that say what every part of a picture is: one label map (batch, h, w) uint8 per head.

The choice of the class is part of the graph. A label map is a fraction of the scores that it is made of (of 21 float32
maps it is an 84th), so that is all that has to leave the device, and nothing is left to be decoded. It is the class
with the largest score, the first of equals, as `torch.argmax` says; for a single channel of logits, where it is
positive.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamvision.errors import UsageError
from streamvision.export.package import example, header, save_network, write_manifest
from streamvision.export.registry import Built, Request

_BACKGROUND = "background"


def export(request: Request, built: Built) -> Path:
    """Write the network and its manifest; return the manifest's path.

    Raises `UsageError` for a size that the network cannot take, or for names that do not fit its classes.
    """
    picture = example(request)
    scores = _first_look(request, built.module, picture)
    maps = _maps(request, built, [max(2, int(each.shape[1])) for each in scores])
    graph = _LabelMaps(_with_plain_pools(built.module, picture))
    file = save_network(graph, (picture,), request.out / f"{request.name}.onnx", tuple(maps))
    decoder = {"type": "semantic", **request.recipe.decoder}
    return write_manifest(
        request.out, header(request, built) | {"file": file, "decoder": decoder, "segmentation": maps}
    )


def _first_look(request: Request, module: Any, picture: Tensor) -> list[Tensor]:
    """Return what the network makes of a picture. Raises `UsageError` where a label map would not lie over it."""
    try:
        with torch.no_grad():
            scores = class_scores(module(picture))
    except (RuntimeError, ValueError) as error:
        raise _unsuitable(request) from error
    if any(side % own for each in scores for side, own in zip(picture.shape[2:], each.shape[2:], strict=True)):
        raise _unsuitable(request)
    return scores


def _unsuitable(request: Request) -> UsageError:
    return UsageError(
        f"a picture of {'x'.join(map(str, request.size_wh))} does not suit this network",
        where=request.recipe.source,
        remedy=f"give a --size of multiples of 32, for example {'x'.join(map(str, request.recipe.size))}",
    )


def class_scores(output: Any) -> list[Tensor]:
    """Return the scores (n, classes, h, w) of each head: such networks return a tensor, several, or a dict."""
    if isinstance(output, Mapping):
        return [output["out"]]
    return list(output) if isinstance(output, tuple | list) else [output]


def _maps(request: Request, built: Built, counts: Sequence[int]) -> dict[str, list[str]]:
    """Return the classes of each label map, from index 0 on."""
    known = request.recipe.segmentation
    if len(known) == 1:
        (name,) = known
        return {name: _classes(request, built, known[name], counts[0])}
    if request.labels is not None:
        raise UsageError(
            f"this network makes {len(known)} label maps ({', '.join(known)}), whose classes are fixed",
            where=request.recipe.source,
            remedy="leave --labels away; they can be changed in the manifest",
        )
    return {name: list(classes) for name, classes in known.items()}


def _classes(request: Request, built: Built, usual: Sequence[str], count: int) -> list[str]:
    """Return ``count`` names: the user's, those of the weights, the recipe's, or class_1 ... where nobody knows."""
    if request.labels is not None and len(request.labels) not in (count, count - 1):
        raise UsageError(
            f"{len(request.labels)} labels for a label map of {count} classes",
            where=request.recipe.name,
            remedy=f"name all {count} in the network's order, or {count - 1} if the first is the background",
        )
    for names in (request.labels, built.labels, usual):
        if names is not None and len(names) == count:
            return list(names)
        if names is not None and len(names) == count - 1:
            return [_BACKGROUND, *names]
    return [_BACKGROUND, *(f"class_{number}" for number in range(1, count))]


class _LabelMaps(nn.Module):
    """Normalised pictures (n,3,h,w) -> one label map (n,h,w) uint8 per head."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        return tuple(_labels(scores) for scores in class_scores(self.network(picture)))


def _labels(scores: Tensor) -> Tensor:
    winner = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(1)
    # By way of float32, because TensorRT turns nothing else into uint8.
    return winner.to(torch.float32).to(torch.uint8)


class _MeanPool(nn.Module):
    """`AdaptiveAvgPool2d` for one size of input, as two products with constant matrices.

    ONNX has no such pooling unless every cell has the same whole number of pixels.
    """

    def __init__(self, size_in: Sequence[int], size_out: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("rows", _means(size_in[0], size_out[0]))
        self.register_buffer("columns", _means(size_in[1], size_out[1]).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.columns


def _means(count: int, cells: int) -> Tensor:
    """Return the matrix (cells, count) whose rows average: cell i is from floor(i n / c) to ceil((i + 1) n / c)."""
    matrix = torch.zeros(cells, count)
    for cell in range(cells):
        start, end = cell * count // cells, -(-(cell + 1) * count // cells)
        matrix[cell, start:end] = 1 / (end - start)
    return matrix


def _with_plain_pools(module: Any, picture: Tensor) -> Any:
    """Return the module with every adaptive pooling that ONNX lacks replaced; the given one stays as it is."""
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Any:
        return lambda _, inputs: sizes.update({name: (int(inputs[0].shape[2]), int(inputs[0].shape[3]))})

    pools = {name: pool for name, pool in module.named_modules() if isinstance(pool, nn.AdaptiveAvgPool2d)}
    hooks = [pool.register_forward_pre_hook(note(name)) for name, pool in pools.items()]
    with torch.no_grad():
        module(picture)
    for hook in hooks:
        hook.remove()
    wanted = {name: (sizes[name], _sides(pools[name].output_size)) for name in sizes}
    uneven = {name: pair for name, pair in wanted.items() if _uneven(*pair)}
    if not uneven:
        return module
    changed = copy.deepcopy(module)
    for name, (size_in, size_out) in uneven.items():
        parent, _, leaf = name.rpartition(".")
        setattr(changed.get_submodule(parent), leaf, _MeanPool(size_in, size_out))
    return changed


def _sides(size: Any) -> tuple[int, int]:
    high, wide = size if isinstance(size, tuple) else (size, size)
    return int(high), int(wide)


def _uneven(size_in: tuple[int, int], size_out: tuple[int, int]) -> bool:
    return any(count % cells for count, cells in zip(size_in, size_out, strict=True))
