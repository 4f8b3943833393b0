"""`streamvision track`: MOTChallenge detections -> MOTChallenge tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamvision.cli._files import spare
from streamvision.errors import MissingError, UsageError

if TYPE_CHECKING:
    from streamvision.interfaces import Tracker
    from streamvision.track.motchallenge import MotDetections

_DEFAULT_FRAME_RATE = 30.0


def track(
    detections: Annotated[Path, typer.Argument(metavar="DET.txt", help="MOTChallenge detections.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="TRACKS.txt", help="Where the tracks are written.")],
    tracker: Annotated[str, typer.Option("--tracker", help="Name of the tracker.")] = "bytetrack",
    frame_rate: Annotated[
        float | None,
        typer.Option("--frame-rate", help="Pictures per second; from the sequence's seqinfo.ini, else 30."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the tracker, for example lost_s=1.5."),
    ] = None,
) -> None:
    """Follow the objects of a MOTChallenge detection file and write their tracks in the same format.

    Example: streamvision track MOT15/train/PETS09-S2L1/det/det.txt --out tracks.txt
    """
    from streamvision.track.motchallenge import declared_frame_rate, read_detections

    if frame_rate is not None and not 0 < frame_rate < float("inf"):
        raise UsageError(f"--frame-rate is {frame_rate:g}", remedy="it must be above 0")
    spare(detections, out)
    follower = _tracker(tracker, setting or [])
    rate = frame_rate or declared_frame_rate(detections) or _DEFAULT_FRAME_RATE
    found = read_detections(detections)
    count = _write(found, follower, rate, out)
    typer.echo(f"{count} tracks in {found.pictures} pictures at {rate:g} per second -> {out}")


def _tracker(name: str, settings: list[str]) -> Tracker:
    from streamvision import plugins
    from streamvision.track.ids import counting_ids
    from streamvision.track.settings import parse_settings

    chosen: Any = plugins.load("tracker", name)
    follower: Tracker = chosen(parse_settings(chosen.Options, settings), counting_ids())
    return follower


def _write(found: MotDetections, follower: Tracker, rate: float, out: Path) -> int:
    """Write the tracks; return how many there are."""
    from rich.console import Console
    from rich.progress import Progress

    from streamvision.track.motchallenge import track_lines

    ids: set[int] = set()
    console = Console(stderr=True)
    try:
        with out.open("w", encoding="utf-8") as file, Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("tracking", total=found.pictures)
            for frame, detections in found:
                tracks = follower.update(detections, (frame - 1) / rate)
                ids.update(tracks.ids.tolist())
                file.write(track_lines(frame, tracks))
                bar.advance(task, 1 if len(detections) else 0)
    except OSError as error:
        raise MissingError(f"cannot be written: {error.strerror}", where=str(out)) from error
    return len(ids)
