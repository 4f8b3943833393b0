"""Events -> HTTP requests, by the CloudEvents 1.0 binding for HTTP: structured, batched and binary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from streamvision.errors import SinkError
from streamvision.interfaces import StoredEvent

STRUCTURED = "application/cloudevents+json; charset=utf-8"
BATCHED = "application/cloudevents-batch+json; charset=utf-8"

_UNQUOTED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stands in a header as it is (section 3.1.3.2 of the binding); all else becomes %XX of its UTF-8."""


@dataclass(frozen=True, slots=True)
class Post:
    """One request: which events it holds, its idempotency key, headers and body."""

    events: Sequence[StoredEvent]
    key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def posts(mode: str, events: Sequence[StoredEvent], *, max_batch: int, max_bytes: int) -> Iterator[Post]:
    """Yield the requests that deliver events in order.

    Raises `SinkError` (permanent, reason ``too_large``) when it comes to an event that alone is too large.
    """
    if mode == "batched":
        yield from _batched(events, max_batch, max_bytes)
        return
    for event in events:
        post = _structured(event) if mode == "structured" else _binary(event)
        yield _fitting(post, max_bytes)


def _structured(event: StoredEvent) -> Post:
    return Post([event], event.id, event.json.encode(), {"Content-Type": STRUCTURED})


def _binary(event: StoredEvent) -> Post:
    attributes = json.loads(event.json)
    data = attributes.pop("data", None)
    kind = attributes.pop("datacontenttype", "application/json")
    headers = {f"ce-{name}": quote(str(value), safe=_UNQUOTED) for name, value in attributes.items()}
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Post([event], event.id, body, {"Content-Type": kind} | headers)


def _batched(events: Sequence[StoredEvent], max_batch: int, max_bytes: int) -> Iterator[Post]:
    gathered: list[StoredEvent] = []
    size = 1  # the bracket; after every event there is a comma, or the bracket's partner
    for event in events:
        more = len(event.json.encode()) + 1
        if gathered and (len(gathered) == max_batch or size + more > max_bytes):
            yield _batch(gathered)
            gathered, size = [], 1
        if more + 1 > max_bytes:
            _fitting(_batch([event]), max_bytes)
        gathered.append(event)
        size += more
    if gathered:
        yield _batch(gathered)


def _batch(events: Sequence[StoredEvent]) -> Post:
    body = f"[{','.join(event.json for event in events)}]".encode()
    # The same events give the same key, so that a repeated batch can be told from a new one.
    key = hashlib.sha256("\n".join(event.id for event in events).encode()).hexdigest()[:32]
    return Post(list(events), f"batch_{key}", body, {"Content-Type": BATCHED})


def _fitting(post: Post, max_bytes: int) -> Post:
    if len(post.body) > max_bytes:
        what = f"the event has {len(post.body)} bytes, and a request holds {max_bytes}"
        raise SinkError(what, remedy="raise max_bytes, if the receiver takes it", reason="too_large", permanent=True)
    return post
