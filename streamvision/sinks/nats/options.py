"""What a configuration says about the sink ``nats``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from streamvision.config.settings import Strict
from streamvision.paths import InnerPath
from streamvision.sinks.encryption import demand_encryption
from streamvision.sinks.naming import checked
from streamvision.sinks.tls import TlsOptions
from streamvision.units import Seconds

_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_SCHEMES = ("nats", "tls")


class MakeStream(Strict):
    """The JetStream stream that is made where there is none of its name; one that is there is left as it is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "STREAMVISION"
    """Its name."""
    storage: Literal["file", "memory"] = "file"
    """Where the server keeps it."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """On how many servers of a cluster."""
    max_age: Annotated[Seconds, Field(gt=0)] | None = None
    """How long messages are kept; None: for ever."""
    max_mb: Annotated[int, Field(ge=1)] | None = None
    """How large it may become, in MiB, before the oldest go; None: as large as the server allows."""
    duplicates: Annotated[Seconds, Field(gt=0)] = 120.0
    """For how long the server remembers ids, to drop what comes twice."""


class NatsOptions(Strict):
    """Options of the sink ``nats``."""

    servers: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)] = ("nats://127.0.0.1:4222",)
    """nats://HOST:PORT of one or more servers of a cluster, without credentials."""
    subject: str = "streamvision.{stream}.{type}"
    """Where to; {stream} (dots become _) and {type}, for example zone.start, may stand in it."""
    make_stream: MakeStream | None = None
    """Make the JetStream stream if it is missing; {} makes one with the defaults. None: it has to be there."""
    username: str | None = None
    """The user's name."""
    password: SecretStr | None = None
    """The user's password, as ${NAME}."""
    token: SecretStr | None = None
    """A token instead, as ${NAME}."""
    credentials: InnerPath | None = None
    """A .creds file instead (JWT and NKey; needs the package nkeys); a relative path lies in state_dir."""
    tls: TlsOptions | None = None
    """Encrypt; {} believes the system's authorities."""
    unencrypted: bool = False
    """Allow a connection to another machine without tls."""
    connect_timeout: Annotated[Seconds, Field(gt=0, le=30)] = 5.0
    """How long a connection may take."""
    timeout: Annotated[Seconds, Field(gt=0, le=60)] = 15.0
    """How long a batch may take, connecting included; then what is missing is tried again."""

    @field_validator("servers")
    @classmethod
    def _plain(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            parts = urlsplit(server)
            if parts.scheme not in _SCHEMES or not parts.hostname:
                raise ValueError("expected nats://HOST:PORT")
            if "@" in parts.netloc:
                raise ValueError("credentials do not belong into the URL; write username: and password: ${NAME}")
        return servers

    @field_validator("subject")
    @classmethod
    def _good_subject(cls, subject: str) -> str:
        return checked(subject, _SUBJECT, "a subject: words of letters, digits, _ and -, with dots between")

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        for server in () if self.tls else self.servers:
            demand_encryption(urlsplit(server).hostname or "", allowed=self.unencrypted, instead="tls: {}")
        return self

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        ways = [self.username or self.password, self.token, self.credentials]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("there are several ways to log in; keep one of username and password, token, credentials")
        return self
