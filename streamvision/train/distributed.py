"""Several processes that train one network: what torchrun says of them, and how they agree.

Gradients are averaged by PyTorch's ``DistributedDataParallel``. Whether to stop is agreed upon after every step, since
a signal or the end of the time is seen by one process before another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from streamvision.train.networks import Network, Target

_PATIENCE = timedelta(hours=12)
"""One process evaluates while the others wait."""


@dataclass(frozen=True, slots=True)
class Crew:
    """This process among ``size`` of them. Rank 0 writes and talks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Tell whether this is the process that writes files."""
        return self.rank == 0

    def largest(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return the largest of each value over all processes."""
        if self.size == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return [float(each) for each in shared.tolist()]

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            distributed.barrier()


def crew_of(env: Mapping[str, str] = os.environ) -> Crew:
    """Return what torchrun's variables say; one process alone without them."""
    return Crew(int(env.get("RANK", 0)), int(env.get("WORLD_SIZE", 1)), int(env.get("LOCAL_RANK", 0)))


@contextmanager
def connected(crew: Crew, device: torch.device) -> Iterator[None]:
    """Within the block the processes can talk: over NCCL between GPUs, over gloo between CPUs."""
    if crew.size == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


class Losses(nn.Module):
    """A network's losses as a module, which is what can be run in several processes.

    ``tied``: every weight hangs on the losses, if only by a zero, so that processes whose batches teach different
    heads wait for the same gradients.
    """

    def __init__(self, network: Network, *, tied: bool = False) -> None:
        super().__init__()
        self.module = network.module
        self._network, self._tied = network, tied

    def forward(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return named losses; ``nothing``, a zero, where nothing in the batch teaches anything."""
        losses = self._network.losses(pictures, targets)
        if losses and not self._tied:
            return losses
        zero = torch.stack([each.sum() for each in self.parameters() if each.requires_grad]).sum() * 0.0
        name = next(iter(losses), "nothing")
        return {**losses, name: losses[name] + zero if losses else zero}


def parallel(network: Network, crew: Crew) -> nn.Module:
    """Return the losses, with gradients averaged over all processes."""
    if crew.size == 1:
        return Losses(network)
    wrapped: nn.Module = nn.parallel.DistributedDataParallel(Losses(network, tied=True))
    return wrapped
