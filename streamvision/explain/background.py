"""The daemon's side: pictures of events whose rules ask for it are kept, and explained when there is time.

One thread: it encodes and writes pictures as they come, and between two inferences of an explanation it looks for the
next. Everything is bounded, every loss has a reason, and what is not done when the daemon ends is done after its start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import structlog

from streamvision.capture.masks import Polygon, PrivacyMasks
from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.config.settings import ExplainSettings
from streamvision.draw import to_jpeg
from streamvision.errors import EngineError
from streamvision.explain.explanation import concluded
from streamvision.explain.occlusion import Occlusion, Options
from streamvision.explain.pictures import frame_of
from streamvision.explain.polite import Polite, Stopped
from streamvision.explain.shelf import Request, Shelf, State
from streamvision.explain.targets import Area, Object, Target
from streamvision.interfaces import Engine
from streamvision.metrics import StreamStats
from streamvision.timesync import TrustedTime
from streamvision.types import Analysis, Event, Frame, Phase, UInt8

log = structlog.get_logger()

_QUEUE = 8
"""Pictures that wait to be encoded, each as large as it was decoded."""
_QUALITY = 92
_IDLE_S = 0.5
_PRUNE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A stream with rules to explain; ``idle``: whether its engine has nothing better to do; ``corners``: its zones."""

    model: str
    engine: Engine
    rules: frozenset[str]
    stats: StreamStats
    idle: Callable[[], bool]
    masks: Mapping[str, Polygon] = field(default_factory=dict)
    corners: Mapping[str, Polygon] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    request: Request
    frame: Frame


class Explainer:
    """Keeps and explains; an `asides.Aside`. ``crashed`` holds the exception that stopped it early."""

    stage = "explain"

    def __init__(
        self,
        settings: ExplainSettings,
        shelf: Shelf,
        subjects: Mapping[str, Subject],
        clock: Clock,
        beat: Callable[[str], None],
    ) -> None:
        self.crashed: BaseException | None = None
        self._settings = settings
        self._shelf = shelf
        self._subjects = subjects
        self._masks = {name: PrivacyMasks(one.masks) for name, one in subjects.items() if one.masks}
        self._clock = clock
        self._beat = beat
        self._incoming = Channel[_Kept](_QUEUE)
        self._waiting: list[Request] = []
        self._stop = threading.Event()
        self._prune_at_s = 0.0
        self._time = TrustedTime(clock)
        self._earlier: frozenset[str] | None = None
        self._thread = threading.Thread(target=self._guarded, name=self.stage, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def see(self, frame: Frame, analysis: Analysis, events: list[Event]) -> list[Event]:
        """Take what is to be explained of one picture; return the events, which say where it will be found."""
        subject = self._subjects.get(frame.info.stream)
        if subject is None or not events:
            return events
        return [self._take(event, frame, analysis, subject) for event in events]

    def stop(self, timeout_s: float) -> bool:
        """Write what has been taken, and end; explanations that are not done are done after the next start."""
        self._incoming.close()
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self, event: Event, frame: Frame, analysis: Analysis, subject: Subject) -> Event:
        if event.rule not in subject.rules or event.phase not in (Phase.START, Phase.INSTANT):
            return event
        target = target_of(event, analysis, subject.corners)
        reason = "no_target" if target is None else "queue"
        if target is not None:
            request = Request(event.id, event.stream, event.rule, subject.model, target)
            try:
                if self._incoming.put(_Kept(request, frame), 0):
                    return _with(event, "explanation", Shelf.name(event.id))
            except Closed:
                reason = "stopped"
        subject.stats.unexplained[reason] += 1
        return _with(event, "explanation_dropped", reason)

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("explaining stopped", error=str(error), exc_info=error)
        finally:
            self._incoming.close()

    def _run(self) -> None:
        self._waiting = list(self._shelf.pending())
        self._earlier = self._shelf.names()
        while not self._stop.is_set():
            self._tend(0.0 if self._waiting else _IDLE_S)
            if self._waiting and not self._stop.is_set():
                self._explain(self._waiting[0])
        self._tend(0.0)

    def _tend(self, timeout_s: float) -> None:
        """Show a sign of life, keep every picture that has come, and keep the shelf within its bounds."""
        self._beat(self.stage)
        try:
            self._keep(self._incoming.get(timeout_s))
            while (kept := self._incoming.take_nowait()) is not None:
                self._keep(kept)
        except (TimeoutError, Closed):
            pass
        if self._clock.monotonic() >= self._prune_at_s:
            self._prune_at_s = self._clock.monotonic() + _PRUNE_EVERY_S
            self._prune()

    def _prune(self) -> None:
        """Keep the shelf within its bounds; nothing is too old before the wall clock can be trusted.

        What this run has made before that may bear any time.
        """
        now = self._time.now()
        if now is not None and self._earlier is not None:
            self._shelf.renew(now.timestamp(), self._earlier)
            self._earlier = None
        for lost in self._shelf.prune(None if now is None else now.timestamp()):
            self._waiting = [one for one in self._waiting if one.event != lost.event]
            self._count(lost, "pruned")

    def _keep(self, kept: _Kept) -> None:
        request = kept.request
        if len(self._waiting) >= self._settings.backlog:
            self._drop(request, "backlog")
            return
        rgb, scale = self._picture(kept.frame)
        request = replace(request, target=scaled(request.target, scale))
        try:
            self._shelf.keep(request, to_jpeg(rgb, _QUALITY))
        except OSError as error:
            log.error("the picture of an event could not be kept", id=request.event, error=str(error))
            self._count(request, "disk")
            return
        self._waiting.append(request)

    def _picture(self, frame: Frame) -> tuple[UInt8, float]:
        """Return an event's picture, bounded, with its privacy masks painted here again: nothing relies on before."""
        width, height = frame.picture.size_wh
        scale = min(1.0, self._settings.side / max(width, height))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = frame.picture.rgb(size_wh)
        if (masks := self._masks.get(frame.info.stream)) is not None:
            masks.paint(rgb)
        return rgb, scale

    def _explain(self, request: Request) -> None:
        """Work on one request until it is done, dropped, or the daemon ends."""
        subject = self._subjects.get(request.stream)
        try:
            if subject is None or subject.model != request.model:
                self._drop(request, "no_model")
            else:
                self._explain_with(subject, request)
        except Stopped:
            return
        except EngineError as error:
            log.warning("an event could not be explained", id=request.event, error=str(error))
            self._drop(request, "engine")
        except OSError as error:
            log.error("an explanation could not be written", id=request.event, error=str(error))
            self._count(request, "disk")
        self._waiting = [one for one in self._waiting if one.event != request.event]

    def _explain_with(self, subject: Subject, request: Request) -> None:
        rgb = decoded(self._shelf.picture(request.event))
        engine = Polite(subject.engine, self._settings.share, subject.idle, self._pause)
        frame = frame_of(rgb, engine.input, request.stream)
        work = Occlusion(engine, frame, request.target, Options(self._settings.masks))
        if work.score <= 0:
            self._drop(request, "not_seen")
            return
        for _ in work:
            pass
        found = concluded(engine, frame, request.model, request.target, work.saliency)
        done = replace(request, state=State.DONE, numbers=found.as_json())
        self._shelf.finish(done, to_jpeg(found.drawn(rgb), _QUALITY))
        subject.stats.explained[request.rule] += 1

    def _pause(self, seconds: float) -> bool:
        until_s = time.monotonic() + seconds
        self._tend(0.0)
        return self._stop.wait(max(0.0, until_s - time.monotonic()))

    def _drop(self, request: Request, reason: str) -> None:
        self._count(request, reason)
        try:
            self._shelf.folder.mkdir(parents=True, exist_ok=True)
            self._shelf.note(replace(request, state=State.DROPPED, reason=reason))
        except OSError as error:
            log.error("cannot write", folder=str(self._shelf.folder), error=str(error))

    def _count(self, request: Request, reason: str) -> None:
        if (subject := self._subjects.get(request.stream)) is not None:
            subject.stats.unexplained[reason] += 1


