"""What ``auto`` comes to, once network, data and machine are known; a run's own recipe says it, to be resumed."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

from streamvision.train.loop import Options
from streamvision.train.precision import Precision
from streamvision.train.recipe import Recipe
from streamvision.train.schedule import Budget, Schedule

_USUAL_PICTURES = 16
_MOST_WARMUP, _WARMUP_SHARE = 1000, 0.05
_ENOUGH_PICTURES = 16
"""Fewer at once give normalisations statistics that are worse than those that came with the weights."""


@dataclass(frozen=True, slots=True)
class _Usual:
    optimiser: Literal["sgd", "adamw"]
    lr: float
    weight_decay: float


_USUAL = {
    "classifier": _Usual("adamw", 5e-4, 0.05),
    "dense": _Usual("sgd", 0.01, 1e-4),
    "semantic": _Usual("adamw", 1e-3, 0.01),
    "street": _Usual("adamw", 2e-3, 0.05),
    "two_stage": _Usual("sgd", 0.02, 1e-4),
}
"""By the network's exporter; the rate is for 16 pictures a step."""
_OF_OPTIMISER = {"sgd": _Usual("sgd", 0.01, 1e-4), "adamw": _Usual("adamw", 5e-4, 0.05)}


def settled(recipe: Recipe, exporter: str, *, steps: int, processes: int, pretrained: bool) -> Recipe:
    """Return a recipe without ``auto`` in what the loop goes by; ``steps`` are those of an epoch."""
    usual = _USUAL[exporter]
    if recipe.optimiser not in ("auto", usual.optimiser):
        usual = _OF_OPTIMISER[recipe.optimiser]
    pictures = recipe.batch * recipe.accumulate * processes
    total = steps * (recipe.last_epoch or 1)
    known = {
        "optimiser": usual.optimiser,
        "lr": rate(usual, pictures),
        "weight_decay": usual.weight_decay,
        "warmup": min(_MOST_WARMUP, math.ceil(total * _WARMUP_SHARE)),
        "workers": max(0, min(8, (os.cpu_count() or 1) - 1)),
        "freeze_norms": pretrained and recipe.batch < _ENOUGH_PICTURES and exporter in ("dense", "two_stage"),
    }
    changes = {name: value for name, value in known.items() if getattr(recipe, name) == "auto"}
    return recipe.model_copy(update={**changes, "epochs": recipe.last_epoch})


def rate(usual: _Usual, pictures: int) -> float:
    """Return a rate for so many pictures a step: in proportion for SGD (Goyal et al., arXiv:1706.02677), to the root of
    them for AdamW (Malladi et al., arXiv:2205.10287)."""
    share = pictures / _USUAL_PICTURES
    value = usual.lr * (share if usual.optimiser == "sgd" else math.sqrt(share))
    return float(f"{value:.4g}")


def loop_options(recipe: Recipe, *, steps: int, precision: Precision) -> Options:
    """Return the loop's options for a settled recipe; ``steps`` are those of an epoch."""
    epochs = recipe.last_epoch
    return Options(
        lr=float(recipe.lr),
        budget=Budget(None if epochs is None else steps * epochs, recipe.max_time),
        schedule=Schedule(recipe.schedule, int(recipe.warmup), recipe.final_lr),
        seed=recipe.seed,
        accumulate=recipe.accumulate,
        clip_norm=recipe.clip_norm or None,
        precision=precision,
        channels_last=recipe.channels_last,
        evaluate_every=recipe.evaluate_every,
        patience=recipe.early_stopping,
        checkpoint_steps=recipe.checkpoint_every.steps,
        checkpoint_s=recipe.checkpoint_every.seconds or math.inf,
    )
