"""Drawn scenes for trackers: known objects in, what a detector would say out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamvision.interfaces import Tracker
from streamvision.types import Detections, Tracks


@dataclass(frozen=True)
class Mover:
    """An object at ``start_xy`` (centre, px) at time 0 that moves at ``speed_xy`` px/s; hidden between two times."""

    start_xy: tuple[float, float]
    speed_xy: tuple[float, float]
    size_wh: tuple[float, float] = (40, 90)
    hidden_s: tuple[float, float] = (-1.0, -1.0)
    class_id: int = 0

    def box(self, media_s: float) -> list[float]:
        x, y = (a + v * media_s for a, v in zip(self.start_xy, self.speed_xy, strict=True))
        w, h = self.size_wh
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]

    def is_hidden(self, media_s: float) -> bool:
        return self.hidden_s[0] <= media_s < self.hidden_s[1]


@dataclass(frozen=True)
class Camera:
    """How the scene is looked at."""

    fps: float = 25.0
    seconds: float = 6.0
    jitter: float = 0.0
    """Error of a picture's time stamp, as a share of the picture interval."""
    dropped: float = 0.0
    """Share of pictures that never arrive."""
    dips: float = 0.0
    """Share of detections whose score is doubtful."""
    noise_px: float = 1.0
    seed: int = 3

    def look(self, movers: list[Mover]) -> Iterator[tuple[float, Detections, list[int]]]:
        """Yield media time, detections in random order, and for each the index of its mover."""
        rng = np.random.default_rng(self.seed)
        for number in range(int(self.seconds * self.fps)):
            true_s = number / self.fps
            stamp_s = true_s + rng.uniform(0, self.jitter) / self.fps
            if number > 3 and rng.random() < self.dropped:
                continue
            seen = rng.permutation([i for i, mover in enumerate(movers) if not mover.is_hidden(true_s)]).astype(int)
            boxes = np.array([movers[i].box(true_s) for i in seen]).reshape(-1, 4)
            boxes = boxes + rng.normal(0, self.noise_px, boxes.shape)
            doubtful = (rng.random(len(seen)) < self.dips) & (number > 3)
            score = np.where(doubtful, 0.25, rng.uniform(0.6, 0.95, len(seen)))
            classes = np.array([movers[i].class_id for i in seen], np.int32)
            yield stamp_s, Detections(boxes.astype(np.float32), score.astype(np.float32), classes), seen.tolist()


def identities(tracker: Tracker, movers: list[Mover], camera: Camera) -> list[set[int]]:
    """Return for each mover the ids under which it was followed."""
    found: list[set[int]] = [set() for _ in movers]
    for media_s, detections, truth in camera.look(movers):
        tracks = tracker.update(detections, media_s)
        sound(tracks, detections)
        for track, row in zip(tracks.ids[tracks.visible], tracks.det_index[tracks.visible], strict=True):
            found[truth[row]].add(int(track))
    return found


def sound(tracks: Tracks, detections: Detections) -> None:
    """Assert what holds for every answer of every tracker."""
    assert len(set(tracks.ids.tolist())) == len(tracks)
    assert np.isfinite(tracks.xyxy).all()
    assert np.isfinite(tracks.velocity).all()
    assert (tracks.xyxy[:, :2] <= tracks.xyxy[:, 2:]).all()
    assert (tracks.age_s >= 0).all()
    assert ((tracks.score >= 0) & (tracks.score <= 1)).all()
    assert (tracks.visible == (tracks.det_index >= 0)).all()
    used = tracks.det_index[tracks.visible]
    assert len(set(used.tolist())) == len(used)
    assert (used < len(detections)).all()


def one_box(x: float, y: float = 200, score: float = 0.9, class_id: int = 0, side: float = 60) -> Detections:
    """Return a picture with one square box around (x, y)."""
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]], np.float32)
    return Detections(box, np.array([score], np.float32), np.array([class_id], np.int32))


def joined(*parts: Detections) -> Detections:
    """Return the detections of several in one picture."""
    return Detections(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.class_id for part in parts]),
    )
