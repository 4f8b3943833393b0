"""MOTChallenge files: what is read, what is refused with its place, what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamvision.errors import MissingError, UsageError
from streamvision.track.bytetrack import ByteTrack
from streamvision.track.ids import counting_ids
from streamvision.track.motchallenge import declared_frame_rate, read_detections, track_lines, unit_scores
from streamvision.types import Tracks


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "det.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_boxes_come_by_frame(tmp_path: Path) -> None:
    found = read_detections(
        _file(tmp_path, "3,-1,10,20,30,40,0.9,-1,-1,-1", "1,-1,1,2,3,4,0.0", "", "1, -1, 5, 6, 7, 8, 1.0")
    )
    pictures = dict(found)
    assert list(pictures) == [1, 2, 3]
    assert len(pictures[2]) == 0
    assert pictures[1].xyxy.tolist() == [[1, 2, 4, 6], [5, 6, 12, 14]]
    assert pictures[3].xyxy.tolist() == [[10, 20, 40, 60]]
    assert pictures[3].score.tolist() == pytest.approx([0.9])
    assert (len(found), found.pictures) == (3, 2)


def test_a_long_silence_is_one_empty_picture(tmp_path: Path) -> None:
    found = read_detections(_file(tmp_path, "5,-1,1,2,3,4,1", "900000000,-1,1,2,3,4,1"))
    assert [frame for frame, _ in found] == [5, 6, 900000000]


def test_an_empty_file_has_no_pictures(tmp_path: Path) -> None:
    found = read_detections(_file(tmp_path))
    assert list(found) == []
    assert found.pictures == 0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1,-1,1,2,3", "5 fields"),
        ("1,-1,1,2,3,x,0.5", "height is 'x'"),
        ("1,-1,1,2,3,nan,0.5", "not finite"),
        ("0,-1,1,2,3,4,0.5", "frame is 0"),
        ("1.5,-1,1,2,3,4,0.5", "frame is 1.5"),
        ("1,-1,1,2,0,4,0.5", "no area"),
        ("1;-1;1;2;3;4;5", "1 fields"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = _file(tmp_path, "1,-1,1,2,3,4,0.5", line)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_detections(path)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "det.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingError, match="cannot be read"):
        read_detections(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([0.0, 0.4, 1.0], [0.0, 0.4, 1.0]),
        ([0.5, 0.75, 1.0], [0.0, 0.5, 1.0]),
        ([0.8, 0.9], [0.6, 0.8]),
        ([-1.0, -1.0], [1.0, 1.0]),
        ([0.3, 0.3], [1.0, 1.0]),
        ([-2.0, 0.5, 40.0, 3.0], [0.25, 0.5, 1.0, 0.75]),
    ],
)
def test_scores_of_any_detector_fit_the_thresholds(given: list[float], expected: list[float]) -> None:
    assert unit_scores(np.array(given)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("beside", [True, False])
def test_the_frame_rate_is_found_near_the_file(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "det"
    folder.mkdir()
    path = _file(folder)
    assert declared_frame_rate(path) is None
    (folder if beside else tmp_path).joinpath("seqinfo.ini").write_text("[Sequence]\nframeRate=14\n")
    assert declared_frame_rate(path) == 14


@pytest.mark.parametrize("text", ["frameRate=14", "[Sequence]\n", "[Sequence]\nframeRate=x", "[Sequence]\nframeRate=0"])
def test_a_useless_seqinfo_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "seqinfo.ini").write_text(text)
    with pytest.raises(UsageError, match=r"seqinfo\.ini.*--frame-rate"):
        declared_frame_rate(tmp_path / "det.txt")


def test_only_what_is_seen_is_written() -> None:
    tracks = Tracks(
        ids=np.array([4, 7]), xyxy=np.array([[1, 2, 11, 22], [0, 0, 5, 5]], np.float32),
        velocity=np.zeros((2, 2), np.float32), class_id=np.zeros(2, np.int32), score=np.array([0.5, 0.25], np.float32),
        confirmed=np.ones(2, np.bool_), visible=np.array([True, False]), age_s=np.ones(2, np.float32),
        det_index=np.array([0, -1], np.int32),
    )  # fmt: skip
    assert track_lines(12, tracks) == "12,4,1.00,2.00,10.00,20.00,0.5000,-1,-1,-1\n"


def _identity_f1(truth: dict[tuple[int, int], np.ndarray], found: dict[tuple[int, int], np.ndarray]) -> float:
    """IDF1 (Ristani et al., 2016) of boxes by (frame, id), a match being an IoU of at least one half."""
    from scipy.optimize import linear_sum_assignment

    from streamvision.geometry import iou_matrix

    true_ids, found_ids = ({one: i for i, one in enumerate({i for _, i in boxes})} for boxes in (truth, found))
    together = np.zeros((len(true_ids), len(found_ids)))
    for frame in {frame for frame, _ in truth}:
        left = [(i, box) for (at, i), box in truth.items() if at == frame]
        right = [(i, box) for (at, i), box in found.items() if at == frame]
        if not right:
            continue
        iou = iou_matrix(np.array([box for _, box in left]), np.array([box for _, box in right]))
        for row, column in zip(*np.nonzero(iou >= 0.5), strict=True):
            together[true_ids[left[row][0]], found_ids[right[column][0]]] += 1
    matched = together[linear_sum_assignment(together, maximize=True)].sum()
    return float(2 * matched / (len(truth) + len(found)))


@pytest.mark.parametrize(("sequence", "least"), [("TUD-Stadtmitte", 0.75), ("TUD-Campus", 0.62), ("KITTI-17", 0.70)])
def test_people_in_the_street_keep_their_ids(data: Path, sequence: str, least: float) -> None:
    folder = data / "mot" / "MOT15-train" / sequence
    rate = declared_frame_rate(folder / "det" / "det.txt")
    assert rate is not None
    tracker = ByteTrack(ByteTrack.Options(), counting_ids())
    found = {}
    for frame, detections in read_detections(folder / "det" / "det.txt"):
        tracks = tracker.update(detections, (frame - 1) / rate)
        found |= {
            (frame, int(i)): box for i, box, seen in zip(tracks.ids, tracks.xyxy, tracks.visible, strict=True) if seen
        }
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",")
    rows = rows[rows[:, 6] > 0]
    corners = np.hstack((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6])).astype(np.float32)
    truth = {(int(f), int(i)): box for (f, i), box in zip(rows[:, :2], corners, strict=True)}
    assert _identity_f1(truth, found) >= least
