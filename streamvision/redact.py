"""Keeping credentials out of everything that people read: logs, errors, metrics, the page."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
_USERINFO = re.compile(
    r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)"
    # What stands before the host; also if its password holds a / ? or # that should have been written as %XX, but
    # not where HOST:PORT/ is followed by an @ in the path.
    r"(?:[^/?#\s]*|[^/?#\s:@]*:(?!\d{1,5}/)[^\s@]*)@"
)
_QUERY = re.compile(
    r"(?P<key>[?&;](?:user(?:name)?|login|pass(?:word|wd)?|pwd|auth|token|access_token|api_?key|key|secret|sig(?:nature)?)=)"
    r"[^&;#\s]*",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?|pwd|secret|token|credential|api_?key|private_?key", re.IGNORECASE)


def redact_url(text: str) -> str:
    """Return a URL, or a text that quotes URLs, without user names, passwords and secret query values."""
    return _QUERY.sub(rf"\g<key>{HIDDEN}", _USERINFO.sub(rf"\g<scheme>{HIDDEN}@", text))


_WORTH_HIDING = 4


def redact_values(text: str, secrets: Iterable[str], *, everything: bool = False) -> str:
    """Return ``text`` with every secret value hidden, also where it stands in its escaped form; longest first.

    A value of a few characters is hidden only with ``everything``: it would tear unrelated words apart, and the
    holes would tell it.
    """
    least = 1 if everything else _WORTH_HIDING
    forms = {form for secret in secrets if len(secret) >= least for form in (secret, repr(secret)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def is_secret_name(name: str) -> bool:
    """Return whether a setting of this name holds a secret, whoever wrote it."""
    return _SECRET_NAME.search(name) is not None
