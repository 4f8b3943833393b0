"""What a configuration says about the sink ``kafka``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from streamvision.config.settings import Strict
from streamvision.sinks.encryption import demand_encryption
from streamvision.sinks.naming import checked
from streamvision.sinks.tls import TlsOptions
from streamvision.units import Seconds

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_SERVERS = re.compile(r"[^\s,@/]+:\d{1,5}(,[^\s,@/]+:\d{1,5})*")


class SaslOptions(Strict):
    """A login by name and password."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the password is proven."""
    username: str
    """The user's name."""
    password: SecretStr
    """The password, as ${NAME}."""


class KafkaOptions(Strict):
    """Options of the sink ``kafka``."""

    servers: str = "127.0.0.1:9092"
    """HOST:PORT of one or more brokers, with commas between."""
    topic: str = "streamvision"
    """The topic; {stream} and {type} may stand in it."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """How batches are compressed."""
    max_message_bytes: Annotated[int, Field(ge=1000, le=100_000_000)] = 1_000_000
    """The cluster's limit (message.max.bytes); larger events go to the dead letters."""
    sasl: SaslOptions | None = None
    """Log in."""
    tls: TlsOptions | None = None
    """Encrypt; {} believes the system's authorities."""
    unencrypted: bool = False
    """Allow a connection to another machine without tls."""
    connect_timeout: Annotated[Seconds, Field(ge=1, le=30)] = 5.0
    """How long one connection may take."""
    timeout: Annotated[Seconds, Field(ge=1, le=60)] = 20.0
    """How long a batch may take, connecting included; then what is missing is tried again."""

    @field_validator("servers")
    @classmethod
    def _hosts(cls, servers: str) -> str:
        if not _SERVERS.fullmatch(servers):
            raise ValueError("expected HOST:PORT, or several with commas between, without credentials")
        return servers

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        for server in () if self.tls else self.servers.split(","):
            demand_encryption(server.rpartition(":")[0], allowed=self.unencrypted, instead="tls: {}")
        return self

    @field_validator("topic")
    @classmethod
    def _good_topic(cls, topic: str) -> str:
        return checked(topic, _TOPIC, "a topic: letters, digits, . _ and -, at most 200 of them")
