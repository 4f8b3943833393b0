"""What a configuration says about a broker."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from streamvision.config.settings import Strict
from streamvision.sinks.encryption import demand_encryption, is_host
from streamvision.sinks.mqtt.topics import checked, checked_topic
from streamvision.sinks.tls import TlsOptions
from streamvision.units import PositiveSeconds

_PORTS = {"mqtt": 1883, "mqtts": 8883}


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in _PORTS and is_host(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or " " in text or not text.isprintable():
        raise ValueError("expected a URL like mqtts://HOST or mqtts://HOST:8883")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user does not stand in the URL here; use username and password")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a broker's URL ends after its host and port; topics have their own keys")
    return text


class MqttOptions(Strict):
    """Options of the sink ``mqtt``."""

    url: Annotated[str, AfterValidator(_url)]
    """The broker: mqtts://HOST, or mqtt://HOST without encryption; ports are 8883 and 1883 unless given."""
    version: Literal["5.0", "3.1.1"] = "5.0"
    """The protocol's version, in quotes."""
    username: SecretStr | None = None
    """Who logs in."""
    password: SecretStr | None = None
    """With which password."""
    client_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """How this daemon is called at the broker; each needs a name of its own. None: made of host and state_dir."""
    tls: TlsOptions | None = None
    """Own authorities and the certificate of this side; read at every connection."""
    unencrypted: bool = False
    """Allow mqtt:// to another machine."""
    topic: Annotated[str, AfterValidator(checked)] = "{prefix}/{stream}/{rule}/{phase}"
    """Where an event goes; of {prefix}, {stream}, {rule}, {type} (zone.start), {kind} (zone), {phase}, {class}."""
    prefix: Annotated[str, AfterValidator(checked_topic)] = "streamvision"
    """The topic under which everything lies."""
    qos: Literal[0, 1, 2] = 1
    """1: at least once. 2: the broker removes repetitions, too. 0: what is under way when a connection ends is lost."""
    retain: bool = False
    """Whether the broker keeps the last event of every topic."""
    state: bool = True
    """Keep retained topics: streams' availability and last event, and ON or OFF for every rule.

    They are right whatever ``types`` the sink has, which choose what is published as an event and as the last one;
    ``streams`` chooses which streams are shown.
    """
    home_assistant: bool = False
    """Announce every stream as a device to Home Assistant."""
    home_assistant_prefix: Annotated[str, AfterValidator(checked_topic)] = "homeassistant"
    """Where Home Assistant looks for announcements."""
    expiry: Annotated[PositiveSeconds, Field(ge=1, le=4_294_967_294)] | None = None
    """For how long the broker keeps an event for those who are away (5.0 only). None: as it likes."""
    max_bytes: Annotated[int, Field(ge=1024, le=256 << 20)] = 1 << 20
    """The largest message; larger events go to the dead letters. A broker of 5.0 may lower it."""
    in_flight: Annotated[int, Field(ge=1, le=1000)] = 64
    """How many messages may wait for the broker's confirmation. A broker of 5.0 may lower it."""
    keepalive: Annotated[PositiveSeconds, Field(ge=2, le=3600)] = 30.0
    """Signs of life between broker and daemon; the last will is executed after one and a half of these."""
    connect_timeout: Annotated[PositiveSeconds, Field(le=30)] = 10.0
    """Until a connection stands and the broker has taken the login."""
    timeout: Annotated[PositiveSeconds, Field(le=60)] = 15.0
    """The broker's silence, while confirmations are awaited, after which the connection is given up."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.encrypted:
            demand_encryption(self.host, allowed=self.unencrypted, instead="mqtts://")
            if self.tls is not None:
                raise ValueError("there is a section tls, but mqtt:// is not encrypted; use mqtts://")
        if self.password is not None and self.username is None:
            raise ValueError("there is a password but no username")
        if self.expiry is not None and self.version != "5.0":
            raise ValueError("expiry needs version 5.0")
        if self.home_assistant and not self.state:
            raise ValueError("home_assistant needs state: true")
        return self

    def shares(self, other: MqttOptions) -> bool:
        """Whether a sink with such options may fill the same retained topics; one broker can have many addresses."""
        return other.state and other.prefix == self.prefix

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        parts = urlsplit(self.url)
        return parts.port or _PORTS[parts.scheme]
