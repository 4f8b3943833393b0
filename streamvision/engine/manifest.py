"""Manifests: what a model is, where its file comes from, what it wants to see and how its answer is read.

A manifest is a YAML file, in ``engines/`` or anywhere else. Pixels become network input by
``(pixel * scale - mean) / std``, with mean and std per channel in the order of ``colour``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from streamvision import plugins
from streamvision.config.document import PARSER_SLIPS
from streamvision.engine.folders import user_folders
from streamvision.engine.tangles import untangled
from streamvision.errors import ManifestError, Problem
from streamvision.resources import shipped
from streamvision.types import Colour, Fit, InputSpec

DEFAULT = "default"
"""The name that stands for `DEFAULT_MODEL`."""
DEFAULT_MODEL = "sv-street"
"""The model that needs no download."""

Task = Literal["detection", "instance_segmentation", "semantic_segmentation", "classification"]
Classes = Annotated[tuple[str, ...], Field(min_length=2, max_length=256)]

NAME = r"^[a-z0-9][a-z0-9._-]*$"
"""What a model may be called."""

_MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000
_MAX_DEPTH = 32
_SMALL = "a manifest is a small file: write it out"
_KEY_PROBLEMS = {"extra_forbidden": "unknown key", "missing": "a key is missing here"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelInput(_Part):
    """What a network wants to see. ``layout`` and ``dtype`` are those of its input tensor."""

    size: tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]]
    layout: Literal["nchw", "nhwc"] = "nchw"
    colour: Colour = Colour.RGB
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fit: Fit = Fit.LETTERBOX
    pad: Annotated[int, Field(ge=0, le=255)] = 114

    @field_validator("scale")
    @classmethod
    def _scale_not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a scale of 0 makes every picture black")
        return scale

    @field_validator("std")
    @classmethod
    def _std_not_zero(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if 0 in std:
            raise ValueError("a std of 0 divides by zero")
        return std

    @model_validator(mode="after")
    def _normalisation_fits(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values, but {self.colour} has {self.channels} channels")
        if self.dtype == "uint8" and (self.scale != 1 or any(self.mean) or set(self.std) - {1.0}):
            raise ValueError("a network that takes uint8 normalises by itself: scale, mean and std have no place here")
        return self

    @property
    def channels(self) -> int:
        """1 for gray, else 3."""
        return 1 if self.colour is Colour.GRAY else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """One picture's shape in the network's layout, without the batch dimension."""
        width, height = self.size
        return (self.channels, height, width) if self.layout == "nchw" else (height, width, self.channels)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per channel ``(mean, std)`` such that the network sees ``(pixel - mean) / std``: ``scale`` is folded in."""
        mean = self.mean or (0.0,) * self.channels
        std = self.std or (1.0,) * self.channels
        return tuple(m / self.scale for m in mean), tuple(s / self.scale for s in std)

    def spec(self) -> InputSpec:
        """Return the picture that capture shall prepare."""
        return InputSpec(self.size, self.fit, self.colour, self.pad)


class DecoderChoice(_Part):
    """Which decoder plug-in reads the outputs, with its options."""

    type: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fold_options(cls, value: object) -> object:
        if isinstance(value, dict) and "options" not in value:
            rest = {key: item for key, item in value.items() if key != "type"}
            return {key: item for key, item in value.items() if key == "type"} | {"options": rest}
        return value


