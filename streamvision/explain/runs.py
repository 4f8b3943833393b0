"""Networks whose weights are at hand: the folder of a training run, or a state file with its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from streamvision.config.document import PARSER_SLIPS
from streamvision.errors import MissingError, UsageError
from streamvision.explain.saliency import Saliency

_WEIGHTS, _RECIPE, _MODEL = "best.pth", "recipe.yaml", "model"


@dataclass(frozen=True, slots=True)
class Trained:
    """``network``: the recipe's name or source; ``weights``: the state file; ``manifest``: the exported model's."""

    network: str
    weights: Path
    manifest: Path | None = None


def find_run(model: str, weights: Path | None, network: str | None) -> Trained | None:
    """Return the weights that a command line names, None where it names a model alone.

    Raises `UsageError` for a folder that is no run's, or for weights of nobody knows which network.
    """
    folder = Path(model)
    run = _of_folder(folder) if folder.is_dir() else None
    if weights is None:
        return run
    known = network or (run.network if run else None)
    if known is None:
        raise UsageError(
            "of which network are these weights?",
            where=str(weights),
            remedy="give --network, as in torchvision:resnet18",
        )
    return Trained(known, weights, run.manifest if run else None)


def load_gradcam() -> Callable[..., Saliency]:
    """Return `gradcam.grad_cam`. Raises `MissingError` where its libraries are not installed."""
    try:
        from streamvision.explain.gradcam import grad_cam
    except ImportError as error:
        raise MissingError(
            f"Grad-CAM needs PyTorch, which cannot be imported: {error}", remedy="pip install 'streamvision[train]'"
        ) from error
    return grad_cam


def _of_folder(folder: Path) -> Trained:
    """Return what a run has left. Raises `UsageError`."""
    manifests = sorted((folder / _MODEL).glob("*.yaml"))
    if not (folder / _RECIPE).is_file() or not (folder / _WEIGHTS).is_file() or len(manifests) != 1:
        raise UsageError(
            f"is no folder of a finished run: it has {_RECIPE}, {_WEIGHTS} and {_MODEL}/NAME.yaml", where=str(folder),
            remedy="give a model's name or manifest",
        )  # fmt: skip
    try:
        recipe = YAML(typ="safe").load((folder / _RECIPE).read_text(encoding="utf-8"))
        network = recipe["network"]
    except (YAMLError, OSError, *PARSER_SLIPS) as error:
        raise UsageError(f"cannot be read as a recipe: {error}", where=str(folder / _RECIPE)) from error
    return Trained(str(network), folder / _WEIGHTS, manifests[0])
