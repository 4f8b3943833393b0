"""How large the tests by faults are: short by default; ``STREAMVISION_TEST_SCALE=full`` is a release's."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")


def full() -> bool:
    """Whether the tests run at their full size."""
    return os.environ.get("STREAMVISION_TEST_SCALE") == "full"


def scaled(short: T, whole: T) -> T:
    """Return the size that is asked for."""
    return whole if full() else short
