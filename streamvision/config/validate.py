"""Pydantic's verdict on a piece of a document, told in the file's own places and words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streamvision.config.document import Document, Path
from streamvision.redact import is_secret_name, redact_url, redact_values

M = TypeVar("M", bound=BaseModel)

_KINDS = {
    "string": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "tuple": "a list",
    "list": "a list", "dict": "keys with values", "mapping": "keys with values", "model": "keys with values",
    "set": "a list", "frozen_set": "a list", "model_attributes": "keys with values",
}  # fmt: skip


def nearest(word: str, known: Iterable[str], *, noun: str = "known") -> str:
    """Return what was probably meant, or else what there is to choose from."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    near = near or [choice for choice in choices if choice.lower() == word.lower()]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{noun}: {', '.join(choices)}" if choices else f"{noun}: none"


def validate(
    document: Document, model: type[M], data: Any, path: Path, *, also: Iterable[str] = (), what: str = ""
) -> M | None:
    """Return ``data`` as a ``model``, or None after noting every mistake at its place.

    ``also`` names keys that are right here but not part of this model; ``what`` is said after an unknown key
    (``for a file source``).
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True, include_input=True):
            _report(document, model, data, path, detail, (*also,), what)
    return None


def _report(
    document: Document,
    model: type[BaseModel],
    data: Any,
    path: Path,
    detail: ErrorDetails,
    also: tuple[str, ...],
    what: str,
) -> None:
    inner = _within(data, detail["loc"])
    place = (*path, *inner)
    if any(place[:length] in document.broken for length in range(len(place) + 1)):
        return
    document.broken.add(place)
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        known = {*_fields_at(model, detail["loc"][:-1]), *(also if len(detail["loc"]) == 1 else ())}
        document.problem(place, f"unknown key {key!r}{what}", nearest(key, known), at_key=True)
    elif detail["type"] == "missing":
        document.broken.discard(place)
        if isinstance(detail["loc"][-1], int):
            document.problem(place, f"{_subject(inner)}: too short, there is no item {int(key) + 1}")
        else:
            document.problem(place, f"{key!r} is missing", "it is required here")
    else:
        hidden = place in document.expanded or any(is_secret_name(str(part)) for part in place)
        message, remedy = _words(detail, hidden=hidden)
        at_key = str(key) == "[key]"
        subject = f"{_subject(inner)}: " if inner else ""
        document.problem(
            place, redact_values(f"{subject}{message}", document.secrets, everything=hidden), remedy, at_key=at_key
        )


def _within(data: Any, loc: tuple[str | int, ...]) -> Path:
    """Return the part of an error's location that exists in the data (unions and tags add parts of their own)."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, Mapping) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _subject(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model (or the one nested at ``loc``) knows."""
    for part in loc:
        if isinstance(part, int):  # an item of the list whose model was found by its key
            continue
        info = model.model_fields.get(str(part))
        inner = None if info is None else _model_in(info.annotation)
        if inner is None:
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field is, or is a list of."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _words(detail: ErrorDetails, *, hidden: bool) -> tuple[str, str]:
    """Return what is wrong, and what to do, for a pydantic error."""
    kind, given = detail["type"], detail["input"]
    shown = "" if hidden else _shown(given)
    base = kind.removesuffix("_type").removesuffix("_parsing")
    if kind == "literal_error":
        choices = [choice.strip(" '") for choice in str(detail["ctx"]["expected"]).replace(" or ", ", ").split(",")]
        return f"{shown or 'this'} is not one of the choices", nearest(str(given), choices, noun="choose from")
    if kind != base and base in _KINDS:
        remedy = f"write it in quotes: '{given}'" if base == "string" and shown and not isinstance(given, str) else ""
        return f"expected {_KINDS[base]}{', not ' + shown if shown else ''}", remedy
    if kind == "string_pattern_mismatch":
        return f"{shown or 'this'} is not a name", "use letters, digits and _ . -, at most 64 of them"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    what, _, remedy = (message[:1].lower() + message[1:]).partition("; ")
    given_too = f", not {shown}" if shown and kind != "value_error" and not isinstance(given, dict | list) else ""
    return f"{what}{given_too}", remedy


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "keys with values"
    text = redact_url(repr(value)) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
