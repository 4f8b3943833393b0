"""Second networks on crops of tracks: what colour a car is, whether a person's face is seen.

A confirmed track is looked at once, then again every so often, or as soon as its picture has become clearly larger.
The crops of every stream that uses a network meet in one `SecondLane` and go through it in batches. Each look is a
vote; the votes of a track over time are its attributes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.errors import BatchLost, BrokenMedia, EngineError
from streamvision.interfaces import Engine
from streamvision.metrics import EngineStats
from streamvision.types import Attribute, Batch, Frame, Perception, Tracks

log = structlog.get_logger()

NOTHING = "none"
"""What a detector that finds nothing in a crop votes for."""

IDLE_S = 0.5
CAPACITY = 32
"""Crops that may wait for one network; a crop is small, and a look that finds no room is tried again."""

ANSWER_S = 60.0
"""How long a file's analysis waits for a look; only a broken engine takes so long."""

_KEPT_S = 60.0
"""For how long the attributes of a track that is gone are known: a rule may end its happening later."""

_LEAD = 1.2
"""How many times the votes of the present value another one needs, so that a tie does not flicker."""


@dataclass(frozen=True, slots=True)
class SecondOptions:
    """How one second network looks at a stream's tracks.

    ``name`` of the attribute; ``classes`` of tracks that are looked at, empty: all; ``every_s`` between two looks,
    0: only when larger; ``grow``: by which factor a track's size must have grown for an earlier look; ``min_side``
    of its box in px; ``margin`` by which the box is widened on each side, in shares of it; ``min_score`` from which
    a look counts as a vote.
    """

    name: str
    classes: frozenset[str] = frozenset()
    every_s: float = 5.0
    grow: float = 1.5
    min_side: float = 24.0
    margin: float = 0.1
    min_score: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    frame: Frame
    answer: Future[Perception]


class SecondLane:
    """One second network, its thread, and the crops that wait for it. ``crashed`` holds what stopped it early."""

    def __init__(
        self, name: str, engine: Engine, stats: EngineStats, clock: Clock, beat: Callable[[str], None],
        *, max_batch: int = 16, max_wait_s: float = 0.02,
    ) -> None:  # fmt: skip
        self.name = name
        self.engine = engine
        self.crashed: BaseException | None = None
        self._stats = stats
        self._clock = clock
        self._beat = beat
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._looks = Channel[_Look](CAPACITY)
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._guarded, name=self.stage, daemon=True)

    @property
    def stage(self) -> str:
        """The name under which this lane's thread shows that it is alive."""
        return f"second-{self.name}"

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Take no more crops, finish those that wait; False if that took too long."""
        self._looks.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def look(self, frame: Frame, *, wait: bool) -> Future[Perception] | None:
        """Ask what a crop shows; None where there is no room now, unless the caller would rather ``wait``."""
        look = _Look(frame, Future())
        try:
            taken = self._looks.put(look, None if wait else 0.0)
        except Closed:
            return None
        return look.answer if taken else None

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("second network stopped", model=self.name, error=str(error), exc_info=error)
        finally:
            self._looks.close()
            while (look := self._looks.take_nowait()) is not None:
                look.answer.cancel()

    def _run(self) -> None:
        while True:
            self._beat(self.stage)
            try:
                looks = self._collect()
            except TimeoutError:
                continue
            except Closed:
                return
            with contextlib.suppress(BatchLost):  # tracks that were not judged are looked at again
                self._submit(looks)

    def _collect(self) -> list[_Look]:
        looks = [self._looks.get(IDLE_S)]
        until_s = self._clock.monotonic() + self._max_wait_s
        while len(looks) < min(self._max_batch, self.engine.max_batch):
            try:
                looks.append(self._looks.get(max(0.0, until_s - self._clock.monotonic())))
            except (TimeoutError, Closed):
                break
        return looks

    def _submit(self, looks: Sequence[_Look]) -> None:
        batch = Batch(tuple(look.frame for look in looks))
        try:
            outputs = self.engine.submit(batch)
        except Exception:
            for look in looks:
                look.answer.cancel()
            raise
        outputs.add_done_callback(partial(self._settle, looks, batch, self._clock.monotonic()))

    def _settle(
        self, looks: Sequence[_Look], batch: Batch, started_s: float, outputs: Future[list[NDArray[Any]]]
    ) -> None:
        """Answer the looks of a batch, on the engine's thread; whatever goes wrong is the answer then."""
        try:
            raw = outputs.result()
            inferred_s = self._clock.monotonic()
            seen = self.engine.decode(batch, raw)
        except Exception as error:  # noqa: BLE001 - a thread's border: whoever waits for the answer raises it
            for look in looks:
                look.answer.set_exception(error)
            return
        with self._counting:
            self._stats.batch_size.observe(len(looks))
            self._stats.seconds["infer"].observe(inferred_s - started_s)
            self._stats.seconds["decode"].observe(self._clock.monotonic() - inferred_s)
        for look, perception in zip(looks, seen, strict=True):
            look.answer.set_result(perception)


