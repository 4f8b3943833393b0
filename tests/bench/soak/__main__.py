"""Soak the whole daemon: does it lose, leak or lie while everything around it fails, again and again?

    python -m tests.bench.soak --minutes 30      # nightly; 2 for a look, 480 for a night

Four real RTSP cameras that die, freeze and come back all at once; a drawn street and a film; a webhook, Mosquitto and
Redis (where they are installed) that are killed, frozen, slowed and made to refuse; another configuration every minute,
by SIGHUP and over HTTP in turn, one of six wrong. All moments come from --seed. Needs STREAMVISION_TEST_DATA and
Debian's RTSP server. Prints a line per minute and a table; exit code 0 if every row holds, 1 if one does not.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.soak.measure import Sample
from tests.bench.soak.settings import Scene
from tests.bench.soak.timetable import Timetable
from tests.bench.soak.verdict import Row, table
from tests.bench.soak.world import PATIENCE_S, flaps, looks, reloads, settle, storms, world
from tests.servers import RtspServer


@dataclass(frozen=True)
class Pace:
    """How often things happen, in seconds; a short soak has as much happen, only faster."""

    reload_s: float
    gap_s: float
    look_s: float

    @classmethod
    def of(cls, minutes: float) -> Pace:
        return cls(min(60.0, 6 * minutes), min(40.0, 10 * minutes), min(30.0, max(0.5, minutes / 3)))


def soak(minutes: float, network: str | None, seed: int, folder: Path, told: Callable[[Sample], None]) -> Sequence[Row]:
    """Run for so long; return the table."""
    videos = Path(os.environ["STREAMVISION_TEST_DATA"]) / "videos"

    def scene(cameras: RtspServer, sinks: Mapping[str, str]) -> Scene:
        return Scene(cameras.url, videos, sinks, network)

    pace, chance = Pace.of(minutes), random.Random(seed)
    with world(scene, videos, folder) as one:
        actors = [looks(one, pace.look_s, told), reloads(one, pace.reload_s)]
        actors.append(storms(one, pace.gap_s, random.Random(chance.random())))
        actors += [flaps(one, name, pace.gap_s, random.Random(chance.random())) for name in one.receivers]
        timetable = Timetable(actors)
        try:
            timetable.run(60 * minutes, one.enough, 60 * minutes + PATIENCE_S)
        finally:
            timetable.close()
        settle(one)
        return table(one)


def teller(minutes: float) -> Callable[[Sample], None]:
    """Return what prints a line per minute."""
    due_s = [0.0]

    def tell(sample: Sample) -> None:
        if sample.at_s >= due_s[0]:
            due_s[0] += 60.0 if minutes >= 10 else 10.0
            print(
                f"{sample.at_s / 60:7.1f} min  {sample.rss_mb:6.0f} MB  children {sample.children_mb:5.0f} MB"
                f"  threads {sample.threads:3d}  descriptors {sample.descriptors:3d}  live {sample.live}"
                f"  age {1e3 * sample.age_s:5.0f} ms  ({sample.variant})",
                flush=True,
            )

    return tell


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--network", default="default", help="the drawn street's model; 'none': no network")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where everything is kept afterwards")
    given = parser.parse_args()
    network = None if given.network == "none" else given.network
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = soak(given.minutes, network, given.seed, folder, teller(given.minutes))
    print("\n".join(map(str, rows)))
    return int(not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main())
