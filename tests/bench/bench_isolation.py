"""What a process per stream costs: pictures a second and CPU per picture, beside a thread, in turns.

python tests/bench/bench_isolation.py VIDEO [--rounds 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

from streamvision import plugins
from streamvision.capture.isolated import IsolatedSource
from streamvision.clock import SystemClock
from streamvision.errors import EndOfStream
from streamvision.interfaces import Source
from streamvision.types import InputSpec

SPEC = InputSpec((512, 288))


def cpu_s() -> float:
    """Return the CPU time of this process and of the children that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def run(make: Callable[[], Source]) -> tuple[float, float, float]:
    """Read and scale a whole file; return pictures a second from the first one on, CPU ms a picture, seconds to it."""
    source, began_s, began_cpu_s, count, first_s = make(), time.perf_counter(), cpu_s(), 0, 0.0
    source.open()
    try:
        while True:
            for each in source.read():
                first_s = first_s or time.perf_counter()
                each.picture.prepare(SPEC)
                count += 1
    except EndOfStream:
        spent_s = time.perf_counter() - first_s
    finally:
        source.close()
    return count / spent_s, 1000 * (cpu_s() - began_cpu_s) / count, first_s - began_s


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    kind = plugins.load("source", "file")
    makes: dict[str, Callable[[], Source]] = {
        "thread": lambda: kind(options.video, kind.Options(), SystemClock()),
        "process": lambda: IsolatedSource("file", options.video, kind.Options(), SystemClock()),
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in makes}
    for _ in range(options.rounds):
        for name, make in makes.items():
            found[name].append(run(make))
    medians = {name: [statistics.median(each) for each in zip(*runs, strict=True)] for name, runs in found.items()}
    for name, (rate, cpu_ms, first_s) in medians.items():
        print(f"{name:8} {rate:7.1f} pictures/s  {cpu_ms:6.2f} ms CPU a picture  first after {first_s:.2f} s")
    ratios = [one / other for one, other in zip(medians["process"], medians["thread"], strict=True)]
    print(f"process / thread: rate {ratios[0]:.2f}, CPU {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