@dataclass(slots=True, eq=False)
class _Ballot:
    """One track's votes for one attribute."""

    looked_s: float = float("-inf")
    side: float = 0.0
    answer: Future[Perception] | None = None
    votes: dict[str, float] = field(default_factory=dict)
    looks: int = 0
    attribute: Attribute | None = None

    def add(self, votes: Mapping[str, float]) -> None:
        for value, weight in votes.items():
            self.votes[value] = self.votes.get(value, 0.0) + weight
        self.looks += 1
        best = max(self.votes, key=self.votes.__getitem__)
        held = self.attribute.value if self.attribute else best
        value = best if self.votes[best] > _LEAD * self.votes[held] else held
        self.attribute = Attribute(value, self.votes[value] / sum(self.votes.values()), self.looks)


class SecondLook:
    """One second network on one stream: who is due for a look, and what the looks have said so far."""

    def __init__(self, options: SecondOptions, lane: SecondLane, *, wait: bool) -> None:
        """With ``wait`` the answers to a picture's looks are there before its rules are asked: for files."""
        self.options = options
        self._lane = lane
        self._wait = wait
        self._ballots: dict[int, _Ballot] = {}
        self._seen_s: dict[int, float] = {}

    def update(self, frame: Frame, tracks: Tracks, class_names: Sequence[str]) -> None:
        """Take the answers that have come, and look at the tracks that are due."""
        for ballot in self._ballots.values():
            self._collect(ballot)
        media_s = frame.info.media_s
        for row in self._candidates(tracks, class_names).tolist():
            track_id = int(tracks.ids[row])
            self._seen_s[track_id] = media_s
            ballot = self._ballots.setdefault(track_id, _Ballot())
            box = tracks.xyxy[row]
            side = float(np.sqrt(max(0.0, float((box[2] - box[0]) * (box[3] - box[1])))))
            if self._due(ballot, media_s, side) and self._look(frame, box, ballot):
                ballot.looked_s, ballot.side = media_s, max(side, ballot.side)
        if self._wait:
            for ballot in self._ballots.values():
                self._collect(ballot)
        self._forget(media_s)

    def attributes(self) -> dict[int, Attribute]:
        """Return what is known, by track id."""
        found = ((track_id, ballot.attribute) for track_id, ballot in self._ballots.items())
        return {track_id: attribute for track_id, attribute in found if attribute is not None}

    def clear(self) -> None:
        """Forget every track."""
        self._ballots.clear()
        self._seen_s.clear()

    def _candidates(self, tracks: Tracks, class_names: Sequence[str]) -> NDArray[np.intp]:
        """Return the rows of confirmed tracks in sight that are of a wanted class and large enough."""
        sides = (tracks.xyxy[:, 2:] - tracks.xyxy[:, :2]).min(axis=1, initial=np.inf)
        wanted = tracks.confirmed & tracks.visible & (sides >= self.options.min_side)
        if self.options.classes:
            table = np.array([name in self.options.classes for name in class_names], np.bool_)
            wanted = wanted & table[tracks.class_id]
        return np.flatnonzero(wanted)

    def _due(self, ballot: _Ballot, media_s: float, side: float) -> bool:
        if ballot.answer is not None:
            return False
        again = self.options.every_s > 0 and media_s - ballot.looked_s >= self.options.every_s
        return ballot.side == 0 or again or side >= self.options.grow * ballot.side

    def _look(self, frame: Frame, box: NDArray[np.float32], ballot: _Ballot) -> bool:
        """Send a crop on its way; False if there was no room, so that the next picture tries again."""
        window = _window(box, self.options.margin, frame.info.size_wh)
        if window is None:
            return False
        try:
            crop = frame.picture.crop(window, self._lane.engine.input)
        except BrokenMedia:
            return False
        part = Frame(frame.info, frame.picture, crop.pixels, crop.letterbox, frame.ready_s)
        ballot.answer = self._lane.look(part, wait=self._wait)
        return ballot.answer is not None

    def _collect(self, ballot: _Ballot) -> None:
        answer = ballot.answer
        if answer is None or not (self._wait or answer.done()):
            return
        ballot.answer = None
        try:
            seen = answer.result(ANSWER_S)
        except (CancelledError, BatchLost):  # the lane is closing, or its device was lost: the next look may do better
            return
        except TimeoutError as error:
            raise EngineError(f"no answer within {ANSWER_S:g} s", where=self._lane.name) from error
        if votes := votes_of(seen, self._lane.engine.labels, self.options.min_score):
            ballot.add(votes)

    def _forget(self, media_s: float) -> None:
        for track_id in [each for each, seen_s in self._seen_s.items() if media_s - seen_s > _KEPT_S]:
            del self._seen_s[track_id]
            del self._ballots[track_id]


