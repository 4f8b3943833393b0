"""Structured pruning: whole channels are removed, with all that belongs to them in the layers before and after.

Which channels belong together is found by torch-pruning's dependency graph (Fang et al., "DepGraph: Towards Any
Structural Pruning", arXiv:2301.12900). The blocks of channels of all layers are ranked together, and the least
important go first, until the network costs as little as was asked for.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
import torch_pruning
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from streamvision.compress.cost import WEIGHTED, Cost, Meter, Of
from streamvision.compress.views import outputs
from streamvision.errors import EngineError, UsageError
from streamvision.export import pruned

Importance = Literal["magnitude", "taylor", "bn"]
IMPORTANCES: Final = ("magnitude", "taylor", "bn")
Side = Literal["in", "out"]
_BLOCK: Final = 8
"""Channels that go together: vector units take so many at a time, and 13 channels are no faster than 16."""
_NARROW: Final = 32
"""Layers with fewer channels than this are pruned by half as many."""
_KEPT: Final = 0.2
"""At least this share of each layer's channels stays."""
_FAILURES: Final = (
    RuntimeError, ValueError, AssertionError, IndexError, KeyError, AttributeError, TypeError, ZeroDivisionError,
)  # fmt: skip
"""What torch-pruning raises for a network whose parts it cannot follow; it has no exception of its own."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: cost before and after, and channels ``removed`` of all that there were."""

    before: Cost
    after: Cost
    removed: int
    channels: int


@dataclass(frozen=True, slots=True, eq=False)
class _Channels:
    """Channels that layers share, by their numbers in the ``root`` layer.

    ``effects``: which layers lose inputs or outputs, and how many with each channel.
    """

    root: Any
    count: int
    effects: Sequence[tuple[Any, Side, float]]


@dataclass(frozen=True, slots=True)
class _Block:
    importance: float
    channels: _Channels
    numbers: Sequence[int]


def prune(
    module: nn.Module, picture: Tensor, share: float, *, of: Of = "macs", importance: Importance = "magnitude"
) -> Pruned:
    """Remove channels from a network, in place, until the share of its cost is gone; remember its new shapes.

    picture: normalised (1,3,h,w), on the module's device. ``share``: 0 to 1, of its MACs or its parameters. Importance
    is the sum of the squared weights of all that belongs to a channel (``magnitude``), the scale of its normalisations
    (``bn``; Liu et al., arXiv:1708.06519), or the loss that it would cost to first order (``taylor``; Molchanov et al.,
    arXiv:1906.10771), for which the parameters must have gradients of the loss. See `pruned` for how it is kept.
    Raises `UsageError` for a share that cannot be reached, `EngineError` for a network that cannot be pruned; the
    module is of no use any more then.
    """
    if not 0 < share < 1:
        raise UsageError(f"a share of {share} cannot be removed", remedy="give one above 0 and below 1, such as 0.3")
    trained, before = module.training, pruned.shapes(module)
    module.eval()
    meter = Meter(module, picture)
    wanted = _shapes(module, picture)
    try:
        result = _prune(module, picture, meter, share, of, importance)
        found = _shapes(module, picture)
    except _FAILURES as error:
        raise EngineError(
            f"channels cannot be removed from this network: {error}", remedy="quantise or distil it instead"
        ) from error
    if found != wanted:
        raise EngineError(
            f"without some of its channels this network's outputs would be {found}, not {wanted}",
            remedy="quantise or distil it instead",
        )
    pruned.remember(module, before)
    module.train(trained)
    return result


def _shapes(module: nn.Module, picture: Tensor) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(each.shape) for each in outputs(module, picture)]


def _prune(module: nn.Module, picture: Tensor, meter: Meter, share: float, of: Of, importance: Importance) -> Pruned:
    graph = _graph(module, picture)
    before = meter.cost()
    blocks = _blocks(graph, _estimator(importance))
    chosen = _chosen(blocks, meter, before, (1 - share) * before.of(of), of)
    every = {id(block.channels): block.channels for block in blocks}
    gone: dict[int, list[int]] = {}
    for block in chosen:
        gone.setdefault(id(block.channels), []).extend(block.numbers)
    for key, numbers in gone.items():
        root = every[key].root
        fn = graph.get_pruner_of_module(root).prune_out_channels
        graph.get_pruning_group(root, fn, sorted(numbers)).prune()
    return Pruned(before, meter.cost(), sum(map(len, gone.values())), sum(each.count for each in every.values()))


def _chosen(blocks: Sequence[_Block], meter: Meter, before: Cost, target: float, of: Of) -> Sequence[_Block]:
    """Return so many of the blocks, from the first on, that the rest costs what it may. Raises `UsageError`."""
    ledger = _Ledger(meter, before, of)
    for number, block in enumerate(blocks):
        if ledger.total <= target:
            return blocks[:number]
        ledger.remove(block)
    if ledger.total <= target:
        return blocks
    most = 1 - ledger.total / before.of(of)
    raise UsageError(
        f"{1 - target / before.of(of):.0%} of this network's {of} cannot be removed, at most {most:.0%}",
        remedy="give a smaller share",
    )


