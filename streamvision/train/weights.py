"""What a training begins with: published weights, those of a file, or none. What does not fit is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from streamvision.errors import MissingError, UsageError
from streamvision.export import pruned
from streamvision.export.recipes import Recipe
from streamvision.export.weights import read_state
from streamvision.resources import shipped

_COUNTERS = "num_batches_tracked"
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Begun:
    """``origin``: where the weights come from; ``fresh``: the module's tensors that are random still."""

    origin: str
    taken: int
    fresh: tuple[str, ...]

    @property
    def pretrained(self) -> bool:
        """Tell whether anything was learnt before."""
        return self.taken > 0

    def __str__(self) -> str:
        if not self.taken:
            return self.origin
        if not self.fresh:
            return f"{self.origin}, all {self.taken} tensors"
        more = f" and {len(self.fresh) - _SHOWN} more" if len(self.fresh) > _SHOWN else ""
        return f"{self.origin}, {self.taken} tensors; begun anew: {', '.join(self.fresh[:_SHOWN])}{more}"


def begin(module: nn.Module, recipe: Recipe, weights: str) -> Begun:
    """Load what a recipe's ``weights`` say into a module.

    Raises `MissingError` where published weights cannot be downloaded, `UsageError` for a file that does not fit at
    all, or where nobody publishes any.
    """
    if weights == "auto":
        weights = {"torchvision": "DEFAULT", "smp": "BACKBONE"}.get(recipe.kind, "none")
        if _own(recipe).is_file():
            weights = "DEFAULT"
    if weights == "none":
        return Begun("random weights", 0, ())
    if weights not in ("DEFAULT", "BACKBONE"):
        path = Path(weights).expanduser()
        pruned.follow(module, path)
        return fit(module, read_state(path), str(path))
    if _own(recipe).is_file():
        return fit(module, read_state(_own(recipe)), f"the weights of {recipe.name}")
    return fit(module, _downloaded(recipe, weights), f"published weights of {recipe.source}")


def fit(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> Begun:
    """Load every tensor whose name and shape fit. Raises `UsageError` where none does."""
    own = module.state_dict()
    taken = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not any(not name.endswith(_COUNTERS) for name in taken):
        raise UsageError(
            f"is the state of another network: not one of its {len(state)} tensors fits",
            where=origin,
            remedy="name the network that it was trained as, or give --weights none",
        )
    module.load_state_dict(taken, strict=False)
    fresh = tuple(name for name in own if name not in taken and not name.endswith(_COUNTERS))
    return Begun(origin, len([name for name in taken if not name.endswith(_COUNTERS)]), fresh)


def _own(recipe: Recipe) -> Path:
    """Return where the weights of a network of ours lie, if they are shipped."""
    return shipped("engines") / f"{recipe.name}.pth"


def _downloaded(recipe: Recipe, which: str) -> Mapping[str, Tensor]:
    readers = {"torchvision": _torchvision, "smp": _encoder}
    if recipe.kind not in readers:
        raise UsageError(
            "nobody publishes weights of this network",
            where=recipe.source,
            remedy="give --weights FILE, a state file of a training, or --weights none",
        )
    try:
        return readers[recipe.kind](recipe, which)
    except (URLError, RuntimeError, OSError, ValueError) as error:
        raise MissingError(
            f"the published weights cannot be downloaded: {str(error).strip().partition(chr(10))[0]}",
            where=recipe.source,
            remedy="give --weights FILE, or --weights none to train from the beginning",
        ) from error


def _torchvision(recipe: Recipe, which: str) -> Mapping[str, Tensor]:
    from torchvision import models

    if which == "DEFAULT" or recipe.task == "classification":
        state: dict[str, Tensor] = models.get_model_weights(recipe.network).DEFAULT.get_state_dict(progress=False)
        return state
    module: Any = models.get_model(recipe.network, weights=None, weights_backbone="DEFAULT", progress=False)
    return {name: value for name, value in module.state_dict().items() if name.startswith("backbone.")}


def _encoder(recipe: Recipe, which: str) -> Mapping[str, Tensor]:
    import segmentation_models_pytorch as smp

    if which == "DEFAULT":
        raise UsageError(
            "nobody publishes weights of this whole network", where=recipe.source, remedy="give --weights BACKBONE"
        )
    encoder = smp.encoders.get_encoder(recipe.network.partition("/")[2], weights="imagenet")
    return {f"encoder.{name}": value for name, value in encoder.state_dict().items()}


def count(module: nn.Module) -> int:
    """Return how many parameters a module has."""
    return sum(each.numel() for each in module.parameters())


def best_device(asked: str) -> torch.device:
    """Return the device to train on. Raises `MissingError` for a GPU that is not there."""
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise MissingError("PyTorch sees no GPU", where="device", remedy="give --device cpu, or install its driver")
    return torch.device("cuda" if asked == "cuda" or (asked == "auto" and found) else "cpu")
