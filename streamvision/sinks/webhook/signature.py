"""Signatures by which a receiver knows who sent a request, and when: the layout of Standard Webhooks 1.0.

``webhook-signature`` holds ``v1,BASE64`` for every secret, parted by blanks; each is HMAC-SHA256, by that secret, of
``ID.TIMESTAMP.BODY`` (standardwebhooks.com; RFC 2104). With several secrets a receiver may change over at its leisure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
LEAST_BYTES = 16
TOLERANCE_S = 300


def key_of(secret: str) -> bytes:
    """Return a secret's bytes: base64 after ``whsec_``, else the text itself. Raises `ValueError` for a weak one."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else None
    except binascii.Error:
        raise ValueError(f"after {PREFIX} a secret is base64; make one with: openssl rand -base64 32") from None
    key = secret.encode() if key is None else key
    if len(key) < LEAST_BYTES:
        raise ValueError(f"a secret has at least {LEAST_BYTES} bytes; make one with: openssl rand -base64 32")
    return key


def signed(keys: Sequence[bytes], message_id: str, body: bytes, timestamp: int) -> dict[str, str]:
    """Return the headers of a signed request; ``timestamp`` in seconds of UTC, when this attempt was made."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if keys:
        headers["webhook-signature"] = " ".join(_signature(key, message_id, str(timestamp), body) for key in keys)
    return headers


def verified(key: bytes, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Return whether a request comes from who knows the key and is at most five minutes old: a receiver's side."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    expected = _signature(key, headers.get("webhook-id", ""), timestamp, body)
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
