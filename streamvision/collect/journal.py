"""The folder of collected pictures, in COCO's form.

``journal.jsonl`` is the truth: one line for each picture, written and synced after the picture itself has reached the
disk. ``annotations.json`` is made of it again and again. A crash at any moment loses at most the picture in hand; its
file and a torn last line are removed at the next start. A file of annotations that somebody else has changed is never
written over: what is new goes into ``annotations-new.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from streamvision.errors import UsageError
from streamvision.files import write_whole

log = structlog.get_logger()

PICTURES, JOURNAL, ANNOTATIONS, ANNOTATIONS_NEW = (
    "pictures",
    "journal.jsonl",
    "annotations.json",
    "annotations-new.json",
)
_OURS = ".annotations.sha256"
"""The digests of the annotations that were written here: the last, and the one before."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: ``picture`` is its entry in COCO's ``images`` without an id, ``objects`` are annotations without
    ids, with the class's name as ``category``; ``day`` is the UTC date on which it was kept, ``size`` in bytes with its
    label pictures, ``hash`` its difference hash."""

    picture: Mapping[str, Any]
    objects: Sequence[Mapping[str, Any]]
    day: str
    size: int
    hash: int

    def line(self) -> bytes:
        """Return the journal's line."""
        known = {"picture": self.picture, "objects": self.objects, "day": self.day, "size": self.size}
        return json.dumps(known | {"hash": f"{self.hash:016x}"}, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def of(cls, given: dict[str, Any]) -> Entry:
        """Return the entry of a line. Raises KeyError, TypeError or ValueError for another."""
        return cls(given["picture"], given["objects"], str(given["day"]), int(given["size"]), int(given["hash"], 16))


class Journal:
    """The folder, for its only writer. ``classes`` and ``maps``: those of all networks that have collected here."""

    def __init__(self, folder: Path) -> None:
        """Open or create the folder and put it in order. Raises `UsageError` for one that cannot be used."""
        self.folder = folder
        self.entries: list[Entry] = []
        self.classes: list[str] = []
        self.maps: dict[str, list[str]] = {}
        self._written = -1
        try:
            (folder / PICTURES).mkdir(parents=True, exist_ok=True)
            self._resume()
            self._file: BinaryIO = (folder / JOURNAL).open("ab")
        except OSError as error:
            raise UsageError(f"pictures cannot be collected here: {error.strerror}", where=str(folder)) from error

    @property
    def size(self) -> int:
        """How many bytes the pictures take."""
        return sum(entry.size for entry in self.entries)

    def introduce(self, classes: Sequence[str], maps: Mapping[str, Sequence[str]]) -> None:
        """Note what a network can see, before its first picture. Raises OSError."""
        new = [name for name in classes if name not in self.classes]
        fresh = {name: list(each) for name, each in maps.items() if name not in self.maps}
        if new or fresh:
            self._know(new, fresh)
            self._append(json.dumps({"classes": new, "maps": fresh}, ensure_ascii=False).encode() + b"\n")

    def add(self, entry: Entry, files: Mapping[str, bytes]) -> None:
        """Keep a picture: its ``files`` by their paths in the folder, then its line. Raises OSError."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        self._append(entry.line())
        self.entries.append(entry)

    def publish(self) -> Path | None:
        """Write the annotations if anything is new; return where. Raises OSError."""
        if self._written == len(self.entries) or not self.entries:
            return None
        content = json.dumps(self.document(), ensure_ascii=False).encode()
        digest, target = _digest(content), self.folder / ANNOTATIONS
        known = self._own_digests()
        if target.exists() and _digest(target.read_bytes()) not in known:
            log.warning("the annotations were changed by somebody else and are left as they are", file=str(target))
            target = self.folder / ANNOTATIONS_NEW
        else:
            write_whole(self.folder / _OURS, "\n".join([digest, *known[:1]]).encode())
        write_whole(target, content)
        self._written = len(self.entries)
        return target

    def document(self) -> dict[str, Any]:
        """Return everything as one COCO document."""
        category = {name: number for number, name in enumerate(self.classes, 1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, entry in enumerate(self.entries, 1):
            images.append({"id": number, **entry.picture})
            for each in entry.objects:
                rest = {key: value for key, value in each.items() if key != "category"}
                ids = {"id": len(annotations) + 1, "image_id": number, "category_id": category[each["category"]]}
                annotations.append(ids | rest)
        categories = [{"id": number, "name": name} for name, number in category.items()]
        document = {"images": images, "annotations": annotations, "categories": categories}
        return document | ({"label_maps": self.maps} if self.maps else {})

    def close(self) -> None:
        """Release the journal; idempotent."""
        self._file.close()

    def _resume(self) -> None:
        """Read what is there, cut off a torn line, and remove files that no line knows of."""
        path = self.folder / JOURNAL
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                given = json.loads(line)
                if "classes" in given:
                    self._know(given["classes"], given["maps"])
                else:
                    self.entries.append(Entry.of(given))
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError(
                    f"line {number} is no line of a journal", where=str(path), remedy="remove it, or collect elsewhere"
                ) from error
        self._remove_strangers()

    def _remove_strangers(self) -> None:
        known = {entry.picture["file_name"] for entry in self.entries}
        known |= {name for entry in self.entries for name in entry.picture.get("label_maps", {}).values()}
        for path in [*(self.folder / PICTURES).iterdir(), *self.folder.glob("maps/*/*")]:
            if path.is_file() and str(path.relative_to(self.folder)) not in known:
                path.unlink()

    def _know(self, classes: Sequence[str], maps: Mapping[str, Sequence[str]]) -> None:
        self.classes += classes
        self.maps |= {name: list(each) for name, each in maps.items()}

    def _append(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _own_digests(self) -> list[str]:
        try:
            return (self.folder / _OURS).read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError):
            return []


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
