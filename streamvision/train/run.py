"""One training from its setting to a model that the daemon runs: everything wired, on one screen."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from streamvision.capture.images import read_picture
from streamvision.errors import UsageError
from streamvision.export import pruned, registry
from streamvision.train import checkpoint, folder, glance, optimiser, weights, worst
from streamvision.train.checkpoint import At, Parts
from streamvision.train.data import Batches
from streamvision.train.distributed import Crew, Losses, connected, crew_of
from streamvision.train.ema import Ema
from streamvision.train.freezing import Freezing
from streamvision.train.log import Curves, MetricsLog
from streamvision.train.loop import Loop, to_device
from streamvision.train.networks import Network, table
from streamvision.train.precision import Precision, autocast, choose, scaler_for
from streamvision.train.recipe import Recipe
from streamvision.train.reports import Everybody, Reporter
from streamvision.train.setting import Setting
from streamvision.train.settle import loop_options, settled
from streamvision.train.validation import Validation, names_of

Ending = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Takes what a signal shall call; within the block the first Ctrl-C or SIGTERM does."""
_CACHE_MB = 512
_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended. ``manifest``: of the exported model, None where the training was stopped early."""

    at: At
    stopped: bool
    manifest: Path | None


@dataclass(slots=True)
class Trainee:
    """A network that is about to learn, with the data that it learns from."""

    setting: Setting
    network: Network
    begun: weights.Begun
    batches: Batches
    val: Batches
    device: torch.device
    crew: Crew


def train(setting: Setting, out: Path, *, resume: bool, reporters: Sequence[Reporter], ending: Ending,
          told: Callable[[str], None]) -> Outcome:  # fmt: skip
    """Train, keep everything in the run folder ``out``, and export the best network.

    ``told`` takes lines about what is done. Raises what the parts raise: all of it says what to do.
    """
    crew = crew_of()
    device = device_of(setting.recipe.device, crew)
    with connected(crew, device):
        trainee = begin(setting, device, crew, resume=out if resume else None)
        if crew.leads:
            told(f"begins   with {trainee.begun}")
        loop, validation = learn(trainee, out, resume=resume, reporters=reporters, ending=ending, told=told)
        finished = crew.leads and not loop.stopped
        return Outcome(loop.at, loop.stopped, _finish(trainee, loop, validation, out) if finished else None)


def learn(trainee: Trainee, out: Path, *, resume: bool, reporters: Sequence[Reporter], ending: Ending,
          told: Callable[[str], None]) -> tuple[Loop, Validation]:  # fmt: skip
    """Train what was begun, with checkpoints and best weights in the run folder ``out``; nothing is exported."""
    crew, setting = trainee.crew, trainee.setting
    recipe, precision = _settle(trainee)
    if crew.leads:
        folder.describe(out, recipe, setting, environment(trainee.device, crew, precision))
        pruned.keep(trainee.network.module, out)
        told(folder.plan(recipe, setting, weights.count(trainee.network.module), str(trainee.device), crew.size))
    crew.wait()
    loop, validation, curves = _loop(trainee, recipe, precision, out, reporters, resume=resume)
    if crew.leads and not resume:
        rgb = glance.write(trainee.batches, out)
        if curves is not None:
            curves.picture("first batch", rgb, 0)
    try:
        with ending(loop.stop):
            loop.run()
    finally:
        if curves is not None:
            curves.close()
    return loop, validation


def device_of(asked: str, crew: Crew) -> torch.device:
    """Return this process's device."""
    device = weights.best_device(asked)
    return torch.device("cuda", crew.local_rank) if device.type == "cuda" else device


def begin(setting: Setting, device: torch.device, crew: Crew, *, resume: Path | None) -> Trainee:
    """Return the network with the weights that it begins with, and its batches; ``resume``: the run that goes on."""
    recipe, task = setting.recipe, setting.task
    torch.manual_seed(recipe.seed)
    module: Any = registry.build(setting.engine, None, table.classes_of(setting.engine, task)).module
    if resume is None:
        begun = weights.begin(module, setting.engine, recipe.weights)
    else:
        pruned.follow(module, resume / checkpoint.LAST)
        begun = weights.Begun("the last checkpoint", 0, ())
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    module.to(device=device, memory_format=layout)
    network = table.adapter(setting.engine, module, task)
    return Trainee(setting, network, begun, *batches_of(setting, crew), device, crew)


def batches_of(setting: Setting, crew: Crew) -> tuple[Batches, Batches]:
    """Return the batches that are learnt from and those that are measured on."""
    recipe, spec = setting.recipe, setting.task.input
    workers = settled(recipe, setting.engine.exporter, steps=1, processes=1, pretrained=False).workers
    masks = setting.engine.task == "instance_segmentation"
    calm = None if recipe.last_epoch is None else recipe.augmentation.calm_from(recipe.last_epoch)
    train = Batches(
        setting.train, spec.size, recipe.batch, recipe.augmentation, recipe.seed, int(workers), spec.fit, spec.pad,
        masks=masks, rank=crew.rank, world=crew.size, cache_mb=_CACHE_MB, calm_from=calm, shown=setting.repeats,
    )  # fmt: skip
    val = Batches(setting.val, spec.size, recipe.batch, None, 0, min(int(workers), 2), spec.fit, spec.pad)
    return train, val


