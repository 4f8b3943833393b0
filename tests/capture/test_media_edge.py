from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamvision.capture.file import FileSource
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError, EndOfStream, UnsupportedMedia

FOLDER = Path(os.environ.get("STREAMVISION_TEST_DATA", "")) / "media_edge"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".txt")
MANIFEST = FOLDER / "MANIFEST.txt"

# Files of which the manifest's reader saw less or more than there is, and what a closer look shows.
CORRECTIONS = {
    "mp4parse_no_timescale.mp4": 170,  # damaged in places; the reader of the manifest stopped at the first
    "torchcodec_nasa_13013.mp4": 390,  # two videos; we take the larger one
}


def _expectations() -> dict[str, str]:
    lines = MANIFEST.read_text().splitlines() if MANIFEST.exists() else []
    return {line.split()[0]: line for line in lines}


EXPECTED = _expectations()


def _read(path: Path) -> tuple[int, CaptureError]:
    source = FileSource(str(path), FileSource.Options(), SystemClock())
    pictures = 0
    try:
        source.open()
        while True:
            pictures += len(source.read())
    except CaptureError as error:
        return pictures, error
    finally:
        source.close()


def _frames(name: str) -> int:
    words = EXPECTED[name].split()
    return CORRECTIONS.get(name, int(words[words.index("frames") + 1]))


@pytest.mark.skipif(not FILES, reason="STREAMVISION_TEST_DATA does not name a folder with media_edge")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_odd_files_are_decoded_or_have_a_typed_cause(path: Path) -> None:
    pictures, end = _read(path)
    line = EXPECTED.get(path.name, "")
    if "NOVIDEO" in line:
        assert type(end) is UnsupportedMedia
    elif "OPENERR" in line:
        assert type(end) is BrokenMedia
    elif "frames" in line:
        assert pictures == _frames(path.name)
        assert isinstance(end, EndOfStream if pictures else (BrokenMedia, UnsupportedMedia))
    else:
        assert isinstance(end, (EndOfStream, BrokenMedia, UnsupportedMedia))


def test_encryption_is_called_by_its_name(data: Path) -> None:
    _, end = _read(data / "media_edge" / "mp4parse_short-cenc.mp4")
    assert isinstance(end, UnsupportedMedia)
    assert "encrypted" in end.what
