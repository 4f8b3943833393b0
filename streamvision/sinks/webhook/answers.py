"""What a receiver's answer means for the events of the request (RFC 9110, RFC 6585).

- 2xx: they are safe there.
- 4xx: they never will be, and go to the dead letters. Not so where the answer is about the sender or the moment and
  not about the event: 401, 403, 407 (credentials), 408, 421, 423, 425, 429, and any that carries Retry-After.
- 3xx and 5xx: they wait. Redirects are not followed: they could lead signed events to anybody.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from streamvision.errors import SinkError
from streamvision.redact import redact_url, redact_values

LONGEST_WAIT_S = 3600.0
READ_BYTES = 16 << 10
"""How much of an answer is read; the connection of a longer one is given up."""
_EXCERPT = 160
_ABOUT_THE_MOMENT = frozenset({401, 403, 407, 408, 421, 423, 425, 429})
_REASONS = {401: "auth", 403: "auth", 407: "auth", 408: "timeout", 413: "too_large", 429: "throttled"}
_REMEDIES = {
    401: "check bearer, username and password, or the signing secrets",
    403: "check what the receiver allows this sender",
    407: "put the proxy's user and password into its URL",
    413: "lower max_bytes to what the receiver takes",
    415: "choose another mode",
}


def refusal(
    status: int, retry_after: str | None, body: bytes, *, where: str, hidden: Collection[str], now: datetime
) -> SinkError | None:
    """Return the error that an answer amounts to; None if the events are safe."""
    if 200 <= status < 300:
        return None
    wait_s = wait_of(retry_after, now)
    temporary = status in _ABOUT_THE_MOMENT or wait_s is not None or not 400 <= status < 500
    redirect = 300 <= status < 400
    return SinkError(
        f"the receiver answers {_named(status)}{_quoted(body, hidden)}",
        where=where,
        remedy="give the url where it leads to: redirects are not followed" if redirect else _REMEDIES.get(status),
        reason="redirect" if redirect else _REASONS.get(status, f"http_{status // 100}xx"),
        permanent=not temporary,
        retry_after_s=wait_s,
    )


def wait_of(retry_after: str | None, now: datetime) -> float | None:
    """Return the seconds that Retry-After asks for, at most an hour; None without one or for nonsense."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    wait_s = (until - now).total_seconds()
    return min(max(0.0, math.ceil(wait_s)), LONGEST_WAIT_S)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _quoted(body: bytes, hidden: Collection[str]) -> str:
    """Return the beginning of an answer as one safe line, without anything that the request may have told it."""
    text = body.decode("utf-8", "replace")
    text = redact_url(redact_values(text, hidden, everything=False))
    if len(body) >= READ_BYTES:  # the cut may have gone through a secret
        text = text[: -max((len(one) for one in hidden), default=1)]
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    short = text if len(text) <= _EXCERPT else f"{text[: _EXCERPT - 1]}…"
    return f": {short}" if short else ""
