"""Which of a network's classes are which of a data set's, by their names and by what the user says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from streamvision.errors import UsageError
from streamvision.types import Int32

Pairs = Sequence[tuple[str, str]]
"""(the network's class, the data set's class) for names that differ."""


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """The classes that both sides know.

    ``names``: what they are called, in the data set's order. ``of_model`` (M,) and ``of_data`` (D,) int32: for each
    class of the network and of the data set its index in ``names``, -1 where the other side does not know it.
    """

    names: tuple[str, ...]
    of_model: Int32
    of_data: Int32

    def __len__(self) -> int:
        return len(self.names)


def parse_pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs in texts such as ``cell phone=car``. Raises `UsageError`."""
    pairs = []
    for text in texts:
        ours, equals, theirs = (part.strip() for part in text.partition("="))
        if not (ours and equals and theirs):
            raise UsageError(f"{text!r} does not say which class is which", remedy="write NETWORK'S CLASS=DATA'S CLASS")
        pairs.append((ours, theirs))
    return pairs


def match(model: Sequence[str], data: Sequence[str], pairs: Pairs = ()) -> Matching:
    """Return the classes that a network and a data set have in common.

    A class that ``pairs`` name is matched by them alone, every other by its name. Several classes of the network may be
    one of the data set, and the other way round: then the network's name stands for all of them.
    """
    links = [(ours, theirs) for ours, theirs in pairs if ours in model and theirs in data]
    named = {ours for ours, _ in links} | {theirs for _, theirs in links}
    links += [(name, name) for name in data if name in model and name not in named]
    parts: list[tuple[set[str], set[str]]] = []
    for ours, theirs in links:
        met = [part for part in parts if ours in part[0] or theirs in part[1]]
        parts = [part for part in parts if part not in met]
        parts.append(({ours}.union(*(part[0] for part in met)), {theirs}.union(*(part[1] for part in met))))
    parts.sort(key=lambda part: min(data.index(name) for name in part[1]))
    names = tuple(next(iter(theirs)) if len(theirs) == 1 else min(ours) for ours, theirs in parts)
    return Matching(names, _indices(model, [ours for ours, _ in parts]), _indices(data, [one for _, one in parts]))


def matched(model: Sequence[str], data: Sequence[str], pairs: Pairs, where: str) -> Matching:
    """Return what `match` does. Raises `UsageError` where nothing is in common."""
    found = match(model, data, pairs)
    if not len(found):
        raise UsageError(
            "none of the model's classes is among those of the data", where=where,
            remedy=f"the model knows {_some(model)}; the data {_some(data)}; say --map-class MODEL'S=DATA'S",
        )  # fmt: skip
    return found


def narrowed(model: Sequence[str], other: Sequence[str], data: Sequence[str], pairs: Pairs = ()) -> tuple[str, ...]:
    """Return a network's classes with an empty name for each that the data knows but the ``other`` network does not.

    Two networks are compared on what both of them can see.
    """
    own, theirs = match(model, data, pairs), match(other, data, pairs)
    shared = set(own.of_data[(own.of_data >= 0) & (theirs.of_data >= 0)].tolist())
    return tuple(name if kind in shared else "" for name, kind in zip(model, own.of_model.tolist(), strict=True))


def check_pairs(model: Iterable[str], data: Iterable[str], pairs: Pairs, where: str) -> None:
    """Raise `UsageError` for a pair that names a class which its side does not have."""
    sides = (("model", set(model)), ("data", set(data)))
    for pair in pairs:
        for name, (side, known) in zip(pair, sides, strict=True):
            if name not in known:
                raise UsageError(
                    f"the {side} has no class {name!r}", where=where, remedy=f"it has {_some(sorted(known))}"
                )


def _indices(names: Sequence[str], parts: Sequence[set[str]]) -> Int32:
    where = {name: number for number, part in enumerate(parts) for name in part}
    return np.array([where.get(name, -1) for name in names], np.int32)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
