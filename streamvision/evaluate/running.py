"""Pictures of a data set through an engine, prepared in the way of the daemon."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from streamvision.capture.picture import ArrayPicture
from streamvision.dataset import Example, rgb
from streamvision.errors import DataError
from streamvision.interfaces import Engine
from streamvision.types import Batch, ClockSource, Frame, FrameInfo, Perception, UInt8

Change = Callable[[UInt8, Example], UInt8]
"""Makes another picture (h,w,3) of one, of the same size."""
_NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def perceptions(
    engine: Engine, examples: Iterable[Example], change: Change | None = None
) -> Iterator[tuple[Example, Perception]]:
    """Yield what an engine sees in each picture, in order, with as many in flight as the engine likes.

    Raises `BrokenMedia` for a picture that cannot be read, `DataError` for one of another size than the data says.
    """
    pending: deque[tuple[Example, Batch, Future[list[Any]]]] = deque()
    for example in examples:
        pixels = rgb_of(example)
        batch = batch_of(engine, str(example.path), pixels if change is None else change(pixels, example))
        pending.append((example, batch, engine.submit(batch)))
        if len(pending) > engine.in_flight:
            yield _next(engine, pending)
    while pending:
        yield _next(engine, pending)


def rgb_of(example: Example) -> UInt8:
    """Return a picture (h,w,3). Raises `BrokenMedia`, and `DataError` where it has another size than the data says."""
    pixels = rgb(example.path)
    height, width = pixels.shape[:2]
    if (width, height) != example.size_wh:
        raise DataError(
            f"the picture is {width}x{height}, but the data says {example.size_wh[0]}x{example.size_wh[1]}",
            where=str(example.path), remedy="scale the labels or replace the picture",
        )  # fmt: skip
    return pixels


def batch_of(engine: Engine, name: str, pixels: UInt8) -> Batch:
    """Return a picture (h,w,3), prepared as the engine asks."""
    picture = ArrayPicture(pixels)
    prepared, letterbox = picture.prepare(engine.input)
    info = FrameInfo(name, 0, 0, 0.0, 0.0, _NO_TIME, ClockSource.FILE, 0.0, picture.size_wh)
    return Batch((Frame(info, picture, prepared, letterbox, 0.0),))


def _next(engine: Engine, pending: deque[tuple[Example, Batch, Future[list[Any]]]]) -> tuple[Example, Perception]:
    example, batch, future = pending.popleft()
    perception = engine.decode(batch, future.result())[0]
    engine.forget(batch.frames[0].info.stream)
    return example, perception
