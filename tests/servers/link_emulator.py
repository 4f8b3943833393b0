"""Links between two network namespaces that lose, delay, reorder, double, throttle or cut. A process of its own.

    python link_emulator.py '{"seed": 1, "links": ["one", "two"]}'

It makes two namespaces, ``host`` and ``camera``, and joins them by one TUN device per link at either end, whose IP
packets it forwards. It prints ``READY {"host": PATH, "camera": PATH}`` with what `setns` wants. Each line that it
reads is a JSON object {"link": NAME, "to": "host" | "camera", ...fields of `Fault`} and sets that direction anew; the
answer is a line with the counts of that direction so far. It ends when its input does, and everything ends with it:
namespaces and devices have no names outside, so a killed test leaves nothing behind.

The faults are those of Linux' netem (tc-netem(8)), which not every kernel has.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
LARGEST = 65536
AT_ONCE = 64
"""Packets taken from one device before the others have their turn."""

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Fault:
    """What happens to the packets of one direction.

    ``jitter_s`` is the half width of an even spread around ``delay_s``; packets keep their order, as in a router's
    queue. ``reorder`` is the part of packets that come ``reorder_s`` later than their turn. ``rate_bps`` counts IP
    bits; what has no room in a queue of ``queue_bytes`` is dropped.
    """

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.03
    duplicate: float = 0.0
    rate_bps: float = 0.0
    queue_bytes: int = 64_000
    down: bool = False


class Way:
    """One direction of one link: decides when, if ever, a packet arrives."""

    def __init__(self, out: int, rng: random.Random) -> None:
        self.out = out
        self.fault = Fault()
        self.counts = {"passed": 0, "lost": 0, "overflowed": 0, "reordered": 0, "doubled": 0}
        self._rng = rng
        self._free_s = self._last_s = 0.0

    def arrivals(self, size: int, now_s: float) -> list[float]:
        """Return the moments at which a packet of so many bytes comes out: none, one or two."""
        fault, rng = self.fault, self._rng
        if fault.down or rng.random() < fault.loss:
            return self._count("lost", [])
        sent_s = self._sent(size, now_s)
        if sent_s is None:
            return self._count("overflowed", [])
        spread_s = rng.uniform(-fault.jitter_s, fault.jitter_s)
        due_s = self._last_s = max(self._last_s, sent_s + fault.delay_s + spread_s)
        self._count("passed", [])
        if rng.random() < fault.reorder:
            return self._count("reordered", [due_s + fault.reorder_s])
        return self._count("doubled", [due_s, due_s]) if rng.random() < fault.duplicate else [due_s]

    def _sent(self, size: int, now_s: float) -> float | None:
        """Return when the packet has left the queue, None if there is no room for it."""
        if not self.fault.rate_bps:
            return now_s
        start_s = max(now_s, self._free_s)
        if (start_s - now_s) * self.fault.rate_bps / 8 > self.fault.queue_bytes:
            return None
        self._free_s = start_s + size * 8 / self.fault.rate_bps
        return self._free_s

    def _count(self, what: str, moments: list[float]) -> list[float]:
        self.counts[what] += 1
        return moments


class Emulator:
    """Forwards until its input ends."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._ways: dict[tuple[str, str], Way] = {}
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._numbers = 0

    def join(self, name: str, host: int, camera: int) -> None:
        """Add a link between two TUN devices."""
        for to, source, out in (("host", camera, host), ("camera", host, camera)):
            way = self._ways[name, to] = Way(out, random.Random(self._rng.random()))
            self._selector.register(source, selectors.EVENT_READ, way)

    def run(self) -> None:
        """Forward and obey."""
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        while True:
            wait_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            for key, _ in self._selector.select(wait_s):
                if key.data is not None:
                    self._take(key.fd, key.data)
                elif not self._obey():
                    return
            self._deliver()

    def _take(self, source: int, way: Way) -> None:
        for _ in range(AT_ONCE):
            try:
                packet = os.read(source, LARGEST)
            except BlockingIOError:
                return
            now_s = time.monotonic()
            if packet[0] >> 4 == 4:  # not the kernel's own IPv6 chatter
                for due_s in way.arrivals(len(packet), now_s):
                    self._numbers += 1
                    heapq.heappush(self._waiting, (due_s, self._numbers, way.out, packet))

    def _deliver(self) -> None:
        now_s = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now_s:
            _, _, out, packet = heapq.heappop(self._waiting)
            try:
                os.write(out, packet)
            except OSError:  # nobody at that end at the moment
                continue

    def _obey(self) -> bool:
        line = sys.stdin.readline()
        if not line:
            return False
        order = json.loads(line)
        way = self._ways[order.pop("link"), order.pop("to")]
        if order:
            way.fault = Fault(**(asdict(Fault()) | order))
        print(json.dumps(way.counts), flush=True)
        return True


def namespace() -> int:
    """Make a network namespace, enter it and return its descriptor."""
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no new network namespace")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def tun(number: int, address: str) -> int:
    """Make a device of the namespace that we are in."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun%d" % number, IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", f"tun{number}"], check=True)
    subprocess.run(["ip", "link", "set", f"tun{number}", "up", "txqueuelen", "1000"], check=True)
    return device


def main() -> None:
    settings = json.loads(sys.argv[1])
    names, ends, paths = settings["links"], {}, {}
    for side, last in (("host", 1), ("camera", 2)):
        paths[side] = f"/proc/{os.getpid()}/fd/{namespace()}"
        ends[side] = [tun(number, f"10.77.{number}.{last}") for number in range(len(names))]
    emulator = Emulator(settings["seed"])
    for name, host, camera in zip(names, ends["host"], ends["camera"], strict=True):
        emulator.join(name, host, camera)
    print("READY", json.dumps(paths), flush=True)
    emulator.run()


if __name__ == "__main__":
    main()
