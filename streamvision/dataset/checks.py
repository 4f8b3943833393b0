"""Everything that can be wrong with labelled pictures, found before a training begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Findings
from streamvision.dataset.options import DataOptions
from streamvision.dataset.pictures import Look, look_at_all, near
from streamvision.dataset.pixels import indices
from streamvision.dataset.read import gather
from streamvision.dataset.values import UNLABELLED, Dataset, Example
from streamvision.errors import BrokenMedia, UnsupportedMedia

_NEAR_BITS = 3
"""Of 64. Neighbours in a video differ in none to three bits, pictures of other places in a dozen and more."""
_IMBALANCE = 100
_FEW_PICTURES = 10
"""Below that nobody can tell whether a class is rare."""


@dataclass(slots=True)
class Checked:
    """What was read of one set, and what each of its picture files showed."""

    dataset: Dataset
    looks: list[Look] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The sets, and all findings about them."""

    train: list[Checked]
    val: list[Checked]
    findings: Findings

    @property
    def usable(self) -> bool:
        """Tell whether there is no error."""
        return not self.findings.errors


def check(
    train: Sequence[DataOptions], val: Sequence[DataOptions] = (), seen: Callable[[], None] | None = None
) -> Report:
    """Read and check the sets of a training: each for itself, then what is learnt against what is measured.

    Objects with mistakes count as warnings where a set's ``broken`` is "drop". ``seen`` is called after each picture.
    Raises `UsageError` for a path of no known format.
    """
    findings = Findings()
    sides = [[_checked(options, findings, seen) for options in side] for side in (train, val)]
    if val:
        compare(sides[0], sides[1], findings)
    return Report(sides[0], sides[1], findings)


def _checked(options: DataOptions, findings: Findings, seen: Callable[[], None] | None) -> Checked:
    own = Findings(drop=options.broken == "drop")
    checked = inspect(gather(options, own), own, seen)
    findings.take(own)
    return checked


def inspect(dataset: Dataset, findings: Findings, seen: Callable[[], None] | None = None) -> Checked:
    """Check the pictures, label pictures and objects of one set that was read."""
    checked = Checked(dataset, list(look_at_all(dataset.examples, seen)))
    for example, look in zip(dataset.examples, checked.looks, strict=True):
        for kind, what in look.problems:
            findings.add(kind, example.path, what)
        _duplicate_boxes(example, findings)
        for name in example.label_maps:
            _label_picture(dataset, example, name, findings)
    _same_files(checked, findings)
    _balance(dataset, findings)
    return checked


def _duplicate_boxes(example: Example, findings: Findings) -> None:
    objects = example.objects
    if objects is None or len(objects) < 2:
        return
    rows = np.column_stack([objects.class_id, objects.xyxy.round(1)])[~objects.ignore]
    _, counts = np.unique(rows, axis=0, return_counts=True)
    extra = int((counts - 1).sum())
    if extra:
        findings.add(kinds.DUPLICATE_BOX, example.path, f"{extra} of {len(rows)} objects", extra)


def _label_picture(dataset: Dataset, example: Example, name: str, findings: Findings) -> None:
    path = example.label_maps[name]
    if not path.is_file():
        findings.add(kinds.MISSING_LABELS, path, f"the label picture of {example.path.name} is not there")
        return
    try:
        found = indices(path)
    except (BrokenMedia, UnsupportedMedia) as error:
        findings.add(kinds.BROKEN_LABELS, path, error.what)
        return
    if found.shape[::-1] != example.size_wh:
        width, height = example.size_wh
        findings.add(kinds.LABELS_SIZE, path, f"it is {found.shape[1]}x{found.shape[0]}, the picture {width}x{height}")
    there = np.flatnonzero(np.bincount(found.ravel(), minlength=256))
    table = np.array(dataset.lookups.get(name, range(256)))[there]
    unknown = there[(table >= len(dataset.maps[name])) & (table != UNLABELLED)]
    if len(unknown):
        findings.add(kinds.UNKNOWN_INDEX, path, f"index {', '.join(map(str, unknown[:5].tolist()))}")
    elif (table == UNLABELLED).all():
        findings.add(kinds.ONLY_UNLABELLED, path, f"map {name!r}")


