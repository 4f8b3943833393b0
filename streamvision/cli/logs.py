"""How the log looks: one event per line on standard error for people or machines, or records in systemd's journal."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Annotated, Any

import structlog
import typer

from streamvision import journal
from streamvision.errors import MissingError


class LogFormat(StrEnum):
    """Readable lines, JSON objects, or records with fields and priorities in the journal."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        help="Log lines on standard error for people (text) or machines (json), or records in systemd's journal; "
        "auto: journal where standard error leads there, else text.",
    ),
]


def set_up(log_format: LogFormat) -> None:
    """Configure logging for this process. Raises `MissingError` where the journal is asked for and there is none."""
    if log_format is LogFormat.JOURNAL or (log_format is LogFormat.AUTO and journal.goes_to_journal(sys.stderr)):
        _configure(_to_journal(), journal.JournalLogger(_journal(needed=log_format is LogFormat.JOURNAL)))
        return
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if log_format is LogFormat.JSON:
        _configure([stamp, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    else:
        plain = structlog.dev.plain_traceback
        lines = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        _configure([stamp, lines])


def _configure(tail: list[structlog.typing.Processor], logger: Any = None) -> None:
    structlog.configure(
        processors=[structlog.processors.add_log_level, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Standard error is looked up at every line: whoever embeds or tests a command may exchange it.
        logger_factory=lambda *_: logger or structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _to_journal() -> list[structlog.typing.Processor]:
    """Return what makes records: the journal has its own time stamps, and wants to know the place in the code."""
    parameter = structlog.processors.CallsiteParameter
    places = structlog.processors.CallsiteParameterAdder([parameter.PATHNAME, parameter.LINENO, parameter.FUNC_NAME])
    return [places, structlog.processors.format_exc_info, journal.renderer]


def _journal(*, needed: bool) -> journal.Journal | None:
    try:
        return journal.Journal()
    except OSError as error:
        if needed:
            raise MissingError(
                f"systemd's journal cannot be reached: {error.strerror}",
                where=journal.SOCKET,
                remedy="use --log-format text or json",
            ) from error
        return None


def only_warnings() -> None:
    """Leave out what is routine, for commands whose output is for reading."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
