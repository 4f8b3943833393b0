"""`streamvision track` from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.cli import main


def _detections(folder: Path, count: int = 10) -> Path:
    path = folder / "det.txt"
    path.write_text("".join(f"{frame},-1,{100 + 5 * frame},50,40,80,0.9,-1,-1,-1\n" for frame in range(1, count + 1)))
    return path


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["track", *map(str, arguments)])
    return int(caught.value.code or 0)


def test_detections_become_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tracks.txt"
    assert _run(_detections(tmp_path), "--out", out) == 0
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert {row[1] for row in rows} == {"1"}
    assert rows[-1][0] == "10"
    assert float(rows[-1][2]) == pytest.approx(150, abs=3)
    assert "1 tracks in 10 pictures at 30 per second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--tracker", "bytetrak"], 2, "did you mean 'bytetrack'"),
        (["--frame-rate", "0"], 2, "must be above 0"),
        (["--set", "lost_s"], 2, "NAME=VALUE"),
        (["--set", "lost_s=-1"], 2, "lost_s"),
        (["--set", "lost_frames=3"], 2, "lost_frames"),
    ],
)
def test_wrong_arguments_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, complaint: str
) -> None:
    assert _run(_detections(tmp_path), "--out", tmp_path / "o.txt", *arguments) == code
    assert complaint in capsys.readouterr().err


def test_a_malformed_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,2,3,4,0.5\n1,-1,oops,2,3,4,0.5\n")
    assert _run(path, "--out", tmp_path / "o.txt") == 2
    assert f"{path}:2: left is 'oops'" in capsys.readouterr().err


def test_files_out_of_reach_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path / "none.txt", "--out", tmp_path / "o.txt") == 3
    assert _run(_detections(tmp_path), "--out", tmp_path / "no" / "o.txt") == 3
    assert "cannot be written" in capsys.readouterr().err


def test_settings_reach_the_tracker(tmp_path: Path) -> None:
    out = tmp_path / "tracks.txt"
    assert _run(_detections(tmp_path), "--out", out, "--set", "confirm_hits=9", "--frame-rate", "25") == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == ["9", "10"]


def test_the_detections_are_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = _detections(tmp_path)
    before = given.read_bytes()
    assert _run(given, "--out", given) == 2
    assert "overwrite" in capsys.readouterr().err
    assert given.read_bytes() == before
