"""Masks to test with."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamvision.types import Float32, Masks

SIDES = st.integers(1, 40)
VALUES = arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-4, 4, width=32), fill=st.nothing()
)


def masks(values: object, *regions: tuple[float, float, float, float]) -> Masks:
    """Return masks of one raster (h,w) in each of the regions."""
    raster = np.asarray(values, np.float32)
    return Masks(np.stack([raster] * len(regions)), np.array(regions, np.float32))


def disc(size: int, centre: tuple[float, float], radius: float) -> Float32:
    """Return a raster that is positive within ``radius`` samples of a centre."""
    y, x = np.mgrid[:size, :size]
    return np.asarray(radius - np.hypot(x - centre[0], y - centre[1]), np.float32)
