"""Video files on this machine."""

from __future__ import annotations

import math
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final, Literal

from av.container import InputContainer
from pydantic import BaseModel, ConfigDict

from streamvision.capture.allowed import LOCAL_FILE
from streamvision.capture.demux import Demuxer, Medium
from streamvision.clock import Clock, in_our_time
from streamvision.config.sources import local_path
from streamvision.errors import SourceNotFound, UnsupportedMedia
from streamvision.interfaces import SourcePicture

_PATIENCE_S: Final = 30.0
"""For a file on a network drive; a local one answers at once."""


class FileSource:
    """A video file, from its first picture to its last. ``live`` is False: nothing of it is ever dropped.

    ``started_at`` is the wall time of its first picture as far as the file tells, known after `open`.
    """

    class Options(BaseModel):
        """``loop`` starts again at the end; ``pace`` is the file's own, or as fast as it can be analysed."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        loop: bool = False
        pace: Literal["realtime", "fast"] = "fast"

    live: ClassVar[bool] = False

    def __init__(self, url: str, options: Options, clock: Clock) -> None:
        self.options = options
        self.path = Path(local_path(url)).absolute()
        self.started_at: datetime | None = None
        # "file:" keeps a name like "concat:..." away from FFmpeg's protocols.
        medium = Medium(
            url=f"file:{self.path}",
            open_s=_PATIENCE_S,
            read_s=_PATIENCE_S,
            live=False,
            options=LOCAL_FILE,
        )
        self._demuxer = Demuxer(medium, clock)

    @property
    def demuxer(self) -> Demuxer:
        """What reads it, for `probe`."""
        return self._demuxer

    def open(self) -> None:
        """Open the file. Raises a `CaptureError`."""
        where = str(self.path)
        try:
            kind = self.path.stat().st_mode
            if stat.S_ISREG(kind):  # to open a pipe would wait for its other end
                self.path.open("rb").close()
        except PermissionError as error:
            remedy = "give the user of this process read access"
            raise SourceNotFound("it may not be read", where=where, remedy=remedy) from error
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise SourceNotFound("there is no such file", where=where, remedy="check the path") from error
        if not stat.S_ISREG(kind):
            what = "a folder, not a video" if stat.S_ISDIR(kind) else "no regular file"
            raise UnsupportedMedia(f"it is {what}", where=where)
        self._demuxer.open()
        self.started_at = _start(self._demuxer.container, self.path)

    def read(self) -> Sequence[SourcePicture]:
        """Return the next pictures. Raises `EndOfStream` after the last one, another `CaptureError` on a fault."""
        return self._demuxer.read()

    def close(self) -> None:
        """Close the file; idempotent."""
        self._demuxer.close()


def _start(container: InputContainer, path: Path) -> datetime | None:
    """Return when the file began: its creation time, else the time it was last written less its duration.

    None where neither lies in a century that makes sense.
    """
    try:
        stated = datetime.fromisoformat(container.metadata["creation_time"])
    except (KeyError, ValueError):
        stated = None
    if stated is None or not in_our_time(stated):
        return _written(container, path)
    return stated.astimezone(UTC) if stated.tzinfo else stated.replace(tzinfo=UTC)


def _written(container: InputContainer, path: Path) -> datetime | None:
    micros = container.duration or 0
    try:
        end = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        began = end - timedelta(microseconds=micros if math.isfinite(micros) and micros > 0 else 0)
    except (ValueError, OverflowError, OSError):  # no year of the calendar; a file that has just been removed
        return None
    return began if in_our_time(began) else None
