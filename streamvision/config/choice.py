"""Which events a sink gets: ``streams`` and ``types`` of its entry."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from streamvision import plugins
from streamvision.config.document import Document, Path
from streamvision.config.settings import SinkEntry
from streamvision.config.validate import nearest, validate
from streamvision.interfaces import full_event_type

_KEYS = ("streams", "types")
_BESIDE_RULES = ("outage", "outbox")
"""Kinds of events that no rule makes."""


def choice_of(document: Document, entry: Any, path: Path, streams: Collection[str]) -> tuple[dict[str, Any], Any]:
    """Return a sink's choice of events, and what is left of its entry; mistakes go to the document."""
    if not isinstance(entry, dict):
        return {}, entry
    given = {key: entry[key] for key in _KEYS if key in entry}
    rest = {key: value for key, value in entry.items() if key not in _KEYS}
    checked = validate(document, SinkEntry, {"name": "any", "type": "any", **given}, path) if given else None
    if checked is None:
        return {}, rest
    for index, name in enumerate(checked.streams):
        if name not in streams and streams:
            remedy = nearest(name, streams, noun="streams")
            document.problem((*path, "streams", index), f"there is no stream {name!r}", remedy)
    kinds = [*plugins.names("rule"), *_BESIDE_RULES]
    for index, text in enumerate(checked.types):
        kind = full_event_type(text).removeprefix("streamvision").lstrip(".").partition(".")[0]
        if kind and kind not in kinds:
            document.problem((*path, "types", index), f"there are no events of type {text!r}", nearest(kind, kinds))
    return {"streams": checked.streams, "types": checked.types}, rest
