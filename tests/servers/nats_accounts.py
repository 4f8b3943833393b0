"""An operator, an account and its users for a NATS server, as JSON Web Tokens that nkeys sign (NATS ADR-14)."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

_LIMITS = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class Accounts:
    """``config`` are the lines of a server's configuration that trusts this operator."""

    def __init__(self) -> None:
        self._nkeys = pytest.importorskip("nkeys")
        operator, system, self._account = (self._pair(kind) for kind in ("OPERATOR", "ACCOUNT", "ACCOUNT"))
        admitted = {
            _public(system): self._token(operator, system, "account", limits=_LIMITS),
            _public(self._account): self._token(operator, self._account, "account", limits=_LIMITS | _JETSTREAM),
        }
        self.config = (
            f"operator: {self._token(operator, operator, 'operator')}",
            f"system_account: {_public(system)}",
            "resolver: MEMORY",
            f"resolver_preload: {{{', '.join(f'{name}: {token}' for name, token in admitted.items())}}}",
        )

    def credentials(self, path: Path, *, believed: bool = True) -> Path:
        """Write the file of a new user, as `nsc` does; one that is not ``believed`` belongs to a strange account."""
        user = self._pair("USER")
        issuer = self._account if believed else self._pair("ACCOUNT")
        token = self._token(issuer, user, "user", pub={}, sub={}, subs=-1, data=-1, payload=-1)
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{bytes(user.seed).decode()}\n------END USER NKEY SEED------\n"
        )
        path.chmod(0o600)
        return path

    def _pair(self, kind: str) -> Any:
        return self._nkeys.from_seed(
            self._nkeys.encode_seed(os.urandom(32), getattr(self._nkeys, f"PREFIX_BYTE_{kind}"))
        )

    def _token(self, issuer: Any, subject: Any, kind: str, **more: Any) -> str:
        claims = {
            "jti": os.urandom(16).hex(), "iat": int(time.time()), "iss": _public(issuer), "sub": _public(subject),
            "name": kind, "nats": {"type": kind, "version": 2, **more},
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{_encoded(issuer.sign(signed.encode()))}"


def _public(pair: Any) -> str:
    return bytes(pair.public_key).decode()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
