"""TLS of the HTTP server, with certificates that may be renewed under it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from streamvision.errors import MissingError

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
    def stamps(self) -> Mapping[Path, tuple[int, int, int]]:
        """What changes when a file is written anew or replaced; a missing one has none."""
        found = {}
        for path in (self.certificate, self.key, self.client_ca):
            if path is not None and path.exists():
                seen = path.stat()
                found[path] = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
        return found


class Certificate:
    """The server's context; `refresh` puts a renewed pair into it, which new connections then get."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises `MissingError` for files that cannot be used."""
        self._files = files
        self._stamps = files.stamps
        self._told = ""
        try:
            self.context = _context(files)
        except (OSError, ValueError) as error:
            remedy = "both are PEM files of one pair, and the service may read them"
            raise MissingError(
                f"the certificate cannot be used: {_why(error)}", where=str(files.certificate), remedy=remedy
            ) from error

    def refresh(self) -> bool:
        """Load the files if they have changed; True if that was done. A pair that is broken leaves the old one."""
        stamps = self._files.stamps
        if stamps == self._stamps:
            return False
        try:
            _context(self._files)  # tried on one that nobody uses: a half written pair must not reach the real one
            self.context.load_cert_chain(self._files.certificate, self._files.key, password=_no_password)
            if self._files.client_ca is not None:
                self.context.load_verify_locations(self._files.client_ca)
        except (OSError, ValueError) as error:
            self._tell(str(error))
            return False
        self._stamps, self._told = stamps, ""
        log.info("the server's certificate was renewed", file=str(self._files.certificate))
        return True

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