class ModelFile(_Part):
    """The network's file: looked for by ``name``, believed only with this ``sha256``."""

    name: Annotated[str, Field(pattern=r"^[\w.+-]+\.onnx$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None


class Head(_Part):
    """The part of a two-stage network that looks at regions, each given as ``side`` x ``side`` feature vectors."""

    file: ModelFile
    side: Annotated[int, Field(ge=1, le=64)]


class Heads(_Part):
    """``box`` judges what a region shows and where exactly; ``mask`` says which of its parts belong to the object."""

    box: Head
    mask: Head | None = None


class Manifest(_Part):
    """One model.

    A ``network`` has a file and a decoder. A ``two_stage`` network has a file that makes features and proposals, heads
    that look at regions, and ``options``: see `two_stage_results.TwoStageOptions`. ``motion`` is an algorithm with
    ``options`` of its own.
    """

    name: Annotated[str, Field(pattern=NAME)]
    summary: str
    task: Task = "detection"
    kind: Literal["network", "two_stage", "motion"] = "network"
    licence: str
    source: str
    input: ModelInput
    labels: tuple[str, ...] = ()
    """Names of what is detected, or of what a picture is classified as; a background class is not among them."""
    segmentation: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Classes] = Field(default_factory=dict)
    """The label maps that the network makes, in the order of its outputs, each with its classes from index 0 on."""
    decoder: DecoderChoice | None = None
    file: ModelFile | None = None
    heads: Heads | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    quantised: bool = False
    """Whether the file that sees the picture has int8 layers already, so that nobody quantises it again."""

    _path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "network" and (self.decoder is None or self.file is None):
            raise ValueError("a network needs both `decoder` and `file`")
        if self.kind == "network" and self.options:
            raise ValueError("`options` belong to algorithms; a network's go into `decoder`")
        if self.kind == "motion" and self.quantised:
            raise ValueError("motion is no network: there is nothing in it that could be `quantised`")
        if self.kind == "motion" and (self.decoder is not None or self.file is not None):
            raise ValueError(f"{self.kind} is no network: `decoder` and `file` have no meaning")
        if self.kind == "two_stage":
            self._has_two_stages()
        elif self.heads is not None:
            raise ValueError("`heads` belong to a network of kind two_stage")
        if self.task == "semantic_segmentation" and not self.segmentation:
            raise ValueError("a network that segments needs `segmentation`: the classes of each of its label maps")
        if self.task != "semantic_segmentation" and not self.labels:
            raise ValueError("`labels` are missing: the names of the classes, in the network's order")
        return self

    def _has_two_stages(self) -> None:
        if self.file is None or self.heads is None:
            raise ValueError("a two-stage network needs both `file` and `heads`")
        if self.decoder is not None:
            raise ValueError("a two-stage network has no `decoder`; its thresholds go into `options`")
        if (self.heads.mask is not None) != (self.task == "instance_segmentation"):
            raise ValueError("a mask head makes instance_segmentation, and there is none without it")

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """All network files, the one that sees the picture first."""
        heads = () if self.heads is None else (self.heads.box, self.heads.mask)
        return tuple(file for file in (self.file, *(head.file for head in heads if head)) if file)

    @property
    def path(self) -> Path | None:
        """The file that this manifest was read from, None for one made in memory."""
        return self._path

    def at(self, path: Path) -> Self:
        """Return the same manifest, known to lie at ``path``."""
        copy = self.model_copy()
        copy._path = path
        return copy


def names() -> list[str]:
    """Return the names of the manifests that ship with the program and of the user's own, sorted."""
    return sorted({*_shipped_names(), *(path.stem for path in _own())})


def locate(name_or_path: str | Path) -> Path:
    """Return the manifest file behind a name, a path, or ``default``.

    The names of shipped manifests stand for these alone; others are looked for in `folders.user_folders`. Raises
    `ManifestError`.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise ManifestError("there is no such manifest file", where=str(path))
        return path
    name = DEFAULT_MODEL if text == DEFAULT else text
    if name in _shipped_names():
        return shipped("engines") / f"{name}.yaml"
    own = [path for path in _own() if path.stem == name]
    if len(own) > 1:
        raise ManifestError(
            f"there are several models called {name!r}: {', '.join(map(str, own))}",
            remedy="remove or rename all but one of them, or give the path of the one you mean",
        )
    if not own:
        known = names()
        near = difflib.get_close_matches(name, [*known, DEFAULT], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}; or give a path ending in .yaml"
        raise ManifestError(f"there is no model called {name!r}", remedy=hint)
    return own[0]


def _shipped_names() -> list[str]:
    return [path.stem for path in shipped("engines").glob("*.yaml")]


def _own() -> list[Path]:
    """Return the manifests in the user's folders; other YAML files may lie there too and are left alone."""
    return [path for folder in user_folders() for path in sorted(folder.glob("*.yaml")) if _looks_like_one(path)]


def _looks_like_one(path: Path) -> bool:
    if not re.fullmatch(NAME, path.stem):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_BYTES)
    except OSError:
        return False
    return all(re.search(rb"^%s:" % key, start, re.MULTILINE) for key in (b"name", b"summary", b"input"))


