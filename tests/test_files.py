"""Files that are noticed when they change."""

from __future__ import annotations

import os
from pathlib import Path

from streamvision.files import stamp


def test_a_stamp_changes_with_the_file(tmp_path: Path):
    file = tmp_path / "a"
    assert stamp(file) is None
    file.write_text("one")
    first = stamp(file)
    assert first is not None
    assert stamp(str(file)) == first
    other = tmp_path / "b"
    other.write_text("two")  # as long, and by its time as old
    os.utime(other, ns=(first[1], first[1]))
    other.replace(file)
    assert stamp(file) != first


def test_a_file_that_cannot_be_seen_has_no_stamp(tmp_path: Path):
    (tmp_path / "a").symlink_to("x" * 300)  # an error that `Path.exists` does not take for "no"
    assert stamp(tmp_path / "a") is None
