"""Distillation: a network learns from what a larger one says of the same pictures, besides from their labels.

Where the teacher gives probabilities (classes of pictures; scores of pixels, from a run of ours), the student's are
drawn to them at a raised temperature (Hinton et al., arXiv:1503.02531). Of objects and of label maps without scores it
takes what the teacher is sure of as labels where there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from streamvision.dataset import UNLABELLED
from streamvision.errors import UsageError
from streamvision.evaluate.label_maps import at_size
from streamvision.export.segmentation import class_scores
from streamvision.geometry import Letterbox, iou_matrix
from streamvision.train.networks import Network, Target
from streamvision.train.networks.task import Task
from streamvision.types import Detections, Perception, Segmentation

SURE: Final = 0.5
"""From this score on, what a teacher sees is an object; below it, and down to `UNSURE`, it may be one."""
UNSURE: Final = 0.2
_SAME_IOU: Final = 0.5
TEMPERATURE: Final = 2.0
WEIGHT: Final = 1.0
"""How much the teacher's probabilities count beside the student's own losses."""


class Teacher(Protocol):
    """A network that is looked up to."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of objects, or of classes of pictures."""
        ...

    @property
    def maps(self) -> Mapping[str, tuple[str, ...]]:
        """The classes of each label map."""
        ...

    def see(self, pictures: Tensor) -> list[Perception]:
        """Return what it sees in pictures (B,3,h,w) uint8 RGB, in their px."""
        ...

    def scores(self, pictures: Tensor) -> list[Tensor] | None:
        """Return scores before the softmax, (B,C) or (B,C,h,w) for each label map; None where it only gives answers."""
        ...


@dataclass(frozen=True, slots=True)
class _Matching:
    """``classes``: of the teacher's labels, by their number, the student's or -1; ``maps``: the same for label maps."""

    classes: np.ndarray[Any, np.dtype[np.int64]]
    maps: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]


class Distilled:
    """A `Network` that also learns from a teacher; ``whole``: its classes are those of pictures as a whole.

    Raises `UsageError` where both have nothing in common.
    """

    def __init__(self, network: Network, task: Task, teacher: Teacher, *, whole: bool, origin: str) -> None:
        self.module: nn.Module = network.module
        self._network, self._task, self._teacher, self._whole = network, task, teacher, whole
        self._matching = _matching(task, teacher, origin)
        self._by_scores = whole or (not task.classes and len(task.maps) == 1)
        if self._by_scores:
            theirs = self._matching.classes if whole else next(iter(self._matching.maps.values()), None)
            _require_all(theirs, task.classes if whole else next(iter(task.maps.values())), origin)

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the student's own losses on what is labelled and what the teacher sees, and ``teacher``."""
        with torch.no_grad():
            said = self._teacher.scores(pictures) if self._by_scores else None
            seen = self._teacher.see(pictures) if said is None else None
        if seen is not None and not self._whole:
            size_hw = (int(pictures.shape[2]), int(pictures.shape[3]))
            targets = [self._taught(*each, size_hw) for each in zip(targets, seen, strict=True)]
        heard, losses = _listened(self.module, lambda: self._network.losses(pictures, targets))
        if said is None and self._whole and seen is not None:
            said = [_log_shares(seen, pictures.device)]
        if said is not None and heard is not None and len(heard[0]) == len(pictures):
            theirs = self._matching.classes if self._whole else next(iter(self._matching.maps.values()))
            losses["teacher"] = WEIGHT * soft_loss(heard[0], _ordered(said[0], theirs), TEMPERATURE)
        return losses

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return what the student sees."""
        return self._network.predict(pictures, letterboxes)

    def _taught(self, target: Target, seen: Perception, size_hw: tuple[int, int]) -> Target:
        """Return a picture's labels and, where there are none, what the teacher sees."""
        if self._task.classes:
            target = with_objects(target, seen.detections, self._matching.classes)
        maps = dict(target.label_maps)
        for one in seen.segmentation:
            if one.name in self._matching.maps:
                theirs = _as_ours(one, self._matching.maps[one.name], size_hw).to(target.boxes.device)
                maps[one.name] = _filled(maps.get(one.name), theirs)
        return replace(target, label_maps=maps)


def with_objects(target: Target, seen: Detections, classes: np.ndarray[Any, np.dtype[np.int64]]) -> Target:
    """Return labels with a teacher's detections: as objects where it is sure, as neither right nor wrong where not.

    What overlaps a labelled object of the same class by half is that object. ``classes``: the teacher's classes as the
    student's, -1 for those it does not know.
    """
    known = classes[seen.class_id] >= 0
    seen, labels = seen[known], classes[seen.class_id[known]]
    fresh = _fresh(target, seen, labels) & (seen.score >= UNSURE)
    if target.masks is not None:
        fresh &= False  # boxes alone teach no masks
    boxes = torch.from_numpy(np.array(seen.xyxy[fresh])).to(target.boxes)
    ignore = torch.from_numpy(seen.score[fresh] < SURE).to(target.ignore)
    return replace(
        target,
        boxes=torch.cat((target.boxes, boxes)),
        labels=torch.cat((target.labels, torch.from_numpy(labels[fresh]).to(target.labels))),
        ignore=torch.cat((target.ignore, ignore)),
        objects_known=True,
    )


