"""The end of the program's process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Callable


def whole_process(command: Callable[[], None]) -> None:
    """Run a command that is all this process is for, and end without tearing Python down.

    Threads in native code may still be at work then: one that waits for a camera, those of the inference libraries.
    What they come back to while the interpreter and the libraries are taken apart under them ends the process with a
    signal instead of its exit code. All that is registered to happen at the end happens before.
    """
    code = 1  # where a bug leaves the command, with a traceback

    def leave() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)

    atexit.register(leave)
    try:
        command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
