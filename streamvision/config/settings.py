"""What a configuration means, once it is known to be right: frozen values with defaults."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from streamvision.errors import UsageError
from streamvision.paths import InnerPath
from streamvision.redact import redact_url, redact_values
from streamvision.units import Seconds

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"), Field(description="letters, digits, _ . -")
]
"""What ids and names are made of: they stand in URLs, metrics and file names."""

Point = tuple[float, float]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, description="corner points, each coordinate 0-1")]
Line = Annotated[tuple[Point, Point], Field(description="first and last point, each coordinate 0-1")]

LEAST_TOKEN = 16
"""Characters of a token: others may try it, on the loopback too, and through a proxy that leads there."""

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")


class Strict(BaseModel):
    """Base of every section: frozen, no unknown keys, no values in error texts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _listen(text: str) -> str:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError("expected HOST:PORT, like 127.0.0.1:8080 or [::1]:8080")
    return text


class TokenSettings(Strict):
    """Bearer tokens of the HTTP interface: ``read`` may look, ``admin`` may also change."""

    admin: SecretStr | None = None
    read: SecretStr | None = None


class TlsSettings(Strict):
    """PEM files of the HTTP server; when they are renewed, new connections get the new ones."""

    certificate: Annotated[str, Field(min_length=1)]
    """The certificate with its chain."""
    key: Annotated[str, Field(min_length=1)]
    """Its private key, without a passphrase."""
    client_ca: Annotated[str, Field(min_length=1)] | None = None
    """Where given, clients need a certificate of this authority."""


class ServerSettings(Strict):
    """Where health, metrics, API and page are served, and to whom."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8080"
    tokens: TokenSettings = TokenSettings()
    tls: TlsSettings | None = None
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")], ...] = ()
    """Names besides localhost by which clients without tokens call this machine, for example through a proxy."""

    @property
    def host(self) -> str:
        """The address or name to bind, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The TCP port; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def scheme(self) -> str:
        """What a URL of this server begins with."""
        return "http" if self.tls is None else "https"

    @property
    def weak_token(self) -> str | None:
        """The name of a token that others could guess; None where there is none."""
        for name in ("admin", "read"):
            token = getattr(self.tokens, name)
            if token and len(token.get_secret_value()) < LEAST_TOKEN:
                return name
        return None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def unguarded(self) -> bool:
        """Whether other machines could connect without a token; such a server is refused."""
        return not self.loopback and not (self.tokens.admin and self.tokens.read)


def server_at(listen: str, *, where: str) -> ServerSettings:
    """Return a server without tokens at HOST:PORT, as an argument called ``where`` names it.

    Raises `UsageError` for a malformed address and for one that other machines could reach.
    """
    try:
        server = ServerSettings(listen=listen)
    except ValidationError as error:
        raise UsageError(f"expected HOST:PORT, like 127.0.0.1:8080, not {listen!r}", where=where) from error
    if server.unguarded:
        raise UsageError(
            f"{listen} can be reached from other machines, so it needs tokens",
            where=where,
            remedy="listen on 127.0.0.1, or write a configuration with server.tokens",
        )
    return server


class ModelSettings(Strict):
    """A network, how it is run, and how long pictures may wait for company."""

    manifest: Annotated[str, Field(min_length=1)] = "default"
    """A name in engines/, or the absolute path of a manifest file."""
    backend: str = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = "auto"
    calibration: Annotated[str, Field(min_length=1)] | None = None
    """A folder of typical pictures that int8 is fitted to; without one, the streams' own pictures are taken."""
    options: Mapping[str, Any] = {}
    """The backend's own options, for example {workers: 2}."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    max_wait: Seconds = 0.02
    max_age: Annotated[Seconds, Field(gt=0)] = 0.5


class RuleSettings(Strict):
    """A rule of a stream; ``options`` is the plug-in's own `Options`.

    ``where``: only tracks count whose attributes have one of these values, by the attribute's name. ``explain``: keep
    the picture of each event that starts, and explain what the network saw in it.
    """

    name: Name
    type: str
    where: Mapping[str, tuple[str, ...]] = {}
    explain: bool = False
    options: InstanceOf[BaseModel]


class TrackerSettings(Strict):
    """How a stream's objects are followed; ``options`` is the plug-in's own `Options`."""

    type: str
    options: InstanceOf[BaseModel]


class SinkEntry(Strict):
    """The keys that every sink has, whatever its type."""

    name: Name
    type: str
    streams: tuple[Name, ...] = ()
    """Only events of these streams, and the program's own; empty: of all."""
    types: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Only such events: zone, zone.start, outage ..., each with all that lies under it; empty: all."""


class SinkSettings(SinkEntry):
    """A way out; ``options`` is the plug-in's own `Options`."""

    options: InstanceOf[BaseModel]


