"""A path -> a `Dataset`: which format it is, what to keep of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Findings
from streamvision.dataset.formats import coco, folders, labels, voc, yolo
from streamvision.dataset.options import DataOptions, options_of
from streamvision.dataset.values import Dataset, Example, Objects
from streamvision.errors import UsageError

Reader = Callable[[DataOptions, Findings], Dataset]

READERS: dict[str, tuple[Callable[[Path], bool], Reader]] = {
    "coco": (coco.recognised, coco.read),
    "voc": (voc.recognised, voc.read),
    "yolo": (yolo.recognised, yolo.read),
    "labels": (labels.recognised, labels.read),
    "classes": (folders.recognised, folders.read),
}
"""For each format: whether a path looks like it, and its reader. The first that fits is taken."""


def read(spec: str | Path, **options: Any) -> Dataset:
    """Return the data set ``[FORMAT:]PATH[@SPLIT]``; ``options`` are those of `DataOptions`.

    Raises `DataError` for a set with mistakes, `UsageError` for a path of no known format or options that are none.
    """
    return load(options_of(spec, **options))


def load(options: DataOptions) -> Dataset:
    """Return the data set that ``options`` describe; raises as `read`."""
    findings = Findings(drop=options.broken == "drop")
    dataset = gather(options, findings)
    findings.refuse(dataset.origin)
    return dataset


def gather(options: DataOptions, findings: Findings) -> Dataset:
    """Return what can be read of a data set, and note in ``findings`` what is wrong with it.

    Raises `UsageError` for a path of no known format.
    """
    dataset = READERS[options.format or recognise(options.path)][1](options, findings)
    if not len(dataset):
        findings.add(kinds.EMPTY_SET, dataset.origin, "there is no picture in it")
    return _limited(_grouped(_chosen(dataset, options), options.group), options.limit)


def recognise(path: Path) -> str:
    """Return the format of what lies at a path. Raises `UsageError` where it is none that is known."""
    if not path.exists():
        raise UsageError("there is no such file or folder", where=str(path), remedy="check the path")
    for name, (looks_like, _) in READERS.items():
        if looks_like(path):
            return name
    raise UsageError(
        "this is no data set of a known format", where=str(path),
        remedy=f"say what it is: one of {', '.join(READERS)}, as FORMAT:PATH",
    )  # fmt: skip


def join(datasets: Sequence[Dataset]) -> Dataset:
    """Return several sets as one; classes of the same name become one, in the order in which they first appear.

    Raises `UsageError` where two sets have a label map of the same name with other classes.
    """
    names = tuple(dict.fromkeys(name for one in datasets for name in one.classes))
    maps: dict[str, tuple[str, ...]] = {}
    lookups: dict[str, tuple[int, ...]] = {}
    for one in datasets:
        for name, classes in one.maps.items():
            table = one.lookups.get(name, tuple(range(256)))
            if maps.setdefault(name, classes) != classes or lookups.setdefault(name, table) != table:
                raise UsageError(
                    f"the label map {name!r} has other classes than in {datasets[0].origin}", where=one.origin
                )
    examples = [
        example for one in datasets for example in _recoded(one, {name: name for name in names}, names).examples
    ]
    return Dataset(" + ".join(one.origin for one in datasets), names, tuple(examples), maps, lookups)


def _chosen(dataset: Dataset, options: DataOptions) -> Dataset:
    """Rename classes, and keep those that are wanted."""
    if not options.rename and options.classes is None:
        return dataset
    renamed = {name: options.rename.get(name, name) for name in dataset.classes}
    names = options.classes or tuple(dict.fromkeys(renamed.values()))
    return _recoded(dataset, renamed, names)


def _recoded(dataset: Dataset, renamed: dict[str, str], names: tuple[str, ...]) -> Dataset:
    """Return a set whose classes are ``names``; objects of other classes are left out, and pictures of such a class."""
    index = {name: number for number, name in enumerate(names)}
    table = np.array([index.get(renamed[name], -1) for name in dataset.classes], np.int32)
    if np.array_equal(table, np.arange(len(names))):
        return replace(dataset, classes=names)
    examples = (_with_classes(example, table) for example in dataset.examples)
    return replace(dataset, classes=names, examples=tuple(one for one in examples if one is not None))


def _with_classes(example: Example, table: np.ndarray[Any, np.dtype[np.int32]]) -> Example | None:
    label = None if example.label is None else int(table[example.label])
    if label == -1:
        return None
    if example.objects is None:
        return replace(example, label=label)
    classes = table[example.objects.class_id]
    return replace(example, label=label, objects=_kept(replace(example.objects, class_id=classes), classes >= 0))


def _kept(objects: Objects, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> Objects:
    if keep.all():
        return objects
    outlines = objects.outlines and tuple(one for one, kept in zip(objects.outlines, keep, strict=True) if kept)
    return Objects(objects.xyxy[keep], objects.class_id[keep], objects.ignore[keep], outlines)


def _grouped(dataset: Dataset, group: str | None) -> Dataset:
    """Set every example's group from a metadata column or a pattern on the file name."""
    if group is None or group == "group":
        return dataset
    pattern = re.compile(group)
    return replace(dataset, examples=tuple(_in_group(example, group, pattern) for example in dataset.examples))


def _in_group(example: Example, column: str, pattern: re.Pattern[str]) -> Example:
    value = example.metadata.get(column)
    if value is None:
        match = pattern.search(example.path.name)
        value = None if match is None else match.group(1 if pattern.groups else 0)
    return example if value is None else replace(example, group=value)


def _limited(dataset: Dataset, limit: int | None) -> Dataset:
    if limit is None or limit >= len(dataset):
        return dataset
    chosen: Iterable[int] = np.linspace(0, len(dataset) - 1, limit).round().astype(int).tolist()
    return replace(dataset, examples=tuple(dataset.examples[index] for index in chosen))
