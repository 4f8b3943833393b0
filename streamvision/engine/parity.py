"""Whether a newly made engine computes the same as the reference: what both see in the same pictures, compared.

Detections are matched one to one at an IoU of 0.9 within their class. One that only one side sees counts, unless its
score lies so near to the threshold that the permitted difference of scores explains it. Where the network sees
nothing in the pictures, its raw outputs are compared instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.engine.samples import batch_of
from streamvision.errors import EngineError
from streamvision.geometry import iou_matrix
from streamvision.interfaces import Engine
from streamvision.types import Detections, Float32, Masks, Perception, Segmentation, UInt8

WORKING_SCORE: Final = 0.3
"""From this score on detections are judged: about what streams are told to believe."""
ENOUGH: Final = 8
"""With fewer detections above the working score, it is lowered until so many are judged."""
MATCH_IOU: Final = 0.9
_LOOSE_IOU: Final = 0.5
_GRID: Final = 64
"""Masks are compared at so many points across and down the box that surrounds both."""
_RARE: Final = 0.001
"""A class that covers less than this share of the reference's label maps says nothing in a mean over classes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a precision may deviate from the reference.

    ``unmatched``: share of detections that have no counterpart; ``score``, ``score_mean``: difference between the
    scores of two that match, at most and in the mean; ``loss``: share of what is seen that is not seen alike, see
    `loss`; ``mask_iou``: mean over masks; ``keypoint``: distance as a share
    of the box's diagonal, at most; ``agreement``: share of label map pixels that are equal; ``miou``: mean over
    classes, the reference taken for the truth; ``top1``: share of pictures with the same best class; ``probability``:
    difference of a class's probability, at most; ``raw``: error of raw outputs, relative to their own norm.
    """

    unmatched: float
    score: float
    score_mean: float
    loss: float
    mask_iou: float
    keypoint: float
    agreement: float
    miou: float
    top1: float
    probability: float
    raw: float


BOUNDS: Final[Mapping[str, Bounds]] = {
    "fp32": Bounds(0.01, 0.005, 0.001, 0.03, 0.99, 0.005, 0.999, 0.99, 1.0, 0.005, 0.001),
    "fp16": Bounds(0.03, 0.05, 0.01, 0.05, 0.97, 0.02, 0.995, 0.97, 1.0, 0.03, 0.02),
    "bf16": Bounds(0.10, 0.20, 0.05, 0.15, 0.94, 0.05, 0.98, 0.94, 0.9, 0.1, 0.06),
    "int8": Bounds(0.30, 0.30, 0.06, 0.25, 0.88, 0.10, 0.95, 0.85, 0.75, 0.2, 0.25),
}
"""By precision."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number beside its bound; ``least`` tells that the bound is the smallest good value, not the largest."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the number is within its bound; a number that is none is not."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    def __str__(self) -> str:
        mark = "" if self.ok else "!"
        return f"{mark}{self.name} {self.value:.4g} (at {'least' if self.least else 'most'} {self.bound:.4g})"


