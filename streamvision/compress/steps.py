"""The steps that make a run's network smaller: prune and learn again, learn from a teacher, quantise."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn

from streamvision.compress import aware, package
from streamvision.compress.cost import Of
from streamvision.compress.distil import Distilled
from streamvision.compress.prune import Importance, Pruned, prune
from streamvision.compress.source import Run, exported, module_of
from streamvision.compress.teachers import EngineTeacher, RunTeacher, teacher_of
from streamvision.compress.tune import Tuning, tune
from streamvision.dataset import Dataset
from streamvision.engine import manifest as manifests
from streamvision.engine.manifest import Manifest, ModelInput
from streamvision.engine.precision import FEWEST
from streamvision.engine.samples import fitted
from streamvision.errors import UsageError
from streamvision.evaluate.running import rgb_of
from streamvision.export import pruned, registry
from streamvision.train import checkpoint, folder
from streamvision.train.distributed import Crew
from streamvision.train.loop import to_device
from streamvision.train.networks import Network, table
from streamvision.train.run import batches_of, device_of
from streamvision.types import UInt8

CALIBRATION: Final = 100
"""So many pictures int8 is fitted to; more change its ranges no further."""
_LESSONS: Final = 8
"""Batches whose gradients say what each channel is worth."""

LearntFrom = EngineTeacher | RunTeacher | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be done. ``prune``: share of ``of`` to be removed, 0 for none, in ``rounds``; each is followed by the
    tuning's epochs. ``quantise``: after training, or aware of it in training. ``teacher``: a model or a run."""

    prune: float = 0.0
    of: Of = "macs"
    importance: Importance = "magnitude"
    rounds: int = 1
    quantise: Literal["after", "aware"] | None = None
    teacher: str | None = None

    @property
    def ending(self) -> str:
        """What is put behind the model's name."""
        parts = [("pruned", self.prune), ("distilled", self.teacher), ("int8", self.quantise)]
        return "-".join(name for name, given in parts if given)

    @property
    def learns(self) -> bool:
        """Whether it needs a network that can be trained."""
        return bool(self.prune or self.teacher or self.quantise == "aware")


class Steps:
    """What is done to a run's network, one step after the other, in a folder of its own."""

    def __init__(
        self, run: Run, plan: Plan, tuning: Tuning, work: Path, out: Path, *, name: str | None,
        data: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        """``work``: where it is done; ``out``: where its files will lie."""
        self.run, self.removed = run, list[Pruned]()
        self._plan, self._tuning, self._work, self._out, self._data = plan, tuning, work, out, data
        self._name = name or f"{exported(run.path).name}-{plan.ending}"
        setting = run.setting
        self._device = device_of(setting.recipe.device, Crew())
        self._module: nn.Module = module_of(run).to(self._device)
        width, height = setting.size_wh
        self._picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(self._device)

    def make(self) -> Path:
        """Do it all; return the new model's manifest."""
        plan, place = self._plan, self._work / "model"
        place.mkdir()
        teacher = teacher_of(plan.teacher, self._data, self._device) if plan.teacher else None
        try:
            if plan.prune:
                self._prune(teacher)
            elif teacher is not None and plan.quantise != "aware":
                self._learn(teacher, "distilling")
            self._keep()
            if plan.quantise == "aware":
                return self._aware(teacher, place)
        finally:
            if teacher is not None:
                teacher.close()
        path = self._write(self._module, place)
        if plan.quantise is None:
            return path
        return after(manifests.load(path), self._name, place, self.run.setting.train, self._tuning)

    def _keep(self) -> None:
        """Write the network such that it can be trained further: as a run, whose recipe begins with these weights."""
        setting = self.run.setting
        recipe = setting.recipe.model_copy(update={"weights": str(self._out / checkpoint.BEST)})
        checkpoint.write_whole(self._work / checkpoint.BEST, self._module.state_dict())
        pruned.keep(self._module, self._work)
        folder.describe(self._work, recipe, setting, {"compressed": str(self.run.path)})

    def _prune(self, teacher: LearntFrom) -> None:
        plan = self._plan
        left = (1 - plan.prune) ** (1 / plan.rounds)  # of what each round finds
        for number in range(plan.rounds):
            if plan.importance == "taylor":
                self._gradients()
            done = prune(self._module, self._picture, 1 - left, of=plan.of, importance=plan.importance)
            self._module.zero_grad(set_to_none=True)
            self.removed.append(done)
            self._tuning.told(
                f"pruned   {done.removed} of {done.channels} channels: {done.before.macs / 1e6:.0f} -> "
                f"{done.after.macs / 1e6:.0f} M MACs, {done.before.parameters / 1e6:.2f} -> "
                f"{done.after.parameters / 1e6:.2f} M parameters"
            )
            self._learn(teacher, f"pruned-{number + 1}")

    def _gradients(self) -> None:
        """Gather the gradients of a few batches, by which channels are judged."""
        network, (batches, _) = self._network(None), batches_of(self.run.setting, Crew())
        self._module.train()
        for _, batch in zip(range(_LESSONS), batches.epoch(0), strict=False):
            losses = network.losses(*to_device(batch, self._device))
            torch.stack([each.float() for each in losses.values()]).sum().backward()

    def _network(self, teacher: LearntFrom) -> Network:
        setting = self.run.setting
        network = table.adapter(setting.engine, self._module, setting.task)
        if teacher is None:
            return network
        whole = setting.engine.exporter == "classifier"
        return Distilled(network, setting.task, teacher, whole=whole, origin=str(self._plan.teacher))

    def _learn(self, teacher: LearntFrom, what: str, *, still: bool = False) -> None:
        tune(self._network(teacher), self.run.setting, self._tuning, self._work / f".{what}", still=still)

    def _aware(self, teacher: LearntFrom, folder: Path) -> Path:
        pictures = calibration(self.run.setting.train, self.run.setting.task.input)
        count = aware.prepare(self._module, self._picture, self._write, pictures)
        self._tuning.told(f"int8     {count} layers compute in it while the network learns")
        self._learn(teacher, "aware", still=True)
        return aware.finish(self._module, self._write, folder)

    def _write(self, module: nn.Module, folder: Path) -> Path:
        setting = self.run.setting
        classes = table.classes_of(setting.engine, setting.task)
        request = registry.Request(
            setting.engine, folder, self._name, setting.size_wh, None, classes, setting.task.classes or None
        )
        plain = copy.deepcopy(module).cpu().eval()
        return registry.write(request, registry.Built(plain, classes, None, f"weights from {self.run.path.name}"))


def after(manifest: Manifest, name: str, folder: Path, dataset: Dataset, tuning: Tuning) -> Path:
    """Write a model in int8, fitted to pictures of a set, as ``name``; return the manifest's path."""
    package.refuse(manifest)
    folder.mkdir(exist_ok=True)
    pictures = calibration(dataset, manifest.input)
    tuning.told(f"int8     is fitted to {len(pictures)} pictures")
    return package.quantised(manifest, name, folder, pictures)


def calibration(dataset: Dataset, spec: ModelInput) -> list[UInt8]:
    """Return pictures of a set as a network wants them, evenly chosen. Raises `UsageError` for too few."""
    if len(dataset) < FEWEST:
        raise UsageError(
            f"int8 is fitted to at least {FEWEST} pictures, there are {len(dataset)}", where=dataset.origin,
            remedy="give more of them with --data; 100 are good",
        )  # fmt: skip
    chosen = np.linspace(0, len(dataset) - 1, min(CALIBRATION, len(dataset))).round().astype(int)
    return [fitted(rgb_of(dataset.examples[number]), spec.spec())[0] for number in chosen]
