"""where: which attributes of a track a rule asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import field_validator

from streamvision.config.document import Document, Path
from streamvision.config.settings import Strict
from streamvision.config.validate import validate

Where = Mapping[str, tuple[str, ...]]
"""The values that count, by the attribute's name."""


class _Where(Strict):
    where: Where

    @field_validator("where")
    @classmethod
    def _says_something(cls, where: Where) -> Where:
        for name, values in where.items():
            if not values:
                raise ValueError(f"{name} has no value that counts; name at least one, or leave it out")
        return where


def where_of(document: Document, rule: Any, path: Path) -> Where:
    """Return what a rule asks for, nothing for one that asks for nothing; mistakes go to the document."""
    if not isinstance(rule, dict) or "where" not in rule:
        return {}
    given = rule["where"]
    if isinstance(given, dict):
        given = {name: [value] if isinstance(value, str) else value for name, value in given.items()}
    checked = validate(document, _Where, {"where": given}, path)
    return checked.where if checked is not None else {}
