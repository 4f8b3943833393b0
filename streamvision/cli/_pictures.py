"""Pictures of a data set through an engine, prepared in the way of the daemon."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamvision.cli._progress import count_bar

if TYPE_CHECKING:
    from streamvision.interfaces import Engine
    from streamvision.types import Batch, FrameInfo, Perception


def perceptions(engine: Engine, paths: Sequence[Path]) -> Iterator[tuple[FrameInfo, Perception]]:
    """Give what an engine sees in each picture, in order, with as many in flight as the engine likes.

    Raises `SourceNotFound` for a picture that cannot be read.
    """
    pending: deque[tuple[Batch, Any]] = deque()
    with count_bar("evaluating", len(paths)) as advance:
        for path in [*paths, *[None] * engine.in_flight]:
            if path is not None:
                batch = _batch(engine, path)
                pending.append((batch, engine.submit(batch)))
            if pending and (path is None or len(pending) > engine.in_flight):
                batch, future = pending.popleft()
                yield batch.frames[0].info, engine.decode(batch, future.result())[0]
                advance()


def _batch(engine: Engine, path: Path) -> Batch:
    from datetime import UTC, datetime

    from streamvision.capture.images import read_picture
    from streamvision.capture.picture import ArrayPicture
    from streamvision.errors import SourceNotFound
    from streamvision.types import Batch, ClockSource, Frame, FrameInfo

    rgb = read_picture(path)
    if rgb is None:
        raise SourceNotFound("the annotations name a picture that cannot be read", where=str(path))
    picture = ArrayPicture(rgb)
    pixels, letterbox = picture.prepare(engine.input)
    info = FrameInfo(
        stream=str(path), epoch=0, seq=0, media_s=0.0, received_s=0.0, captured_at=datetime.now(UTC),
        clock=ClockSource.FILE, uncertainty_s=0.0, size_wh=picture.size_wh,
    )  # fmt: skip
    return Batch((Frame(info, picture, pixels, letterbox, 0.0),))
