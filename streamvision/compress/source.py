"""What is compressed: the folder of a run, of which everything is known, or a model, of which there is a file alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from streamvision.dataset import Dataset
from streamvision.engine import manifest as manifests
from streamvision.engine.manifest import Manifest
from streamvision.errors import UsageError
from streamvision.export import registry
from streamvision.train import checkpoint, folder
from streamvision.train import recipe as recipes
from streamvision.train.networks import table
from streamvision.train.recipe import Data
from streamvision.train.setting import Setting, prepare
from streamvision.train.setting import read as read_data


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run that trained a network: its setting, perhaps with other data, and its best weights."""

    path: Path
    setting: Setting

    @classmethod
    def read(cls, path: Path, data: Mapping[str, Any] | None) -> Run:
        """Read a run's recipe and its data, or other ``data`` (``train`` and ``val``) in the run's classes.

        Raises `UsageError` for a folder that is no run with weights, and what reading the data raises.
        """
        if not (path / checkpoint.BEST).is_file():
            raise UsageError(
                f"there are no weights ({checkpoint.BEST}) in this run",
                where=str(path), remedy="train it for an epoch at least: streamvision train --resume",
            )  # fmt: skip
        changes: dict[str, Any] = {"weights": str(path / checkpoint.BEST)}
        if data is not None:
            changes["data"] = {"val": [], **data}
            if labels := exported(path).labels:
                changes["data"]["classes"] = list(labels)
        return cls(path, prepare(recipes.load(folder.to_resume(path), changes)))


def is_run(path: Path) -> bool:
    """Tell whether a path is the folder of a run."""
    return path.is_dir()


def exported(path: Path) -> Manifest:
    """Return the model that a run exported. Raises `UsageError` where there is none, or several."""
    found = sorted(path.glob("model/*.yaml"))
    if len(found) != 1:
        raise UsageError(
            "several models lie there" if found else "there is no exported model (model/NAME.yaml)",
            where=str(path), remedy="give the folder of a finished training, or a manifest",
        )  # fmt: skip
    return manifests.load(found[0])


def module_of(run: Run) -> Any:
    """Return a run's network with its best weights, in evaluation mode."""
    setting = run.setting
    classes = table.classes_of(setting.engine, setting.task)
    return registry.build(setting.engine, run.path / checkpoint.BEST, classes).module


def data_of(train: str, val: str | None) -> tuple[Dataset, Dataset]:
    """Return what a model is fitted to and what it is measured on, a part of the first where there is no second.

    Raises `UsageError` and what reading the data raises.
    """
    given = {"train": [train], "val": [val] if val else []}
    try:
        data = Data.model_validate(given)
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"].removeprefix("Value error, "), where="--data") from error
    learnt, _, measured = read_data(data, 0)
    return learnt, measured
