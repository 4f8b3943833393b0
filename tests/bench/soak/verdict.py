"""What a soak came to: a table, and whether every row holds."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.soak.measure import Sample, Trend, trend
from tests.bench.soak.settings import wanted
from tests.bench.soak.world import Tally, World
from tests.e2e.delivery.ledger import Ledger
from tests.e2e.delivery.receivers import Arrival
from tests.harness import read_events

MB_PER_HOUR = 10.0
"""Memory that surely grows faster than this is a leak."""
MB_DOUBT = 25.0
"""By how much the memory may grow in a whole soak as far as the measurement can tell; a longer soak tells more."""
IN_FLIGHT = 200
"""No stream has more pictures under way: queues, batches and the analysis are all bounded."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    found: str
    holds: bool

    def __str__(self) -> str:
        return f"| {self.what:<26} | {self.found:<78} | {'holds' if self.holds else 'FAILS'} |"


def table(world: World) -> list[Row]:
    """Judge everything; the daemon has ended."""
    tally = world.tally
    return [*usage(tally.samples), *course(world), *pictures(tally), *happened(world), alarms(tally)]


def usage(samples: Sequence[Sample]) -> list[Row]:
    """Memory, threads and descriptors after the warm-up: the first circle of configurations, or a quarter."""
    last = samples[-1].at_s
    warm = [one for one in samples if one.at_s >= min(420.0, last / 4)]
    late = [one for one in warm if one.at_s >= (warm[0].at_s + last) / 2]
    memory, late_memory = trend(warm, "rss_mb"), trend(late, "rss_mb")
    text = f"{warm[0].rss_mb:.0f} -> {warm[-1].rss_mb:.0f} MB, {memory}; second half {late_memory}"
    hours = (last - warm[0].at_s) / 3600
    doubtful = math.isfinite(memory.within) and memory.may_exceed(MB_PER_HOUR + MB_DOUBT / hours)
    rows = [Row("resident memory (MB)", text, not memory.exceeds(MB_PER_HOUR) and not doubtful)]
    for what, limit in (("children_mb", MB_PER_HOUR), ("threads", 1.0), ("descriptors", 1.0)):
        found: Trend = trend(warm, what)
        values = [getattr(one, what) for one in warm]
        rows.append(Row(what, f"{min(values):.0f} to {max(values):.0f}, {found}", not found.exceeds(limit)))
    return rows


def course(world: World) -> list[Row]:
    """What was done to it: of everything something, or the rest proves little."""
    done, reconnects = world.tally.done, world.tally.reconnects
    rows = [Row(what, str(done[what]), done[what] > 0) for what in world.deeds()]
    return [*rows, Row("reconnects, last books", str(reconnects), reconnects > 0)]


def pictures(tally: Tally) -> list[Row]:
    """Every stream's books, those of streams that went at a reload, too."""
    books = tally.books
    names = sorted({book["stream"] for book in books})
    sums = {key: sum(book[key] for book in books) for key in ("decoded", "analysed", "skipped", "dropped", "in_flight")}
    text = f"{len(books)} books of {len(names)} streams: " + ", ".join(f"{value} {key}" for key, value in sums.items())
    balanced = all(book["decoded"] == book["analysed"] + book["skipped"] + book["dropped"] for book in books)
    causes: Counter[str] = Counter()
    for book in books:
        causes.update(book["causes"])
    most = max(one.in_flight for one in tally.samples)
    visits = [book["decoded"] for book in books if book["stream"] == "visitor"]
    whole = sum(count == tally.visitor_pictures for count in visits)
    return [
        Row("books of pictures", text, balanced and not sums["in_flight"] and bool(books)),
        Row("causes of drops", json.dumps(dict(sorted(causes.items()))), sums["dropped"] == sum(causes.values())),
        Row("most under way, one stream", str(most), most <= IN_FLIGHT),
        Row("a file read whole", f"{whole} of {len(visits)} times {tally.visitor_pictures}", whole == len(visits)),
    ]


def happened(world: World) -> list[Row]:
    """Events: what the streams' books say, what the store has, and what each receiver has."""
    stored = [(one["id"], one["data"]["stream"], one["type"]) for one in read_events(world.folder / "state")]
    own = Counter(stream for _, stream, _ in stored if stream != "streamvision")
    booked: Counter[str] = Counter()
    for book in world.tally.books:
        booked[book["stream"]] += book["events"]
    booked = +booked
    differ = {name: (booked[name], own[name]) for name in booked | own if booked[name] != own[name]}
    text = f"{booked.total()} in the books, {own.total()} in the store" + (f", differing: {differ}" if differ else "")
    rows = [Row("books of events", text, not differ and bool(own))]
    for name in world.scene.sinks:
        arrived = world.receivers[name].received() if name in world.receivers else logged(world)
        due = [(key, stream) for key, stream, kind in stored if wanted(name, stream, kind)]
        ledger = Ledger(due, arrived)
        rows.append(Row(f"sink {name}", str(ledger), ledger.holds))
    return rows


def logged(world: World) -> list[Arrival]:
    """Return what the file has."""
    lines = map(json.loads, (world.folder / "state" / "events.jsonl").read_text().splitlines())
    return [(line["id"], line["data"]["stream"]) for line in lines]


def alarms(tally: Tally) -> Row:
    """What should never have been said."""
    first = f": {tally.wrong[0][:300]}" if tally.wrong else ""
    return Row("anything else wrong", f"{len(tally.wrong)}{first}", not tally.wrong)