def load(name_or_path: str | Path) -> Manifest:
    """Read and check a manifest. Raises `ManifestError` that lists every problem with line and column."""
    path = locate(name_or_path)
    document = _parse(path)
    plain = _Plain(path).of(document)
    if isinstance(plain.get("labels"), str):
        plain["labels"] = _shared_labels(plain["labels"], path)
    if isinstance(plain.get("segmentation"), dict):
        maps = plain["segmentation"]
        plain["segmentation"] = {
            name: _shared_labels(classes, path) if isinstance(classes, str) else classes
            for name, classes in maps.items()
        }
    try:
        manifest = Manifest.model_validate(plain).at(path)
    except ValidationError as error:
        raise _refusal(path, document, error) from error
    _check_decoder(manifest, document, path)
    return manifest


def labels_of(name_or_path: str) -> tuple[str, ...]:
    """Return a model's class names, so that rules can be checked against them. Raises `ManifestError`."""
    return load(name_or_path).labels


def maps_of(name_or_path: str) -> dict[str, tuple[str, ...]]:
    """Return the classes of each label map that a model makes. Raises `ManifestError`."""
    return load(name_or_path).segmentation


def _parse(path: Path) -> CommentedMap:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ManifestError(f"the file is larger than {_MAX_BYTES >> 20} MiB", where=str(path), remedy=_SMALL)
        yaml = YAML(typ="rt")
        yaml.composer.warn_double_anchors = False
        document = yaml.load(untangled(path.read_text(encoding="utf-8"), path, _MAX_DEPTH))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ManifestError(f"not valid YAML: {error.problem}", where=place) from error
    except RecursionError as error:
        raise ManifestError("the file is nested too deeply", where=str(path), remedy=_SMALL) from error
    except (YAMLError, OSError, *PARSER_SLIPS) as error:
        raise ManifestError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(document, CommentedMap):
        raise ManifestError("a manifest is a mapping of keys to values", where=f"{path}:1:1")
    return document


class _Plain:
    """Copies a document into plain dicts, lists and scalars, with a budget: aliases make small files endless."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MAX_VALUES

    def of(self, node: Any, depth: int = 0) -> Any:
        """Return the node as plain values. Raises `ManifestError` for too many of them."""
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise ManifestError(
                "the file is nested too deeply or repeats itself through aliases", where=str(self._path), remedy=_SMALL
            )
        if isinstance(node, dict):
            return {str(key): self.of(value, depth + 1) for key, value in node.items()}
        return [self.of(value, depth + 1) for value in node] if isinstance(node, list) else node


def _shared_labels(name: str, manifest: Path) -> list[str]:
    """Return the lines of a label list that several manifests share. Raises `ManifestError`."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ManifestError(
            f"{name!r} is no name of a label list", where=str(manifest), remedy="name a .txt file beside the manifest"
        )
    for folder in (manifest.parent, manifest.parent / "labels", shipped("engines") / "labels"):
        path = folder / f"{name}.txt"
        if os.path.isfile(path):
            try:
                return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            except (OSError, ValueError) as error:
                raise ManifestError(f"cannot be read as a label list: {error}", where=str(path)) from error
    raise ManifestError(
        f"there is no label list called {name!r}",
        where=str(manifest),
        remedy=f"write the labels into the manifest, or put {name}.txt beside it, one label a line",
    )


def _check_decoder(manifest: Manifest, document: CommentedMap, path: Path) -> None:
    """Validate the decoder's options against the plug-in that will get them."""
    if manifest.decoder is None:
        return
    options = plugins.load("decoder", manifest.decoder.type).Options
    try:
        options.model_validate(manifest.decoder.options)
    except ValidationError as error:
        raise _refusal(path, document, error, prefix=("decoder",)) from error


def _refusal(path: Path, document: CommentedMap, error: ValidationError, prefix: tuple[str, ...] = ()) -> ManifestError:
    problems = []
    for item in error.errors():
        loc = (*prefix, *item["loc"])
        line, column = _position(document, loc)
        message = _KEY_PROBLEMS.get(item["type"], item["msg"].removeprefix("Value error, "))
        where = ".".join(str(part) for part in loc)
        problems.append(Problem(str(path), line, column, f"{where}: {message}" if where else message))
    return ManifestError("\n".join(map(str, sorted(problems, key=lambda each: (each.line, each.column)))))


def _position(node: Any, loc: Sequence[int | str]) -> tuple[int, int]:
    """Return line and column (from 1) of the deepest part of ``loc`` that the document has."""
    line, column = 1, 1
    for part in loc:
        if isinstance(node, CommentedMap) and part in node:
            row, col = node.lc.key(part)
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            row, col = node.lc.item(part)
        else:
            break
        line, column, node = row + 1, col + 1, node[part]
    return line, column
