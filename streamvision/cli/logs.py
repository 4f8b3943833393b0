"""How the log looks: one event per line on standard error, for people or for machines."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Annotated

import structlog
import typer


class LogFormat(StrEnum):
    """Readable lines or JSON objects."""

    TEXT = "text"
    JSON = "json"


LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="Log lines on standard error for people (text) or machines (json).")
]


def set_up(log_format: LogFormat) -> None:
    """Configure logging for this process."""
    tail: list[structlog.typing.Processor]
    if log_format is LogFormat.JSON:
        tail = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        tail = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *tail,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Standard error is looked up at every line: whoever embeds or tests a command may exchange it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def only_warnings() -> None:
    """Leave out what is routine, for commands whose output is for reading."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
