"""``streamvision collect``: pictures worth labelling, with what the network saw in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.collect.collector import Collector
    from streamvision.config import Settings
    from streamvision.daemon import Signals
    from streamvision.metrics import Metrics

_STORE = ".streamvision"
"""Where, in the folder, ids of tracks and events of the collecting are kept."""
_UNBOUNDED = 1 << 30
_LOOK_S = 0.2

_Config = Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)]
_Out = Annotated[Path, typer.Option("--out", help="The folder; one that has pictures already is gone on with.")]
_Span = Annotated[str | None, typer.Option("--for", metavar="SPAN", help="Stop after this time: 30m, 1h.")]
_Streams = Annotated[str | None, typer.Option("--streams", metavar="A,B", help="Only from these streams.")]
_Low = Annotated[float, typer.Option("--low", min=0.0, max=1.0, help="A detection is doubtful from this score on ...")]
_High = Annotated[float, typer.Option("--high", min=0.0, max=1.0, help="... and below this one.")]
_Every = Annotated[str, typer.Option("--every", metavar="SPAN", help="Between two doubtful pictures, at least.")]
_MinScore = Annotated[
    float | None, typer.Option("--min-score", min=0.0, max=1.0, help="Write detections from this score on; --low.")
]


def collect(
    config: _Config,
    out: _Out,
    span: _Span = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Stop at so many pictures in the folder.")] = 2000,
    streams: _Streams = None,
    low: _Low = 0.2,
    high: _High = 0.5,
    every: _Every = "2s",
    min_score: _MinScore = None,
) -> None:
    """Run a configuration's streams and keep pictures with doubtful detections and events, and a thin sample.

    The folder is a COCO data set with pre-labels. No event goes to a sink; privacy masks are painted in.

    Example: streamvision collect config.yaml --out collected --for 1h --limit 500
    """
    from streamvision.config import load_settings
    from streamvision.engine.manifest import labels_of, maps_of

    seconds = None if span is None else _seconds("--for", span)
    settings = load_settings(config, labels_of=labels_of, maps_of=maps_of)
    chosen = _chosen(settings, out, streams, low, high, _seconds("--every", every), limit, min_score)
    _run(chosen, seconds)


def _chosen(
    settings: Settings, out: Path, streams: str | None, low: float, high: float, every_s: float, limit: int,
    min_score: float | None,
) -> Settings:  # fmt: skip
    """Return the settings of a daemon that collects, tells no sink, and keeps to itself."""
    from streamvision.config import CollectSettings

    known = [stream.id for stream in settings.streams]
    wanted = [name.strip() for name in streams.split(",")] if streams else known
    if strangers := [name for name in wanted if name not in known]:
        raise UsageError(f"there is no stream {strangers[0]!r}", where="--streams", remedy=f"known: {', '.join(known)}")
    if low >= high:
        raise UsageError(f"--low {low:g} is not below --high {high:g}, so nothing is in between")
    collect = CollectSettings(
        folder=str(out.absolute()), low=low, high=high, every=every_s, min_score=min_score, max_pictures=limit,
        pictures_per_day=_UNBOUNDED, mb_per_day=_UNBOUNDED,
    )  # fmt: skip
    chosen = tuple(stream for stream in settings.streams if stream.id in wanted)
    changes = {"streams": chosen, "sinks": (), "collect": collect, "state_dir": out.absolute() / _STORE}
    return settings.model_copy(update=changes)


def _run(settings: Settings, seconds: float | None) -> None:
    """Run the pipeline until it is enough, and say what came of it."""
    from streamvision.clock import SystemClock
    from streamvision.collect.collector import Collector
    from streamvision.daemon import Signals, serve
    from streamvision.health import Heartbeats
    from streamvision.metrics import Metrics
    from streamvision.notify import Notifier
    from streamvision.paths import STORE_FILE
    from streamvision.pipeline import Pipeline
    from streamvision.sinks.store import EventStore
    from streamvision.status import StatusBoard

    clock, metrics, signals = SystemClock(), Metrics(), Signals()
    store = EventStore(settings.state_dir / STORE_FILE, clock)
    try:
        heartbeats = Heartbeats(clock)
        board = StatusBoard(settings, metrics, heartbeats, store, clock)
        pipeline = Pipeline(settings, store, metrics, heartbeats, board, clock)
        pipeline.load()
        (collector,) = (one for one in pipeline.asides if isinstance(one, Collector))
        with _until_enough(collector, signals, seconds):
            code = serve(pipeline, Notifier(None, None), signals, lambda: None)
    finally:
        store.close()
    _conclude(collector, metrics)
    if pipeline.failure is not None:
        raise pipeline.failure
    if code:
        raise typer.Exit(code)


@contextmanager
def _until_enough(collector: Collector, signals: Signals, seconds: float | None) -> Iterator[None]:
    """Within the block, ask for the end when there are enough pictures or the time is over; show how many there are."""
    import threading
    import time

    from streamvision.cli._progress import count_bar

    over = threading.Event()
    until_s = float("inf") if seconds is None else time.monotonic() + seconds

    def watch(advance: Callable[[], None]) -> None:
        shown = 0
        while not over.wait(_LOOK_S):
            while shown < len(collector.journal.entries):
                shown += 1
                advance()
            if collector.full or time.monotonic() >= until_s:
                signals.stop.set()

    with count_bar("collecting", collector.limit) as advance:
        thread = threading.Thread(target=watch, args=(advance,), name="enough", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _conclude(collector: Collector, metrics: Metrics) -> None:
    kept = _summed(one.collected for one in metrics.streams.values())
    left = _summed(one.uncollected for one in metrics.streams.values())
    folder = collector.journal.folder
    parts = [f"{sum(kept.values())} pictures ({_listed(kept)})"] if kept else ["no picture was worth keeping"]
    parts += [f"not kept: {_listed(left)}"] if left else []
    typer.echo(f"{'; '.join(parts)}; {len(collector.journal.entries)} in {folder}")
    if collector.journal.entries:
        typer.echo(f"next  correct {folder / 'annotations.json'} in a COCO tool, then: streamvision train --data FILE")


def _summed(books: Iterable[Mapping[str, int]]) -> Counter[str]:
    return sum((Counter(book) for book in books), Counter())


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(counts.items()))


def _seconds(option: str, text: str) -> float:
    from streamvision.units import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(str(error), where=option) from error
