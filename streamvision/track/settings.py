"""Options of a tracker from words like ``lost_s=1.5``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from streamvision.errors import UsageError

Options = TypeVar("Options", bound=BaseModel)


def parse_settings(model: type[Options], settings: Iterable[str]) -> Options:
    """Return the options that ``NAME=VALUE`` settings describe; raises `UsageError` with all that is wrong."""
    try:
        return model.model_validate(dict(_split(one) for one in settings))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UsageError(wrong, where="--set", remedy=f"known: {', '.join(model.model_fields)}") from error


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise UsageError(f"{setting!r} has no value", where="--set", remedy="write it as NAME=VALUE")
    return name.strip(), value.strip()
