"""Files that sinks write: no two sinks write the same one, and none the event store's own."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from pathlib import Path

from streamvision.config.document import Document
from streamvision.config.settings import SinkSettings
from streamvision.paths import STORE_FILE


def judge_files(document: Document, sinks: Sequence[SinkSettings], state_dir: Path) -> None:
    """Compare what the sinks of a configuration without other mistakes write; mistakes go to the document.

    A sink that writes a file has options with ``written(state_dir)``, its path.
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
        first.setdefault(file, index)
