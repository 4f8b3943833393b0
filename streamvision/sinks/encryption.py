"""When a sink may speak without encryption: to this machine, or where the configuration says so; and with which."""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path

from streamvision.errors import SinkError
from streamvision.sinks.tls import TlsOptions

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
LONGEST_URL = 4096


def is_host(host: str | None) -> bool:
    """Return whether this is a name that can be looked up, or an address."""
    try:
        return bool(host) and (_NAME.fullmatch(host or "") is not None or bool(ipaddress.ip_address(host or "")))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its address or as ``localhost``; no name is looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def demand_encryption(host: str, *, allowed: bool, instead: str) -> None:
    """Raise `ValueError` for an unencrypted connection to another machine, unless it is ``allowed``."""
    if not allowed and not is_loopback(host):
        raise ValueError(
            f"everybody on the way to another machine could read this; use {instead}, or say so with unencrypted: true"
        )


def usable_context(tls: TlsOptions, folder: Path, where: str) -> ssl.SSLContext:
    """Return a connection's TLS. Raises `SinkError` (reason ``tls``) that says which file cannot be used."""
    tls.readable(folder)
    try:
        return tls.context(folder)
    except (OSError, ValueError) as error:
        said = (getattr(error, "reason", None) or "").lower().replace("_", " ")
        why = str(error) if type(error) is ValueError else said or "wrong password, or not what it should be"
        raise SinkError(f"the files of tls cannot be used: {why}", where=where, reason="tls") from None


def unusable_tls(options: object, folder: Path) -> SinkError | None:
    """Return what is wrong at present with the files that a sink's ``tls`` names, None if nothing is."""
    tls = getattr(options, "tls", None)
    if not isinstance(tls, TlsOptions):
        return None
    files = tls.paths(folder)
    try:
        usable_context(tls, folder, ", ".join(name for name in (files.ca, files.certificate, files.key) if name))
    except SinkError as error:
        return error
    return None
