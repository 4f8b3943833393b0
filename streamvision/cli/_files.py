"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from streamvision.errors import UsageError


def spare(source: Path | str, *outputs: Path | None) -> None:
    """Raise a `UsageError` if a command would write over what it is to read."""
    given = Path(source)
    for output in outputs:
        if output is not None and output.is_file() and given.is_file() and output.samefile(given):
            raise UsageError("this would overwrite the source", where=str(output), remedy="name another file")
