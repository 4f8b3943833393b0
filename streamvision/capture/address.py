"""Network addresses that can never be reached, told before anything runs."""

from __future__ import annotations

from urllib.parse import urlsplit

from streamvision.errors import UsageError
from streamvision.redact import redact_url


def check_network_url(url: str) -> None:
    """Raise a `UsageError` for a URL without a host or with a port that is none; it never quotes the password."""
    where = redact_url(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise UsageError(
            "the host or the port in the URL is malformed",
            where=where,
            remedy="write rtsp://USER:PASSWORD@HOST:PORT/PATH, special characters of the password as %XX (/ is %2F)",
        ) from error
    if not host:
        raise UsageError("the URL names no host", where=where, remedy="write rtsp://HOST/PATH")