def _settle(trainee: Trainee) -> tuple[Recipe, Precision]:
    setting, crew = trainee.setting, trainee.crew
    steps = steps_of(trainee)
    recipe = settled(
        setting.recipe, setting.engine.exporter, steps=steps, processes=crew.size, pretrained=trainee.begun.pretrained
    )
    chosen = choose(recipe.precision, trainee.device, _trial(trainee))
    # Every process measures, and all take the first one's choice.
    (number,) = crew.largest([float(_PRECISIONS.index(chosen) if crew.leads else 0)], trainee.device)
    precision = _PRECISIONS[int(number)]
    return recipe.model_copy(update={"precision": precision}), precision


def steps_of(trainee: Trainee) -> int:
    """Return how many steps an epoch has."""
    return -(-len(trainee.batches) // trainee.setting.recipe.accumulate)


def _trial(trainee: Trainee) -> Callable[[Precision], None]:
    """Return a step of learning that leaves no trace, to measure how long it takes."""

    def step(precision: Precision) -> None:
        module, losses = trainee.network.module, Losses(trainee.network)
        batch = next(trainee.val.epoch(0))
        kept = {name: value.clone() for name, value in module.state_dict().items()}
        module.train()
        with torch.random.fork_rng():
            pictures, targets = to_device(batch, trainee.device, channels_last=trainee.setting.recipe.channels_last)
            with autocast(precision, trainee.device):
                total = torch.stack([each.float() for each in losses(pictures, targets).values()]).sum()
            total.backward()
        module.zero_grad(set_to_none=True)
        module.load_state_dict(kept)

    return step


def _loop(
    trainee: Trainee, recipe: Recipe, precision: Precision, out: Path, reporters: Sequence[Reporter], *, resume: bool
) -> tuple[Loop, Validation, Curves | None]:
    setting, network, device, crew = trainee.setting, trainee.network, trainee.device, trainee.crew
    module = network.module
    learner = optimiser.build(
        module, "sgd" if recipe.optimiser == "sgd" else "adamw", lr=float(recipe.lr), momentum=recipe.momentum,
        weight_decay=float(recipe.weight_decay),
    )  # fmt: skip
    parts = Parts(module, Ema(module, recipe.ema), learner, scaler_for(precision, device))
    names = names_of(setting.task, whole=setting.engine.exporter == "classifier")
    validation = Validation(network, trainee.val, setting.val, names, recipe.metric, device, precision)
    listeners = list(reporters)
    loop = Loop(
        network, trainee.batches, parts, loop_options(recipe, steps=steps_of(trainee), precision=precision),
        evaluate=validation, reporter=Everybody(listeners), folder=out, crew=crew, device=device,
        freezing=Freezing(module, recipe.freeze_backbone, bool(recipe.freeze_norms)),
    )  # fmt: skip
    if resume:
        loop.resume()
    curves = None
    if crew.leads:
        listeners.append(MetricsLog(out, loop.at))
        curves = Curves(out, loop.at) if recipe.tensorboard else None
        listeners += [curves] if curves else []
    return loop, validation, curves


def _finish(trainee: Trainee, loop: Loop, validation: Validation, out: Path) -> Path:
    """Write the last weights and the best network's model; return its manifest."""
    setting = trainee.setting
    checkpoint.write_whole(out / checkpoint.FINAL, loop.mean_weights)
    manifest = export(setting, out)
    _show_worst(trainee, validation, out, loop.at)
    return manifest


def _show_worst(trainee: Trainee, validation: Validation, out: Path, at: At) -> None:
    """Let the best network look once more, and draw where it goes wrong."""
    recipe, module = trainee.setting.recipe, trainee.network.module
    if not recipe.worst:
        return
    module.load_state_dict(torch.load(out / checkpoint.BEST, map_location=trainee.device, weights_only=True))
    module.eval()
    validation()
    assert validation.evaluator is not None
    paths = worst.write(validation.evaluator, out / worst.FOLDER, recipe.worst)
    if recipe.tensorboard:
        with contextlib.closing(Curves(out, at)) as curves:
            for path in paths:
                curves.picture(f"worst/{path.stem}", read_picture(path), at.step)


def export(setting: Setting, out: Path) -> Path:
    """Export the best weights of a run as ``model/NAME.onnx`` with its manifest; return the manifest's path."""
    best = out / checkpoint.BEST
    if not best.is_file():
        raise UsageError("there are no best weights yet", where=str(out), remedy="train for an epoch at least")
    request = registry.Request(
        recipe=setting.engine,
        out=out / "model",
        name=setting.name,
        size_wh=setting.size_wh,
        weights=best,
        num_classes=table.classes_of(setting.engine, setting.task),
        labels=setting.task.classes or None,
    )
    return registry.export(request)


def environment(device: torch.device, crew: Crew, precision: Precision) -> dict[str, Any]:
    """Return what a figure depends on besides the recipe."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "packages": folder.versions(), "python": platform.python_version(), "system": platform.platform(),
        "device": f"{device.type}: {name}", "threads": torch.get_num_threads(), "processes": crew.size,
        "precision": precision,
    }  # fmt: skip
