"""What a configuration says about the sink ``postgresql``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from streamvision.config.settings import Strict
from streamvision.sinks.encryption import demand_encryption
from streamvision.sinks.tls import TlsOptions
from streamvision.units import Seconds

_Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,47}$")]
_Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s,=']+$")]


class PostgresqlOptions(Strict):
    """Options of the sink ``postgresql``."""

    hosts: Annotated[tuple[_Host, ...], Field(min_length=1, max_length=3)] = ("127.0.0.1",)
    """Names or addresses, or the folder of a Unix socket; of several, the first is taken that can be written to."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    """The TCP port."""
    database: Annotated[str, Field(min_length=1)] = "streamvision"
    """The database's name."""
    username: Annotated[str, Field(min_length=1)] = "streamvision"
    """The role's name."""
    password: SecretStr | None = None
    """The role's password, as ${NAME}."""
    tls: TlsOptions | None = None
    """Encrypt; {} believes the system's authorities."""
    unencrypted: bool = False
    """Allow a connection to another machine without tls."""
    db_schema: Annotated[_Identifier, Field(alias="schema")] = "public"
    """The schema that holds the table; it has to exist."""
    table: _Identifier = "streamvision_events"
    """The table's name."""
    migrate: bool = True
    """Make the table and its indexes, and bring an older one up to date; false: somebody else does."""
    connect_timeout: Annotated[Seconds, Field(ge=1, le=20)] = 5.0
    """How long a connection to one host may take."""
    timeout: Annotated[Seconds, Field(ge=1, le=30)] = 15.0
    """How long a batch may take in the server (statement_timeout), and how long its answer is waited for."""

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        for host in () if self.tls else self.hosts:
            if not host.startswith("/"):
                demand_encryption(host, allowed=self.unencrypted, instead="tls: {}")
        return self
