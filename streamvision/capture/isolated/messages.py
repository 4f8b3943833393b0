"""The border between daemon and child: every message is parsed here, into values that nothing behind has to check.

A child decodes what strangers send and may be taken over, so a message is taken as a whole or not at all: each field
has its type and range, numbers are finite, times are aware, and no other fields are there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from streamvision.capture.allowed import MAX_PIXELS
from streamvision.clock import in_our_time
from streamvision.errors import (
    AuthFailed,
    BrokenMedia,
    CaptureError,
    ConnectError,
    DecoderLost,
    EndOfStream,
    FellBehind,
    PacketsLost,
    SourceNotFound,
    TimedOut,
    UnsupportedMedia,
)

FILES: Final = 2
"""How many reads the child may be ahead."""
MAX_MESSAGE: Final = 1 << 17
MAX_SIDE: Final = 16384
_MAX_PICTURES: Final = 64
"""Of one read. A decoder that is drained gives all that it held back: 16 pictures and a few more."""
_MAX_INT: Final = (1 << 31) - 1
_LONGEST: Final = 4096
_QUOTED: Final = 160
_KINDS: Final = {
    kind.__name__: kind
    for kind in (
        AuthFailed, BrokenMedia, ConnectError, DecoderLost, EndOfStream, FellBehind, PacketsLost, SourceNotFound,
        TimedOut, UnsupportedMedia,
    )
}  # fmt: skip
"""What a source raises; every other name, known or not, becomes a plain `CaptureError`."""


class Nonsense(Exception):  # noqa: N818
    """A message or a memory file that no honest child makes."""


def _utc(moment: datetime) -> datetime:
    if not in_our_time(moment):
        raise ValueError("it lies in no century of ours")
    return moment.astimezone(UTC)


_Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
_Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
_Place = Annotated[int, Field(ge=0, le=1 << 40)]
_Code = Annotated[int, Field(ge=-_MAX_INT, le=_MAX_INT)]
_Text = Annotated[str, StringConstraints(max_length=_LONGEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Described(_Strict):
    """One picture; ``planes`` are [offset, length] in the memory file, ``line_sizes`` bytes per row of each.

    ``received_s`` is monotonic, as `interfaces.SourcePicture` has it. The last four are a decoder's pictures' only.
    """

    format: Annotated[str, StringConstraints(max_length=32)]
    size_wh: tuple[_Side, _Side]
    planes: Annotated[tuple[tuple[_Place, _Place], ...], Field(min_length=1, max_length=8)]
    pts_s: float | None
    received_s: Annotated[float, Field(ge=0)]
    sender_utc: _Moment | None
    corrupt: bool
    lost_packets: Annotated[int, Field(ge=0, le=_MAX_INT)]
    rotation_deg: _Code = 0
    colorspace: _Code = 0
    color_range: _Code = 0
    line_sizes: Annotated[tuple[Annotated[int, Field(ge=0, le=1 << 20)], ...], Field(max_length=8)] = ()

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.size_wh[0] * self.size_wh[1]


class Opened(_Strict):
    """The child has opened its source; see `IsolatedSource.started_at`."""

    started_at: _Moment | None


class Told(_Strict):
    """A typed error as values."""

    kind: _Text
    what: _Text
    where: _Text | None
    remedy: _Text | None

    def error(self) -> CaptureError:
        """Return the typed error that the child tells of."""
        kind = _KINDS.get(self.kind, CaptureError)
        return kind(self.what, where=self.where, remedy=self.remedy)


class Message(_Strict):
    """One datagram of the child; what was not said is None. ``file`` is the memory file's number, -1 for none."""

    ready: bool | None = None
    opened: Opened | None = None
    pictures: Annotated[tuple[Described, ...], Field(max_length=_MAX_PICTURES)] | None = None
    file: Annotated[int, Field(ge=-1, lt=FILES)] = -1
    error: Told | None = None
    bug: _Text | None = None


def parsed(datagram: bytes) -> Message:
    """Return a message. Raises `Nonsense`, whatever the datagram is."""
    try:
        message = Message.model_validate_json(datagram)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Nonsense(f"{place}: {first['msg']}"[:_QUOTED] if place else first["msg"][:_QUOTED]) from error
    if any(each.pixels > MAX_PIXELS for each in message.pictures or ()):
        raise Nonsense(f"a picture above {MAX_PIXELS / 1e6:.0f} million pixels")
    return message


def described_error(error: CaptureError) -> dict[str, str | None]:
    """Return a typed error as what `Told` reads."""
    facts = {"kind": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy}
    return {name: None if text is None else plain(text) for name, text in facts.items()}


def plain(text: str) -> str:
    """Return a text that JSON can carry: a file's name may hold bytes that are no letters."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()[:_LONGEST]
