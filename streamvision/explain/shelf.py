"""Where explanations of events lie: ``state_dir/explanations``, bounded in size and age.

For each event at most three files: ``ID.picture.jpg``, the picture as it was kept; ``ID.json``, what is asked and what
has become of it; ``ID.jpg``, the map over the picture. Each is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from streamvision.errors import UsageError
from streamvision.explain import targets
from streamvision.explain.targets import Target
from streamvision.files import write_whole

FOLDER = "explanations"
"""The shelf's folder in state_dir, and what events write before their file's name."""

_EVENT = re.compile(r"[0-9A-Za-z_-]{1,64}")


class State(StrEnum):
    """What has become of an explanation."""

    PENDING = "pending"
    DONE = "done"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be explained: the target, in px of the kept picture, by a model of the configuration.

    ``reason``: why it was dropped; ``numbers``: what was measured.
    """

    event: str
    stream: str
    rule: str
    model: str
    target: Target
    state: State = State.PENDING
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


class Shelf:
    """The folder. One thread of one process changes it; any may read."""

    def __init__(self, state_dir: Path, max_bytes: int = 1 << 29, max_age_s: float = 30 * 86400.0) -> None:
        self.folder = state_dir / FOLDER
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s

    @staticmethod
    def name(event: str) -> str:
        """Return where an event's explanation lies, from state_dir on."""
        return f"{FOLDER}/{event}.jpg"

    def keep(self, request: Request, picture: bytes) -> None:
        """Keep a picture, a JPEG file, and what is asked about it. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._picture(request.event), picture)
        self.note(request)

    def note(self, request: Request) -> None:
        """Write down what has become of a request; the picture of one that was dropped is removed. Raises OSError."""
        document = {
            "event": request.event, "stream": request.stream, "rule": request.rule, "model": request.model,
            "target": targets.as_json(request.target), "state": str(request.state), "reason": request.reason,
            "numbers": dict(request.numbers),
        }  # fmt: skip
        write_whole(self.folder / f"{request.event}.json", json.dumps(document).encode())
        if request.state is State.DROPPED:
            self._picture(request.event).unlink(missing_ok=True)

    def finish(self, request: Request, explanation: bytes) -> None:
        """Put a finished explanation, a JPEG file, there. Raises OSError."""
        write_whole(self.folder / f"{request.event}.jpg", explanation)
        self.note(request)

    def find(self, event: str) -> Request | None:
        """Return what is known of an event's explanation; None for one that nobody asked for, or that is gone."""
        if not _EVENT.fullmatch(event):
            return None
        try:
            given = json.loads((self.folder / f"{event}.json").read_bytes())
            return Request(
                given["event"], given["stream"], given["rule"], given["model"], targets.from_json(given["target"]),
                State(given["state"]), given["reason"], given["numbers"],
            )  # fmt: skip
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def explanation(self, event: str) -> bytes | None:
        """Return a finished explanation as a JPEG file."""
        return _content(self.folder / f"{event}.jpg") if _EVENT.fullmatch(event) else None

    def picture(self, event: str) -> bytes:
        """Return a kept picture as a JPEG file. Raises `UsageError` where there is none."""
        content = _content(self._picture(event)) if _EVENT.fullmatch(event) else None
        if content is None:
            known = self.find(event)
            why = f": {known.reason}" if known is not None and known.reason else ""
            raise UsageError(
                f"no picture of this event is kept{why}", where=event,
                remedy="only events of rules with `explain: true` have one, until it is too old",
            )  # fmt: skip
        return content

    def pending(self) -> Iterator[Request]:
        """Give what still waits, the oldest first: ids of events are in the order of their time."""
        for path in sorted(self.folder.glob("*.json")):
            request = self.find(path.stem)
            if request is not None and request.state is State.PENDING:
                yield request

    def names(self) -> frozenset[str]:
        """Return the names of all files."""
        return frozenset(path.name for path in self.folder.glob("[!.]*"))

    def renew(self, now_s: float, but: frozenset[str]) -> None:
        """Let every file be as new as if it were made now (seconds since 1970), but those of these names."""
        for name in self.names() - but:
            with suppress(FileNotFoundError):
                os.utime(self.folder / name, (now_s, now_s))

    def prune(self, now_s: float | None) -> list[Request]:
        """Remove what is too old or too much, the oldest first; return what had not been explained yet.

        ``now_s`` is seconds since 1970; where it is not known, nothing is too old.
        """
        groups: dict[str, list[tuple[Path, int, float]]] = defaultdict(list)
        for path in self.folder.glob("[!.]*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            groups[path.name.partition(".")[0]].append((path, status.st_size, status.st_mtime))
        used = sum(size for files in groups.values() for _, size, _ in files)
        lost = []
        for event, files in sorted(groups.items(), key=lambda item: (min(file[2] for file in item[1]), item[0])):
            too_old = now_s is not None and now_s - max(file[2] for file in files) > self._max_age_s
            if used <= self._max_bytes and not too_old:
                continue
            request = self.find(event)
            lost += [request] if request is not None and request.state is State.PENDING else []
            for path, size, _ in files:
                path.unlink(missing_ok=True)
                used -= size
        return lost

    def _picture(self, event: str) -> Path:
        return self.folder / f"{event}.picture.jpg"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
