"""What a configuration says about a webhook."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from streamvision.config.settings import Strict
from streamvision.sinks.encryption import LONGEST_URL, demand_encryption, is_host
from streamvision.sinks.tls import TlsOptions
from streamvision.sinks.webhook.signature import key_of
from streamvision.units import PositiveSeconds

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}
)
_PREFIXES = ("webhook-", "ce-", "proxy-")
_LIKE_A_SECRET = 8
"""Parts of a URL's path that are this long may be one, as many services have it."""


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("this is not the name of an HTTP header")
    if name.lower() in _OURS or name.lower().startswith(_PREFIXES):
        raise ValueError(f"the header {name} is set by the sink itself; leave it out")
    return name


def _printable(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("a header's value is printable ASCII without blanks around it")
    return value


def _url(value: SecretStr) -> SecretStr:
    split_url(value.get_secret_value(), ("http", "https"))
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    key_of(value.get_secret_value())
    return value


def split_url(text: str, schemes: tuple[str, ...]) -> SplitResult:
    """Return the parts of an absolute URL. Raises `ValueError`, which never quotes it."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a URL has no blanks and no special characters; write them as %XX")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in schemes and is_host(parts.hostname) and parts.port != 0 and len(text) <= LONGEST_URL
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"expected a URL like {schemes[-1]}://HOST/PATH")
    if parts.fragment:
        raise ValueError("what follows # in a URL is never sent; leave it out, or write %23")
    return parts


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_printable)]


class WebhookOptions(Strict):
    """Options of the sink ``webhook``. Everything that may hold a secret is one."""

    url: Annotated[SecretStr, AfterValidator(_url)]
    """Where events are posted to: https://HOST/PATH. Nothing but its host is ever shown."""
    mode: Literal["structured", "batched", "binary"] = "structured"
    """CloudEvents over HTTP: one event per request, in the body or with its attributes in headers; or many together."""
    max_batch: Annotated[int, Field(ge=1, le=256)] = 100
    """How many events one batched request holds, at most."""
    max_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 1 << 20
    """How large a request's body may become. An event that alone is larger goes to the dead letters."""
    secrets: tuple[Annotated[SecretStr, AfterValidator(_signing_secret)], ...] = ()
    """Keys of the signature, as text or as whsec_BASE64; during a change of keys the old and the new one."""
    headers: Mapping[HeaderName, HeaderValue] = {}
    """Headers that are added to every request."""
    idempotency_header: HeaderName = "Idempotency-Key"
    """The header that holds the event's id; a receiver that has seen it answers 2xx and does nothing."""
    bearer: HeaderValue | None = None
    """A token, sent as Authorization: Bearer."""
    username: SecretStr | None = None
    """For basic authentication."""
    password: SecretStr | None = None
    """For basic authentication."""
    tls: TlsOptions = TlsOptions()
    """Own authorities and the certificate of this side; files that change are read again."""
    unencrypted: bool = False
    """Allow http:// to another machine."""
    connect_timeout: PositiveSeconds = 5.0
    """Until a connection stands, including the look-up of the name and TLS."""
    read_timeout: PositiveSeconds = 15.0
    """Silence of the receiver after which an attempt is given up."""
    timeout: Annotated[PositiveSeconds, Field(le=60)] = 30.0
    """One attempt as a whole, whatever the receiver does; at most a minute."""
    proxy: Annotated[SecretStr, AfterValidator(_url)] | None = None
    """An HTTP proxy, as http://HOST:PORT."""
    proxy_from_env: bool = False
    """Take the proxy from $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parts = split_url(self.url.get_secret_value(), ("http", "https"))
        if parts.scheme == "http":
            demand_encryption(parts.hostname or "", allowed=self.unencrypted, instead="https://")
        if (self.username is None) != (self.password is None):
            raise ValueError("basic authentication needs username and password")
        given = [self.bearer is not None, self.username is not None, parts.username is not None]
        given.append(any(name.lower() == "authorization" for name in self.headers))
        if sum(given) > 1:
            raise ValueError("there is more than one of bearer, username, an Authorization header and a user in url")
        if self.proxy is not None and self.proxy_from_env:
            raise ValueError("proxy and proxy_from_env exclude each other")
        return self

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What requests are signed with."""
        return tuple(key_of(secret.get_secret_value()) for secret in self.secrets)

    @property
    def place(self) -> str:
        """The receiver as it may be shown: neither path nor query, which may hold a secret."""
        parts = split_url(self.url.get_secret_value(), ("http", "https"))
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """Every text that must not be shown, the URL's own parts included."""
        parts = split_url(self.url.get_secret_value(), ("http", "https"))
        values = [self.url, self.bearer, self.username, self.password, self.proxy, self.tls.key_password]
        texts = [value.get_secret_value() for value in (*values, *self.secrets, *self.headers.values()) if value]
        texts += [secret.get_secret_value().removeprefix("whsec_") for secret in self.secrets]
        texts += [
            parts.query,
            parts.username or "",
            parts.password or "",
            *(value for _, value in parse_qsl(parts.query)),
        ]
        texts += [part for part in parts.path.split("/") if len(part) >= _LIKE_A_SECRET]
        if self.username and self.password:
            pair = f"{self.username.get_secret_value()}:{self.password.get_secret_value()}"
            texts.append(b64encode(pair.encode()).decode())
        return tuple(text for text in texts if text)
