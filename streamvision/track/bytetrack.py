"""ByteTrack: every detection box counts, the doubtful ones too (Zhang et al., ECCV 2022, arXiv:2110.06864).

What differs from the paper, and why:

- All spans are seconds of media time, and the motion filter works in seconds, so that a dropped picture, a jittering
  camera clock or analysis at a fifth of the rate changes nothing but the number of looks.
- Objects that move further than their own size between two pictures have no overlap to be found by; what overlap
  leaves over is matched by distance, within what the filter thinks possible.
- Detectors change their mind about classes. A track's class is a vote over its life, and a detection of another
  class continues a track only if the boxes agree well.
- An id is spent when a track is confirmed, so that a detector's flicker does not use ids up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamvision.geometry import iou_matrix
from streamvision.interfaces import IdSource
from streamvision.track import kalman
from streamvision.track.assignment import assign
from streamvision.track.kalman import POSITION, VELOCITY, Float64
from streamvision.track.table import TrackTable, to_cxcywh
from streamvision.track.votes import ClassBallot, unfamiliar
from streamvision.types import Detections, Float32, Tracks

_SLACK_S = 1e-6
"""Media times are sums of fractions: spans are compared with this tolerance."""

_FARTHEST_PX = 1e6
"""Boxes beyond this are a fault of the detector, not objects."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The usable detections of one picture: ``index`` says which rows of the original they are."""

    index: NDArray[np.intp]
    xyxy: Float32
    cxcywh: Float64
    score: Float32
    columns: NDArray[np.intp]


