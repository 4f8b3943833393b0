"""When a sink may speak without encryption: to this machine, or where the configuration says so."""

from __future__ import annotations

import ipaddress


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
