"""A real daemon with more pictures than its engine can take; rates: ``python -m tests.bench.overload``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.overload import Camera, Outcome, mixed, overload
from tests.servers import requires_rtsp

BALANCED = {"stream": "a", "decoded": 9, "analysed": 4, "skipped": 2, "dropped": 3, "causes": {"queue/overflow": 3}}


@requires_rtsp
@pytest.mark.e2e
@pytest.mark.slow
def test_overload_is_a_normal_state(data: Path, tmp_path: Path):
    cameras = [*mixed(3, 24.0), Camera("first", 8.0, "high")]
    outcome = overload(cameras, 8.0, 2.0, tmp_path)
    assert outcome.code == 0
    assert {book["stream"] for book in outcome.books} == {camera.name for camera in cameras}
    assert not outcome.unbalanced, outcome.books
    assert sum(book["dropped"] for book in outcome.books) > 0
    assert all(book["analysed"] > 0 for book in outcome.books), "nobody starves"


@pytest.mark.parametrize(
    "change", [{"analysed": 5}, {"causes": {"queue/overflow": 2}}, {"causes": {"engine/error": 3}}], ids=str
)
def test_books_that_lie_are_found(change: dict[str, object]):
    assert not Outcome({}, {}, 0.5, [BALANCED], 0).unbalanced
    assert Outcome({}, {}, 0.5, [BALANCED | change], 0).unbalanced == ["a"]
