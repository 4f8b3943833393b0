"""One run of the feeder into one receiver, with faults in its midst, and what must be true at its end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streamvision.errors import StoreError
from streamvision.sinks.database import EventLog
from tests.e2e.delivery.feeder import TYPE, number_of
from tests.e2e.delivery.receivers import Arrival, Receiver
from tests.harness import wait_until

ROOT = Path(__file__).parents[3]
STREAMS = 8
BOUND_S = 120.0
HOLD_S = 1.5
"""How long a fault lasts; the sinks' first pauses are shorter."""
IN_FLIGHT = 512
"""Events that may be under way when a fault comes, and may be repeated after it."""

_CONFIG = """
state_dir: {folder}/state
streams: [{{id: made-up, url: "demo:street"}}]
sinks:
  - {{name: out, {options}}}
"""


class Campaign:
    """The feeder's processes and the receiver they feed."""

    def __init__(self, receiver: Receiver, folder: Path, events: int, rate: float) -> None:
        self.receiver = receiver
        self.events = events
        self.faults: list[tuple[int, int]] = []
        self._folder = folder
        self._rate = rate
        self._config = folder / "config.yaml"
        self._config.write_text(_CONFIG.format(folder=folder, options=receiver.options()))
        self._log = folder / "feeder.log"
        self.process: subprocess.Popen[str] | None = None

    def start_feeder(self) -> None:
        """Start it, for the first time or after its end."""
        command = [sys.executable, "-m", "tests.e2e.delivery.feeder", str(self._config), "--events", str(self.events)]
        command += ["--streams", str(STREAMS), "--rate", str(self._rate)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)

    def kill_feeder(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=30)

    def finish(self, timeout_s: float = 600.0) -> dict[str, object]:
        """Wait until the feeder has stored and delivered everything; return the sink's books."""
        assert self.process is not None
        try:
            printed, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill_feeder()
            raise AssertionError(f"not drained within {timeout_s:g} s\n{self._log.read_text()}") from None
        assert self.process.returncode == 0, self._log.read_text()
        books: dict[str, object] = json.loads(printed.splitlines()[-1])["out"]
        return books

    def stored(self) -> int:
        """How many events are in the store; 0 while there is none, or only half of one."""
        try:
            log = EventLog(self._folder / "state" / "events.db")
        except StoreError:
            return 0
        try:
            return log.last_position()
        finally:
            log.close()

    def wait_stored(self, count: int) -> None:
        """Wait until the feeder has got so far, or is done."""
        wait_until(lambda: self._ended() or self.stored() >= count, BOUND_S)

    def wait_received(self, count: int) -> None:
        """Wait until so much has arrived."""
        wait_until(lambda: self._ended() or len(self.receiver.received()) >= count, BOUND_S)

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def mark(self, before: int, after: int) -> None:
        """Remember between which arrivals a fault was felt: around it events may be repeated."""
        self.faults.append((before - IN_FLIGHT, after + IN_FLIGHT))

    @contextmanager
    def fault(self, begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
        """Break the receiver for the block; afterwards wait until something new has arrived."""
        before = len(self.receiver.received())
        begin()
        try:
            yield
        finally:
            end()
        known = set(self.receiver.received())
        wait_until(lambda: self._ended() or not known.issuperset(self.receiver.received()), BOUND_S)
        self.mark(before, len(self.receiver.received()))

    def check(self) -> None:
        """Nothing is missing or made up, the order per stream is kept, and repetition is only around faults."""
        log = EventLog(self._folder / "state" / "events.db")
        stored = [(one.id, one.stream) for one in log.after(0, 10**7) if one.type == TYPE]
        log.close()
        arrived = [one for one in self.receiver.received() if one[0].startswith("01K0")]
        assert [number_of(one[0]) for one in stored] == list(range(self.events)), "the store is whole"
        missing = set(stored) - set(arrived)
        assert not missing, f"{len(missing)} missing, the first: {min(missing)}"
        assert set(arrived) == set(stored), "nothing arrives that is not stored"
        assert list(dict.fromkeys(arrived)) == in_order(arrived), "the order per stream is kept"
        self._check_repeated(arrived)

    def _check_repeated(self, arrived: Sequence[Arrival]) -> None:
        if self.receiver.once:
            assert max(Counter(arrived).values()) == 1, "the receiver has every event once"
        seen: set[Arrival] = set()
        for index, one in enumerate(arrived):
            if one in seen:
                assert any(first <= index <= last for first, last in self.faults), f"{one} repeated without a fault"
            seen.add(one)


def in_order(arrived: Sequence[Arrival]) -> list[Arrival]:
    """Return the first arrivals as they should have come: each stream's by number, streams mixed as they were."""
    firsts = list(dict.fromkeys(arrived))
    of_stream = {stream: iter(sorted(one for one in firsts if one[1] == stream)) for stream in {s for _, s in firsts}}
    return [next(of_stream[stream]) for _, stream in firsts]


def moments(seed: int, count: int, events: int) -> list[int]:
    """Return after how many stored events the feeder is killed, spread at random over the run."""
    return sorted(random.Random(seed).sample(range(1, events), count))
