"""Areas that are the same in every picture of a camera that does not move: label maps drawn once.

A YAML file names, for each label map, its classes in their order and the polygons where a class is certain, in parts of
the picture (0 to 1, origin top left). What no polygon covers is unlabelled, and so is what an object stands before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from streamvision.config.document import PARSER_SLIPS
from streamvision.dataset.values import UNLABELLED
from streamvision.errors import UsageError
from streamvision.types import Float32, UInt8

Share = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3)]
_MAX_BYTES = 1 << 20
_SHIFT = 4


class Area(BaseModel):
    """A part of the picture that shows one class; later ones lie over earlier ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shows: str
    polygon: Polygon


class MapAreas(BaseModel):
    """What is known of one label map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=255)]
    areas: Annotated[tuple[Area, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _classes_known(self) -> MapAreas:
        for area in self.areas:
            if area.shows not in self.classes:
                raise ValueError(f"an area shows {area.shows!r}, which is none of {', '.join(self.classes)}")
        return self

    def raster(self, size_wh: tuple[int, int], objects: Float32) -> UInt8:
        """Return the label map (h,w) of one picture, unlabelled inside the boxes (N,4) of what stands before it."""
        width, height = size_wh
        labels: UInt8 = np.full((height, width), UNLABELLED, np.uint8)
        for area in self.areas:
            corners = np.asarray(area.polygon) * [width, height] * (1 << _SHIFT)
            cv2.fillPoly(
                labels, [np.round(corners).astype(np.int32)], self.classes.index(area.shows), cv2.LINE_8, _SHIFT
            )
        for x1, y1, x2, y2 in objects.tolist():
            labels[max(0, int(y1)) : int(np.ceil(y2)), max(0, int(x1)) : int(np.ceil(x2))] = UNLABELLED
        return labels


Areas = Mapping[str, MapAreas]
"""By the label map's name."""


def read_areas(path: Path) -> Areas:
    """Read a file of areas. Raises `UsageError` that says where it is wrong."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError("is too large for a file of areas", where=str(path))
        document: Any = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError, *PARSER_SLIPS) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(document, dict) or not document:
        raise UsageError("a file of areas maps the names of label maps to their areas", where=str(path))
    return {str(name): _checked(str(name), part, path) for name, part in document.items()}


def _checked(name: str, part: object, path: Path) -> MapAreas:
    try:
        return MapAreas.model_validate(part)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (name, *first["loc"])))
        raise UsageError(f"{place}: {first['msg']}", where=str(path)) from error


def write_labels(path: Path, labels: UInt8) -> None:
    """Write a label map (h,w) as a grey PNG. Raises `OSError`."""
    path.write_bytes(cv2.imencode(".png", labels)[1].tobytes())