class SecondSettings(Strict):
    """A second network, which looks at crops of confirmed tracks; what it sees becomes an attribute of the track."""

    model: str
    """A name of ``models``: a classifier, or a detector such as one of faces."""
    name: Name | None = None
    """The attribute's name; None: the model's."""
    classes: tuple[str, ...] = ()
    """Which tracks are looked at; empty: all."""
    every: Seconds = 5.0
    """Time between two looks at the same track; 0: only when it has become larger."""
    grow: Annotated[float, Field(gt=1)] = 1.5
    """By which factor a track's size must have grown to be looked at earlier."""
    min_side: Annotated[float, Field(ge=1)] = 24.0
    """The shorter side of a box, in pixels, from which on it is worth a look."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.1
    """By which share a box is widened on each side."""
    min_score: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """How sure the network must be for its look to count."""

    @property
    def attribute(self) -> str:
        """The attribute's name."""
        return self.name or self.model


class StreamEntry(Strict):
    """The keys that every stream has, whatever its source."""

    id: Name
    url: Annotated[str, Field(min_length=1, repr=False)]
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Pictures analysed per second of media time, at most; None: all of them."""
    model: str = ""
    """A name of ``models``; empty: the only one there is."""
    models: tuple[SecondSettings, ...] = ()
    """Second networks on crops of this stream's tracks."""
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    """From this score on a detection is believed and may start a track; None: what the tracker's options say."""
    motion_gate: Literal["auto", "on", "off"] = "auto"
    priority: Literal["low", "normal", "high"] = "normal"
    """Whose pictures are analysed when there are more than the engine can take: high twice as many as normal, low half
    as many. Nobody starves, and while there is enough for all it changes nothing."""
    isolation: Literal["thread", "process"] = "thread"
    """process: the stream is read and decoded in a process of its own, so that a codec that crashes harms nobody."""
    privacy_masks: Mapping[Name, Polygon] = {}
    zones: Mapping[Name, Polygon] = {}
    lines: Mapping[Name, Line] = {}

    @field_validator("url")
    @classmethod
    def _no_blanks(cls, url: str) -> str:
        if url != url.strip() or not url.isprintable():
            raise ValueError("a URL has no blanks around it and no control characters in it")
        return url

    @property
    def shown_url(self) -> str:
        """The URL without credentials, for people to read."""
        return redact_url(self.url)


class StreamSettings(StreamEntry):
    """A stream, ready to be opened: ``url`` is absolute and holds credentials, ``model`` is filled in."""

    kind: str
    """The source plug-in: rtsp, http, file, images, v4l2, demo."""
    source: InstanceOf[BaseModel]
    """The source plug-in's own `Options`."""
    tracker: TrackerSettings
    rules: tuple[RuleSettings, ...] = ()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show the URL without credentials."""
        yield from super().__repr_args__()
        yield "url", self.shown_url


class OutboxSettings(Strict):
    """How much the event store keeps. What every sink has goes first.

    What is beyond the bounds and still lacks in a sink is given up: counted in ``outbox_given_up_total``, logged, and
    told with an event ``streamvision.outbox.instant``.
    """

    max_age: Annotated[Seconds, Field(gt=0)] = 30 * 86400.0
    """How long events and dead letters are kept, at most."""
    max_mb: Annotated[int, Field(ge=1)] = 1024
    """How much room the events may take, in MB of 2^20 bytes; up to 64 more are SQLite's log."""
    max_dead_letters: Annotated[int, Field(ge=1)] = 10_000
    """How many events that were refused for good are kept, of all sinks together."""


