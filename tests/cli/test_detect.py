"""``streamvision detect`` on what the program draws itself, and on real pictures."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamvision.capture.street.encode import write_street
from streamvision.cli import main


def detect(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["detect", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    write_street(path, seed=1, seconds=6.0, size_wh=(480, 270), fps=10.0)
    return path


def test_every_picture_is_one_json_line(street: Path, tmp_path: Path):
    out = tmp_path / "found.jsonl"
    assert detect(str(street), "--track", "--json", str(out)) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(60))
    assert rows[-1]["media_s"] == pytest.approx(5.9, abs=0.01)
    found = [one for row in rows for one in row["detections"]]
    assert {tuple(sorted(one)) for one in found} <= {
        ("class", "score", "xyxy"),
        ("class", "score", "track", "xyxy"),
    }
    assert any("track" in one for one in found)


def test_without_a_place_to_write_the_lines_go_to_standard_output(street: Path, capsys: pytest.CaptureFixture[str]):
    assert detect(str(street), "--fps", "2") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 11 <= len(rows) <= 13


def test_a_live_source_is_watched_for_as_long_as_asked(capsys: pytest.CaptureFixture[str]):
    assert detect("demo:street?size=480x270&fps=10", "--seconds", "1") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1]["media_s"] >= 1.0


def test_the_video_is_h264_with_every_picture(street: Path, tmp_path: Path):
    out = tmp_path / "found.mp4"
    assert detect(str(street), "--video", str(out)) == 0
    with av.open(out) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (480, 270)
        assert sum(1 for _ in container.decode(video=0)) == 60


@pytest.mark.parametrize("option", ["--video", "--json"])
def test_the_source_is_never_written_over(
    street: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
):
    copy = tmp_path / "only.mp4"
    copy.write_bytes(street.read_bytes())
    assert detect(str(copy), option, str(copy)) == 2
    assert "overwrite" in capsys.readouterr().err
    assert copy.read_bytes() == street.read_bytes()


def test_a_source_without_one_usable_picture_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"no picture at all")
    assert detect(str(tmp_path)) == 3
    assert "2 lost (corrupt)" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("out.ts", 0), ("out.mkv", 0), ("out.webm", 2), ("out.jpg", 2)])
def test_a_container_that_cannot_hold_the_video_is_told_before_anything_runs(
    street: Path, tmp_path: Path, name: str, code: int, capsys: pytest.CaptureFixture[str]
):
    assert detect(str(street), "--seconds", "0.5", "--video", str(tmp_path / name)) == code
    shown = capsys.readouterr().err
    assert ("no video can be written there" in shown) == bool(code)


def test_a_picture_too_small_for_video_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    assert detect(str(tmp_path / "dot.png"), "--video", str(tmp_path / "out.mp4")) == 2
    assert "single row or column" in capsys.readouterr().err


def test_a_folder_of_real_pictures(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    assert detect(f"{data / 'camvid' / 'test'}/Seq05VD_f000*.jpg", "--model", "yolox-nano") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 4
    assert any(one["class"] == "car" for row in rows for one in row["detections"])
