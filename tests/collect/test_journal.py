"""The folder of collected pictures: whole after any crash, and nobody's corrections are written over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from streamvision.collect.journal import ANNOTATIONS, ANNOTATIONS_NEW, JOURNAL, Entry, Journal
from streamvision.dataset import read
from streamvision.draw import to_jpeg
from streamvision.errors import UsageError

JPEG = to_jpeg(np.full((48, 64, 3), 90, np.uint8))


@pytest.fixture
def open_at() -> Iterator[Callable[[Path], Journal]]:
    """Opens journals, and closes what is still open at the end."""
    with ExitStack() as stack:

        def opened(folder: Path) -> Journal:
            journal = Journal(folder)
            stack.callback(journal.close)
            return journal

        yield opened


Open = Callable[[Path], Journal]


def entry(number: int, *objects: dict[str, object]) -> Entry:
    picture = {"file_name": f"pictures/{number}.jpg", "width": 64, "height": 48, "group": "gate",
               "metadata": {"stream": "gate", "hour": "03", "reason": "event"}}  # fmt: skip
    return Entry(picture, objects, "2026-01-02", len(JPEG), number)


def car(score: float = 0.4) -> dict[str, object]:
    return {"category": "car", "bbox": [10.0, 8.0, 20.0, 12.5], "area": 250.0, "iscrowd": 0, "segmentation": [],
            "score": score, "model": "street", "track_id": 17}  # fmt: skip


def add(journal: Journal, *numbers: int) -> None:
    journal.introduce(("person", "car"), {})
    for number in numbers:
        journal.add(entry(number, car()), {f"pictures/{number}.jpg": JPEG})


def test_what_is_published_is_a_data_set(tmp_path: Path, open_at: Open):
    journal = open_at(tmp_path)
    add(journal, 1, 2)
    assert journal.publish() == tmp_path / ANNOTATIONS
    found = read(tmp_path)
    assert found.classes == ("person", "car")
    assert [one.group for one in found.examples] == ["gate", "gate"]
    assert found.examples[0].metadata["reason"] == "event"
    objects = found.examples[1].objects
    assert objects is not None
    assert objects.xyxy.tolist() == [[10, 8, 30, 20.5]]
    document = json.loads((tmp_path / ANNOTATIONS).read_text())
    assert document["annotations"][1] | {"id": 0} == {"id": 0, "image_id": 2, "category_id": 2} | {
        key: value for key, value in car().items() if key != "category"
    }


def test_an_empty_one_publishes_nothing(tmp_path: Path, open_at: Open):
    assert open_at(tmp_path).publish() is None


@pytest.mark.parametrize("cut", range(1, 200, 23))
def test_a_torn_line_costs_one_picture_whose_file_goes_too(tmp_path: Path, open_at: Open, cut: int):
    journal = open_at(tmp_path)
    add(journal, 1, 2)
    journal.close()
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[:-cut])
    (tmp_path / "pictures" / ".9.jpg.draft").write_bytes(b"half")
    again = open_at(tmp_path)
    assert [one.picture["file_name"] for one in again.entries] == ["pictures/1.jpg"]
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["1.jpg"]
    add(again, 3)
    again.publish()
    assert len(read(tmp_path)) == 2


def test_corrections_are_never_written_over(tmp_path: Path, open_at: Open):
    journal = open_at(tmp_path)
    add(journal, 1)
    journal.publish()
    corrected = (tmp_path / ANNOTATIONS).read_text().replace("0.4", "1.0")
    (tmp_path / ANNOTATIONS).write_text(corrected)
    journal.close()
    again = open_at(tmp_path)
    add(again, 2)
    assert again.publish() == tmp_path / ANNOTATIONS_NEW
    assert (tmp_path / ANNOTATIONS).read_text() == corrected
    assert len(read(tmp_path / ANNOTATIONS_NEW)) == 2


def test_ones_own_annotations_are_replaced_after_a_restart(tmp_path: Path, open_at: Open):
    journal = open_at(tmp_path)
    add(journal, 1)
    journal.publish()
    journal.close()
    again = open_at(tmp_path)
    add(again, 2)
    assert again.publish() == tmp_path / ANNOTATIONS
    assert len(read(tmp_path)) == 2


def test_classes_of_several_networks_are_one_list(tmp_path: Path, open_at: Open):
    journal = open_at(tmp_path)
    journal.introduce(("person", "car"), {"lane": ("background", "lane")})
    journal.introduce(("face", "person"), {})
    journal.introduce(("person",), {})
    journal.close()
    again = open_at(tmp_path)
    assert again.classes == ["person", "car", "face"]
    assert again.maps == {"lane": ["background", "lane"]}
    assert len((tmp_path / JOURNAL).read_bytes().splitlines()) == 2


def test_what_is_no_journal_is_refused(tmp_path: Path, open_at: Open):
    (tmp_path / JOURNAL).write_text('{"a": 1}\n')
    with pytest.raises(UsageError, match="line 1 is no line of a journal"):
        open_at(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be collected here"):
        open_at(tmp_path / "file")
