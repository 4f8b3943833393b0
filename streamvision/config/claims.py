"""Files that sinks write: no two sinks or shards write the same one, and none the event store's own."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from streamvision.config.document import Document
from streamvision.config.settings import SinkSettings
from streamvision.paths import STORE_FILE

_A_FILE_FOR_EACH = "a relative path lies in each shard's own folder; an absolute one needs ${STREAMVISION_SHARD} in it"


def judge_files(document: Document, sinks: Sequence[SinkSettings], state_dir: Path, shard: str = "") -> None:
    """Compare what the sinks of a configuration without other mistakes write; mistakes go to the document.

    A sink that writes a file has options with ``written(state_dir)``, its path. ``shard`` is the shard that reads the
    configuration, as ``2-8``.
    """
    first: dict[str, int] = {}
    for index, sink in enumerate(sinks):
        if (written := getattr(sink.options, "written", None)) is None:
            continue
        file = os.path.realpath(written(state_dir))
        place = ("sinks", index, "path")
        if os.path.dirname(file) == os.path.realpath(state_dir) and os.path.basename(file).startswith(STORE_FILE):
            document.problem(place, f"{file} belongs to the event store", "choose another name")
        elif file in first:
            line, _ = document.place(("sinks", first[file]))
            document.problem(place, f"the sink in line {line} writes this file too", "give each sink its own")
        elif _is_every_shards(written, file, state_dir, shard):
            document.problem(place, "every shard would write this file, and only one can", _A_FILE_FOR_EACH)
        first.setdefault(file, index)


def _is_every_shards(written: Callable[[Path], Path], file: str, state_dir: Path, shard: str) -> bool:
    """Whether other shards open the same file; all may write to what is none, such as /dev/null."""
    if shard in ("", "1-1") or (os.path.exists(file) and not os.path.isfile(file)):
        return False
    fixed = written(state_dir) == written(state_dir / "shard")
    return fixed and not re.search(rf"(?<!\d){re.escape(shard)}(?!\d)", str(written(state_dir)))
