"""The configurations that the daemon is led through, one per reload, in a circle; JSON, which is YAML too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VIDEOS = {
    "hall": ("one-by-one-person-detection.mp4", "tcp"),
    "yard": ("car-detection.mp4", "udp"),
    "square": ("night-square.mp4", "tcp"),
    "belt": ("bottle-detection.mp4", "udp"),
}
"""The cameras: what each shows, and how it is asked for."""
VISITOR = "dashcam-traffic.mp4"
"""A file that is read to its end now and then: how many pictures it has is known."""
WANTS: Mapping[str, Mapping[str, list[str]]] = {
    "webhook": {},
    "mqtt": {"types": ["zone", "line.instant"]},
    "redis": {"streams": ["hall", "street", "film"]},
    "log": {},
}
"""Which events each sink gets."""

Document = dict[str, Any]


def wanted(sink: str, stream: str, kind: str) -> bool:
    """Whether a sink gets an event of a stream and a CloudEvents type; said once more than in the daemon itself."""
    streams, types = (WANTS[sink].get(key) for key in ("streams", "types"))
    under = [f"streamvision.{one}" for one in types or ()]
    return (not streams or stream in (*streams, "streamvision")) and (
        not under or any(kind == one or kind.startswith(one + ".") for one in under)
    )


def stream(name: str, url: str, **more: Any) -> Document:
    return {
        "id": name, "url": url, "model": "movers", "fps": 5,
        "zones": {"middle": [[0.2, 0.3], [0.8, 0.3], [0.8, 0.98], [0.2, 0.98]]},
        "lines": {"half": [[0.5, 0], [0.5, 1]], "across": [[0, 0.6], [1, 0.6]]},
        "rules": [
            {"name": "inside", "type": "zone", "zone": "middle", "update_every": "5s"},
            {"name": "passing", "type": "line", "line": "half"},
        ],
        **more,
    }  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What the configurations are made of. ``network`` None: no stream is looked at by a network."""

    url: Callable[[str], str]
    videos: Path
    sinks: Mapping[str, str]
    network: str | None

    def first(self) -> Document:
        """Return what the daemon starts with."""
        streams = [
            stream(name, self.url(name), transport=transport, read_timeout="2s")
            for name, (_, transport) in VIDEOS.items()
        ]
        streams[3]["isolation"] = "process"
        streams.append(stream("street", "demo:street?seed=3&size=480x270&fps=10"))
        streams.append(stream("film", str(self.videos / "car-detection.mp4"), loop=True, pace="realtime"))
        models: Document = {"movers": {"manifest": "motion"}}
        if self.network is not None:
            models["net"] = {"manifest": self.network}
            streams[4] |= {"model": "net", "fps": 2}
        return {"state_dir": "./state", "models": models, "streams": streams, "tune": 0}

    def text(self, document: Document, port: int) -> str:
        """Return a configuration as it stands in the file."""
        head = {"server": {"listen": f"127.0.0.1:{port}"}} | {k: v for k, v in document.items() if k != "tune"}
        body = "".join(f"{json.dumps(key)}: {json.dumps(value)}\n" for key, value in head.items())
        rows = [self._sink(name, options, document["tune"]) for name, options in self.sinks.items()]
        return body + "sinks:\n" + "".join(rows)

    def _sink(self, name: str, options: str, tune: int) -> str:
        own = {"name": name, **WANTS[name]}
        more = ", max_batch: 50" if name == "webhook" and tune else ""
        flow = ", ".join(f"{key}: {json.dumps(value)}" for key, value in own.items())
        return f"  - {{{flow}, {options}{more}}}\n"


def other_rules(document: Document) -> None:
    """Rules change while their streams go on; one stream is looked at more often, one less."""
    for one in document["streams"][:3]:
        one["rules"][0]["min_dwell"] = "500ms"
        one["rules"].append({"name": "crossing", "type": "line", "line": "across", "direction": "a_to_b"})
    document["streams"][0]["fps"] = 8
    document["streams"][2]["fps"] = 3


def other_streams(document: Document) -> None:
    """A camera goes, another is asked for in another way, and one goes to a model of its own."""
    del document["streams"][3]
    document["streams"][1]["transport"] = "tcp"
    document["models"]["others"] = {"manifest": "motion", "max_age": "300ms"}
    document["streams"][2]["model"] = "others"


def other_sinks(document: Document) -> None:
    """A sink's options change: it is made anew, and goes on where it was."""
    document["tune"] = 1


def wrong(document: Document) -> None:
    """A slip of the pen: nothing of this file may be taken."""
    document["streams"][0]["fsp"] = 3
    del document["streams"][1:]


def with_visitor(videos: Path) -> Callable[[Document], None]:
    """Return the change that lets a file be read to its end."""

    def change(document: Document) -> None:
        visitor = stream("visitor", str(videos / VISITOR))
        del visitor["fps"]
        document["streams"].append(visitor)

    return change


def circle(videos: Path) -> list[tuple[str, Callable[[Document], None]]]:
    """Return what is changed in the first configuration, reload after reload."""
    return [
        ("rules", other_rules), ("visitor", with_visitor(videos)), ("streams", other_streams), ("wrong", wrong),
        ("sinks", other_sinks), ("first", lambda document: None),
    ]  # fmt: skip


def changed(first: Document, change: Callable[[Document], None]) -> Document:
    """Return a configuration with one change."""
    document = deepcopy(first)
    change(document)
    return document
