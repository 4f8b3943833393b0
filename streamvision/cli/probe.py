"""``streamvision probe``: can a source be reached, and what does it really deliver."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamvision.capture.probing import Probe
    from streamvision.errors import CaptureError

_SLOW_RATE = 0.9
"""Below this share of the declared rate, the difference is pointed out."""

_TRIES = {
    "connect": ["Is the camera on, and in this network?", "Is the port right? RTSP: 554, HTTP: 80."],
    "timeout": [
        "The address answers too late or never: a firewall, a wrong port, or a camera that needs a restart.",
        "Over UDP, try --transport tcp: many networks let no UDP in.",
        "Cameras allow few clients at a time: end other viewers.",
    ],
    "auth": [
        "Write rtsp://USER:PASSWORD@HOST/PATH, with special characters as %XX (@ is %40, : is %3A).",
        "Many cameras want an account of their own for RTSP or ONVIF, and lock it after wrong attempts.",
    ],
    "not_found": ["Look the path up in the camera's manual; it often depends on channel and profile."],
    "unsupported": ["Set the camera to H.264, H.265 or MJPEG without encryption."],
    "broken": ["Is this really a video? Open it in another player.", "Over UDP, try --transport tcp."],
    "end": ["The server accepts and hangs up: too many clients, or a path that is not active."],
}


class Transport(StrEnum):
    """How RTSP carries its packets."""

    TCP = "tcp"
    UDP = "udp"
    AUTO = "auto"


def probe(
    url: Annotated[
        str, typer.Argument(help="A camera URL, file, device, folder of pictures, demo:street or demo:drive.")
    ],
    seconds: Annotated[float, typer.Option(min=0.1, help="Watch for so long.")] = 5.0,
    transport: Annotated[
        Transport | None, typer.Option(help="For RTSP; auto unless given: TCP, and UDP where TCP is refused.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say whether a source can be reached and what it delivers: codec, size, rates, key frames, clock, delay.

    Example: streamvision probe rtsp://admin:secret@192.0.2.11/stream1 --seconds 10
    """
    from streamvision.capture.probing import probe_source
    from streamvision.cli._interrupt import interruptible
    from streamvision.clock import SystemClock
    from streamvision.config import source_kind
    from streamvision.errors import CaptureError
    from streamvision.offline import OfflineOptions, open_source
    from streamvision.redact import redact_url

    if transport is None and source_kind(url) == "rtsp":
        transport = Transport.AUTO
    clock = SystemClock()
    source = open_source(url, OfflineOptions(transport=transport), clock)
    try:
        with _waiting(f"watching {redact_url(url)} for {seconds:g} s"):
            found = interruptible(lambda: probe_source(source, clock, seconds))
    except CaptureError as error:
        _explain(error, redact_url(url), as_json)
        raise typer.Exit(error.exit_code) from error
    if as_json:
        typer.echo(json.dumps({"url": redact_url(url), "reachable": True, **_rounded(found)}))
    else:
        _show(found, redact_url(url))


@contextlib.contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Show that something is going on, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def _explain(error: CaptureError, shown_url: str, as_json: bool) -> None:
    """Say what failed and what to try."""
    tries = [error.remedy] if error.remedy else []
    if "://" in shown_url:  # what is said of cameras does not fit files
        tries += _TRIES.get(error.reason, [])
    if as_json:
        failure = {"url": shown_url, "reachable": False, "reason": error.reason, "error": error.what, "try": tries}
        typer.echo(json.dumps(failure))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    console.print(f"[bold red]{escape(shown_url)}: {escape(error.what)}[/] [dim]({error.reason})[/]", soft_wrap=True)
    for advice in tries:
        console.print(f"  try: {escape(advice)}", soft_wrap=True, highlight=False)


def _rounded(found: Probe) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(found).items()}


def _show(found: Probe, shown_url: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(shown_url), title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _rows(found):
        table.add_row(name, escape(text))
    console = Console()
    console.print(table)
    for remark in _remarks(found):
        console.print(f"[yellow]note:[/] {escape(remark)}", highlight=False)


def _rows(found: Probe) -> Iterator[tuple[str, str]]:
    """Yield what is known, as a person reads it."""
    width, height = found.size_wh
    yield "reachable", f"yes, opened in {found.open_s:.2f} s, first picture after {found.first_picture_s:.2f} s"
    yield (
        "kind",
        " ".join(part for part in ("live" if found.live else "file", found.container, found.transport) if part),
    )
    if found.codec:
        yield "codec", found.codec + (f" ({found.profile})" if found.profile else "")
    yield "picture", f"{width}x{height}" + (f" {found.pixel_format}" if found.pixel_format else "")
    yield "rate", f"{_fps(found.real_fps)} real, {_fps(found.declared_fps)} declared"
    yield "key frames", _gop(found)
    if found.bitrate_bps is not None:
        yield "bit rate", f"{found.bitrate_bps / 1e6:.2f} Mbit/s"
    yield "clock", str(found.clock)
    yield "seen", f"{found.pictures} pictures in {found.seconds:.1f} s, {found.corrupt} corrupt"


def _fps(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.2f}/s"


def _gop(found: Probe) -> str:
    if found.gop_s is None or found.gop_pictures is None:
        return f"fewer than two in {found.seconds:.1f} s"
    return f"every {found.gop_s:.2f} s ({found.gop_pictures:.0f} pictures)"


def _remarks(found: Probe) -> Iterator[str]:
    """Yield what a user should know before relying on this source."""
    if found.ended is not None and found.live:
        yield f"it ended early: {found.ended}"
    if found.real_fps and found.declared_fps and found.real_fps < _SLOW_RATE * found.declared_fps:
        yield "it delivers fewer pictures than it declares"
    if found.corrupt:
        yield "pictures were damaged; over UDP that is loss in the network, try --transport tcp"
    if found.live and found.gop_s is None and found.codec not in (None, "mjpeg", "rawvideo"):
        yield "after a reconnect, pictures start at the next key frame; set the camera to one every 1 to 2 s"
    if found.transport and found.clock != "rtcp":
        yield "no RTCP sender report came, so times are those of arrival; reports come about every 5 s, watch longer"
