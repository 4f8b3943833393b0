"""TLS as the sinks that speak to servers have it: one section, the same keys everywhere."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import SecretStr, model_validator

from streamvision.config.settings import Strict
from streamvision.errors import SinkError
from streamvision.paths import InnerPath
from streamvision.redact import redact_values


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """The absolute paths of the authorities, the certificate and the key."""

    ca: str | None
    certificate: str | None
    key: str | None


class TlsOptions(Strict):
    """How a connection is encrypted, and who is believed; relative paths lie in state_dir."""

    ca: InnerPath | None = None
    """PEM file with the authorities that are believed; None: the system's."""
    certificate: InnerPath | None = None
    """PEM file with the certificate that this side shows, where the server asks for one."""
    key: InnerPath | None = None
    """PEM file with its private key; None: it is in the certificate's file."""
    key_password: SecretStr | None = None
    """What the private key is encrypted with."""
    verify: bool = True
    """Whether the server's certificate and name are checked; without it, anybody in between can read and change."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.certificate is None and (self.key or self.key_password):
            raise ValueError("there is a key but no certificate; add certificate: FILE")
        return self

    @property
    def password(self) -> str | Callable[[], str]:
        """What Python's TLS is to take for the key's password."""
        return secret(self.key_password) or _no_password

    def paths(self, folder: Path) -> TlsPaths:
        """Return the files, relative ones taken from a folder."""
        return TlsPaths(*(_at(folder, name) for name in (self.ca, self.certificate, self.key)))

    def readable(self, folder: Path) -> TlsPaths:
        """Return the files when they can be read. Raises `SinkError`, which says which cannot."""
        files = self.paths(folder)
        demand_readable(files.ca, files.certificate, files.key)
        return files

    def context(self, folder: Path) -> ssl.SSLContext:
        """Return what Python's TLS needs. Raises `OSError` (`ssl.SSLError` too) for a file that is missing or wrong."""
        files = self.paths(folder)
        context = ssl.create_default_context(cafile=files.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key, self.password)
        return context


def demand_readable(*names: str | None, reason: str = "tls") -> None:
    """Raise `SinkError` for the first file that cannot be read; the libraries tell it badly."""
    for name in names:
        try:
            if name is not None:
                Path(name).open("rb").close()
        except OSError as error:
            raise SinkError(f"cannot be read: {error.strerror}", where=name, reason=reason) from error


def secret(value: SecretStr | None) -> str | None:
    """Return a secret's text, if there is one."""
    return None if value is None else value.get_secret_value()


def without(text: str, password: SecretStr | None) -> str:
    """Return what a server or its library says, without the password that it may repeat."""
    value = secret(password)
    return redact_values(text, [value], everything=True) if value else text


def tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error behind an error, which the libraries wrap several times."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _no_password() -> str:
    """Refuse an encrypted key without its password: OpenSSL would ask the terminal, where nobody waits for it."""
    raise ValueError("the key is encrypted; give key_password")


def _at(folder: Path, name: str | None) -> str | None:
    return None if name is None else str(folder / Path(name).expanduser())
