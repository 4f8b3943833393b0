"""The training loop: batches in, better weights out. Everything around it lies in modules of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamvision.errors import EngineError
from streamvision.train import checkpoint
from streamvision.train.batches import Batch, Batches
from streamvision.train.checkpoint import At, Parts
from streamvision.train.distributed import Crew, parallel
from streamvision.train.freezing import Freezing
from streamvision.train.networks import Network, Target
from streamvision.train.optimiser import set_rate
from streamvision.train.precision import Precision, autocast
from streamvision.train.reports import EpochDone, Reporter, Stepped
from streamvision.train.schedule import Budget, Schedule, Stopwatch

Evaluate = Callable[[], Mapping[str, float]]
"""Returns figures of which the first decides, larger being better; the network has its mean weights meanwhile."""

_FAULTS_IN_A_ROW = 10
_FAULTS_OF_HALVES = 40
"""fp16 begins with a large scale and halves it at every overflow: some steps are lost as a matter of course."""
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Options:
    """How the loop goes. Epochs are counted in the budget's steps; the patience is in evaluations.

    ``checkpoint_steps`` and ``checkpoint_s``: how far apart checkpoints are, besides the one after every epoch.
    """

    lr: float
    budget: Budget
    schedule: Schedule
    seed: int
    accumulate: int = 1
    clip_norm: float | None = None
    precision: Precision = "fp32"
    channels_last: bool = False
    evaluate_every: int = 1
    patience: int | None = None
    checkpoint_steps: int | None = None
    checkpoint_s: float = 300.0


class Loop:
    """Trains one network. `run` returns when the budget is spent, nothing improves any more, or `stop` was called."""

    def __init__(
        self,
        network: Network,
        batches: Batches,
        parts: Parts,
        options: Options,
        *,
        evaluate: Evaluate | None,
        reporter: Reporter,
        folder: Path,
        crew: Crew,
        device: torch.device,
        freezing: Freezing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at = At()
        self.stopped = False
        """Whether somebody asked it to stop before its end."""
        self._network, self._batches, self._parts, self._options = network, batches, parts, options
        self._evaluate, self._reporter, self._folder = evaluate, reporter, folder
        self._crew, self._device, self._freezing, self._clock = crew, device, freezing, clock
        self._watch = Stopwatch(clock)
        self._faults = 0
        self._saved_s = 0.0
        self._losses: nn.Module | None = None

    def resume(self) -> None:
        """Go on from the folder's last checkpoint. Raises `UsageError` for one of another training."""
        self.at = checkpoint.load(self._folder / checkpoint.LAST, self._parts)

    def stop(self) -> None:
        """End after the step that is under way, with a checkpoint; a signal handler may call this."""
        self.stopped = True

    @property
    def mean_weights(self) -> Mapping[str, Tensor]:
        """The running mean of the weights, as a plain state."""
        return self._parts.ema.state

    def run(self) -> At:
        """Train to the end. Raises `EngineError` when losses are no numbers for several steps in a row."""
        self._watch = Stopwatch(self._clock, self.at.elapsed_s)
        self._saved_s = self.at.elapsed_s
        if not self.at.step:
            self._save()
        while not self._over():
            self._epoch()
            if self.stopped:
                break
            self._close_epoch()
        self._save()
        return self.at

    def _over(self) -> bool:
        """Tell whether the budget is spent, or patience; never in the middle of an epoch that is to be evaluated."""
        if self.at.batch:
            return False
        patience = self._options.patience
        return self._progress() >= 1 or (patience is not None and self.at.stale >= patience)

    def _progress(self) -> float:
        return self._options.budget.progress(self.at.step, self.at.elapsed_s)

    def _epoch(self) -> None:
        """Train to the end of the epoch, of the budget, or until stopped."""
        self._network.module.train()
        self._losses = self._freezing.begin_epoch(
            self.at.epoch, self._losses, lambda: parallel(self._network, self._crew)
        )
        batches = self._batches.epoch(self.at.epoch, self.at.batch)
        while not self.stopped and self._progress() < 1 and (group := tuple(islice(batches, self._options.accumulate))):
            self._step(group)
            self.at.batch += len(group)
            self._synchronise()
            self._save_if_due()

    def _close_epoch(self) -> None:
        """Evaluate if it is its turn, tell, and begin the next epoch."""
        at, best = self.at, False
        figures: dict[str, float] = {}
        if self._evaluate is not None and self._evaluates():
            figures, best = self._evaluated(self._evaluate)
        losses = {name: total / at.summed for name, total in at.sums.items()} if at.summed else {}
        self._reporter.epoch_done(EpochDone(at.epoch, at.step, at.elapsed_s, self._lr(), losses, figures, best))
        at.next_epoch()
        self._save()

    def _evaluates(self) -> bool:
        return (self.at.epoch + 1) % self._options.evaluate_every == 0 or self._progress() >= 1

    def _evaluated(self, evaluate: Evaluate) -> tuple[dict[str, float], bool]:
        """Return the mean weights' figures, and whether they are the best until now."""
        figures: dict[str, float] = {}
        if self._crew.leads:
            self._network.module.eval()
            with self._parts.ema.applied(self._network.module), torch.no_grad():
                figures = dict(evaluate())
        value = self._crew.largest([next(iter(figures.values()), -math.inf)], self._device)[0]
        best = self.at.best is None or value > self.at.best
        self.at.stale = 0 if best else self.at.stale + 1
        if best:
            self.at.best, self.at.best_epoch = value, self.at.epoch
            if self._crew.leads:
                checkpoint.write_whole(self._folder / checkpoint.BEST, self._parts.ema.state)
        return figures, best

    def _step(self, group: Sequence[Batch]) -> None:
        """Update the weights once, by the gradients of several batches."""
        torch.manual_seed(_mixed(self._options.seed, self.at.step, self._crew.rank))
        lr = self._lr()
        set_rate(self._parts.optimiser, lr)
        named: dict[str, float] = {}
        for number, batch in enumerate(group):
            for name, value in self._backward(batch, len(group), last=number == len(group) - 1).items():
                named[name] = named.get(name, 0.0) + value
        norm = self._apply()
        if not math.isfinite(norm):
            self._fault(named, group)
            return
        self._faults = 0
        self.at.step += 1
        self.at.summed += 1
        for name, value in named.items():
            self.at.sums[name] = self.at.sums.get(name, 0.0) + value
        pictures = sum(map(len, group)) * self._crew.size
        self._reporter.stepped(
            Stepped(self.at.epoch, self.at.step, named, lr, norm, self._progress(), self.at.elapsed_s, pictures)
        )

    def _lr(self) -> float:
        return self._options.lr * self._options.schedule.factor(self.at.step, self._progress())

    def _backward(self, batch: Batch, parts: int, *, last: bool) -> dict[str, float]:
        """Add the gradients of one batch, and return its losses as they count in the step."""
        assert self._losses is not None
        pictures, targets = to_device(batch, self._device, channels_last=self._options.channels_last)
        apart = nullcontext() if last or self._crew.size == 1 else self._losses.no_sync()
        with apart:
            with autocast(self._options.precision, self._device):
                losses: dict[str, Tensor] = self._losses(pictures, targets)
                total = torch.stack([each.float() for each in losses.values()]) / parts
            self._parts.scaler.scale(total.sum()).backward()
        return dict(zip(losses, total.detach().tolist(), strict=True))

    def _apply(self) -> float:
        """Move the weights by their gradients and return those' norm; gradients that are no numbers move nothing."""
        optimiser, scaler = self._parts.optimiser, self._parts.scaler
        scaler.unscale_(optimiser)
        parameters = [each for each in self._network.module.parameters() if each.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(parameters, self._options.clip_norm or math.inf))
        if math.isfinite(norm):
            scaler.step(optimiser)
            self._parts.ema.update(self._network.module)
        scaler.update()
        optimiser.zero_grad(set_to_none=True)
        return norm

    def _fault(self, losses: Mapping[str, float], group: Sequence[Batch]) -> None:
        """Tell of a step that was left out. Raises `EngineError` after several in a row."""
        self._faults += 1
        names = [name for name, value in losses.items() if not math.isfinite(value)]
        what = f"the loss {', '.join(names)} is" if names else "the gradients are"
        place = f"epoch {self.at.epoch + 1}, after step {self.at.step}"
        heal(self._network.module, self._parts.ema.state)
        if self._faults >= (_FAULTS_OF_HALVES if self._parts.scaler.is_enabled() else _FAULTS_IN_A_ROW):
            raise EngineError(
                f"{what} no number, for {self._faults} steps in a row",
                where=place,
                remedy="take a smaller lr, a longer warm-up, clip_norm, or precision: fp32; look at the boxes too",
            )
        if names or not self._parts.scaler.is_enabled():
            pictures = ", ".join(str(each.path) for batch in group for each in batch.examples[:3])
            self._reporter.warned(f"{place}: {what} no number; the step is left out (pictures: {pictures} ...)")

    def _synchronise(self) -> None:
        """Agree with all processes on the time and on whether to stop."""
        elapsed_s, stop = self._crew.largest([self._watch.elapsed_s, float(self.stopped)], self._device)
        self.at.elapsed_s, self.stopped = elapsed_s, bool(stop)

    def _save_if_due(self) -> None:
        every = self._options.checkpoint_steps
        by_steps = every is not None and self.at.step % every == 0
        if by_steps or self.at.elapsed_s - self._saved_s >= self._options.checkpoint_s:
            self._save()

    def _save(self) -> None:
        self._saved_s = self.at.elapsed_s
        if self._crew.leads:
            checkpoint.save(self._folder / checkpoint.LAST, self._parts, self.at)


