"""Our ByteTrack beside roboflow/trackers' on the same pictures, in one interleaved run.

    pip install 'streamvision[bench]' && python tests/bench/bench_tracker.py

Both see the same synthetic scene: objects on a wide picture with noise on every box, wandering scores, and a few
missed pictures. Pictures alternate between the two trackers, so that a busy machine slows both. Exits with 1 if ours
takes more than a fifth of the time at 50 objects, or if the two disagree about who is who. Without ``trackers``
installed it says so and measures ours alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.track.bytetrack import ByteTrack
from streamvision.track.ids import counting_ids
from streamvision.types import Detections, Tracks

FPS = 30.0
PICTURES = 240
ALLOWED_RATIO = 0.2
JUDGED_AT = 50


@dataclass
class Runner:
    """One tracker under the clock; turning values into its own types and back is not timed."""

    name: str
    prepare: Callable[[Detections], Any]
    update: Callable[[Any, float], Any]
    identify: Callable[[Any, int], NDArray[np.int64]]
    """Takes the tracker's answer and the number of detections; returns each one's track id, -1 for none."""
    seconds: list[float] = field(default_factory=list)
    ids: list[NDArray[np.int64]] = field(default_factory=list)

    def take(self, detections: Detections, media_s: float) -> None:
        given = self.prepare(detections)
        started = time.perf_counter()
        answer = self.update(given, media_s)
        self.seconds.append(time.perf_counter() - started)
        self.ids.append(self.identify(answer, len(detections)))

    @property
    def median_ms(self) -> float:
        return 1e3 * float(np.median(self.seconds))


def scene(objects: int, seed: int = 7) -> list[tuple[Detections, float, NDArray[np.int64]]]:
    """Return pictures of objects that never meet, as (detections, media_s, true identity of each detection)."""
    rng = np.random.default_rng(seed)
    columns = int(np.ceil(np.sqrt(objects)))
    cell = np.stack(np.divmod(np.arange(objects), columns), axis=1)[:, ::-1] * 160.0 + 80
    phase, turn = rng.uniform(0, 2 * np.pi, objects), rng.uniform(0.3, 0.8, objects)
    size = rng.uniform(50, 70, (objects, 2))
    pictures = []
    for number in range(PICTURES):
        media_s = number / FPS
        angle = (phase + turn * media_s)[:, None]
        centre = cell + 35 * np.hstack((np.cos(angle), np.sin(angle))) + rng.normal(0, 0.7, (objects, 2))
        score = np.clip(rng.normal(0.85, 0.05, objects), 0.75, 0.99)
        kept = rng.random(objects) > 0.02 if number > 10 else np.ones(objects, bool)
        kept = rng.permutation(np.flatnonzero(kept))
        xyxy = np.hstack((centre - size / 2, centre + size / 2)).astype(np.float32)[kept]
        found = Detections(xyxy, score.astype(np.float32)[kept], np.zeros(len(kept), np.int32))
        pictures.append((found, media_s, kept))
    return pictures


def ours() -> Runner:
    def identify(tracks: Tracks, count: int) -> NDArray[np.int64]:
        ids = np.full(count, -1, np.int64)
        ids[tracks.det_index[tracks.visible]] = tracks.ids[tracks.visible]
        return ids

    tracker = ByteTrack(ByteTrack.Options(), counting_ids())
    return Runner("streamvision", lambda detections: detections, tracker.update, identify)


def theirs() -> Runner | None:
    try:
        import supervision
        from trackers import ByteTrackTracker
    except ImportError:
        return None

    def prepare(detections: Detections) -> Any:
        return supervision.Detections(
            xyxy=np.array(detections.xyxy),
            confidence=np.array(detections.score),
            class_id=np.array(detections.class_id),
            data={"row": np.arange(len(detections))},
        )

    def identify(found: Any, count: int) -> NDArray[np.int64]:
        ids = np.full(count, -1, np.int64)
        ids[found.data["row"]] = found.tracker_id
        return ids

    tracker = ByteTrackTracker(lost_track_buffer=60, frame_rate=FPS)
    return Runner("trackers", prepare, lambda given, media_s: tracker.update(given), identify)


def partition(runner: Runner, truth: list[NDArray[np.int64]]) -> set[tuple[int, int]]:
    """Return which track was seen on which true object, for tracks with an id."""
    pairs = set()
    for ids, objects in zip(runner.ids, truth, strict=True):
        named = ids >= 0
        pairs |= set(zip(ids[named].tolist(), objects[named].tolist(), strict=True))
    return pairs


def faithful(runner: Runner, truth: list[NDArray[np.int64]], objects: int) -> bool:
    """Return whether every object has one track and every track one object."""
    pairs = partition(runner, truth)
    return len(pairs) == len({one for one, _ in pairs}) == len({one for _, one in pairs}) == objects


def compare(objects: int) -> bool:
    """Print one line of the table; return whether everything is as promised."""
    other = theirs()
    runners = [ours(), other] if other else [ours()]
    pictures = scene(objects)
    for detections, media_s, _ in pictures:
        for runner in runners:
            runner.take(detections, media_s)
    truth = [objects_seen for _, _, objects_seen in pictures]
    same = all(faithful(runner, truth, objects) for runner in runners)
    times = "  ".join(f"{runner.name} {runner.median_ms:7.3f} ms" for runner in runners)
    if len(runners) == 1:
        print(f"{objects:4d} objects  {times}  identities {'as drawn' if same else 'WRONG'}")
        return same
    ratio = runners[0].median_ms / runners[1].median_ms
    print(f"{objects:4d} objects  {times}  ratio {ratio:.3f}  identities {'the same' if same else 'DIFFER'}")
    return same and (objects != JUDGED_AT or ratio <= ALLOWED_RATIO)


def main() -> int:
    if theirs() is None:
        print("roboflow/trackers is not installed (pip install 'streamvision[bench]'): measuring ours alone")
    kept = [compare(objects) for objects in (10, 50, 200)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
