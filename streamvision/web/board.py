"""What the web part is told about the daemon, and nothing else: a `Board` that the pipeline implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from streamvision.interfaces import EventReader
from streamvision.metrics import Metrics, StreamStats
from streamvision.types import StreamState

if TYPE_CHECKING:
    from streamvision.web.live import LiveHub


@dataclass(frozen=True, slots=True)
class Health:
    """Seconds since each stage's last sign of life, and the stages whose sign is overdue."""

    stage_ages_s: Mapping[str, float]
    silent: Sequence[str] = ()

    @property
    def alive(self) -> bool:
        """Whether no stage is silent."""
        return not self.silent

    def as_json(self) -> dict[str, Any]:
        """Return the body of /healthz."""
        ages_s = {stage: round(age_s, 3) for stage, age_s in self.stage_ages_s.items()}
        return {"status": "ok" if self.alive else "silent", "silent": list(self.silent), "stage_ages_s": ages_s}


@dataclass(frozen=True, slots=True)
class EngineReadiness:
    """One model's engine.

    ``state`` is one of those of `metrics.EngineStats`; ``description`` is of the engine that serves, empty while there
    is none; ``detail`` says why, or how far.
    """

    state: str
    description: str = ""
    detail: str = ""

    @property
    def ready(self) -> bool:
        """Whether an engine serves, though a better one may still be built."""
        return self.state in ("ready", "fallback") or (
            self.state in ("building", "verifying") and bool(self.description)
        )


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the daemon does its work: engines warm, store open. ``store`` is a word or a fault."""

    models: Mapping[str, EngineReadiness]
    store: str = "ok"

    @property
    def ready(self) -> bool:
        """Whether an engine serves every model, and the store works."""
        return self.store == "ok" and all(model.ready for model in self.models.values())

    def as_json(self) -> dict[str, Any]:
        """Return the body of /readyz."""
        models = {
            name: {"state": model.state, "description": model.description, "detail": model.detail}
            for name, model in self.models.items()
        }
        return {"status": "ready" if self.ready else "not_ready", "store": self.store, "models": models}


@dataclass(frozen=True, slots=True)
class Counts:
    """A stream's books: decoded = analysed + skipped + dropped + in_flight."""

    decoded: int
    analysed: int
    skipped: int
    dropped: int

    @classmethod
    def of(cls, stats: StreamStats) -> Counts:
        """Read the books, fates before ``decoded``, so that nothing in flight is below zero."""
        analysed, skipped, dropped = stats.analysed, dict(stats.skipped), dict(stats.dropped)
        return cls(stats.decoded, analysed, sum(skipped.values()), sum(dropped.values()))

    @property
    def in_flight(self) -> int:
        """Pictures whose fate is still open."""
        return self.decoded - self.analysed - self.skipped - self.dropped

    def as_json(self) -> dict[str, int]:
        """Return the books under their names."""
        names = ("decoded", "analysed", "skipped", "dropped", "in_flight")
        return {name: int(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What an operator wants to know of one stream.

    ``url`` is redacted; ``since_s`` is how long the state has lasted; ``frame_age_s`` is how old the newest analysed
    picture is now, so it grows when a camera dies, and None before the first one; rates are pictures per second over
    the last seconds; ``tracks`` counts the confirmed tracks in sight by class.
    """

    id: str
    url: str
    state: StreamState
    cause: str
    since_s: float
    size_wh: tuple[int, int]
    decoded_fps: float
    analysed_fps: float
    frame_age_s: float | None
    counts: Counts
    model: str
    tracks: Mapping[str, int] = field(default_factory=dict)
    zones: Sequence[str] = ()
    lines: Sequence[str] = ()
    isolation: str = "thread"
    """Where it is read and decoded: in a thread of the daemon, or in a process of its own."""

    def as_json(self) -> dict[str, Any]:
        """Return the stream as the API tells it."""
        return {
            "id": self.id,
            "url": self.url,
            "state": str(self.state),
            "cause": self.cause,
            "since_s": round(self.since_s, 3),
            "size_wh": list(self.size_wh) if all(self.size_wh) else None,
            "decoded_fps": round(self.decoded_fps, 2),
            "analysed_fps": round(self.analysed_fps, 2),
            "frame_age_s": None if self.frame_age_s is None else round(self.frame_age_s, 3),
            "counts": self.counts.as_json(),
            "model": self.model,
            "isolation": self.isolation,
            "tracks": dict(self.tracks),
            "zones": list(self.zones),
            "lines": list(self.lines),
        }


def frame_age_s(stats: StreamStats, now_s: float) -> float | None:
    """Return how old the newest analysed picture is at the monotonic time ``now_s``; None before the first."""
    analysed_s, age_s = stats.last_analysed_s, stats.last_age_s
    if analysed_s is None or age_s is None:
        return None
    return max(0.0, now_s - analysed_s + age_s)


@dataclass(frozen=True, slots=True)
class EventExplanation:
    """What has become of an event's explanation.

    ``jpeg``: the finished map over the picture. Without one, ``pending`` says whether it will come, and ``reason`` why
    it will not.
    """

    jpeg: bytes | None = None
    pending: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReloadProblem:
    """A mistake in the configuration file; line and column count from 1, 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the problem as the API tells it."""
        return {name: getattr(self, name) for name in ("file", "line", "column", "message", "remedy")}


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What came of reading the configuration again.

    ``result``: applied; unchanged (nothing differs that can change while the daemon runs); refused (the file has
    ``problems``); failed (``error`` says why; what ran before runs again); broken (there was no way back: the daemon
    ends); stopping (the daemon is going down). ``needs_restart`` names keys that take effect with the next start.
    """

    result: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)
    needs_restart: Sequence[str] = ()
    problems: Sequence[ReloadProblem] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether what runs is what the file says, but for what needs a restart."""
        return self.result in ("applied", "unchanged")

    def lasting(self, seconds: float) -> ReloadReport:
        """Return the report with the time that it took."""
        return replace(self, seconds=seconds)

    def as_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {
            "result": self.result,
            "changed": dict(self.changed),
            "kept": {name: list(each) for name, each in self.kept.items()},
            "needs_restart": list(self.needs_restart),
            "problems": [problem.as_json() for problem in self.problems],
            "error": self.error,
            "seconds": round(self.seconds, 3),
        }


class Board(Protocol):
    """The daemon as the web part sees it. Every call comes from the web thread, and must return at once.

    Only ``events`` and ``explanation`` may block: they are used from a thread of their own.
    """

    metrics: Metrics
    events: EventReader
    live: LiveHub

    def health(self) -> Health:
        """Return the heartbeats."""
        ...

    def readiness(self) -> Readiness:
        """Return whether engines and store do their work."""
        ...

    def explanation(self, event: str) -> EventExplanation:
        """Return the explanation of an event, by its id; it reads files."""
        ...

    def streams(self) -> Sequence[StreamStatus]:
        """Return every configured stream, in the order of the configuration."""
        ...