def votes_of(seen: Perception, labels: Sequence[str], min_score: float) -> dict[str, float]:
    """Return what one look says: label -> weight; empty if it is not sure enough of anything.

    A classifier's probabilities are votes for every label. A detector votes with its best detection, or for
    `NOTHING` with what is left of certainty.
    """
    if seen.classification is not None:
        if float(seen.classification.max(initial=0.0)) < min_score:
            return {}
        return {label: float(share) for label, share in zip(labels, seen.classification, strict=True) if share > 0}
    found = seen.detections
    best = float(found.score[0]) if len(found) else 0.0
    if best >= min_score:
        return {labels[int(found.class_id[0])]: best}
    return {NOTHING: 1.0 - best}


def _window(box: NDArray[np.float32], margin: float, size_wh: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return a box with its margin as whole pixels inside the picture, None if nothing of it is inside."""
    x1, y1, x2, y2 = box.tolist()
    across, down = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, int(x1 - across)), max(0, int(y1 - down))
    right, bottom = min(size_wh[0], int(np.ceil(x2 + across))), min(size_wh[1], int(np.ceil(y2 + down)))
    return (left, top, right, bottom) if right > left and bottom > top else None


class Attributes:
    """Every second network of one stream. Used by the analysis thread only."""

    def __init__(self, looks: Sequence[SecondLook] = ()) -> None:
        self._looks = tuple(looks)

    def update(self, frame: Frame, tracks: Tracks, class_names: Sequence[str]) -> dict[int, dict[str, Attribute]]:
        """Return what is known of each track after this picture, by the attribute's name."""
        known: dict[int, dict[str, Attribute]] = {}
        for look in self._looks:
            look.update(frame, tracks, class_names)
            for track_id, attribute in look.attributes().items():
                known.setdefault(track_id, {})[look.options.name] = attribute
        return known

    def clear(self) -> None:
        """Forget every track: the scene is another one."""
        for look in self._looks:
            look.clear()