def _fresh(target: Target, seen: Detections, labels: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which detections are no labelled object: of the same class, or one that does not count."""
    if not len(target.boxes) or not len(seen):
        return np.ones(len(seen), np.bool_)
    overlap = iou_matrix(seen.xyxy, target.boxes.float().cpu().numpy()) >= _SAME_IOU
    same = labels[:, None] == target.labels.cpu().numpy()[None]
    return np.asarray(~(overlap & (same | target.ignore.cpu().numpy()[None])).any(1))


def _as_ours(seen: Segmentation, classes: Any, size_hw: tuple[int, int]) -> Tensor:
    """Return a teacher's label map (h,w) uint8 over the picture, in the student's classes."""
    known = np.where(classes >= 0, classes, UNLABELLED).astype(np.uint8)
    return torch.from_numpy(known[at_size(seen, size_hw)])


def _filled(own: Tensor | None, theirs: Tensor) -> Tensor:
    """Return a label map with the teacher's where it is unlabelled."""
    return theirs if own is None else torch.where(own == UNLABELLED, theirs.to(own.dtype), own)


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the divergence of softened probabilities, times the squared temperature so that gradients keep their size.

    student, teacher: scores (B,C,...); the teacher's are brought to the student's size. Mean over places.
    """
    if teacher.shape[2:] != student.shape[2:]:
        teacher = functional.interpolate(teacher, student.shape[2:], mode="bilinear", align_corners=False)
    if student.shape[1] == 1:  # one channel: the other class has the score 0
        student, teacher = (torch.cat((torch.zeros_like(each), each), 1) for each in (student, teacher))
    ours = functional.log_softmax(student.float() / temperature, 1)
    theirs = functional.log_softmax(teacher.float() / temperature, 1)
    return functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).mean() * temperature**2


def _listened(module: nn.Module, run: Callable[[], dict[str, Tensor]]) -> tuple[list[Tensor] | None, dict[str, Tensor]]:
    """Return what a module says while ``run`` runs: its scores, the main head's first; and what ``run`` returns."""
    said: list[Any] = []
    hook = module.register_forward_hook(lambda _, __, output: said.append(output))
    try:
        losses = run()
    finally:
        hook.remove()
    return (class_scores(said[0]) if said else None), losses


def _log_shares(seen: Sequence[Perception], device: torch.device) -> Tensor:
    """Return probabilities (B,C) as scores: their logarithms, which a softmax makes the same probabilities of."""
    shares = np.stack([each.classification for each in seen if each.classification is not None])
    return torch.from_numpy(np.log(np.maximum(shares, 1e-8))).to(device)


def _ordered(scores: Tensor, theirs: Any) -> Tensor:
    """Return a teacher's scores in the order of the student's classes."""
    if scores.shape[1] == 1:
        return scores
    place = {int(ours): number for number, ours in enumerate(theirs) if ours >= 0}
    return scores[:, [place[number] for number in range(len(place))]]


def _matching(task: Task, teacher: Teacher, origin: str) -> _Matching:
    classes = _numbers(teacher.labels, task.classes)
    maps = {name: _numbers(teacher.maps[name], own) for name, own in task.maps.items() if name in teacher.maps}
    if len(task.maps) == 1 and len(teacher.maps) == 1 and not maps:
        (name, own), theirs = next(iter(task.maps.items())), next(iter(teacher.maps.values()))
        maps = {name: _numbers(theirs, own)}
    useful = (classes >= 0).any() or any((each >= 0).any() for each in maps.values())
    if not useful:
        known = (*teacher.labels, *(name for each in teacher.maps.values() for name in each))
        raise UsageError(
            "this teacher knows nothing of what is learnt",
            where=origin,
            remedy=f"it knows {', '.join(known[:6])}; learnt are "
            f"{', '.join([*task.classes, *(name for each in task.maps.values() for name in each)][:6])}",
        )
    return _Matching(classes, maps)


def _numbers(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return for each of their names its number among ours, -1 for one that is not there."""
    place = {name.casefold(): number for number, name in enumerate(ours)}
    return np.array([place.get(name.casefold(), -1) for name in theirs], np.int64)


def _require_all(theirs: Any, ours: Sequence[str], origin: str) -> None:
    """Raise `UsageError` for a teacher that does not know every class whose probability is learnt."""
    known = set() if theirs is None else {int(each) for each in theirs}
    missing = [name for number, name in enumerate(ours) if number not in known]
    if missing:
        raise UsageError(
            f"this teacher does not know {', '.join(missing[:6])}",
            where=origin,
            remedy="take one whose classes are called the same",
        )