class ByteTrack:
    """Tracks of one stream; an `interfaces.Tracker`.

    `update` reports confirmed tracks only, visible and lost: tentative ones have no id yet and are kept inside.
    Detections that are not finite, inside out, or below ``low_score`` are ignored.
    """

    class Options(BaseModel):
        """Thresholds are scores and overlaps (0 to 1); spans are seconds."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        high_score: float = Field(0.5, ge=0, le=1)
        """Detections from this score on are believed: they continue any track and find lost ones again."""
        low_score: float = Field(0.1, ge=0, le=1)
        """Detections between this and ``high_score`` only continue tracks that were seen a moment ago. Where only a
        lower ``high_score`` is given, it is the floor."""
        new_track_score: float | None = Field(None, ge=0, le=1)
        """From this score on a detection may start a track; ``high_score`` if not given."""
        match_iou: float = Field(0.2, ge=0, le=1)
        """Least overlap of a track's predicted box with a believed detection."""
        low_match_iou: float = Field(0.5, ge=0, le=1)
        """Least overlap with a doubtful detection."""
        new_match_iou: float = Field(0.3, ge=0, le=1)
        """Least overlap while a track is not confirmed."""
        class_change_iou: float = Field(0.4, ge=0, le=1)
        """How much more overlap it takes to continue a track with another class."""
        duplicate_iou: float = Field(0.8, gt=0, le=1)
        """A detection that overlaps a better one this much is the same object under another name."""
        match_distance: float = Field(3.0, ge=0)
        """Without overlap: farthest jump, in standard deviations of the prediction; 0 turns this off."""
        match_distance_boxes: float = Field(2.0, ge=0)
        """Without overlap: farthest jump, in sides of the box."""
        confirm_hits: int = Field(2, ge=1)
        """In how many pictures an object must have been seen to be believed ..."""
        confirm_s: float = Field(0.1, ge=0)
        """... and for how long."""
        tentative_s: float = Field(0.25, ge=0)
        """How long an object that is not yet confirmed may be missed."""
        lost_s: float = Field(2.0, gt=0)
        """How long a confirmed object keeps its id while nobody sees it."""
        max_tracks: int = Field(1000, ge=1)
        """Most objects followed at once; bounds the time and memory that a mad detector can cost."""

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if "low_score" in self.model_fields_set and self.low_score > self.high_score:
                raise ValueError("low_score must not be above high_score")
            return self

    def __init__(self, options: Options, ids: IdSource) -> None:
        self._options = options
        self._ids = ids
        self._new_score = options.high_score if options.new_track_score is None else options.new_track_score
        self._floor = min(options.low_score, options.high_score)
        self._shortest_patience_s = min(options.tentative_s, options.lost_s)
        self._ballot = ClassBallot()
        self._table = TrackTable()
        self._now_s: float | None = None

    def reset(self) -> None:
        """Forget every track; ids go on and are never used twice."""
        self._ballot = ClassBallot()
        self._table = TrackTable()
        self._now_s = None

    def update(self, detections: Detections, media_s: float) -> Tracks:
        """Take one picture's detections; return the confirmed tracks, oldest id first.

        A ``media_s`` before the last one is taken as equal to it.
        """
        now_s = media_s if self._now_s is None else max(media_s, self._now_s)
        self._advance(now_s)
        if not len(self._table) and not len(detections):  # most pictures of most cameras
            return Tracks.empty()
        seen = self._usable(detections)
        rows, columns = self._associate(seen)
        self._continue(seen, rows, columns, now_s)
        self._start(seen, columns, now_s)
        self._confirm()
        return self._report(now_s)

    def _advance(self, now_s: float) -> None:
        """Drop what has been unseen for too long and predict where the rest is now."""
        table = self._table
        if len(table) and now_s - table.seen_s.min() > self._shortest_patience_s:
            table.keep(self._patient(now_s))
        if len(table) and self._now_s is not None:
            table.state = kalman.predict(table.state, now_s - self._now_s)
        self._now_s = now_s

    def _patient(self, now_s: float) -> NDArray[np.bool_]:
        """Return which tracks may still be seen again."""
        table, options = self._table, self._options
        patience_s = np.where((table.ids > 0) | table.visible, options.lost_s, options.tentative_s)
        return np.asarray(now_s - table.seen_s <= patience_s + _SLACK_S)

    def _usable(self, detections: Detections) -> _Seen:
        xyxy, score, class_id = detections.xyxy, detections.score, detections.class_id
        index = _usable_rows(xyxy, score, self._floor)
        if len(index) < len(xyxy):
            xyxy, score, class_id = xyxy[index], score[index], class_id[index]
        columns = self._ballot.columns(class_id)
        self._table.votes = self._ballot.widen(self._table.votes)
        return _Seen(index, xyxy, to_cxcywh(xyxy), score, columns)

    def _associate(self, seen: _Seen) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return matched rows of the table and of ``seen``."""
        table, options = self._table, self._options
        matching = _Matching(len(table), len(seen.index))
        if not len(table) or not len(seen.index):
            return matching.pairs()
        overlap = iou_matrix(table.xyxy, seen.xyxy)
        stranger = unfamiliar(table.votes, seen.columns) if len(self._ballot.known) > 1 else None
        if stranger is not None:
            overlap -= np.float32(options.class_change_iou) * stranger
        confirmed, high = table.ids > 0, seen.score >= options.high_score
        matching.take(overlap, confirmed, high, options.match_iou)
        matching.take(overlap, confirmed & table.visible, ~high, options.low_match_iou)
        matching.take(overlap, ~confirmed, high, options.new_match_iou)
        if options.match_distance and matching.rest(high):
            matching.take(self._nearness(seen, stranger), table.visible, high, 0.0)
        return matching.pairs()

    def _nearness(self, seen: _Seen, stranger: NDArray[np.bool_] | None) -> Float64:
        """Return (T, N) in (0, 1] where a jump is possible, else 0: for objects that left their own box behind."""
        options, position = self._options, self._table.state[:, POSITION]
        squared = kalman.distance_squared(self._table.state, seen.cxcywh)
        ratio = seen.cxcywh[None, :, 2:] / position[:, None, 2:]
        likeness = np.minimum(ratio, 1 / ratio).prod(axis=2)
        jump = np.abs(seen.cxcywh[None, :, :2] - position[:, None, :2]).max(axis=2)
        reach = options.match_distance_boxes * position[:, 2:].max(axis=1, keepdims=True)
        near = np.asarray((1 - squared / options.match_distance**2) * likeness)
        near[(jump > reach) | (likeness < 0.5)] = 0
        if stranger is not None:
            near[stranger] = 0
        return near

    def _continue(self, seen: _Seen, rows: NDArray[np.intp], columns: NDArray[np.intp], now_s: float) -> None:
        """Correct the matched tracks and mark the others as unseen."""
        table = self._table
        table.visible = np.zeros(len(table), np.bool_)
        table.det_index = np.full(len(table), -1, np.int32)
        table.visible[rows] = True
        table.det_index[rows] = seen.index[columns]
        state = table.state[rows]
        kalman.correct(state, seen.cxcywh[columns])
        table.state[rows] = state
        if len(rows) < len(table):
            table.state[:, VELOCITY, 2:] *= table.visible[:, None]  # a hidden object does not go on growing
        table.hits += table.visible
        table.seen_s[rows] = now_s
        table.score[rows] = seen.score[columns]
        table.votes[rows, seen.columns[columns]] += seen.score[columns]
        if len(self._ballot.known) > 1:
            table.class_id = self._ballot.winners(table.votes, table.class_id)

    def _start(self, seen: _Seen, taken: NDArray[np.intp], now_s: float) -> None:
        """Begin a track for every believed detection that no track wanted."""
        free = seen.score >= self._new_score
        free[taken] = False
        fresh = free.nonzero()[0]
        if not len(fresh):
            return
        fresh = self._originals(seen, fresh, taken)[: self._options.max_tracks - len(self._table)]
        count = len(fresh)
        columns = seen.columns[fresh]
        self._table.extend(
            TrackTable(
                state=kalman.start(seen.cxcywh[fresh]),
                ids=np.zeros(count, np.int64),
                hits=np.ones(count, np.int64),
                born_s=np.full(count, now_s),
                seen_s=np.full(count, now_s),
                score=seen.score[fresh],
                class_id=self._ballot.known[columns],
                votes=self._ballot.first(columns, seen.score[fresh]),
                visible=np.ones(count, np.bool_),
                det_index=seen.index[fresh].astype(np.int32),
            )
        )

    def _originals(self, seen: _Seen, fresh: NDArray[np.intp], taken: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those of ``fresh``, best first, that are not a taken or a better detection under another name."""
        fresh = fresh[np.argsort(-seen.score[fresh], kind="stable")]
        rivals = np.concatenate((taken, fresh))
        same = iou_matrix(seen.xyxy[fresh], seen.xyxy[rivals]) >= self._options.duplicate_iou
        worse_or_itself = np.triu(np.ones((len(fresh), len(fresh)), np.bool_))
        same[:, len(taken) :] &= ~worse_or_itself
        return fresh[~same.any(axis=1)]

    def _confirm(self) -> None:
        """Give ids to those that have been seen often and long enough, oldest first."""
        table, options = self._table, self._options
        proven = (table.ids == 0) & (table.hits >= options.confirm_hits)
        proven &= table.seen_s - table.born_s >= options.confirm_s - _SLACK_S
        rows = proven.nonzero()[0]
        if len(rows):
            table.ids[rows] = self._ids(len(rows))

    def _report(self, now_s: float) -> Tracks:
        table = self._table
        rows = (table.ids > 0).nonzero()[0]
        return Tracks(
            ids=table.ids[rows],
            xyxy=table.xyxy[rows],
            velocity=table.state[rows, VELOCITY, :2].astype(np.float32),
            class_id=table.class_id[rows],
            score=table.score[rows],
            confirmed=np.ones(len(rows), np.bool_),
            visible=table.visible[rows],
            age_s=(now_s - table.born_s[rows]).astype(np.float32),
            det_index=table.det_index[rows],
        )


