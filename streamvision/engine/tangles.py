"""YAML that would keep its reader busy without end, refused while it is only a row of events."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, Event, MappingStartEvent, NodeEvent

from streamvision.errors import ManifestError


def untangled(text: str, path: Path, max_depth: int) -> str:
    """Return a text as it is. Raises `ManifestError` where it nests too deeply, or has keys that hold keys.

    Those are read twice at every level: forty of them, in eighty characters, would never come to an end.
    Raises whatever ruamel.yaml does for a text that is no YAML.
    """
    key_next: list[bool | None] = []  # per open mapping whether a key comes next; None for a list
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionEndEvent):
            key_next.pop()
        elif isinstance(event, NodeEvent):
            starts = isinstance(event, CollectionStartEvent)
            if (starts and key_next and key_next[-1]) or len(key_next) > max_depth:
                raise _refusal(event, path)
            if key_next and key_next[-1] is not None:
                key_next[-1] = not key_next[-1]
            if starts:
                key_next.append(True if isinstance(event, MappingStartEvent) else None)
    return text


def _refusal(event: Event, path: Path) -> ManifestError:
    place = f"{path}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"
    remedy = "a manifest is a small file: write it out"
    return ManifestError("it is nested too deeply, or a key is no plain text", where=place, remedy=remedy)
