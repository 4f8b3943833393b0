"""Which question a command line means: the target among what a network sees in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamvision.engine.manifest import Manifest
from streamvision.errors import UsageError
from streamvision.explain.targets import WHOLE, Area, Object, PictureClass, Target
from streamvision.types import Detections, Perception


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the n-th best detection (from 0), a class, or both; the part of the picture for label maps."""

    detection: int | None = None
    class_name: str | None = None
    map: str | None = None
    corners: tuple[tuple[float, float], ...] = WHOLE


def require_explainable(manifest: Manifest) -> None:
    """Raise `UsageError` for an engine whose answer does not depend on one picture alone."""
    if manifest.kind == "motion" or manifest.options.get("regions") == "motion":
        raise UsageError(
            "it sees what moves between pictures, and no part of one picture explains that",
            where=manifest.name,
            remedy="explain a network, such as yolox-nano",
        )


def target_of(question: Question, seen: Perception, manifest: Manifest) -> Target:
    """Return what is asked for. Raises `UsageError` where the network does not see it, or knows no such class."""
    if manifest.task == "classification":
        return _picture_class(question, seen, manifest.labels)
    wanted = question.class_name
    unknown = bool(manifest.segmentation) and wanted not in (None, *manifest.labels)
    if question.detection is None and (question.map or unknown or not manifest.labels):
        return _area(question, manifest)
    return _object(question, seen.detections, manifest.labels)


def _picture_class(question: Question, seen: Perception, labels: Sequence[str]) -> PictureClass:
    if question.detection is not None:
        raise UsageError("this network judges pictures as a whole", remedy="give --class instead of --detection")
    if question.class_name is None:
        assert seen.classification is not None
        best = int(seen.classification.argmax())
        return PictureClass(best, labels[best])
    return PictureClass(_known(question.class_name, labels), question.class_name)


def _object(question: Question, found: Detections, labels: Sequence[str]) -> Object:
    if question.class_name is not None:
        found = found[found.class_id == _known(question.class_name, labels)]
    number, what = question.detection or 0, question.class_name or "object"
    if not 0 <= number < len(found):
        raise UsageError(
            f"the network sees {len(found)} of the kind {what!r} in this picture, so there is no number {number}",
            where="--detection", remedy="count from 0, the best score first; `streamvision detect --json -` lists them",
        )  # fmt: skip
    class_id = int(found.class_id[number])
    x1, y1, x2, y2 = found.xyxy[number].tolist()
    return Object(class_id, labels[class_id], (x1, y1, x2, y2))


def _area(question: Question, manifest: Manifest) -> Area:
    maps = {name: classes for name, classes in manifest.segmentation.items() if question.map in (None, name)}
    if not maps:
        known = ", ".join(manifest.segmentation) or "none"
        raise UsageError(f"the network makes no label map {question.map!r}", remedy=f"its label maps: {known}")
    for name, classes in maps.items():
        if question.class_name in classes:
            return Area(name, (question.class_name,), question.corners)
    everything = [*manifest.labels, *(name for classes in maps.values() for name in classes)]
    if question.class_name is None:
        raise UsageError("which class of its label maps?", where="--class", remedy=f"one of {', '.join(everything)}")
    _known(question.class_name, everything)
    raise AssertionError("a known class has a map")


def _known(name: str, labels: Sequence[str]) -> int:
    if name in labels:
        return list(labels).index(name)
    shown = ", ".join(labels[:12]) + (" ..." if len(labels) > 12 else "")
    raise UsageError(f"the network knows no class {name!r}", where="--class", remedy=f"it knows {shown}")