def _usable_rows(xyxy: Float32, score: Float32, low_score: float) -> NDArray[np.intp]:
    """Return the rows whose box is finite, the right way round and near enough, and whose score is high enough."""
    usable = (xyxy[:, 0] < xyxy[:, 2]) & (xyxy[:, 1] < xyxy[:, 3]) & (score >= low_score)
    if not np.abs(xyxy).max(initial=0) < _FARTHEST_PX:  # also where something is not a number
        usable &= (np.abs(xyxy) < _FARTHEST_PX).all(axis=1)
    return usable.nonzero()[0]


class _Matching:
    """Pairs found so far between rows (tracks) and columns (detections), each used at most once."""

    def __init__(self, rows: int, columns: int) -> None:
        self.free_rows = np.ones(rows, np.bool_)
        self.free_columns = np.ones(columns, np.bool_)
        self._left = min(rows, columns)
        self._found: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []

    def rest(self, columns: NDArray[np.bool_]) -> bool:
        """Return whether anything is left to pair with these columns."""
        return self._left > 0 and bool((self.free_columns & columns).any())

    def take(
        self, similarity: NDArray[np.floating], rows: NDArray[np.bool_], columns: NDArray[np.bool_], least: float
    ) -> None:
        """Pair what is free among these rows and columns."""
        if not self._left:
            return
        row_index = (rows & self.free_rows).nonzero()[0]
        column_index = (columns & self.free_columns).nonzero()[0]
        if not len(row_index) or not len(column_index):
            return
        if len(row_index) < len(rows) or len(column_index) < len(columns):
            similarity = similarity[row_index[:, None], column_index]
        paired_rows, paired_columns = assign(similarity, least)
        paired_rows, paired_columns = row_index[paired_rows], column_index[paired_columns]
        self.free_rows[paired_rows] = False
        self.free_columns[paired_columns] = False
        self._left -= len(paired_rows)
        self._found.append((paired_rows, paired_columns))

    def pairs(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return all pairs as two index arrays of equal length."""
        if not self._found:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        if len(self._found) == 1:
            return self._found[0]
        rows, columns = zip(*self._found, strict=True)
        return np.concatenate(rows), np.concatenate(columns)
