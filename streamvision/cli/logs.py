"""How the log looks: one event per line on standard error for people or machines, or records in systemd's journal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import structlog
import typer

from streamvision import journal
from streamvision.errors import MissingError
from streamvision.redact import redact_url, redact_values


class LogFormat(StrEnum):
    """Readable lines, JSON objects, or records with fields and priorities in the journal."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


_secrets: set[str] = set()
"""What the configurations of this process call secret; it only grows."""

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
        logger = journal.JournalLogger(_journal(needed=log_format is LogFormat.JOURNAL))
        _configure([journal.renderer], logger, [_places()])
        return
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if log_format is LogFormat.JSON:
        _configure([stamp, structlog.processors.JSONRenderer()])
    else:
        _configure([stamp, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())])


def hide(secrets: Iterable[str]) -> None:
    """Let no log line of this process show these values any more."""
    _secrets.update(secrets)


def _redacted(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Take credentials out of whatever a line would show: of URLs, and those that the configuration names."""
    return {key: _shown(value) for key, value in event.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return redact_values(redact_url(value), _secrets)
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else value


def _configure(
    tail: list[structlog.typing.Processor], logger: Any = None, places: Sequence[structlog.typing.Processor] = ()
) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *places,
            structlog.processors.format_exc_info,
            _redacted,
            *tail,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Standard error is looked up at every line: whoever embeds or tests a command may exchange it.
        logger_factory=lambda *_: logger or structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _places() -> structlog.typing.Processor:
    """Return what adds the place in the code, which the journal wants to know; it has its own time stamps."""
    parameter = structlog.processors.CallsiteParameter
    return structlog.processors.CallsiteParameterAdder([parameter.PATHNAME, parameter.LINENO, parameter.FUNC_NAME])


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
