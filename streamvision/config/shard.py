"""One configuration on several processes: which streams a shard watches, where it keeps its state, where it listens.

Rendezvous hashing (Thaler, Ravishankar 1998, "Using name-based mappings to increase hit rates"): a stream belongs to
the shard whose hash with it is the highest. Whoever has the configuration computes the same, and a shard more takes one
stream in N from the others and leaves all the rest where they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self

from streamvision.config.settings import CollectSettings, ServerSettings, Settings
from streamvision.errors import UsageError

MAX_SHARDS = 1024
TRACK_IDS = 10_000_000_000
"""How many track ids each shard has for itself: a stream that moves never gets an id twice, and 20000000017 is
readable as shard 2, track 17."""

_FORM = re.compile(r"([1-9][0-9]{0,3})[/-]([1-9][0-9]{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` processes; ``index`` is from 1 to ``count``."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= MAX_SHARDS:
            raise ValueError(f"{self.index}/{self.count} is no shard")

    @classmethod
    def parse(cls, text: str, *, where: str = "--shard") -> Self:
        """Read ``2/8``, or ``2-8`` as the instance of a unit is called. Raises `UsageError`."""
        found = _FORM.fullmatch(text)
        index, count = (int(number) for number in found.groups()) if found else (0, 0)
        if not 1 <= index <= count <= MAX_SHARDS:
            remedy = f"for example 2/8, the second of eight; there may be {MAX_SHARDS}"
            raise UsageError(f"expected INDEX/COUNT, not {text!r}", where=where, remedy=remedy)
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def first_track_id(self) -> int:
        """What is added to every track id of this shard."""
        return self.index * TRACK_IDS

    def owns(self, stream: str) -> bool:
        """Whether a stream, by its id, is this shard's."""
        return owner_of(stream, self.count) == self.index

    def state_dir(self, whole: Path) -> Path:
        """Return this shard's own folder in the state_dir: by its index alone, so that it stays when there are more."""
        return whole / f"shard-{self.index}"

    def server(self, whole: ServerSettings) -> ServerSettings:
        """Return where this shard listens: the first at the configured port, each next one a port higher.

        Raises `UsageError` where there is no such port.
        """
        if whole.port == 0:
            return whole
        port = whole.port + self.index - 1
        if port > 65535:
            remedy = "choose a lower port; shard N listens at PORT + N - 1"
            raise UsageError(f"shard {self} would listen at port {port}", where="server.listen", remedy=remedy)
        return whole.model_copy(update={"listen": f"{whole.listen.rpartition(':')[0]}:{port}"})

    def of(self, settings: Settings) -> Settings:
        """Return this shard's part of a whole, validated configuration. Raises `UsageError` for a port too high."""
        own = tuple(stream for stream in settings.streams if self.owns(stream.id))
        part = settings.model_copy(
            update={
                "streams": own,
                "state_dir": self.state_dir(settings.state_dir),
                "server": self.server(settings.server),
                "collect": _collected(settings.collect, {stream.id for stream in own}),
            }
        )
        part._first_track_id = self.first_track_id
        part._elsewhere = frozenset(stream.id for stream in settings.streams) - {stream.id for stream in own}
        return part


def owner_of(stream: str, count: int) -> int:
    """Return which of ``count`` shards a stream belongs to, from 1."""
    return max(range(1, count + 1), key=lambda index: (_weight(stream, index), index))


def _weight(stream: str, index: int) -> int:
    return int.from_bytes(blake2b(f"{index}/{stream}".encode(), digest_size=8).digest())


def _collected(whole: CollectSettings | None, own: set[str]) -> CollectSettings | None:
    """Return what is collected here; None where only other shards' streams are named."""
    if whole is None or not whole.streams:
        return whole
    named = tuple(stream for stream in whole.streams if stream in own)
    return whole.model_copy(update={"streams": named}) if named else None
