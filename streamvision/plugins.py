"""Plug-ins by kind and name: ``streamvision.<kind>`` entry points; only the one that is named is imported.

The built-in ones are registered in pyproject.toml like anybody else's.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Literal

from streamvision.errors import PluginError

Kind = Literal["source", "backend", "decoder", "tracker", "rule", "sink"]


@cache
def _registered(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"streamvision.{kind}")}


def names(kind: Kind) -> list[str]:
    """Return the names that are registered for a kind, sorted; imports nothing."""
    return sorted(_registered(kind))


def load(kind: Kind, name: str) -> Any:
    """Import and return the class registered under a name.

    Raises `PluginError` for an unknown name (with the nearest known one) and for one that cannot be imported.
    """
    point = _registered(kind).get(name)
    if point is None:
        near = difflib.get_close_matches(name, names(kind), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names(kind)) or 'none'}"
        raise PluginError(f"there is no {kind} called {name!r}", remedy=hint)
    try:
        return point.load()
    except ImportError as error:
        raise PluginError(
            f"the {kind} {name!r} cannot be imported: {error}",
            remedy=f"install what it needs, for example: pip install 'streamvision[{name}]'",
        ) from error


def demand(kind: Kind, name: str, plugin: Any) -> None:
    """Raise `PluginError` if a library that the class names in ``requires`` is not installed; imports nothing."""
    missing = [library for library in getattr(plugin, "requires", ()) if find_spec(library) is None]
    if missing:
        raise PluginError(
            f"the {kind} {name!r} needs {' and '.join(missing)}, which is not installed",
            remedy=f"pip install 'streamvision[{name}]'",
        )
