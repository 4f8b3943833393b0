"""Networks with fewer channels than their recipe: what their shapes are, as a small JSON file beside the weights.

``pruning.json`` names every tensor whose shape is not the recipe's, with both shapes:

    {"format": 1, "tensors": {"layer1.0.conv1.weight": {"was": [64, 64, 3, 3], "is": [40, 64, 3, 3]}, ...}}

It holds for all weights files of its folder. Whoever loads such weights gives the network these shapes first, by
`follow`; there is nothing in the file that could be executed, and what it says is compared with the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn

from streamvision.errors import UsageError

FILE: Final = "pruning.json"
_FORMAT: Final = 1
_MAX_BYTES: Final = 8 << 20
_MAX_SIDES: Final = 8
_MARK: Final = "streamvision_pruning"
"""The attribute under which a module remembers its record."""

Shape = tuple[int, ...]
_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, slots=True)
class Record:
    """The tensors that differ: by name the recipe's shape, and their own."""

    tensors: Mapping[str, tuple[Shape, Shape]]

    def was(self, name: str, shape: Sequence[int]) -> Shape:
        """Return the shape that a tensor of this ``shape`` has in the recipe's network."""
        return self.tensors[name][0] if name in self.tensors else tuple(shape)


def shapes(module: nn.Module) -> dict[str, Shape]:
    """Return the shape of every tensor of a network's state, by name."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def remember(module: nn.Module, before: Mapping[str, Shape]) -> Record:
    """Note in a pruned network what it differs by from the shapes ``before``; return that."""
    earlier = of(module)
    was = {name: earlier.was(name, shape) if earlier else shape for name, shape in before.items()}
    now = shapes(module)
    record = Record({name: (was[name], now[name]) for name in now if now[name] != was[name]})
    setattr(module, _MARK, record)
    return record


def of(module: nn.Module) -> Record | None:
    """Return what a network differs by from its recipe; None for one that was not pruned."""
    record: Record | None = getattr(module, _MARK, None)
    return record


def keep(module: nn.Module, folder: Path) -> Path | None:
    """Write a pruned network's record into the folder of its weights; return its path, None where there is none."""
    record = of(module)
    if record is None:
        return None
    document = {
        "format": _FORMAT,
        "tensors": {name: {"was": list(was), "is": list(now)} for name, (was, now) in record.tensors.items()},
    }
    path, draft = folder / FILE, folder / f".{FILE}.part"
    draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def beside(weights: Path) -> Record | None:
    """Return the record that lies beside a weights file, None where there is none. Raises `UsageError`."""
    path = weights.parent / FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"is larger than {_MAX_BYTES >> 20} MiB: no record of pruning is", where=str(path))
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _damaged(path, f"expected format {_FORMAT}")
    tensors = document.get("tensors")
    if not isinstance(tensors, dict):
        raise _damaged(path, "`tensors` is no mapping")
    return Record({name: _pair(name, value, path) for name, value in tensors.items()})


def _pair(name: str, value: Any, path: Path) -> tuple[Shape, Shape]:
    """Return both shapes of a tensor, checked: as many sides, none of them larger than it was, none of nothing."""
    was, now = (_shape(value.get(key)) if isinstance(value, dict) else None for key in ("was", "is"))
    if was is None or now is None or len(was) != len(now):
        raise _damaged(path, f"{name}: expected two shapes with as many sides")
    if any(new > old for new, old in zip(now, was, strict=True)):
        raise _damaged(path, f"{name}: {list(now)} is larger than {list(was)}, from which it was pruned")
    return was, now


def _shape(value: Any) -> Shape | None:
    fits = isinstance(value, list) and 0 < len(value) <= _MAX_SIDES and all(type(one) is int for one in value)
    return tuple(value) if fits and all(one > 0 for one in value) else None


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(
        f"is no record of pruning: {why}", where=str(path), remedy="take the file that was written beside the weights"
    )


def follow(module: nn.Module, weights: Path) -> None:
    """Narrow a recipe's network as the record beside a weights file says, if there is one. Raises `UsageError`."""
    if (record := beside(weights)) is not None:
        apply(module, record, str(weights.parent / FILE))


def apply(module: nn.Module, record: Record, where: str) -> None:
    """Narrow a recipe's network as a record says, with whatever values; a network that is narrow already stays so.

    Sides that were not narrowed may have another length here, such as that of another number of classes. Raises
    `UsageError` for the record of another network.
    """
    if of(module) == record:
        return
    own = shapes(module)
    wanted = {}
    for name, (was, now) in record.tensors.items():
        here = own.get(name, ())
        sides = list(zip(here, was, now, strict=False))
        if len(here) != len(was) or any(old != new and side != old for side, old, new in sides):
            found = f"of shape {list(here)}" if name in own else "missing"
            raise UsageError(
                f"was written for another network: {name} is {found} here, not {list(was)}",
                where=where,
                remedy="name the network that it was trained as",
            )
        wanted[name] = tuple(side if old == new else new for side, old, new in sides)
    touched: dict[str, nn.Module] = {}
    for name, now in wanted.items():
        owner, _, leaf = name.rpartition(".")
        touched[owner] = module.get_submodule(owner)
        _cut(touched[owner], leaf, now)
    for owner, layer in touched.items():
        _count_anew(layer, f"{where}: {owner}")
    setattr(module, _MARK, record)


def _cut(layer: nn.Module, leaf: str, shape: Shape) -> None:
    tensor = getattr(layer, leaf)
    part = tensor.detach()[tuple(slice(side) for side in shape)].clone()
    if isinstance(tensor, nn.Parameter):
        setattr(layer, leaf, nn.Parameter(part, requires_grad=tensor.requires_grad))
    else:
        layer.register_buffer(leaf, part, persistent=leaf not in layer._non_persistent_buffers_set)


def _count_anew(layer: Any, where: str) -> None:
    """Set the numbers that a layer keeps besides its tensors. Raises `UsageError` where they contradict each other."""
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        _count_convolution(layer, where)
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = len(layer.weight if layer.weight is not None else layer.running_mean)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(layer.weight)
        _require(layer.num_channels % layer.num_groups == 0, where)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)


def _count_convolution(layer: Any, where: str) -> None:
    """Channels follow from the weight; a depthwise convolution's groups are its channels."""
    first, second = layer.weight.shape[:2]
    across = isinstance(layer, _TRANSPOSED)
    if 1 < layer.groups == layer.in_channels:
        each = layer.out_channels // layer.groups
        groups = first if across else first // each
        _require(groups * (1 if across else each) == first, where)
        layer.groups = groups
    layer.in_channels, layer.out_channels = (first, second * layer.groups) if across else (second * layer.groups, first)
    _require(layer.in_channels % layer.groups == 0 and layer.out_channels % layer.groups == 0, where)
    _require(layer.bias is None or len(layer.bias) == layer.out_channels, where)


def _require(fits: bool, where: str) -> None:
    if not fits:
        raise UsageError(
            "the shapes of this layer contradict each other",
            where=where,
            remedy="take the file that was written beside the weights",
        )
