"""Where an event goes at a server: a topic, subject or key, which may be made of the event's stream and type."""

from __future__ import annotations

import re
from collections.abc import Callable

from streamvision.interfaces import StoredEvent

_PLACE = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("stream", "type")
_PREFIX = "streamvision."


def checked(template: str, allowed: re.Pattern[str], what: str) -> str:
    """Return a template that holds only ``{stream}``, ``{type}`` and what is allowed beside them.

    Raises `ValueError`, in words for whoever wrote it.
    """
    for name in _PLACE.findall(template):
        if name not in _KNOWN:
            raise ValueError(f"there is no {{{name}}} here; use {{stream}} and {{type}}")
    if not allowed.fullmatch(_PLACE.sub("x", template)):
        raise ValueError(f"this is not {what}")
    return template


def filled(template: str, event: StoredEvent, clean: Callable[[str], str] = str) -> str:
    """Return a template with an event's stream and type (``zone.start``) in it; ``clean`` is applied to the stream."""
    kind = event.type.removeprefix(_PREFIX)
    return template.replace("{stream}", clean(event.stream)).replace("{type}", kind)


def all_of(template: str, wildcard: str) -> str:
    """Return a template with a wildcard for every place."""
    return _PLACE.sub(wildcard, template)
