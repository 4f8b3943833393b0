"""How well label maps agree with label pictures: the intersection over union of every class, and their mean.

Counted over all pixels of all pictures at the label pictures' own size (Everingham et al., "The PASCAL Visual Object
Classes Challenge", 2010); a class that is neither there nor seen anywhere has none and does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamvision.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamvision.engine.manifest import Manifest
    from streamvision.interfaces import Engine
    from streamvision.types import Segmentation, UInt8


def chosen_map(manifest: Manifest, name: str | None) -> str:
    """Return which of a model's label maps is measured. Raises `UsageError` where there is a choice, or none."""
    known = list(manifest.segmentation)
    if name is None and len(known) == 1:
        return known[0]
    if name not in known:
        what = f"there is no label map {name!r}" if name else "the model makes several label maps"
        raise UsageError(what, where=manifest.name, remedy=f"give --map, one of: {', '.join(known)}")
    return name


def pairs(images: Path, annotations: Path) -> list[tuple[Path, Path]]:
    """Return pictures with their label pictures: ``NAME.png``, or else ``NAME_anything.png``, for a picture ``NAME``.

    Pictures without one are left out. Raises `UsageError` if that leaves none.
    """
    from streamvision.capture.images import find_pictures

    labels = {path.stem: path for path in find_pictures(str(annotations)) if path.suffix.lower() == ".png"}
    found = []
    for picture in find_pictures(str(images)):
        label = _label_of(picture, labels)
        if label is not None:
            found.append((picture, label))
    if not found:
        raise UsageError(
            f"no picture of {images} has a label picture there", where=str(annotations),
            remedy="a label picture is called as its picture, NAME.png or NAME_label.png",
        )  # fmt: skip
    return found


def _label_of(picture: Path, labels: dict[str, Path]) -> Path | None:
    same = labels.get(picture.stem)
    if same is not None and not same.samefile(picture):
        return same
    return next((path for stem, path in labels.items() if stem.startswith(f"{picture.stem}_")), None)


def mean_iou(
    engine: Engine, classes: Sequence[str], name: str, found: Sequence[tuple[Path, Path]], ignored: Collection[int]
) -> dict[str, Any]:
    """Return ``mIoU`` and the IoU of each class under ``classes`` (None: neither there nor seen).

    Raises `UsageError` for label pictures with an index that is neither a class nor ``ignored``.
    """
    import numpy as np

    from streamvision.capture.labels import read_labels
    from streamvision.cli._pictures import perceptions

    confusion = np.zeros((len(classes), len(classes)), np.int64)
    seen = perceptions(engine, [picture for picture, _ in found])
    for (_, perception), (_, path) in zip(seen, found, strict=True):
        own = next(one for one in perception.segmentation if one.name == name)
        truth = read_labels(path)
        _check(truth, len(classes), ignored, path)
        confusion += confused(truth, _at_size(own, truth.shape), len(classes), ignored)
    ious = class_ious(confusion)
    return {
        "mIoU": float(np.nanmean(ious)),
        "classes": {
            label: None if np.isnan(iou) else round(float(iou), 6) for label, iou in zip(classes, ious, strict=True)
        },
    }


def _check(truth: UInt8, count: int, ignored: Collection[int], path: Path) -> None:
    import numpy as np

    strange = [index for index in np.unique(truth).tolist() if index >= count and index not in ignored]
    if strange:
        raise UsageError(
            f"has class {strange[0]}, but the model has {count}", where=str(path),
            remedy=f"give --ignore {strange[0]} if it marks what nobody labelled",
        )  # fmt: skip


def _at_size(found: Segmentation, shape: tuple[int, ...]) -> UInt8:
    """Return a label map's picture part enlarged to (h,w): every pixel takes the label under its centre."""
    import numpy as np

    from streamvision.draw.label_maps import picture_part

    part = picture_part(found)
    rows, columns = (
        np.minimum(((np.arange(want) + 0.5) * have / want).astype(np.intp), have - 1)
        for want, have in zip(shape, part.shape, strict=True)
    )
    return np.asarray(part[rows[:, None], columns], np.uint8)


def confused(truth: UInt8, seen: UInt8, count: int, ignored: Collection[int] = ()) -> NDArray[np.int64]:
    """Return how many pixels of each true class (row) were seen as which (column), without the ``ignored`` ones."""
    import numpy as np

    counts = ~np.isin(truth, [*ignored])
    cells = truth[counts].astype(np.int64) * count + seen[counts]
    return np.bincount(cells, minlength=count * count).reshape(count, count)


def class_ious(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each class's intersection over union; NaN where the union is empty."""
    import numpy as np

    shared = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - shared
    return np.where(union > 0, shared / np.maximum(union, 1), np.nan)
