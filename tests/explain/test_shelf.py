"""The folder of explanations: whole files, an account of each, and its bounds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from streamvision.errors import UsageError
from streamvision.explain.shelf import Request, Shelf, State
from streamvision.explain.targets import Area, Object, PictureClass, Target

DOG = Object(3, "dog", (1.0, 2.0, 3.5, 4.0))


def request(event: str = "01A", target: Target = DOG) -> Request:
    return Request(event, "gate", "intruder", "street", target)


@pytest.mark.parametrize(
    "target", [DOG, PictureClass(1, "dusk"), Area("ground", ("snow", "ice"), ((0.0, 0.0), (1.0, 0.5), (0.2, 1.0)))]
)
def test_a_request_is_found_as_it_was_kept(tmp_path: Path, target: Target):
    shelf = Shelf(tmp_path)
    shelf.keep(request(target=target), b"picture")
    assert shelf.find("01A") == request(target=target)
    assert shelf.picture("01A") == b"picture"
    assert shelf.explanation("01A") is None
    assert [one.event for one in shelf.pending()] == ["01A"]


def test_a_finished_one_waits_no_more(tmp_path: Path):
    shelf = Shelf(tmp_path)
    shelf.keep(request(), b"picture")
    done = replace(request(), state=State.DONE, numbers={"insertion": 0.5})
    shelf.finish(done, b"map")
    assert (tmp_path / shelf.name("01A")).read_bytes() == b"map" == shelf.explanation("01A")
    assert shelf.find("01A") == done
    assert list(shelf.pending()) == []
    assert shelf.picture("01A") == b"picture"  # it can be explained again


def test_a_dropped_one_says_why(tmp_path: Path):
    shelf = Shelf(tmp_path)
    shelf.keep(request(), b"picture")
    shelf.note(replace(request(), state=State.DROPPED, reason="engine"))
    with pytest.raises(UsageError, match="no picture of this event is kept: engine"):
        shelf.picture("01A")


@pytest.mark.parametrize("event", ["", "../events", "01A/x", "a" * 65, "01A.picture", "nobody"])
def test_nothing_else_can_be_reached(tmp_path: Path, event: str):
    shelf = Shelf(tmp_path)
    shelf.keep(request(), b"picture")
    (tmp_path / "events.json").write_text("{}")
    (tmp_path / "events.jpg").write_bytes(b"x")
    assert shelf.find(event) is None
    assert shelf.explanation(event) is None
    with pytest.raises(UsageError):
        shelf.picture(event)


def test_a_torn_or_foreign_record_is_nothing(tmp_path: Path):
    shelf = Shelf(tmp_path)
    shelf.keep(request(), b"picture")
    for text in ("", "{", "[]", '{"event": "01A"}'):
        (shelf.folder / "01A.json").write_text(text)
        assert shelf.find("01A") is None
        assert list(shelf.pending()) == []


def test_the_oldest_go_first_until_the_rest_fits(tmp_path: Path):
    shelf = Shelf(tmp_path, max_bytes=5000, max_age_s=1000)
    for number in range(4):
        shelf.keep(request(f"0{number}"), b"x" * 1500)
        for path in shelf.folder.glob(f"0{number}.*"):
            os.utime(path, (10_000 + number, 10_000 + number))
    lost = shelf.prune(10_010)
    assert [one.event for one in lost] == ["00", "01"]
    assert sum(path.stat().st_size for path in shelf.folder.iterdir()) <= 5000
    assert [one.event for one in shelf.prune(11_003)] == ["02"]  # too old
    assert [one.event for one in shelf.pending()] == ["03"]