class ExplainSettings(Strict):
    """How events are explained whose rules say ``explain: true``: in the background, into state_dir/explanations."""

    masks: Annotated[int, Field(ge=50, le=20_000)] = 600
    """How often a network is asked about one picture, at most."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """For which part of the time the engine is asked, at most, and only while no picture waits for it."""
    side: Annotated[int, Field(ge=160, le=7680)] = 1280
    """The longer side of the pictures that are kept, in pixels, at most."""
    backlog: Annotated[int, Field(ge=1, le=10_000)] = 64
    """How many pictures may wait for their explanation; more are dropped."""
    max_mb: Annotated[int, Field(ge=1)] = 512
    """How large the folder may become; the oldest go first."""
    max_age: Annotated[Seconds, Field(gt=0)] = 30 * 86400.0
    """How long pictures and explanations are kept."""


class CollectSettings(Strict):
    """Which pictures are collected for training, with what the network saw in them, as a COCO data set."""

    folder: InnerPath = "collected"
    """Where, in state_dir."""
    streams: tuple[Name, ...] = ()
    """From which streams; empty: all."""
    low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Pictures with a detection whose score is at least this ..."""
    high: Annotated[float, Field(ge=0, le=1)] = 0.5
    """... and less than this are doubtful, and wanted; so are those of events, and the next one after them."""
    every: Seconds = 2.0
    """The time between two doubtful pictures of a stream, at least; media time."""
    sample: Seconds = 300.0
    """One picture is taken by chance in so much media time, whatever it shows; 0: none."""
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    """From which score on detections are written down; None: from ``low`` on."""
    duplicates: Annotated[int, Field(ge=0, le=64)] = 6
    """Pictures that differ in at most so many of 64 bits of a difference hash, and show the same boxes, are one."""
    pictures_per_day: Annotated[int, Field(ge=1)] = 500
    mb_per_day: Annotated[int, Field(ge=1)] = 256
    max_pictures: Annotated[int, Field(ge=1)] | None = None
    """How many there may be in all; None: as many as ``max_mb`` holds."""
    max_mb: Annotated[int, Field(ge=1)] = 8192
    """How large the folder may become; then nothing more is collected."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) is not below high ({self.high:g}), so nothing is in between")
        return self

    @property
    def written_from(self) -> float:
        """The score from which on detections are written down."""
        return self.low if self.min_score is None else self.min_score


class Settings(Strict):
    """A whole configuration, validated; paths are absolute."""

    state_dir: Path
    server: ServerSettings = ServerSettings()
    models: Mapping[str, ModelSettings]
    streams: tuple[StreamSettings, ...]
    sinks: tuple[SinkSettings, ...] = ()
    outbox: OutboxSettings = OutboxSettings()
    explain: ExplainSettings = ExplainSettings()
    collect: CollectSettings | None = None
    _secrets: frozenset[str] = PrivateAttr(default=frozenset())
    _first_track_id: int = PrivateAttr(default=0)
    _elsewhere: frozenset[str] = PrivateAttr(default=frozenset())

    def __repr__(self) -> str:
        return redact_values(super().__repr__(), self._secrets)

    def __str__(self) -> str:
        return repr(self)

    @property
    def secrets(self) -> frozenset[str]:
        """Every value that stands for a placeholder in the file; not to be shown."""
        return self._secrets

    @property
    def first_track_id(self) -> int:
        """What is added to every track id, so that ids of several processes on one configuration never meet."""
        return self._first_track_id

    @property
    def elsewhere(self) -> frozenset[str]:
        """The ids of the streams that the file has and other processes watch."""
        return self._elsewhere

    def stream(self, stream_id: str) -> StreamSettings:
        """Return a stream by its id; raises `KeyError`."""
        for stream in self.streams:
            if stream.id == stream_id:
                return stream
        raise KeyError(stream_id)