def to_device(batch: Batch, device: torch.device, *, channels_last: bool = False) -> tuple[Tensor, tuple[Target, ...]]:
    """Return a batch's pictures and targets on a device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pictures = batch.pictures.to(device, non_blocking=True, memory_format=layout)
    return pictures, batch.targets if device.type == "cpu" else tuple(_moved(each, device) for each in batch.targets)


def _moved(target: Target, device: torch.device) -> Target:
    def there(value: Tensor | None) -> Any:
        return None if value is None else value.to(device, non_blocking=True)

    maps = {name: there(value) for name, value in target.label_maps.items()}
    return Target(
        there(target.boxes), there(target.labels), there(target.ignore), target.objects_known,
        there(target.masks), maps, target.label,
    )  # fmt: skip


@torch.no_grad()
def heal(module: nn.Module, mean: Mapping[str, Tensor]) -> None:
    """Give buffers that are no numbers, such as a normalisation's mean of a broken picture, the values of ``mean``."""
    for name, value in module.named_buffers():
        if value.dtype.is_floating_point and name in mean and not bool(torch.isfinite(value).all()):
            value.copy_(mean[name])


def _mixed(seed: int, step: int, rank: int) -> int:
    """Return a seed of the randomness of one step in one process (dropout, choice of anchors), whatever came before.

    Since nothing but these three numbers decides it, a training that goes on needs no state of a random generator.
    """
    return (seed * 1_000_003 + step * 1009 + rank) * _GOLDEN % 2**63
