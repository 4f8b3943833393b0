"""A figure for every class that is drawn, each time another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from streamvision.capture.drawn.cars import car
from streamvision.capture.drawn.heavy import bus, truck
from streamvision.capture.drawn.parts import Figure
from streamvision.capture.drawn.people import person
from streamvision.capture.drawn.riders import bicycle, motorcycle
from streamvision.capture.drawn.signals import traffic_light, traffic_sign

MAKERS: Mapping[str, Callable[[np.random.Generator], Figure]] = MappingProxyType({
    "person": person, "bicycle": bicycle, "motorcycle": motorcycle, "car": car, "bus": bus, "truck": truck,
    "traffic light": traffic_light, "traffic sign": traffic_sign,
})  # fmt: skip
POOL = 256
"""How many of each class there are in a process's store of figures."""


def figure(name: str, rng: np.random.Generator) -> Figure:
    """Return a new figure of a class of `CLASSES`, looking along +x, on the ground at 0, in metres."""
    return MAKERS[name](rng)


def any_figure(name: str, rng: np.random.Generator) -> Figure:
    """Return one of the `POOL` figures of a class; much faster than a new one, and always the same by its number."""
    return _stored(name, int(rng.integers(POOL)))


@lru_cache(maxsize=4096)
def _stored(name: str, number: int) -> Figure:
    return figure(name, np.random.default_rng([list(MAKERS).index(name), number, 4]))
