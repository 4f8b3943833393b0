"""What every format is read into: plain values, numpy only. Pixels stay on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.types import Float32, Int32

UNLABELLED = 255
"""The index in a label picture that stands for: nobody said what this is."""

UNKNOWN = 254
"""The class, in a set's lookups, of an index that nobody has named or chosen to ignore."""

Outline = Any
"""One object's shape: a list of polygons, each (k,2) float32 source px, or COCO's ``counts`` and ``size``."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is to be found in one picture: xyxy (N,4) float32 source px, class_id (N,) int32 into the set's classes.

    ``ignore`` (N,) bool: neither right nor wrong when found (crowds, "difficult"). ``outlines``: one for each object,
    or None for a set of boxes.
    """

    xyxy: Float32
    class_id: Int32
    ignore: NDArray[np.bool_]
    outlines: tuple[Outline, ...] | None = None

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def none(cls) -> Objects:
        """Return the objects of a picture that is known to show none."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One labelled picture as it lies on disk.

    ``objects`` is None where nobody looked for any (not the same as none there). ``label_maps``: label pictures by the
    map's name; a map that is missing here is unlabelled. ``label``: the class of the picture as a whole. ``group``:
    pictures of one group (a ride, a camera) never lie in two splits. ``metadata``: columns that name groups to compare.
    """

    path: Path
    size_wh: tuple[int, int]
    objects: Objects | None = None
    label_maps: Mapping[str, Path] = field(default_factory=dict)
    label: int | None = None
    group: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A set of labelled pictures.

    ``classes``: names of objects, or of pictures as a whole, without a background. ``maps``: the classes of each label
    map from index 0 on. ``origin`` names the file or folder that it was read from. ``lookups``: for each map whose
    label pictures count otherwise than its classes, the class of each of the 256 indices in the file, `UNLABELLED` for
    none; read label pictures with `pixels.label_map`, which applies it.
    """

    origin: str
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    maps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lookups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)
