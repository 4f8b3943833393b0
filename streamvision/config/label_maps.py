"""Rules that read label maps name maps and classes of the stream's model: told here if it has none of that name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from streamvision.config.document import Document, Path
from streamvision.config.validate import nearest
from streamvision.errors import PluginError

Maps = Mapping[str, Collection[str]]
"""The classes of each label map that a model makes."""


def map_readers(stream: dict[str, Any], load_rule: Callable[[str], Any]) -> frozenset[str]:
    """Return which of a stream's types of rules read label maps: their ``classes`` are not those of detections."""
    kinds = {str(rule.get("type")) for _, rule in _rules(stream)}
    found = set()
    for kind in kinds:
        with contextlib.suppress(PluginError):  # an unknown type has been told already
            if getattr(load_rule(kind), "reads_label_maps", False):
                found.add(kind)
    return frozenset(found)


def lint_label_maps(
    document: Document, stream: dict[str, Any], path: Path, maps: Maps | None, readers: Collection[str]
) -> None:
    """Note maps and classes that rules of the types ``readers`` name, but the model does not have (None: unknown)."""
    for index, rule in _rules(stream):
        place = (*path, "rules", index)
        if maps is None or str(rule.get("type")) not in readers:
            continue
        if not maps:
            remedy = "choose a model for semantic segmentation"
            document.problem((*place, "type"), "the stream's model makes no label maps", remedy)
            continue
        _lint_rule(document, rule, place, maps)


def _lint_rule(document: Document, rule: dict[str, Any], place: Path, maps: Maps) -> None:
    name, given = rule.get("map") or "", rule.get("classes")
    classes = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    if name and name not in maps:
        document.problem((*place, "map"), f"the model makes no label map {name!r}", nearest(str(name), maps))
        return
    known = set(maps[name]) if name else set().union(*maps.values())
    strange = [each for each in classes if each not in known]
    for each in strange:
        where = f"the label map {name!r} has" if name else "the model's label maps have"
        at = (*place, "classes", classes.index(each))
        document.problem(at, f"{where} no class {each!r}", nearest(each, known, noun="known"))
    if not name and not strange and not any(set(classes) <= set(own) for own in maps.values()):
        remedy = "write a rule for each map"
        document.problem((*place, "classes"), "these classes are of different label maps", remedy)


def _rules(stream: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    rules = stream.get("rules")
    return (
        [(index, rule) for index, rule in enumerate(rules) if isinstance(rule, dict)] if isinstance(rules, list) else []
    )
