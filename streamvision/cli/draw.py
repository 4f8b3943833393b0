"""``streamvision draw``: pictures to train on that the program draws itself, with their exact truth."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.capture.drawn.store import Order, Record

_CHUNK = 16
"""So many pictures go to a worker at once; one after the other they share what is painted slowly."""
_SMALLEST, _LARGEST = 96, 1920


class SceneName(StrEnum):
    """What can be drawn."""

    STREET = "street"
    DRIVE = "drive"
    BOTH = "both"


def draw(
    out: Annotated[Path, typer.Argument(help="A new folder, or one that was begun with the same options.")],
    count: Annotated[int, typer.Option(min=1, max=999_999, help="How many pictures it shall hold in the end.")] = 4000,
    scene: Annotated[
        SceneName, typer.Option(help="street: fixed cameras; drive: a camera in a vehicle; both by turns.")
    ] = SceneName.BOTH,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Another seed, other pictures.")] = 1,
    size: Annotated[str, typer.Option(metavar="WxH", help="The pictures' size.")] = "640x360",
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many draw at once; as many as there are CPUs without it.")
    ] = None,
) -> None:
    """Draw pictures of streets and roads with boxes, drivable area and lane lines, as a COCO data set.

    It goes on where it was broken off. Example: streamvision draw data/drawn --count 4000 --scene both
    """
    from streamvision.capture.drawn.store import Order, append, open_store, write_annotations
    from streamvision.cli._progress import count_bar

    order = Order(scene.value, seed, _size(size))
    records = open_store(out, order)
    missing = [number for number in range(count) if number not in records]
    with count_bar("drawing", len(missing)) as advance:
        for record in append(out, _drawn(out, order, missing, workers or os.cpu_count() or 1)):
            records[record["number"]] = record
            advance()
    wanted = [records[number] for number in range(count)]
    path = write_annotations(out, order, wanted)
    _report(path, wanted, len(missing))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})[xX](\d{2,4})", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(_SMALLEST <= side <= _LARGEST for side in sides):
        raise UsageError(
            f"{text!r} is no size that can be drawn", where="--size",
            remedy=f"write width x height, each from {_SMALLEST} to {_LARGEST}, such as 640x360",
        )  # fmt: skip
    return sides


def _drawn(out: Path, order: Order, numbers: Sequence[int], workers: int) -> Iterator[Record]:
    """Yield the pictures' records in order while other processes draw."""
    from streamvision.capture.drawn.store import draw_picture

    workers = min(workers, -(-len(numbers) // _CHUNK))
    if workers <= 1:
        yield from (draw_picture(out, order, number) for number in numbers)
        return
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(partial(draw_picture, out, order), numbers, chunksize=_CHUNK)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the process that gave the work, and the other CPUs to the other workers."""
    import signal

    from streamvision.capture.drawn.store import use_one_thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()


def _report(path: Path, records: Sequence[Record], fresh: int) -> None:
    from collections import Counter

    counted: Counter[str] = Counter()
    for record in records:
        counted.update(one["class"] for one in record["objects"] if not one["ignore"])
    ignored = sum(bool(one["ignore"]) for record in records for one in record["objects"])
    typer.echo(f"annotations  {path}")
    typer.echo(f"pictures     {len(records)} ({fresh} drawn now)")
    typer.echo(f"objects      {', '.join(f'{number} {name}' for name, number in counted.most_common())}")
    typer.echo(f"ignored      {ignored} (hardly visible or too small)")
