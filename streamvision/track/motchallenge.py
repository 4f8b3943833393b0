"""MOTChallenge's text files (motchallenge.net): detections in, tracks out.

A line is ``frame, id, left, top, width, height, score, ...`` with frames that count from 1; whatever follows the
score is ignored. In detection files the id is -1. A sequence has ``seqinfo.ini`` beside its ``det`` folder.
"""

from __future__ import annotations

import configparser
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from streamvision.errors import MissingError, UsageError
from streamvision.types import Detections, Float32, Tracks

_FIELDS = ("frame", "id", "left", "top", "width", "height", "score")
_HIGHEST_CUT = 0.5
_FAR = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class MotDetections:
    """A whole detection file, sorted by frame: frame (N,) int64 from 1, xyxy (N,4) float32 px, score (N,) in [0,1]."""

    frame: NDArray[np.int64]
    xyxy: Float32
    score: Float32

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def pictures(self) -> int:
        """How many different frames show something."""
        return int(np.count_nonzero(np.diff(self.frame))) + 1 if len(self) else 0

    def __iter__(self) -> Iterator[tuple[int, Detections]]:
        """Yield (frame, detections) in order; of a run of frames that show nothing, only the first.

        A tracker learns nothing more from the others, and a file may leave out a million of them.
        """
        numbers, first = np.unique(self.frame, return_index=True)
        previous = 0
        for number, start, end in zip(numbers, first, [*first[1:], len(self)], strict=False):
            if number > previous + 1 and previous:
                yield previous + 1, Detections.empty()
            one_class = np.zeros(end - start, np.int32)
            yield int(number), Detections(self.xyxy[start:end], self.score[start:end], one_class)
            previous = int(number)


def read_detections(path: Path) -> MotDetections:
    """Read a detection file.

    Scores are mapped by `unit_scores`.
    Raises `MissingError` if the file cannot be read, `UsageError` naming file and line for a malformed line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingError(f"cannot be read: {error}", where=str(path), remedy="give a MOTChallenge det.txt") from error
    rows = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    table = np.array(rows, np.float64).reshape(len(rows), len(_FIELDS))
    table = table[np.argsort(table[:, 0], kind="stable")]
    xyxy = table[:, 2:6].astype(np.float32)
    xyxy[:, 2:] += xyxy[:, :2]
    return MotDetections(table[:, 0].astype(np.int64), xyxy, unit_scores(table[:, 6]))


def _parse(line: str, where: str) -> list[float]:
    fields = line.split(",")
    if len(fields) < len(_FIELDS):
        raise UsageError(f"{len(fields)} fields", where=where, remedy=f"a line is {','.join(_FIELDS)}")
    values = []
    for name, text in zip(_FIELDS, fields, strict=False):
        try:
            values.append(float(text))
        except ValueError as error:
            raise UsageError(f"{name} is {text.strip()!r}", where=where, remedy="it must be a number") from error
    _judge(values, where)
    return values


def _judge(values: list[float], where: str) -> None:
    if not all(math.isfinite(value) for value in values):
        raise UsageError("a value is not finite", where=where, remedy="remove the line")
    if not all(abs(value) < _FAR for value in values):
        raise UsageError("a value is beyond any picture", where=where, remedy="remove the line")
    if values[0] < 1 or values[0] != int(values[0]):
        raise UsageError(f"frame is {values[0]:g}", where=where, remedy="frames are whole and count from 1")
    if values[4] <= 0 or values[5] <= 0:
        raise UsageError("the box has no area", where=where, remedy="width and height must be above 0")


def unit_scores(score: NDArray[np.float64]) -> Float32:
    """Map scores (N,) of any detector to 0..1, keeping their order, so that a tracker's thresholds mean something.

    Scores within 0..1 were usually cut at their detector's threshold before they were written: what is left is
    stretched until the cut (0.5 at most) is at 0, so that the doubtful ones are at the bottom again. Other scores
    (margins of a support vector machine, percentages) are replaced by their rank. Equal scores hold no opinion: 1.
    """
    if not len(score) or score.min() == score.max():
        return np.ones(len(score), np.float32)
    if score.min() < 0 or score.max() > 1:
        return np.asarray(rankdata(score) / len(score), np.float32)
    cut = min(float(score.min()), _HIGHEST_CUT)
    return np.asarray((score - cut) / (1 - cut), np.float32)


def declared_frame_rate(detections: Path) -> float | None:
    """Return the frame rate that ``seqinfo.ini`` of the file's sequence states, None if there is none.

    Looks beside the file and in the folder above. Raises `UsageError` for one that is malformed.
    """
    for folder in detections.absolute().parents[:2]:
        path = folder / "seqinfo.ini"
        if path.is_file():
            return _frame_rate(path)
    return None


def _frame_rate(path: Path) -> float:
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
        rate = parser.getfloat("Sequence", "frameRate")
    except (OSError, configparser.Error, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"no usable frameRate: {reason}", where=str(path), remedy="give one with --frame-rate"
        ) from error
    if not 0 < rate < math.inf:
        raise UsageError(f"frameRate is {rate:g}", where=str(path), remedy="give one with --frame-rate")
    return rate


def track_lines(frame: int, tracks: Tracks) -> str:
    """Return one picture's visible tracks as MOTChallenge lines, each with its newline."""
    seen = tracks[tracks.visible]
    return "".join(
        f"{frame},{track},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
        for track, (x1, y1, x2, y2), score in zip(
            seen.ids.tolist(), seen.xyxy.tolist(), seen.score.tolist(), strict=True
        )
    )
