"""A command run in this process, as the installed program runs it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from streamvision.cli import main


def ask(*arguments: str | Path, codes: tuple[int, ...]) -> int:
    """Run a command; fail unless it ends with one of ``codes`` and words. Any exception is a user's traceback."""
    said = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
    text = said.getvalue()
    assert isinstance(code, int)
    assert code in codes, f"exit {code}: {text[-2000:]}"
    assert "Traceback" not in text
    assert code == 0 or text.strip(), f"exit {code} without a word"
    return code
