"""One HTML file that shows a study: nothing in it comes from elsewhere, so that it can be read without a network."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from streamvision.errors import MissingError
from streamvision.evaluate.report.environment import environment
from streamvision.evaluate.report.sections import sections, tiles
from streamvision.evaluate.study import Study


def check_installed() -> None:
    """Raise `MissingError` where a report cannot be written, before there is anything to report."""
    _template()


def render(study: Study, other: Study | None = None) -> str:
    """Return the report of a study as HTML, ``other`` beside it. Raises `MissingError` without jinja2."""
    dataset = study.evaluator.dataset
    return str(
        _template().render(
            study=study,
            other=other,
            data=dataset.origin,
            pictures=study.evaluation.pictures,
            when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            tiles=tiles(study, other),
            sections=list(sections(study, other)),
            environment=[("engine", study.engine), *environment()],
        )
    )


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingError(
            "a report needs jinja2, which is not installed", remedy="pip install 'streamvision[eval]'"
        ) from error
    page = files("streamvision.evaluate.report").joinpath("page.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        page
    )
