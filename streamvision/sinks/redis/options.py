"""What a configuration says about the sink ``redis``."""

from __future__ import annotations

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from streamvision.config.settings import Strict
from streamvision.sinks.encryption import demand_encryption
from streamvision.sinks.naming import checked
from streamvision.sinks.tls import TlsOptions
from streamvision.units import Seconds

_KEY = re.compile(r"[\x21-\x7e]{1,512}")


class RedisOptions(Strict):
    """Options of the sink ``redis``."""

    url: str = "redis://127.0.0.1:6379/0"
    """redis://HOST:PORT/DATABASE, or unix:///PATH?db=DATABASE; without credentials."""
    username: str | None = None
    """The ACL user; None: the default one."""
    password: SecretStr | None = None
    """The password, as ${NAME}."""
    tls: TlsOptions | None = None
    """Encrypt; {} believes the system's authorities."""
    unencrypted: bool = False
    """Allow a connection to another machine without tls."""
    key: str = "streamvision"
    """The Redis stream's key; {stream} and {type} may stand in it."""
    max_length: Annotated[int, Field(ge=1)] | None = 1_000_000
    """About how many entries the Redis stream keeps (MAXLEN ~); None: all."""
    connect_timeout: Annotated[Seconds, Field(gt=0, le=30)] = 5.0
    """How long a connection may take."""
    timeout: Annotated[Seconds, Field(gt=0, le=60)] = 10.0
    """How long a batch may take, connecting included; then it is tried again."""

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "rediss":
            raise ValueError("write redis:// and tls: {}, which says whose certificates are believed")
        if parts.scheme not in ("redis", "unix") or (parts.scheme == "redis" and not parts.hostname):
            raise ValueError("expected redis://HOST:PORT/DATABASE or unix:///PATH")
        if "@" in parts.netloc or "password" in parts.query:
            raise ValueError("credentials do not belong into the URL; write username: and password: ${NAME}")
        return url

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.tls is None and (host := urlsplit(self.url).hostname):
            demand_encryption(host, allowed=self.unencrypted, instead="tls: {}")
        return self

    @field_validator("key")
    @classmethod
    def _good_key(cls, key: str) -> str:
        return checked(key, _KEY, "a key: 1-512 visible ASCII characters")
