"""A board with two streams, and a client of a server over it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from streamvision.types import StreamState
from tests.web.fakes import FakeBoard, serving, status


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard(status("gate"), status("yard", state=StreamState.STALLED, cause="silent", size_wh=(0, 0)))


@pytest.fixture
def client(board: FakeBoard) -> Iterator[httpx.Client]:
    with serving(board) as base, httpx.Client(base_url=base, timeout=20) as client:
        yield client
