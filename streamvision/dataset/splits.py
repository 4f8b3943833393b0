"""Splits: which pictures are learnt from and which are measured on, so that neighbours never lie in both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamvision.dataset.values import Dataset
from streamvision.errors import UsageError


def split(dataset: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return two parts of a set, the second with about ``share`` of the pictures, drawn by ``seed``.

    Pictures of one `Example.group` stay together; a picture without one is a group of its own. Raises `UsageError` for
    a share that leaves one part empty.
    """
    names = [example.group if example.group is not None else f"\0{n}" for n, example in enumerate(dataset.examples)]
    groups, member, sizes = np.unique(np.array(names, dtype=np.str_), return_inverse=True, return_counts=True)
    wanted = share * len(dataset)
    taken = np.zeros(len(groups), np.bool_)
    for group in np.random.default_rng(seed).permutation(len(groups)):
        taken[group] = sizes[taken].sum() + sizes[group] <= wanted
    room = wanted - sizes[taken].sum()
    over = np.where(taken, np.inf, sizes - room)
    if len(over) and over.min() < room:  # one group more ends nearer to what is wanted
        taken[int(over.argmin())] = True
    second = taken[member]
    if not 0 < share < 1 or second.all() or not second.any():
        raise UsageError(
            f"a share of {share:g} of {len(groups)} groups leaves nothing on one side", where=dataset.origin,
            remedy="choose a share between 0 and 1 that some groups fit into",
        )  # fmt: skip
    return _part(dataset, ~second), _part(dataset, second)


def _part(dataset: Dataset, keep: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Dataset:
    return replace(dataset, examples=tuple(one for one, kept in zip(dataset.examples, keep, strict=True) if kept))
