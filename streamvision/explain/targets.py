"""What is explained: one number that is read from what the network sees in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamvision.geometry import Letterbox, iou_matrix, points_in_polygon
from streamvision.types import Perception, Segmentation

WHOLE: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
"""The whole picture as corners in fractions of it."""


class Target(Protocol):
    """A question to a network; ``label`` says in words what it is about."""

    @property
    def label(self) -> str:
        """What is explained, for people."""
        ...

    @property
    def xyxy(self) -> tuple[float, float, float, float] | None:
        """The box in source px where the evidence is expected, if there is one."""
        ...

    def score(self, seen: Perception) -> float:
        """Return how much of it the network sees, 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Object:
    """A detection: how well the network's best box of that class matches it.

    Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps" (D-RISE), arXiv:2006.03204, section
    3.2: the similarity is IoU x score of the class. Engines give no scores of other classes, so that the paper's
    cosine of class probabilities is the choice of the class here.
    """

    class_id: int
    class_name: str
    xyxy: tuple[float, float, float, float]

    @property
    def label(self) -> str:
        """The class's name."""
        return self.class_name

    def score(self, seen: Perception) -> float:
        """Return the largest IoU x score over detections of the class."""
        same = seen.detections[seen.detections.class_id == self.class_id]
        if not len(same):
            return 0.0
        iou = iou_matrix(np.asarray([self.xyxy], np.float32), same.xyxy)[0]
        return float((iou * same.score).max())


@dataclass(frozen=True, slots=True)
class PictureClass:
    """A class of a network that judges a picture as a whole: its probability, as in RISE."""

    class_id: int
    class_name: str

    @property
    def label(self) -> str:
        """The class's name."""
        return self.class_name

    @property
    def xyxy(self) -> None:
        """Nowhere in particular."""
        return

    def score(self, seen: Perception) -> float:
        """Return the probability of the class."""
        return 0.0 if seen.classification is None else float(seen.classification[self.class_id])


@dataclass(frozen=True, slots=True)
class Area:
    """Classes of a label map inside a region: which share of the region they cover.

    ``corners``: the region, in fractions of the picture.
    """

    map: str
    class_names: tuple[str, ...]
    corners: tuple[tuple[float, float], ...] = WHOLE

    @property
    def label(self) -> str:
        """The classes' names."""
        return ", ".join(self.class_names)

    @property
    def xyxy(self) -> None:
        """The region is where it is asked for, not where the evidence has to be."""
        return

    def score(self, seen: Perception) -> float:
        """Return the share."""
        found = next((each for each in seen.segmentation if each.name == self.map), None)
        return 0.0 if found is None else self._share(found)

    def raster(self, letterbox: Letterbox) -> NDArray[np.bool_]:
        """Tell which pixels (h,w) of a raster that ``letterbox`` describes lie in the region."""
        return _raster(self.corners, letterbox)

    def _share(self, found: Segmentation) -> float:
        inside = self.raster(found.letterbox)
        wanted = [index for index, name in enumerate(found.class_names) if name in self.class_names]
        return float(np.isin(found.label_map[inside], wanted).mean()) if inside.any() else 0.0


def _raster(corners: Sequence[Sequence[float]], letterbox: Letterbox) -> NDArray[np.bool_]:
    """Tell which pixels (h,w) of a label map have their centres in a region that is given in fractions."""
    polygon = np.asarray(corners, np.float64) * letterbox.inner_wh + letterbox.offset_xy
    width, height = letterbox.model_wh
    low, high = np.floor(polygon.min(0)).astype(int), np.ceil(polygon.max(0)).astype(int)
    x, y = np.arange(max(0, low[0]), min(width, high[0])), np.arange(max(0, low[1]), min(height, high[1]))
    centres = np.stack(np.meshgrid(x + 0.5, y + 0.5), axis=-1).reshape(-1, 2)
    inside = np.zeros((height, width), np.bool_)
    if len(centres):
        inside[y[0] : y[-1] + 1, x[0] : x[-1] + 1] = points_in_polygon(centres, polygon).reshape(len(y), len(x))
    return inside


def as_json(target: Target) -> dict[str, Any]:
    """Return a target as JSON-ready values, from which `from_json` makes it again."""
    if isinstance(target, Object):
        return {"kind": "object", "class_id": target.class_id, "class": target.class_name, "xyxy": list(target.xyxy)}
    if isinstance(target, PictureClass):
        return {"kind": "class", "class_id": target.class_id, "class": target.class_name}
    assert isinstance(target, Area)
    return {"kind": "area", "map": target.map, "classes": list(target.class_names), "corners": list(target.corners)}


def from_json(given: dict[str, Any]) -> Target:
    """Return the target that `as_json` described. Raises KeyError, TypeError or ValueError for anything else."""
    kind = given["kind"]
    if kind == "object":
        x1, y1, x2, y2 = map(float, given["xyxy"])
        return Object(int(given["class_id"]), str(given["class"]), (x1, y1, x2, y2))
    if kind == "class":
        return PictureClass(int(given["class_id"]), str(given["class"]))
    corners = tuple((float(x), float(y)) for x, y in given["corners"])
    return Area(str(given["map"]), tuple(map(str, given["classes"])), corners)
