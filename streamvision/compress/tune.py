"""A few more epochs for a network that was changed: the training loop, from where the network is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from torch import nn

from streamvision.errors import EngineError
from streamvision.export.weights import read_state
from streamvision.train import checkpoint
from streamvision.train.distributed import Crew
from streamvision.train.networks import Network
from streamvision.train.reports import Reporter
from streamvision.train.run import Ending, Trainee, batches_of, device_of, learn
from streamvision.train.setting import Setting
from streamvision.train.settle import settled
from streamvision.train.weights import Begun

_GENTLE: Final = 0.1
"""The rate of a network that has learnt already, as a share of its kind's usual one."""


class Screen(Reporter, Protocol):
    """A reporter that also shows lines."""

    def tell(self, text: str) -> None:
        """Show a line."""
        ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a changed network learns on, and who is told.

    ``lr``: None for a tenth of the usual rate. ``screen`` gives somebody to tell of one training; ``told`` takes lines
    about all else.
    """

    epochs: int
    lr: float | None
    screen: Callable[[], AbstractContextManager[Screen]]
    ending: Ending
    told: Callable[[str], None]


def tune(network: Network, setting: Setting, tuning: Tuning, out: Path, *, still: bool = False) -> None:
    """Train a network, in place, until it has its best weights; the run lies in the folder ``out``.

    ``still``: normalisations keep their statistics. Raises `EngineError` where somebody stopped it.
    """
    crew = Crew()
    device = device_of(setting.recipe.device, crew)
    out.mkdir(parents=True, exist_ok=True)
    with tuning.screen() as screen:
        setting = replace(setting, recipe=setting.recipe.model_copy(update=_changes(setting, tuning, still)))
        begun = Begun("the network as it is", 1, ())
        network.module.to(device)
        trainee = Trainee(setting, network, begun, *batches_of(setting, crew), device, crew)
        loop, _ = learn(trainee, out, resume=False, reporters=[screen], ending=tuning.ending, told=screen.tell)
        if loop.stopped:
            raise EngineError("stopped before the network had learnt again", where=str(out))
        best(network.module, out)


def best(module: nn.Module, out: Path) -> None:
    """Give a network the best weights of a run of its own, and put it into evaluation mode."""
    module.load_state_dict(read_state(out / checkpoint.BEST))
    module.eval()


def _changes(setting: Setting, tuning: Tuning, still: bool) -> dict[str, Any]:
    """Return what a run does otherwise when its network has learnt before."""
    recipe = setting.recipe.model_copy(update={"lr": "auto"})
    usual = settled(recipe, setting.engine.exporter, steps=1, processes=1, pretrained=True)
    return {
        "epochs": tuning.epochs, "max_time": None, "early_stopping": None, "freeze_backbone": 0, "warmup": "auto",
        "lr": tuning.lr if tuning.lr is not None else float(usual.lr) * _GENTLE, "evaluate_every": 1,
        "freeze_norms": still or setting.recipe.freeze_norms, "tensorboard": False,
    }  # fmt: skip
