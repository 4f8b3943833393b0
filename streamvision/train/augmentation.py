"""How pictures are varied in training: options only, no torch. `streamvision.train.data.augment` does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Preset = Literal["camera", "light", "none"]

_STILL: Final[dict[str, Any]] = {
    "flip": 0.0, "scale": (1.0, 1.0), "aspect": 0.0, "translate": 0.0, "mosaic": 0.0,
    "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gamma": 0.0,
    "gray": 0.0, "distort": 0.0, "erase": 0.0,
}  # fmt: skip
_PRESETS: Final[dict[str, dict[str, Any]]] = {
    "camera": {},
    "light": _STILL | {
        "flip": 0.5, "scale": (0.8, 1.25), "aspect": 0.05, "translate": 0.05, "brightness": 0.15, "contrast": 0.15,
        "saturation": 0.2, "hue": 0.01, "gamma": 0.1,
    },
    "none": _STILL,
}  # fmt: skip


def _range(value: object) -> object:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Augmentation(BaseModel):
    """How much pictures are varied: a preset, and what is to be different from it.

    ``camera``: everything that street and surveillance cameras do; ``light``: a little of size, place and light;
    ``none``: pictures as an engine will see them. A preset alone can be written as its name.

    ``flip``, ``mosaic`` (four pictures in one), ``mixup`` (two blended), ``copies`` (small objects shown once more
    elsewhere), ``gray``, ``distort`` (what weather, lenses, sensors and codecs do, up to ``distort_strength``),
    ``erase`` (a patch without picture): the share of pictures that get it. ``scale``: from - to, of the size that fills
    the network's input; below 1 is zooming out. ``aspect``: how much wider or narrower, 0.2 for a fifth. ``translate``:
    how far a picture may leave the input, as a share of its side. ``keep``: which share of an object must stay visible
    for it to count; of less it is neither right nor wrong. ``brightness``, ``contrast``, ``saturation``, ``hue`` (of
    the whole circle) and ``gamma``: how far from as it is. ``calm``: the last share of the epochs, without mosaic and
    mixup.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "camera"
    flip: Share = 0.5
    scale: Annotated[
        tuple[Annotated[float, Field(ge=0.1, le=10)], Annotated[float, Field(ge=0.1, le=10)]], BeforeValidator(_range)
    ] = (0.6, 1.6)
    aspect: Share = 0.15
    translate: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    keep: Share = 0.35
    mosaic: Share = 0.4
    mixup: Share = 0.0
    copies: Share = 0.0
    calm: Share = 0.15
    brightness: Share = 0.3
    contrast: Share = 0.3
    saturation: Share = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    gamma: Share = 0.25
    gray: Share = 0.03
    distort: Share = 0.2
    distort_strength: Annotated[int, Field(ge=1, le=5)] = 3
    erase: Share = 0.1

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, value: object) -> object:
        if isinstance(value, str):
            value = {"preset": value}
        if not isinstance(value, Mapping):
            return value
        preset = _PRESETS.get(str(value.get("preset", "camera")), {})
        return {**preset, **value}

    @model_validator(mode="after")
    def _in_order(self) -> Augmentation:
        if self.scale[0] > self.scale[1]:
            raise ValueError(
                f"scale goes from the smaller to the larger, not from {self.scale[0]:g} to {self.scale[1]:g}"
            )
        return self

    def calm_from(self, epochs: int) -> int:
        """Return the first epoch, from 0 on, that is calm in a training of so many."""
        return round((1 - self.calm) * epochs)
