"""A training as it is written down: a YAML file, or the flags of `streamvision train`. Needs no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from streamvision.config.document import MAX_BYTES, Document, read_document
from streamvision.config.secrets import Expander
from streamvision.config.settings import Strict
from streamvision.config.validate import validate
from streamvision.dataset import DataOptions
from streamvision.dataset.options import parse_spec
from streamvision.errors import ConfigError, Problem, UsageError
from streamvision.resources import shipped
from streamvision.train.augmentation import Augmentation
from streamvision.units import PositiveSeconds, parse_seconds

AUTO: Final = "auto"
_NAME = r"^[a-z0-9][a-z0-9._-]*$"
_DEFAULT_EPOCHS = 50


def _size(value: object) -> object:
    """Accept 512x288 as well as [512, 288]."""
    found = re.fullmatch(r"(\d{2,4})[xX](\d{2,4})", value) if isinstance(value, str) else None
    if found is None and isinstance(value, str):
        raise ValueError(f"{value!r} is no size; write width x height, such as 640x384")
    return (int(found[1]), int(found[2])) if found else value


Side = Annotated[int, Field(ge=16, le=4096)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_size)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Part(DataOptions):
    """One set of pictures: ``[FORMAT:]PATH[@SPLIT]``, or the same with options.

    ``repeat``: how many times an epoch shows each of its pictures, 0.5 for every second one.
    """

    repeat: Annotated[float, Field(gt=0, le=1000)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _of_a_path(cls, value: object) -> object:
        if isinstance(value, str | Path):
            return parse_spec(value)
        if isinstance(value, Mapping) and isinstance(value.get("path"), str):
            return {**parse_spec(value["path"]), **{key: each for key, each in value.items() if key != "path"}}
        return value


def _parts(value: object) -> object:
    return [value] if isinstance(value, str | Path | Mapping) else value


Parts = Annotated[tuple[Part, ...], BeforeValidator(_parts)]


class Data(Strict):
    """What is learnt from and what is measured on.

    ``train``: one set or several, mixed picture by picture. ``val``: without one, a share of ``split`` of the training
    pictures is kept apart, group by group where they have groups. ``classes``: what is learnt, and in which order; all
    classes of the training sets without it. ``maps``: which label maps are learnt; all that the network can make
    without it.
    """

    train: Annotated[Parts, Field(min_length=1)]
    val: Parts = ()
    split: Annotated[float, Field(gt=0, lt=1)] = 0.15
    classes: tuple[str, ...] | None = None
    maps: tuple[str, ...] | None = None


def _interval(value: object) -> object:
    """Accept steps as a whole number, and spans of time like 5m."""
    if isinstance(value, str):
        return {"seconds": parse_seconds(value)}
    return {"steps": value} if isinstance(value, int) and not isinstance(value, bool) else value


class _Interval(Strict):
    steps: Annotated[int, Field(ge=1)] | None = None
    seconds: PositiveSeconds | None = None


Interval = Annotated[_Interval, BeforeValidator(_interval)]


class Recipe(Strict):
    """A training.

    ``network``: a recipe of engines/recipes, or KIND:NETWORK. ``name``: what the trained model is called.
    ``weights``: what it begins with: ``DEFAULT`` (published ones for the whole network, or where there are none for its
    backbone), ``BACKBONE`` (published ones for its backbone alone), a state file, of which all that fits is taken,
    ``none``, or ``auto``: DEFAULT where somebody publishes any, else none.

    ``batch``: pictures at once in each process; ``accumulate``: how many batches make a step. ``epochs`` and
    ``max_time`` end the training, whichever is first. ``lr``: per step, as it is; ``auto`` depends on network,
    optimiser and pictures per step. ``warmup``: steps, ``auto`` for a twentieth of the training and at most 1000.
    ``momentum`` is AdamW's first beta too. ``weight_decay`` is not applied to norms and biases. ``clip_norm``: none of
    it with 0. ``ema``: how much of the mean weights stays at each step in the end; 0 for no mean.

    ``metric``: which figure of an evaluation decides what is best; ``auto``: AP for objects, mIoU for label maps, the
    mean of both for a network that has both, top1 for pictures as a whole. ``early_stopping``: how many evaluations
    without a better one end the training. ``class_weights``: by class, or ``auto`` for more weight to the rare, for
    networks that learn classes of pictures or pixels. ``dice``: how much a Dice loss counts beside a segmenter's
    cross-entropy. ``freeze_backbone``: for how many epochs. ``freeze_norms``: whether the statistics of batch
    normalisations stay as they begin; ``auto``: with weights and small batches. ``checkpoint_every``: a whole number of
    steps, or a span of time. ``evaluate_every``: epochs. ``worst``: how many of the worst pictures are drawn.
    Relative paths start in the working directory.
    """

    network: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(pattern=_NAME)] | None = None
    weights: Annotated[str, Field(min_length=1)] = AUTO
    data: Data
    size: Size | None = None
    augmentation: Augmentation = Augmentation()

    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    accumulate: Annotated[int, Field(ge=1, le=1024)] = 1
    epochs: Annotated[int, Field(ge=1)] | None = None
    max_time: PositiveSeconds | None = None
    optimiser: Literal["auto", "sgd", "adamw"] = "auto"
    lr: Annotated[float, Field(gt=0, le=100)] | Literal["auto"] = AUTO
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=10)] | Literal["auto"] = AUTO
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[int, Field(ge=0)] | Literal["auto"] = AUTO
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.01
    clip_norm: Annotated[float, Field(ge=0)] = 10.0
    ema: Share = 0.9998
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    channels_last: bool = True
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda)$")] = AUTO

    metric: Literal["auto", "AP", "AP50", "mask_AP", "mIoU", "top1"] = AUTO
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    class_weights: dict[str, Annotated[float, Field(ge=0)]] | Literal["auto", "none"] = "none"
    label_smoothing: Share = 0.0
    dice: Annotated[float, Field(ge=0)] = 0.0
    freeze_backbone: Annotated[int, Field(ge=0)] = 0
    freeze_norms: bool | Literal["auto"] = AUTO

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = AUTO
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    checkpoint_every: Interval = _Interval(seconds=300.0)
    worst: Annotated[int, Field(ge=0, le=1000)] = 16
    tensorboard: bool = True
    out: Path | None = None

    @property
    def last_epoch(self) -> int | None:
        """How many epochs there are at most; None where time alone decides."""
        return _DEFAULT_EPOCHS if self.epochs is None and self.max_time is None else self.epochs


def load(path: Path, changes: Mapping[str, Any] | None = None, *, env: Mapping[str, str] = os.environ) -> Recipe:
    """Read a recipe: a file, or the name of a shipped one. ``changes`` take the place of its keys, as `merged` says.

    Raises `ConfigError` with every mistake at its place, `UsageError` for changes that are mistakes.
    """
    document = _read(locate(path))
    if document.data is not None and not isinstance(document.data, dict):
        document.problem((), "expected keys with values", "a recipe begins with, say, network: sv-street")
    if not document.problems:
        document.data = merged(document.data, changes or {})
        Expander(document, env).expand()
        recipe = validate(document, Recipe, document.data, ())
        if recipe is not None and not document.problems:
            return recipe
    raise ConfigError(sorted(document.problems, key=lambda problem: (problem.line, problem.column)))


def of_flags(changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe that flags alone make. Raises `UsageError` that names what is wrong."""
    try:
        return Recipe.model_validate(merged({}, changes))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        missing = {"network": "give --network", "data": "give --data"}.get(where, "")
        what = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {what}", where="streamvision train", remedy=missing or None) from error


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys with others in their place; keys with keys are merged key by key."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def locate(path: Path) -> Path:
    """Return the file of a recipe: a path, or the name of one that ships with the program. Raises `UsageError`."""
    named = shipped("configs") / "train" / f"{path}.yaml"
    if path.is_file() or not named.is_file():
        return path
    return named


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        known = sorted(each.stem for each in (shipped("configs") / "train").glob("*.yaml"))
        remedy = f"give the path of a recipe, or one of: {', '.join(known)}"
        raise ConfigError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", remedy)]) from error
    document = read_document(str(path), raw)
    if document.data is None and not raw.strip():
        document.problems[:] = [Problem(str(path), 1, 1, "the file is empty", "a recipe names a network and data")]
    return document
