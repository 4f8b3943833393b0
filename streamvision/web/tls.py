"""TLS of the HTTP server, with certificates and authorities that may be replaced under it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from streamvision.errors import MissingError
from streamvision.files import Stamp, stamp

log = structlog.get_logger()

LOOK_EVERY_S = 5.0
"""How often the files are looked at; certbot and its like renew them weeks before they expire."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its key, and the authority that clients' certificates come from."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def stamps(self) -> Mapping[Path, Stamp | None]:
        """What changes when a file is written anew or replaced; None for one that cannot be seen."""
        return {path: stamp(path) for path in (self.certificate, self.key, self.client_ca) if path is not None}


class RenewableContext(ssl.SSLContext):
    """What the server holds for good: every connection is made by ``fresh``, a whole context of its own.

    Changing one context would not do: authorities can be added to it but not taken away, and the sessions that it has
    promised to clients of a former authority would be resumed without another look at their certificates.
    """

    fresh: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection; asyncio calls it for each one."""
        return self.fresh.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def outdated(transport: asyncio.BaseTransport) -> bool:
    """Return whether a connection was begun by files that have been replaced since, while the two shook hands."""
    held, begun = transport.get_extra_info("sslcontext"), transport.get_extra_info("ssl_object")
    return isinstance(held, RenewableContext) and begun is not None and begun.context is not held.fresh


class Certificate:
    """The server's context; `refresh` makes new connections by the files as they are now."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises `MissingError` for files that cannot be used."""
        self._files = files
        self._stamps = files.stamps
        self._told = ""
        self.context = RenewableContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self.context.fresh = _context(files)
        except (OSError, ValueError) as error:
            remedy = "both are PEM files of one pair, and the service may read them"
            raise MissingError(
                f"the certificate cannot be used: {_why(error)}", where=str(files.certificate), remedy=remedy
            ) from error

    def refresh(self) -> frozenset[Path]:
        """Load the files if they have changed; return those that had. Files that are broken leave the old ones."""
        stamps = self._files.stamps
        if stamps == self._stamps:
            self._told = ""
            return frozenset()
        try:
            self.context.fresh = _context(self._files)
        except (OSError, ValueError) as error:
            self._tell(str(error))
            return frozenset()
        changed = frozenset(path for path in stamps if stamps[path] != self._stamps[path])
        self._stamps, self._told = stamps, ""
        log.info("the server's certificates were renewed", files=sorted(map(str, changed)))
        return changed

    def _tell(self, why: str) -> None:
        if why != self._told:
            log.error("the new certificate cannot be used; the old one stays", file=str(self._files.certificate),
                      error=why)  # fmt: skip
        self._told = why


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key, password=_no_password)
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    """Refuse a key with a passphrase: a service has nobody to ask, and OpenSSL would ask the terminal."""
    raise ValueError("the key has a passphrase; write it without one, readable by the service only")


def _why(error: OSError | ValueError) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
