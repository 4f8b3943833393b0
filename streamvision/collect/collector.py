"""Collects beside the flow: the analysis thread chooses, one thread of its own encodes and writes.

No picture is converted before it is known that it will be kept: whether it is wanted depends on its detections, and
whether it is new on the pixels that the network saw.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog

from streamvision.capture.masks import Polygon, PrivacyMasks
from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.collect.choice import Choice, Look, Memory, difference_hash
from streamvision.collect.journal import PICTURES, Entry, Journal
from streamvision.collect.labels import maps_of, objects_of
from streamvision.config.settings import CollectSettings
from streamvision.draw import to_jpeg
from streamvision.engine.manifest import Manifest
from streamvision.metrics import StreamStats
from streamvision.types import Analysis, Event, Frame

log = structlog.get_logger()

_QUEUE = 8
_QUALITY = 92
_IDLE_S = 0.5
_PUBLISH_EVERY_S = 5.0
"""How far apart the annotations are written at least; later as they grow, so that it stays a small part of the work."""
_PUBLISH_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Observed:
    """A stream that is collected from; what a file shows is waited for, what a camera shows is not."""

    model: str
    manifest: Manifest
    stats: StreamStats
    live: bool
    masks: Mapping[str, Polygon] = field(default_factory=dict)

    @property
    def finds_objects(self) -> bool:
        """Whether no detection means that there is no object."""
        return self.manifest.task != "classification" and bool(self.manifest.labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    frame: Frame
    analysis: Analysis
    reason: str
    hash: int


class Collector:
    """An `asides.Aside`. ``full``: nothing more will be kept, whatever comes."""

    stage = "collect"

    def __init__(
        self,
        settings: CollectSettings,
        folder: Path,
        observed: Mapping[str, Observed],
        clock: Clock,
        beat: Callable[[str], None],
        rng: random.Random | None = None,
    ) -> None:
        """Raises `UsageError` for a folder that cannot be used. ``rng`` draws the sample."""
        self.crashed: BaseException | None = None
        self._settings = settings
        self._observed = observed
        self._masks = {name: PrivacyMasks(one.masks) for name, one in observed.items() if one.masks}
        self._clock = clock
        self._beat = beat
        rng = rng or random.Random()
        self._choices = {name: Choice(settings, rng) for name in observed}
        self._memories = {name: Memory(settings.duplicates) for name in observed}
        self.journal = Journal(folder)
        self._today = ("", 0, 0)
        self._size = self.journal.size
        self._publish_at_s = 0.0
        self._remember()
        self._incoming = Channel[_Wanted](_QUEUE)
        self._thread = threading.Thread(target=self._guarded, name=self.stage, daemon=True)

    @property
    def limit(self) -> int | None:
        """How many pictures there may be in all, None: as many as fit."""
        return self._settings.max_pictures

    @property
    def full(self) -> bool:
        """Whether the folder holds all that it may."""
        most = self._settings.max_pictures
        return self._size >= self._settings.max_mb << 20 or (most is not None and len(self.journal.entries) >= most)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def see(self, frame: Frame, analysis: Analysis, events: list[Event]) -> list[Event]:
        """Take the picture if it is wanted; return the events as they are."""
        stream = frame.info.stream
        if stream in self._observed:
            reason = self._choices[stream].reason(analysis.detections, frame.info.media_s, event=bool(events))
            if reason is not None:
                self._take(frame, analysis, reason)
        return events

    def stop(self, timeout_s: float) -> bool:
        """Write what has been taken and the annotations, and end."""
        self._incoming.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self, frame: Frame, analysis: Analysis, reason: str) -> None:
        stream, stats = frame.info.stream, self._observed[frame.info.stream].stats
        if self.full:
            stats.uncollected["full"] += 1
            return
        look = self._look(difference_hash(frame), analysis)
        if self._memories[stream].knows(look):
            stats.uncollected["duplicate"] += 1
            return
        try:
            timeout_s = 0.0 if self._observed[stream].live else None
            if not self._incoming.put(_Wanted(frame, analysis, reason, look.hash), timeout_s):
                stats.uncollected["queue"] += 1
                return
        except Closed:
            stats.uncollected["stopped"] += 1
            return
        self._memories[stream].add(look)
        self._choices[stream].kept(frame.info.media_s)

    def _look(self, known: int, analysis: Analysis) -> Look:
        found = analysis.detections
        found = found[found.score >= self._settings.written_from]
        return Look(known, found.xyxy, found.class_id)

    def _remember(self) -> None:
        """Know again what was collected before."""
        for entry in self.journal.entries:
            stream = entry.picture["metadata"]["stream"]
            if stream in self._observed:
                labels = self._observed[stream].manifest.labels
                self._memories[stream].add(_looked(entry, labels))
            self._count(entry)

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("collecting stopped", error=str(error), exc_info=error)
        finally:
            self._incoming.close()
            self._lose_rest()
            self.journal.close()

    def _run(self) -> None:
        while True:
            self._beat(self.stage)
            try:
                self._keep(self._incoming.get(_IDLE_S))
            except TimeoutError:
                pass
            except Closed:
                break
            if self._clock.monotonic() >= self._publish_at_s:
                self._publish()
        self._publish()

    def _keep(self, wanted: _Wanted) -> None:
        """Write one picture, if there is room for it."""
        stats = self._observed[wanted.frame.info.stream].stats
        if (problem := self._no_room()) is not None:
            stats.uncollected[problem] += 1
            return
        try:
            entry, files = self._made(wanted)
            self.journal.introduce(*self._known(wanted.frame.info.stream))
            self.journal.add(entry, files)
        except OSError as error:
            stats.uncollected["disk"] += 1
            log.error("a picture could not be collected", stream=wanted.frame.info.stream, error=str(error))
            return
        self._size += entry.size
        self._count(entry)
        stats.collected[wanted.reason] += 1

    def _no_room(self) -> str | None:
        if self.full:
            return "full"
        day, pictures, size = self._today
        if day != self._day():
            return None
        spent = pictures >= self._settings.pictures_per_day or size >= self._settings.mb_per_day << 20
        return "budget" if spent else None

    def _count(self, entry: Entry) -> None:
        day, pictures, size = self._today if self._today[0] == entry.day else (entry.day, 0, 0)
        self._today = (day, pictures + 1, size + entry.size)

    def _day(self) -> str:
        return self._clock.utcnow().strftime("%Y-%m-%d")

    def _made(self, wanted: _Wanted) -> tuple[Entry, dict[str, bytes]]:
        """Return a picture's entry and files, its privacy masks painted here again: nothing relies on before."""
        info, observed = wanted.frame.info, self._observed[wanted.frame.info.stream]
        rgb = wanted.frame.picture.rgb()
        if (masks := self._masks.get(info.stream)) is not None:
            masks.paint(rgb)
        name = f"{info.stream}-{info.captured_at:%Y%m%dT%H%M%S}-{info.epoch}-{info.seq:07d}"
        files = {f"{PICTURES}/{name}.jpg": to_jpeg(rgb, _QUALITY)}
        paths = {}
        for label_map, png in maps_of(wanted.analysis.segmentation, info.size_wh).items():
            paths[self._map_name(observed, label_map)] = f"maps/{label_map}/{name}.png"
            files[f"maps/{label_map}/{name}.png"] = png
        picture = {
            "file_name": f"{PICTURES}/{name}.jpg", "width": rgb.shape[1], "height": rgb.shape[0], "group": info.stream,
            "metadata": {
                "stream": info.stream, "hour": f"{info.captured_at:%H}", "reason": wanted.reason,
                "model": observed.model, "captured_at": info.captured_at.isoformat(), "media_s": f"{info.media_s:.3f}",
            },
            **({"label_maps": paths} if paths else {}),
        }  # fmt: skip
        objects = objects_of(wanted.analysis, observed.model, self._settings.written_from)
        if not observed.finds_objects:
            picture["objects_known"] = False
        return Entry(picture, objects, self._day(), sum(map(len, files.values())), wanted.hash), files

    def _known(self, stream: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        observed = self._observed[stream]
        maps = observed.manifest.segmentation
        classes = observed.manifest.labels if observed.finds_objects else ()
        return classes, {self._map_name(observed, name): each for name, each in maps.items()}

    def _map_name(self, observed: Observed, name: str) -> str:
        """Return what a label map is called in the set: two networks may call different maps the same."""
        known = self.journal.maps.get(name)
        return name if known in (None, list(observed.manifest.segmentation[name])) else f"{observed.model}-{name}"

    def _publish(self) -> None:
        started_s = time.monotonic()
        try:
            self.journal.publish()
        except OSError as error:
            log.error("the annotations could not be written", folder=str(self.journal.folder), error=str(error))
        took_s = time.monotonic() - started_s
        self._publish_at_s = self._clock.monotonic() + max(_PUBLISH_EVERY_S, took_s / _PUBLISH_SHARE)

    def _lose_rest(self) -> None:
        while (wanted := self._incoming.take_nowait()) is not None:
            self._observed[wanted.frame.info.stream].stats.uncollected["stopped"] += 1


def _looked(entry: Entry, labels: tuple[str, ...]) -> Look:
    known = [each for each in entry.objects if each["category"] in labels]
    boxes = np.array([each["bbox"] for each in known], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Look(entry.hash, boxes, np.array([labels.index(each["category"]) for each in known], np.int32))