def target_of(event: Event, analysis: Analysis, zones: Mapping[str, Polygon]) -> Target | None:
    """Return what an event is about, in source px; None where no part of the picture can be said to be."""
    if event.track is None:
        return _area_of(event.data, zones)
    if event.track.class_name not in analysis.class_names:
        return None
    tracks = analysis.tracks
    row = tracks.det_index[tracks.visible & (tracks.ids == event.track.id)].tolist()
    class_id = list(analysis.class_names).index(event.track.class_name)
    if not row:
        return Object(class_id, event.track.class_name, event.track.xyxy)
    found = analysis.detections  # a track's box is smoothed; the network is asked for its own
    x1, y1, x2, y2 = found.xyxy[row[0]].tolist()
    class_id = int(found.class_id[row[0]])
    return Object(class_id, analysis.class_names[class_id], (x1, y1, x2, y2))


def _area_of(data: Mapping[str, object], zones: Mapping[str, Polygon]) -> Area | None:
    name, classes, zone = data.get("map"), data.get("classes"), zones.get(str(data.get("zone")))
    if not isinstance(name, str) or not isinstance(classes, Sequence) or zone is None:
        return None
    return Area(name, tuple(map(str, classes)), tuple((x, y) for x, y in zone))


def scaled(target: Target, scale: float) -> Target:
    """Return a target for a picture of another size."""
    if not isinstance(target, Object):
        return target
    x1, y1, x2, y2 = (value * scale for value in target.xyxy)
    return replace(target, xyxy=(x1, y1, x2, y2))


def decoded(jpeg: bytes) -> UInt8:
    """Return a JPEG file as RGB (h,w,3). Raises OSError for one that is damaged."""
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise OSError("a kept picture is damaged")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _with(event: Event, key: str, value: str) -> Event:
    return replace(event, evidence={**event.evidence, key: value})
