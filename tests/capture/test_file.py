from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streamvision.capture.file import FileSource
from streamvision.clock import SystemClock
from streamvision.errors import BrokenMedia, CaptureError, EndOfStream, SourceNotFound, UnsupportedMedia
from streamvision.interfaces import SourcePicture

from .media import encode, picture_sizes, read_all, read_some


def _source(path: Path | str) -> FileSource:
    return FileSource(str(path), FileSource.Options(), SystemClock())


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_every_picture_of_a_file_is_delivered(tmp_path: Path, codec: str, suffix: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", [(64, 48)] * 30, codec=codec)
    pictures = read_all(_source(path))
    assert len(pictures) == 30
    assert {picture.picture.size_wh for picture in pictures} == {(64, 48)}
    assert not any(picture.corrupt for picture in pictures)


def test_times_grow_and_are_seconds(tmp_path: Path) -> None:
    pictures = read_all(_source(encode(tmp_path / "clip.mp4", [(64, 48)] * 25, rate=10)))
    times = [picture.pts_s for picture in pictures]
    assert times == pytest.approx([index / 10 for index in range(25)])


def test_b_frames_come_in_the_order_of_showing(tmp_path: Path) -> None:
    pictures = read_all(_source(encode(tmp_path / "clip.mp4", [(64, 48)] * 25, b_frames=3)))
    times = [picture.pts_s for picture in pictures if picture.pts_s is not None]
    assert len(times) == 25
    assert times == sorted(times)


def test_a_change_of_size_is_followed(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.ts", [(64, 48)] * 10 + [(128, 96)] * 10)
    assert picture_sizes(read_all(_source(path))) == [(64, 48)] * 10 + [(128, 96)] * 10


def test_a_file_is_not_live_and_can_be_read_again(tmp_path: Path) -> None:
    source = _source(encode(tmp_path / "clip.mp4", [(64, 48)] * 5))
    assert not source.live
    assert len(read_all(source)) == len(read_all(source)) == 5


def test_after_its_end_a_file_stays_ended(tmp_path: Path) -> None:
    source = _source(encode(tmp_path / "clip.mp4", [(64, 48)] * 3))
    source.open()
    assert len(read_some(source, 3)) == 3
    for _ in range(2):
        with pytest.raises(EndOfStream):
            read_some(source, 1)
    source.close()


def test_creation_time_says_when_a_file_began(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(64, 48)] * 5, metadata={"creation_time": "2024-05-06T07:08:09Z"})
    source = _source(path)
    source.open()
    source.close()
    assert source.started_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize("stated", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_a_creation_time_at_the_end_of_the_calendar_is_not_believed(tmp_path: Path, stated: str) -> None:
    source = _source(encode(tmp_path / "film.mkv", [(64, 48)] * 5, metadata={"creation_time": stated}))
    source.open()
    source.close()
    assert source.started_at is not None
    assert abs(datetime.now(UTC) - source.started_at) < timedelta(days=1)


def test_without_creation_time_the_last_write_is_the_end(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", [(64, 48)] * 50, rate=10)
    source = _source(path)
    source.open()
    source.close()
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    assert source.started_at is not None
    assert written - source.started_at == pytest.approx(timedelta(seconds=5), abs=timedelta(seconds=0.2))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.mp4", None, SourceNotFound),
        ("empty.mp4", b"", BrokenMedia),
        ("text.mp4", b"this is no video\n" * 100, BrokenMedia),
        ("folder", "folder", UnsupportedMedia),
        ("concat:a.mp4|b.mp4", None, SourceNotFound),
        ("subfile,,start,0,end,9,,:clip.mp4", None, SourceNotFound),
        ("http://127.0.0.1/clip.mp4", None, SourceNotFound),
    ],
)
def test_what_is_no_video_has_a_typed_cause(
    tmp_path: Path, name: str, content: bytes | str | None, expected: type[CaptureError]
) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    source = _source(name if ":" in name else path)
    with pytest.raises(expected):
        source.open()
    source.close()


def test_a_playlist_cannot_reach_the_network(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(CaptureError):
        read_all(_source(path))


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.ts", [(320, 240)] * 50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 5 < len(read_all(_source(path))) < 50


def test_names_with_odd_characters_are_only_names(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [(64, 48)] * 3).rename(tmp_path / "a %20:b #1?.mp4")
    assert len(read_all(_source(path))) == 3
    assert len(read_all(_source(path.as_uri()))) == 3
    assert len(read_all(_source(f"file:{path}"))) == 3


def test_real_files_are_read_whole(data: Path) -> None:
    counts = {"highway-bad-pts.avi": None, "car-detection.mp4": 377}
    for name, expected in counts.items():
        pictures: list[SourcePicture] = read_all(_source(data / "videos" / name))
        assert expected is None or len(pictures) == expected
        assert pictures
