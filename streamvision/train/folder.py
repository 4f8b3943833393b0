"""A run's folder: what was asked for, on which machine, and what came of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from streamvision.errors import UsageError
from streamvision.train.checkpoint import LAST
from streamvision.train.log import replace_text
from streamvision.train.recipe import Recipe
from streamvision.train.setting import Setting
from streamvision.units import format_seconds

RECIPE, ENVIRONMENT = "recipe.yaml", "environment.json"
_PACKAGES = (
    "streamvision", "torch", "torchvision", "segmentation-models-pytorch", "numpy", "opencv-python-headless",
    "pycocotools", "onnx",
)  # fmt: skip


def claim(out: Path) -> None:
    """Make the folder of a new run. Raises `UsageError` where another run lies there."""
    if (out / LAST).exists():
        raise UsageError(
            "there is a run already", where=str(out), remedy=f"go on with --resume {out}, or choose another --out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot be made: {error.strerror}", where=str(out)) from error


def to_resume(run: Path) -> Path:
    """Return the recipe of a run that can go on. Raises `UsageError`."""
    if not (run / RECIPE).is_file():
        raise UsageError(f"there is no {RECIPE}: this is no run", where=str(run), remedy="give the folder of a run")
    return run / RECIPE


def describe(out: Path, recipe: Recipe, setting: Setting, machine: Mapping[str, Any]) -> None:
    """Write the recipe as it was settled, and the environment."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 120
    text = io.StringIO()
    writer.dump(plain(recipe), text)
    data = {"train": setting.train.origin, "train_pictures": len(setting.train), "val": setting.val.origin,
            "val_pictures": len(setting.val), "classes": list(setting.task.classes),
            "maps": {name: list(classes) for name, classes in setting.task.maps.items()}}  # fmt: skip
    replace_text(out / ENVIRONMENT, json.dumps({**machine, "data": data}, indent=2) + "\n")
    replace_text(out / RECIPE, text.getvalue())


def plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values; what is None is what is not said."""
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    return values


def versions() -> dict[str, str]:
    """Return the versions of the packages that training depends on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def plan(recipe: Recipe, setting: Setting, parameters: int, device: str, processes: int) -> str:
    """Return what is about to happen, in a few lines."""
    wide, high = setting.size_wh
    learns = [", ".join(setting.task.classes)] if setting.task.classes else []
    learns += [f"{name} ({', '.join(classes)})" for name, classes in setting.task.maps.items()]
    ends = [] if recipe.last_epoch is None else [f"{recipe.last_epoch} epochs"]
    ends += [] if recipe.max_time is None else [format_seconds(recipe.max_time)]
    pictures = recipe.batch * recipe.accumulate * processes
    return "\n".join([
        f"network  {setting.engine.name}, {parameters / 1e6:.1f} M parameters, {wide}x{high}, on {device} "
        f"in {recipe.precision}",
        f"learns   {'; '.join(learns)}",
        f"from     {len(setting.train)} pictures; measured on {len(setting.val)}",
        f"goes     {' or '.join(ends)}, {pictures} pictures a step, {recipe.optimiser} at {recipe.lr:g}",
    ])  # fmt: skip
