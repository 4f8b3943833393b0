"""Damaged videos of every kind: pictures or a typed error; never a crash, a hang or a leak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamvision.capture.file import FileSource
from streamvision.capture.isolated import IsolatedSource
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError, DecoderLost
from tests.scale import scaled

from .damage import FORMATS, MUTATIONS, damaged, drawn

PAIRS = len(FORMATS) * len(MUTATIONS)
RSS_SLACK = 96 << 20
ALLOWED = {"EndOfStream", "BrokenMedia", "UnsupportedMedia", "CaptureError"}


def read_all(first: int, last: int, folder: Path, *extra: str) -> list[dict[str, Any]]:
    """Read the files of these seeds in a process; fail with the seed that ended it."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.capture.damage", str(first), str(last), str(folder), *extra]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, check=False, cwd=Path(__file__).parents[2]
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, f"{lines[-1]} ended it with {ended.returncode}: {ended.stderr[-4000:]}"
    return [line for line in lines if "seed" in line]


def test_damaged_files_give_pictures_or_a_typed_error(tmp_path: Path):
    count = scaled(2 * PAIRS + 30, 10_000)
    rows = read_all(0, count, tmp_path / "films")
    assert [row["seed"] for row in rows] == list(range(count))
    assert {(row["kind"], row["mutation"]) for row in rows} == {(a, b.__name__) for a in FORMATS for b in MUTATIONS}
    ends = Counter(row["end"] for row in rows)
    print(dict(ends), sum(row["pictures"] for row in rows), "pictures")
    assert ends.keys() <= ALLOWED
    assert not [row for row in rows if row["end"] == "EndOfStream" and not row["pictures"]]
    assert len(ends) > 2  # the damage does something
    assert ends["EndOfStream"] > count / 3  # and not everything is lost by it
    settled = rows[PAIRS]
    for row in rows[PAIRS:]:
        assert row["threads"] <= settled["threads"] + 1, row  # the watchdog's own may be about to end
        assert row["fds"] == settled["fds"], row
        assert row["rss"] < settled["rss"] + RSS_SLACK, row


def test_in_a_process_of_its_own_the_answers_are_the_same(tmp_path: Path):
    first, last = (7, 7 + scaled(6, 300))
    alone = read_all(first, last, tmp_path / "alone", "--isolated")
    here = read_all(first, last, tmp_path / "here")
    facts = ("seed", "pictures", "unusable", "end")
    assert [[row[fact] for fact in facts] for row in alone] == [[row[fact] for fact in facts] for row in here]
    assert alone[-1]["fds"] == alone[0]["fds"]


def test_a_decoder_that_is_killed_in_the_midst_of_damage_is_one_typed_error(tmp_path: Path):
    films = {kind: (drawn(tmp_path / f"{kind}", *how), b"") for kind, how in FORMATS.items()}
    me, ends = psutil.Process(), Counter[str]()
    before = me.num_fds()
    for seed in range(scaled(6, 120)):
        kind, _, data = damaged(seed, films)
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(data)
        source = IsolatedSource("file", str(path), FileSource.Options(), SystemClock())
        try:
            source.open()
            os.kill(source.pid or 0, 11)
            while True:
                source.read()
        except CaptureError as error:
            ends[type(error).__name__] += 1
        finally:
            source.close()
    assert ends[DecoderLost.__name__] >= 1
    assert ends.keys() <= ALLOWED | {DecoderLost.__name__}
    assert me.num_fds() <= before
    assert not [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("data", [b"", b"\x00" * 3])
def test_an_empty_file_is_damaged_and_not_over(tmp_path: Path, data: bytes):
    path = tmp_path / "empty.mp4"
    path.write_bytes(data)
    source = FileSource(str(path), FileSource.Options(), SystemClock())
    with pytest.raises(BrokenMedia):
        source.open()
    source.close()
