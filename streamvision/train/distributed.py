"""Several processes that train one network: what torchrun says of them, and how they agree.

Gradients are averaged by PyTorch's ``DistributedDataParallel``. Whether to stop is agreed upon after every step, since
a signal or the end of the time is seen by one process before another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from streamvision.train.networks import Network, Target


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
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


class Losses(nn.Module):
    """A network's losses as a module, which is what can be run in several processes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module = network.module
        self._network = network

    def forward(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return named losses; a zero that hangs on the weights where nothing in the batch teaches anything."""
        losses = self._network.losses(pictures, targets)
        return losses or {"nothing": next(each for each in self.parameters() if each.requires_grad).sum() * 0.0}


def parallel(network: Network, crew: Crew) -> nn.Module:
    """Return the losses, with gradients averaged over all processes."""
    losses = Losses(network)
    if crew.size == 1:
        return losses
    # A batch may show nothing that one of the heads learns from, so parameters without a gradient are looked for.
    wrapped: nn.Module = nn.parallel.DistributedDataParallel(losses, find_unused_parameters=True)
    return wrapped