class _Ledger:
    """What a network will cost without some of its channels; nothing is removed yet."""

    def __init__(self, meter: Meter, before: Cost, of: Of) -> None:
        self.total = float(before.of(of))
        self._meter, self._of = meter, of
        self._left: dict[tuple[Any, Side], float] = {}

    def remove(self, block: _Block) -> None:
        """Take a block's share from the layers that it belongs to."""
        layers = {layer for layer, _, _ in block.channels.effects}
        self.total -= sum(map(self._cost, layers))
        for layer, side, each in block.channels.effects:
            self._left[layer, side] = self._share(layer, side) - len(block.numbers) * each / _width(layer, side)
        self.total += sum(map(self._cost, layers))

    def _cost(self, layer: Any) -> float:
        times = self._meter.places(layer) if self._of == "macs" else 1
        return float(times * layer.weight.numel() * self._share(layer, "in") * self._share(layer, "out"))

    def _share(self, layer: Any, side: Side) -> float:
        return self._left.get((layer, side), 1.0)


def _width(layer: Any, side: Side) -> int:
    if isinstance(layer, nn.Linear):
        return int(layer.in_features if side == "in" else layer.out_features)
    return int(layer.in_channels if side == "in" else layer.out_channels)


def _graph(module: nn.Module, picture: Tensor) -> Any:
    frozen: Any = {FrozenBatchNorm2d: _FrozenNorm()}
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that it finds outside of layers, as it may
        return torch_pruning.DependencyGraph().build_dependency(
            module, picture, forward_fn=_marked, customized_pruners=frozen, verbose=False
        )


def _marked(module: nn.Module, picture: Tensor) -> list[Tensor]:
    """Return the outputs such that the graph has a node for each: without, a last layer looks like any other."""
    return [each * 1 for each in outputs(module, picture)]


def _estimator(importance: Importance) -> Any:
    kinds = torch_pruning.importance
    if importance == "taylor":
        return kinds.GroupTaylorImportance(normalizer=None)  # losses are comparable from layer to layer
    return kinds.BNScaleImportance() if importance == "bn" else kinds.GroupMagnitudeImportance(p=2)


def _blocks(graph: Any, estimate: Any) -> list[_Block]:
    """Return the blocks of channels that may go, the least important first."""
    blocks = []
    for group in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.ConvTranspose2d, nn.Linear]):
        if (grouping := _grouping(graph, group)) is None:
            continue
        scores = estimate(group)
        if scores is None:
            continue
        channels = _Channels(group[0].dep.target.module, len(scores), _effects(graph, group, len(scores)))
        blocks += _blocks_of(channels, grouping, scores)
    return sorted(blocks, key=lambda block: block.importance)


def _grouping(graph: Any, group: Any) -> int | None:
    """Return into how many equal parts the channels are divided; None where no channel may go.

    Those of an output may not. Parts are those of group normalisations and grouped convolutions.
    """
    parts = {1}
    for item in group:
        node = item.dep.target
        if node.type == torch_pruning.ops.OPTYPE.OUTPUT:
            return None
        layer = node.module
        grouped = isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.out_channels
        if isinstance(layer, nn.GroupNorm) or grouped:
            if item.idxs != item.root_idxs:
                return None  # their parts are not those of the root
            parts.add(layer.num_groups if isinstance(layer, nn.GroupNorm) else layer.groups)
    largest = max(parts)
    return largest if all(largest % each == 0 for each in parts) else None


def _effects(graph: Any, group: Any, count: int) -> list[tuple[Any, Side, float]]:
    """Return what each of a group's channels takes from which layers; a depthwise convolution loses both at once."""
    found: list[tuple[Any, Side, float]] = []
    for item in group:
        layer = item.dep.target.module
        if isinstance(layer, WEIGHTED):
            outwards = graph.is_out_channel_pruning_fn(item.dep.handler)
            found.append((layer, "out" if outwards else "in", len(item.idxs) / count))
    return found


def _blocks_of(channels: _Channels, grouping: int, scores: Tensor) -> list[_Block]:
    """Cut one set of channels into blocks, in the order of their importance; the most important ones stay."""
    places = channels.count // grouping
    scores = scores.reshape(grouping, places).sum(0)
    order = torch.argsort(scores, stable=True).tolist()
    size = max(1, (_BLOCK if channels.count >= _NARROW else _BLOCK // 2) // grouping)
    may_go = min(places - size, int(places * (1 - _KEPT)))
    first = places % size or size  # what is left is a multiple of the block
    cuts = [0, *range(first, may_go + 1, size)]
    blocks = []
    for start, end in itertools.pairwise(cuts):
        numbers = [place + part * places for place in order[start:end] for part in range(grouping)]
        blocks.append(_Block(float(scores[order[start:end]].mean()), channels, numbers))
    return blocks


class _FrozenNorm(torch_pruning.function.BatchnormPruner):
    """Removes channels of torchvision's normalisations without training, which hold buffers alone."""

    TARGET_MODULES = FrozenBatchNorm2d

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Keep all channels but those."""
        gone = set(idxs)
        kept = [each for each in range(len(layer.weight)) if each not in gone]
        for name in ("weight", "bias", "running_mean", "running_var"):
            setattr(layer, name, getattr(layer, name)[kept])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int:
        """Return how many there are."""
        return len(layer.weight)

    get_in_channels = get_out_channels
