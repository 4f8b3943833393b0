"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real videos, networks and labelled sets."""
    folder = os.environ.get("STREAMVISION_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("STREAMVISION_TEST_DATA does not name a folder of test data")
    return Path(folder)
