"""What a recipe or a command line says about a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamvision.errors import UsageError

Format = Literal["coco", "voc", "yolo", "labels", "classes"]
FORMATS: tuple[Format, ...] = ("coco", "voc", "yolo", "labels", "classes")


class DataOptions(BaseModel):
    """A labelled data set: where it lies, and how it is to be understood.

    ``path``: a file or folder; its format is recognised unless ``format`` names it. ``images``: where the pictures
    lie, ``labels``: where the label files or pictures lie, both where the format's usual place is not meant.
    ``split``: the name of a given split (``trainval``, ``val``). ``group``: what no two splits may share: ``group``
    (of the COCO extension), a metadata column, or a regular expression on the file name, whose first group counts.

    ``names``: the classes of label pictures or text labels in order, where no file tells them. ``map_name``: what the
    label map is called. ``ignore``: indices of label pictures that mean nothing. ``mapping``: index in the file ->
    class index. ``rename``: other names for classes, several of which may become one. ``classes``: which classes to
    keep, in this order. ``limit``: how many pictures at most, drawn evenly over the set. ``broken``: whether objects
    with mistakes refuse the set or are dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    format: Format | None = None
    images: Path | None = None
    labels: Path | None = None
    split: str | None = None
    group: str | None = None
    names: tuple[str, ...] | None = None
    map_name: str = "scene"
    ignore: tuple[int, ...] = ()
    mapping: dict[int, int] | None = None
    rename: dict[str, str] = Field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    limit: int | None = Field(default=None, ge=1)
    broken: Literal["refuse", "drop"] = "refuse"

    @field_validator("group")
    @classmethod
    def _is_pattern(cls, group: str | None) -> str | None:
        try:
            re.compile(group or "")
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from error
        return group


def options_of(spec: str | Path, **options: Any) -> DataOptions:
    """Return the options of ``[FORMAT:]PATH[@SPLIT]`` and of others beside it. Raises `UsageError` for what is none."""
    try:
        return DataOptions(**{**parse_spec(spec), **options})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"][:1]))
        what = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{name}: {what}" if name else what, where=str(spec)) from error


def parse_spec(spec: str | Path) -> dict[str, str]:
    """Return the options in ``[FORMAT:]PATH[@SPLIT]``, such as ``voc:VOCdevkit/VOC2007@trainval``."""
    text = str(spec)
    found: dict[str, str] = {}
    head, colon, rest = text.partition(":")
    if colon and head in FORMATS:
        found["format"], text = head, rest
    if not Path(text).exists() and "@" in text:
        text, found["split"] = text.rsplit("@", 1)
    found["path"] = text
    return found