@dataclass(frozen=True, slots=True)
class Parity:
    """The result of a comparison. ``basis`` says on what it rests; without measures nothing was shown either way."""

    basis: str
    measures: tuple[Measure, ...] = field(default=())

    @property
    def conclusive(self) -> bool:
        """Whether there was anything to compare."""
        return bool(self.measures)

    @property
    def ok(self) -> bool:
        """Whether every number is within its bound, and there is one at all."""
        return self.conclusive and all(measure.ok for measure in self.measures)

    def summary(self) -> str:
        """Return one line: the numbers, their bounds (``!`` where one is broken), and what they rest on."""
        found = ", ".join(map(str, self.measures)) or "nothing to compare"
        return f"{found}; on {self.basis}"

    def as_json(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {
            "ok": self.ok,
            "basis": self.basis,
            "measures": {
                each.name: {"value": each.value, "at_least" if each.least else "at_most": each.bound, "ok": each.ok}
                for each in self.measures
            },
        }


def compare(reference: Sequence[Perception], candidate: Sequence[Perception], task: str, bounds: Bounds) -> Parity:
    """Compare what two engines saw in the same pictures. ``task`` is the manifest's.

    Raises `EngineError` where they do not even say the same kind of thing.
    """
    if len(reference) != len(candidate):
        raise EngineError(f"expected {len(reference)} perceptions, got {len(candidate)}")
    parts = []
    if task in ("detection", "instance_segmentation") or any(len(one.detections) for one in (*reference, *candidate)):
        pairs = [(ours.detections, other.detections) for ours, other in zip(reference, candidate, strict=True)]
        parts.append(_detections(pairs, bounds))
    if any(one.segmentation for one in reference):
        parts.append(_label_maps(reference, candidate, bounds))
    if any(one.classification is not None for one in reference):
        parts.append(_classifications(reference, candidate, bounds))
    basis = ", ".join(part.basis for part in parts) or "nothing"
    measures = tuple(measure for part in parts for measure in part.measures)
    return Parity(f"{basis} of {len(reference)} pictures", measures)


def verify(candidate: Engine, reference: Engine, pictures: Sequence[UInt8], task: str, precision: str) -> Parity:
    """Run both engines over pictures that are prepared for them, each in its own largest batches, and compare.

    Raises `EngineError` if one of them fails. Raw outputs are judged where the pictures show nothing.
    """
    bounds = BOUNDS[precision]
    seen = compare(_perceived(reference, pictures), _perceived(candidate, pictures), task, bounds)
    if seen.conclusive:
        return seen
    return _raw(_outputs(reference, pictures), _outputs(candidate, pictures), bounds)


def _perceived(engine: Engine, pictures: Sequence[UInt8]) -> list[Perception]:
    seen: list[Perception] = []
    step = max(1, engine.max_batch)
    for start in range(0, len(pictures), step):
        batch = batch_of(pictures[start : start + step])
        seen.extend(engine.decode(batch, engine.submit(batch).result()))
    return seen


def _outputs(engine: Engine, pictures: Sequence[UInt8]) -> list[list[NDArray[Any]]]:
    """Return the raw outputs for each picture on its own: those of a batch need not be rows, one a picture."""
    return [engine.submit(batch_of([picture])).result() for picture in pictures]


def _raw(
    reference: Sequence[Sequence[NDArray[Any]]], candidate: Sequence[Sequence[NDArray[Any]]], bounds: Bounds
) -> Parity:
    """Judge raw outputs: the norm of the difference over the norm of the reference, worst output of all."""
    count = len(reference)
    worst = 0.0
    for ours, other in zip(reference, candidate, strict=True):
        if [each.shape for each in ours] != [each.shape for each in other]:
            return Parity(
                f"raw outputs of {count} pictures, of different shapes", (Measure("raw", np.inf, bounds.raw),)
            )
        worst = float(np.maximum(worst, max(map(relative_error, ours, other), default=np.nan)))
    dead = count > 1 and all(map(np.array_equal, reference[0], reference[-1]))
    alike = ", and all the same for different pictures: random weights?" if dead else ""
    return Parity(f"raw outputs of {count} pictures that show nothing{alike}", (Measure("raw", worst, bounds.raw),))


def relative_error(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Return the norm of the difference over the norm of the reference; nan if either is not finite."""
    wanted = np.asarray(reference, np.float64)
    if not (np.isfinite(wanted).all() and np.isfinite(candidate).all()):
        return float("nan")
    size = float(np.linalg.norm(wanted))
    error = float(np.linalg.norm(wanted - candidate))
    return error / size if size else error


def _detections(pairs: Sequence[tuple[Detections, Detections]], bounds: Bounds) -> Parity:
    threshold = _threshold([ours for ours, _ in pairs])
    found = [_match(ours, other, threshold, bounds.score) for ours, other in pairs]
    judged, lost = sum(one.judged for one in found), sum(one.unmatched for one in found)
    basis = f"{judged} detections (score from {threshold:.2g})"
    if not judged:
        return Parity(basis)
    differences = np.concatenate([one.score_difference for one in found])
    measures = [
        Measure("unmatched", lost / judged, bounds.unmatched),
        Measure("score", float(differences.max(initial=0)), bounds.score),
        Measure("score_mean", float(differences.mean()) if len(differences) else 0.0, bounds.score_mean),
        Measure("loss", loss(pairs, threshold / 3), bounds.loss),
    ]
    overlaps = np.concatenate([one.mask_iou for one in found])
    if len(overlaps):
        measures.append(Measure("mask_iou", float(overlaps.mean()), bounds.mask_iou, least=True))
    distances = np.concatenate([one.keypoint for one in found])
    if len(distances):
        measures.append(Measure("keypoint", float(distances.max()), bounds.keypoint))
    return Parity(basis, tuple(measures))


def loss(pairs: Sequence[tuple[Detections, Detections]], faint: float) -> float:
    """Return the share of all that is seen that is not seen alike: 0 for the same, 1 at worst.

    A detection weighs by how much its score is above ``faint``. Two of one class that overlap by half or more are seen
    alike as far as their boxes and their weights are. This tells a network that has become worse before detections
    are missing.
    """
    alike = total = 0.0
    for ours, other in pairs:
        chosen, overlap = _pairs(ours, other, _LOOSE_IOU)
        weight, weight_other = (np.maximum(each.score - np.float32(faint), 0) for each in (ours, other))
        shared = np.minimum(weight[chosen[:, 0]], weight_other[chosen[:, 1]])
        alike += float((overlap * shared).sum())
        total += float(weight.sum() + weight_other.sum() - shared.sum())
    return 1 - alike / total if total else 0.0


def _threshold(reference: Sequence[Detections]) -> float:
    """Return the score from which detections are judged: lower than usual where the pictures show too little."""
    scores = np.sort(np.concatenate([np.empty(0, np.float32), *(each.score for each in reference)]))[::-1]
    if len(scores) < ENOUGH:
        return float(min(WORKING_SCORE, scores.min(initial=WORKING_SCORE)))
    return float(min(WORKING_SCORE, scores[ENOUGH - 1]))


@dataclass(frozen=True, slots=True)
class _Matched:
    judged: int
    unmatched: int
    score_difference: Float32
    mask_iou: Float32
    keypoint: Float32


def _match(reference: Detections, candidate: Detections, threshold: float, tolerance: float) -> _Matched:
    """Pair the detections of one picture; both sides may be a tolerance below the threshold to be a counterpart."""
    ours = reference[reference.score >= threshold - tolerance]
    other = candidate[candidate.score >= threshold - tolerance]
    pairs, _ = _pairs(ours, other, MATCH_IOU)
    rows, columns = pairs[:, 0], pairs[:, 1]
    counts = np.maximum(ours.score[rows], other.score[columns]) >= threshold
    first, second = ours[rows[counts]], other[columns[counts]]
    sure = threshold + tolerance
    lost = int((np.delete(ours.score, rows) > sure).sum() + (np.delete(other.score, columns) > sure).sum())
    difference = np.asarray(np.abs(first.score - second.score), np.float32)
    return _Matched(len(first) + lost, lost, difference, _mask_ious(first, second), _keypoints(first, second))


def _pairs(reference: Detections, candidate: Detections, least: float) -> tuple[NDArray[np.intp], Float32]:
    """Return indices (M,2) of counterparts, one to one, and their IoU (M,): same class, best overlap first."""
    overlap = iou_matrix(reference.xyxy, candidate.xyxy)
    overlap[reference.class_id[:, None] != candidate.class_id] = 0
    rows, columns = np.nonzero(overlap >= least)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    taken: tuple[set[int], set[int]] = (set(), set())
    chosen = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken[0] and column not in taken[1]:
            taken[0].add(row)
            taken[1].add(column)
            chosen.append((row, column))
    indices = np.array(chosen, np.intp).reshape(-1, 2)
    return indices, np.asarray(overlap[indices[:, 0], indices[:, 1]], np.float32)


def _keypoints(first: Detections, second: Detections) -> Float32:
    """Return each pair's largest distance (M,) of keypoints, as a share of the reference box's diagonal."""
    if first.keypoints is None or second.keypoints is None or not first.keypoints.size:
        return np.empty(0, np.float32)
    diagonal = np.maximum(np.linalg.norm(first.xyxy[:, 2:] - first.xyxy[:, :2], axis=1), 1.0)
    farthest = np.linalg.norm(first.keypoints - second.keypoints, axis=2).max(axis=1)
    return np.asarray(farthest / diagonal, np.float32)


def _mask_ious(first: Detections, second: Detections) -> Float32:
    """Return the overlap (M,) of each pair's masks, looked at from the same points."""
    if first.masks is None or second.masks is None:
        return np.empty(0, np.float32)
    low = np.minimum(first.xyxy[:, :2], second.xyxy[:, :2])
    high = np.maximum(first.xyxy[:, 2:], second.xyxy[:, 2:])
    frames = np.concatenate((low, high), axis=1)
    ious = [
        _bitmap_iou(_sampled(first.masks, index, frame), _sampled(second.masks, index, frame))
        for index, frame in enumerate(frames)
    ]
    return np.array(ious, np.float32)


def _sampled(masks: Masks, index: int, frame: Float32) -> NDArray[np.bool_]:
    """Return where a mask covers an even grid of points over ``frame`` (4,), in source px."""
    height, width = masks.values.shape[1:]
    x1, y1, x2, y2 = masks.region[index]
    steps = (np.arange(_GRID, dtype=np.float32) + np.float32(0.5)) / np.float32(_GRID)
    x = (frame[0] + steps * (frame[2] - frame[0]) - x1) / max(x2 - x1, 1e-6) * width - 0.5
    y = (frame[1] + steps * (frame[3] - frame[1]) - y1) / max(y2 - y1, 1e-6) * height - 0.5
    columns, rows = (np.asarray(each, np.float32) for each in np.meshgrid(x, y))
    # Outside its region a mask is nowhere; at the border its outermost values reach half a pixel beyond their centres.
    inside = (columns >= -0.5) & (columns <= width - 0.5) & (rows >= -0.5) & (rows <= height - 0.5)
    values = cv2.remap(masks.values[index], columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray((values > 0) & inside)


def _bitmap_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    union = int((first | second).sum())
    return 1.0 if union == 0 else int((first & second).sum()) / union


def _label_maps(reference: Sequence[Perception], candidate: Sequence[Perception], bounds: Bounds) -> Parity:
    maps = [
        (one, other) for ours, theirs in zip(reference, candidate, strict=True) for one, other in _both(ours, theirs)
    ]
    by_name: dict[str, list[tuple[Segmentation, Segmentation]]] = {}
    for one, other in maps:
        by_name.setdefault(one.name, []).append((one, other))
    agreement = min(_agreement(pairs) for pairs in by_name.values())
    miou = min(_miou(pairs) for pairs in by_name.values())
    return Parity(
        f"{len(maps)} label maps",
        (
            Measure("agreement", agreement, bounds.agreement, least=True),
            Measure("miou", miou, bounds.miou, least=True),
        ),
    )


def _both(reference: Perception, candidate: Perception) -> list[tuple[Segmentation, Segmentation]]:
    wanted = [(each.name, each.label_map.shape) for each in reference.segmentation]
    found = [(each.name, each.label_map.shape) for each in candidate.segmentation]
    if wanted != found:
        raise EngineError(f"expected label maps {wanted}, got {found}")
    return list(zip(reference.segmentation, candidate.segmentation, strict=True))


def _agreement(pairs: Sequence[tuple[Segmentation, Segmentation]]) -> float:
    return float(np.mean([np.mean(one.label_map == other.label_map) for one, other in pairs]))


def _miou(pairs: Sequence[tuple[Segmentation, Segmentation]]) -> float:
    """Return the mean IoU over classes that the reference sees, in all pictures together."""
    counts = np.zeros((256, 256), np.int64)
    for one, other in pairs:
        joint = one.label_map.astype(np.int64).ravel() * 256 + other.label_map.ravel()
        counts += np.bincount(joint, minlength=256 * 256).reshape(256, 256)
    shared, wanted, found = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    present = wanted > _RARE * counts.sum()
    return float(np.mean(shared[present] / (wanted + found - shared)[present]))


def _classifications(reference: Sequence[Perception], candidate: Sequence[Perception], bounds: Bounds) -> Parity:
    pairs = [(one.classification, other.classification) for one, other in zip(reference, candidate, strict=True)]
    same, difference = [], 0.0
    for wanted, found in pairs:
        if wanted is None or found is None or wanted.shape != found.shape:
            raise EngineError("the engines do not classify alike: one gives other classes than the other")
        gap = np.abs(wanted - found)
        # Two classes that are nearly equally likely may change places.
        best = int(found.argmax())
        same.append(wanted[best] >= wanted.max() - bounds.probability)
        difference = float(np.maximum(difference, gap.max()))
    return Parity(
        f"{len(pairs)} classifications",
        (
            Measure("top1", float(np.mean(same)), bounds.top1, least=True),
            Measure("probability", difference, bounds.probability),
        ),
    )