def _same_files(checked: Checked, findings: Findings) -> None:
    first: dict[str, Example] = {}
    for example, look in zip(checked.dataset.examples, checked.looks, strict=True):
        if look.sha256 is not None:
            other = first.setdefault(look.sha256, example)
            if other is not example:
                findings.add(kinds.DUPLICATE_PICTURE, example.path, f"the same as {other.path.name}")


def _balance(dataset: Dataset, findings: Findings) -> None:
    """Look for classes without examples, rare ones, and a set in which nothing is labelled at all."""
    counts = class_counts(dataset)
    labelled = any(example.label_maps or example.label is not None for example in dataset.examples)
    if len(dataset) and not labelled and not sum(counts.values()):
        findings.add(kinds.UNLABELLED_SET, dataset.origin, f"{len(dataset)} pictures, and no object in any")
        return
    if not len(dataset) or not sum(counts.values()):
        return
    for name, count in counts.items():
        if not count:
            findings.add(kinds.NO_EXAMPLE, dataset.origin, name)
    most, few = max(counts.values()), min(count for count in counts.values() if count)
    if most >= _IMBALANCE * few and len(dataset) >= _FEW_PICTURES:
        often, rare = (next(name for name, count in counts.items() if count == one) for one in (most, few))
        findings.add(kinds.IMBALANCE, dataset.origin, f"{most} of {often!r}, {few} of {rare!r}")


def class_counts(dataset: Dataset) -> Mapping[str, int]:
    """Return how many objects, or pictures as a whole, there are of each class; ignored ones do not count."""
    totals = np.zeros(len(dataset.classes), np.int64)
    for example in dataset.examples:
        if example.label is not None:
            totals[example.label] += 1
        if example.objects is not None and len(example.objects):
            totals += np.bincount(example.objects.class_id[~example.objects.ignore], minlength=len(totals))
    return dict(zip(dataset.classes, totals.tolist(), strict=True))


def compare(train: Sequence[Checked], val: Sequence[Checked], findings: Findings) -> None:
    """Look for what is both learnt and measured, which makes figures too good."""
    _classes(train, val, findings)
    groups = [{e.group: e for one in side for e in one.dataset.examples if e.group} for side in (train, val)]
    for group in sorted(groups[0].keys() & groups[1].keys()):
        findings.add(kinds.SHARED_GROUP, groups[1][group].path, f"group {group!r}")
    learnt = [pair for one in train for pair in zip(one.dataset.examples, one.looks, strict=True)]
    measured = [pair for one in val for pair in zip(one.dataset.examples, one.looks, strict=True)]
    by_hash = {look.sha256: example for example, look in learnt if look.sha256 is not None}
    for example, look in measured:
        if look.sha256 in by_hash:
            findings.add(kinds.SHARED_PICTURE, example.path, f"the same as {by_hash[look.sha256].path}")
    _near_duplicates(learnt, measured, findings)


def _near_duplicates(
    learnt: Sequence[tuple[Example, Look]], measured: Sequence[tuple[Example, Look]], findings: Findings
) -> None:
    known = [(example, look) for example, look in learnt if look.alike is not None]
    asked = [(example, look) for example, look in measured if look.alike is not None]
    hashes = [[look.alike for _, look in side if look.alike is not None] for side in (asked, known)]
    told: set[int] = set()
    for one, other in near(hashes[0], hashes[1], _NEAR_BITS).tolist():
        if one not in told and asked[one][1].sha256 != known[other][1].sha256:
            told.add(one)
            findings.add(kinds.NEAR_DUPLICATE, asked[one][0].path, f"very like {known[other][0].path}")


def _classes(train: Sequence[Checked], val: Sequence[Checked], findings: Findings) -> None:
    """Compare the classes of what is learnt with those of what is measured, by name."""
    learnt = {name for one in train for name in one.dataset.classes}
    for one in val:
        unknown = [name for name in one.dataset.classes if name not in learnt]
        if unknown and learnt:
            findings.add(kinds.OTHER_CLASSES, one.dataset.origin, f"nobody learns {', '.join(unknown[:5])}")
