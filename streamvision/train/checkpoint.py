"""What a training needs to go on after a kill at any moment: one file, replaced in one piece.

``last.pth`` holds plain tensors and numbers only, so that it is read without running anything in it. Its ``model`` are
the mean weights, which is what every reader of state files takes from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from streamvision.errors import UsageError
from streamvision.train.ema import Ema

LAST, BEST, FINAL = "last.pth", "best.pth", "final.pth"
_FORMAT = 1


@dataclass(slots=True)
class At:
    """Where a training is. ``batch`` counts the batches of this epoch that are done, ``step`` updates of the weights.

    ``sums`` are losses summed over the ``summed`` steps of this epoch; ``stale``: evaluations since the best.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    elapsed_s: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0

    def next_epoch(self) -> None:
        """Begin another epoch."""
        self.epoch, self.batch, self.sums, self.summed = self.epoch + 1, 0, {}, 0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything in a training that learns or counts."""

    module: nn.Module
    ema: Ema
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def save(path: Path, parts: Parts, at: At) -> None:
    """Write the state, all of it or nothing."""
    ema = parts.ema.dump()
    content = {
        "format": _FORMAT,
        "model": ema.pop("state"),
        "ema": ema,
        "training": parts.module.state_dict(),
        "optimiser": parts.optimiser.state_dict(),
        "scaler": parts.scaler.state_dict(),
        "at": asdict(at),
    }
    write_whole(path, content)


def load(path: Path, parts: Parts) -> At:
    """Put a saved state into the parts and return where it was saved. Raises `UsageError` for a file of another run."""
    content = _read(path)
    try:
        parts.module.load_state_dict(content["training"])
        parts.ema.load({**content["ema"], "state": content["model"]})
        parts.optimiser.load_state_dict(content["optimiser"])
        parts.scaler.load_state_dict(content["scaler"])
        return At(**content["at"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            f"is the state of another training: {str(error).strip().partition(chr(10))[0]}",
            where=str(path),
            remedy="resume a run with its own recipe, or begin a new one with --weights",
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, torch.serialization.pickle.UnpicklingError) as error:
        raise UsageError(
            "cannot be read as the state of a training", where=str(path), remedy="give the folder of a run that began"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UsageError("is no state of a training", where=str(path), remedy="give it as --weights instead")
    return content


def write_whole(path: Path, content: Any) -> None:
    """Save with torch beside ``path``, reach the disk, and take its place: a reader finds the old file or the new."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
