"""Where things lie at the broker: a template for events, and fixed places for what is retained."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

FIELDS = ("prefix", "stream", "rule", "type", "kind", "phase", "class")
LONGEST_BYTES = 65_535
_PREFIX = "streamvision."
_KEPT = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "/+#%$")


def checked(template: str) -> str:
    """Return a template of an event's topic. Raises `ValueError`, in words for whoever wrote it."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError:
        raise ValueError("a brace has no partner") from None
    for _, field, spec, conversion in pieces:
        if field is not None and (field not in FIELDS or spec or conversion):
            raise ValueError(f"there is no {{{field}}} here; use {', '.join(f'{{{one}}}' for one in FIELDS)}")
    checked_topic("".join(literal + ("x" if field is not None else "") for literal, field, _, _ in pieces))
    return template


def checked_topic(topic: str) -> str:
    """Return a topic that may be published to. Raises `ValueError`."""
    if not topic or topic.startswith(("$", "/")) or topic.endswith("/") or "//" in topic:
        raise ValueError("a topic has levels with names, parted by /, and the first does not begin with $")
    if re.search(r"[+#]", topic) or not topic.isprintable():
        raise ValueError("a topic that is published to has no wildcards (+ #) and no control characters")
    if len(topic.encode()) > LONGEST_BYTES // 2:
        raise ValueError("a topic is not that long")
    return topic


def level(value: str) -> str:
    """Return a value as one level of a topic: what has a meaning there becomes %XX of its UTF-8."""
    return quote(value, safe=_KEPT) or "none"


@dataclass(frozen=True, slots=True)
class Topics:
    """The places of one daemon at a broker. Streams and rules are there by their names."""

    prefix: str
    client: str
    template: str

    def event(self, event: Mapping[str, Any]) -> str:
        """Return where a CloudEvent goes."""
        data = event["data"]
        kind = str(event["type"]).removeprefix(_PREFIX)
        fields = {
            "stream": data["stream"], "rule": data["rule"], "type": kind, "kind": kind.rpartition(".")[0],
            "phase": data["phase"], "class": (data.get("track") or {}).get("class", ""),
        }  # fmt: skip
        return self.template.format(
            prefix=self.prefix, **{name: level(str(value or "")) for name, value in fields.items()}
        )

    @property
    def daemon(self) -> str:
        """Whether this daemon is there: ``online`` or ``offline``, the last will."""
        return f"{self.prefix}/daemon/{level(self.client)}/availability"

    def of(self, stream: str) -> str:
        """How all retained topics of a stream begin."""
        return f"{self.prefix}/{level(stream)}/"

    def available(self, stream: str) -> str:
        """Whether a stream's camera is there."""
        return f"{self.of(stream)}availability"

    def last(self, stream: str) -> str:
        """The last event of a stream."""
        return f"{self.of(stream)}last"

    def state(self, stream: str, rule: str) -> str:
        """Whether something that a rule watches for goes on: ``ON`` or ``OFF``."""
        return f"{self.of(stream)}{level(rule)}/state"
