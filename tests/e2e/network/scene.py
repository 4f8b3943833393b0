"""One daemon, its cameras and their links."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av

from tests.harness import Daemon
from tests.servers import RtspServer
from tests.servers.links import Network

from .rows import Row

FPS = 10
SIZE_WH = (320, 180)
NEIGHBOURS = ("neighbour1", "neighbour2")
_SERIES = re.compile(r"streamvision_(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def small(source: Path, target: Path, seconds: float = 20.0, options: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Encode a video anew, small and with a key frame per second, so that twenty of them fit into two processors."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        out = writer.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "20", "bf": "0", **options})
        (out.width, out.height), out.pix_fmt, out.gop_size = SIZE_WH, "yuv420p", FPS
        count, every = 0, float(video.average_rate or 25) / FPS
        for number, frame in enumerate(reader.decode(video)):
            if number >= count * every and count < seconds * FPS:
                picture = frame.reformat(*SIZE_WH, "yuv420p")
                picture.pts, picture.time_base, picture.pict_type = count, Fraction(1, FPS), 0
                writer.mux(out.encode(picture))
                count += 1
        writer.mux(out.encode(None))
    return target


@dataclass(frozen=True)
class Books:
    """What the daemon says of its streams at one moment."""

    streams: Mapping[str, Mapping[str, Any]]
    series: Mapping[str, Mapping[str, Counter[str]]] = field(default_factory=dict)

    def of(self, stream: str, name: str) -> Counter[str]:
        """Return a metric of a stream, by the value of its last label."""
        return self.series.get(name, {}).get(stream, Counter())

    def count(self, stream: str, name: str) -> int:
        """Return the sum of a metric of a stream."""
        return self.of(stream, name).total()


class Scene:
    """Everything that runs; `books` asks the daemon."""

    def __init__(self, network: Network, daemon: Daemon, names: Path, rows: Sequence[Row]) -> None:
        self.network = network
        self.daemon = daemon
        self.rows = rows
        self._names = names

    def books(self) -> Books:
        """Ask /metrics and the API."""
        assert self.daemon.alive()
        with self.network.inside("host"):
            status, text = self.daemon.get("/metrics")
            return Books(self.daemon.streams(), _series(text)) if status == 200 else Books({})

    def ready(self) -> bool:
        """Whether every stream has sent pictures for some seconds, so that its sender's clock is known."""
        books = self.books()
        names = [*NEIGHBOURS, *(row.id for row in self.rows)]
        return all(books.count(name, "frames_analysed_total") >= 7 * FPS for name in names)

    def strike(self, row: Row) -> None:
        """Let a row's fault happen."""
        if row.event == "cut":
            self.network.cut(row.id)
        elif row.event == "host moves":
            self.network.move(row.id, "host", 3)
        elif row.event == "camera moves":
            self.network.move(row.id, "camera", 4)
            self._names.write_text(hosts(self.network, self.rows, moved={row.id for row in self.rows}))
        else:
            self.network.set(row.id, **row.fault)


def hosts(network: Network, rows: Sequence[Row], moved: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    """Return the content of /etc/hosts: the cameras that move have names."""
    moving = [row.id for row in rows if row.event == "camera moves"]
    lines = [f"{network.address(name, last=4 if name in moved else 2)} {name}.camera" for name in moving]
    return "\n".join(["127.0.0.1 localhost", *lines, ""])


@contextmanager
def scene(video: Path, folder: Path, rows: Sequence[Row], timeout_s: float) -> Iterator[Scene]:
    """Start links, cameras and the daemon; end them all."""
    clip = small(video, folder / "clip.mp4")
    names = folder / "hosts"
    with (
        Network([row.id for row in rows]) as network,
        RtspServer({row.id: clip for row in rows}, address="0.0.0.0", prefix=network.prefix("camera")) as far,
        RtspServer(dict.fromkeys(NEIGHBOURS, clip), prefix=network.prefix("host")) as near,
    ):
        names.write_text(hosts(network, rows))
        urls = {name: near.url(name) for name in NEIGHBOURS}
        for row in rows:
            host = f"{row.id}.camera" if row.event == "camera moves" else network.address(row.id)
            urls[row.id] = far.url(row.id, host=host)
        transports = {row.id: row.transport for row in rows}
        prefix = network.prefix("host", {"/etc/hosts": names})
        command = [*prefix, sys.executable, "-m", "tests.e2e.network.recording", str(folder / "ages")]
        daemon = Daemon(config(urls, transports, timeout_s), folder, command=command)
        try:
            yield Scene(network, daemon, names, rows)
        finally:
            daemon.process.kill()
            daemon.process.communicate()


def config(urls: Mapping[str, str], transports: Mapping[str, str], timeout_s: float) -> str:
    """Return the daemon's configuration; the deadlines are as given."""
    streams = "".join(
        f"  - {{id: {name}, url: '{url}', transport: {transports.get(name, 'tcp')}, model: moving, motion_gate: off,"
        f" read_timeout: {timeout_s}s, open_timeout: {timeout_s}s}}\n"
        for name, url in urls.items()
    )
    head = "state_dir: ./state\nserver: {listen: '127.0.0.1:{port}'}\nmodels: {moving: {manifest: motion}}\n"
    return f"{head}streams:\n{streams}"


def _series(text: str) -> dict[str, dict[str, Counter[str]]]:
    found: dict[str, dict[str, Counter[str]]] = {}
    for line in text.splitlines():
        if match := _SERIES.fullmatch(line):
            labels = dict(_LABEL.findall(match[2]))
            if "stream" in labels and "le" not in labels:
                last = list(labels.values())[-1]
                found.setdefault(match[1], {}).setdefault(labels["stream"], Counter())[last] += int(float(match[3]))
    return found


def now_s() -> float:
    """The clock of the notebook."""
    return time.monotonic()
