"""What only shows when the parts of a stream are seen together: shapes that cannot work, names that nothing has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from streamvision.config.document import Document, Path
from streamvision.config.validate import nearest
from streamvision.geometry import line_problem, polygon_problem

Points = list[tuple[float, float]]

MAX_STREAMS = 1024
"""Of one configuration; a thread and a connection are kept for each."""


_SHAPES: tuple[tuple[str, int, Callable[[Points], str | None]], ...] = (
    ("zones", 3, polygon_problem),
    ("privacy_masks", 3, polygon_problem),
    ("lines", 2, line_problem),
)
_REFERENCES = (("zone", "zones"), ("line", "lines"))


def bounded(document: Document, streams: list[Any]) -> list[Any]:
    """Return the streams, not more than can be served; note where there are."""
    if len(streams) > MAX_STREAMS:
        remedy = "run several processes, each with a configuration of its own"
        document.problem(("streams",), f"there are more than {MAX_STREAMS} streams", remedy)
    return streams[:MAX_STREAMS]


def lint_stream(
    document: Document,
    stream: dict[str, Any],
    path: Path,
    labels: Collection[str] | None,
    map_readers: Collection[str] = (),
) -> None:
    """Note shapes that can never work, and zones, lines and classes that rules name but nothing defines.

    The classes of rules of the types ``map_readers`` are none of ``labels``: see `label_maps`.
    """
    for section, least, problem_of in _SHAPES:
        for name, shape in _entries(stream.get(section)):
            points = _points(shape)
            if points is None or len(points) < least:
                continue
            if problem := problem_of(points):
                what, _, remedy = problem.partition("; ")
                document.problem((*path, section, name), f"{section.removesuffix('s')} {name!r}: {what}", remedy)
    rules = stream.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            own = None if str(rule.get("type")) in map_readers else labels
            _lint_rule(document, stream, rule, (*path, "rules", index), own)


def _lint_rule(
    document: Document, stream: dict[str, Any], rule: dict[str, Any], path: Path, labels: Collection[str] | None
) -> None:
    for word, section in _REFERENCES:
        defined = [name for name, _ in _entries(stream.get(section))]
        for place, name in _texts(rule, word, path):
            if name not in defined:
                remedy = nearest(name, defined, noun=f"{section} of this stream")
                document.problem(place, f"there is no {word} {name!r}", remedy)
    _lint_classes(document, rule, path, labels)


def lint_seconds(
    document: Document,
    stream: dict[str, Any],
    path: Path,
    model: str,
    labels: Mapping[str, Collection[str] | None],
) -> None:
    """Note second networks that there are not, and attributes and values that rules name but nothing gives."""
    given = stream.get("models")
    attributes: dict[str, Collection[str] | None] = {}
    for index, second in enumerate(given if isinstance(given, list) else ()):
        if not (isinstance(second, dict) and isinstance(second.get("model"), str)):
            continue
        place = (*path, "models", index)
        name = second["model"]
        if name not in labels:
            document.problem((*place, "model"), f"there is no model {name!r}", nearest(name, labels, noun="models"))
            return
        attribute = str(second.get("name") or name)
        if attribute in attributes:
            document.problem(place, f"attribute {attribute!r} is given twice", "set name: to tell the two apart")
        attributes[attribute] = labels.get(name)
        _lint_classes(document, second, place, labels.get(model))
    rules = stream.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        where = rule.get("where") if isinstance(rule, dict) else None
        if isinstance(where, dict):
            _lint_where(document, where, (*path, "rules", index, "where"), attributes)


def _lint_where(
    document: Document, where: dict[str, Any], path: Path, attributes: Mapping[str, Collection[str] | None]
) -> None:
    for name, given in where.items():
        if name not in attributes:
            what = f"nothing gives the attribute {name!r} on this stream"
            document.problem((*path, name), what, nearest(name, attributes, noun="attributes"), at_key=True)
            continue
        known = attributes[name]
        values = given if isinstance(given, list) else [given]
        for value in values if known else ():
            # A detector that finds nothing says `none`.
            if isinstance(value, str) and value not in {*(known or ()), "none"}:
                document.problem((*path, name), f"{name} is never {value!r}", nearest(value, known or ()))


def _lint_classes(document: Document, part: dict[str, Any], path: Path, labels: Collection[str] | None) -> None:
    if labels is None:
        return
    for place, name in _texts(part, "classes", path):
        if name not in labels:
            document.problem(place, f"the model knows no class {name!r}", nearest(name, labels, noun="it knows"))


def _texts(rule: dict[str, Any], word: str, path: Path) -> list[tuple[Path, str]]:
    """Return the places and texts of ``word`` and its plural, each a text or a list of texts."""
    found: list[tuple[Path, str]] = []
    for key in {word, f"{word.removesuffix('s')}s"}:
        value = rule.get(key)
        if isinstance(value, str):
            found.append(((*path, key), value))
        elif isinstance(value, list):
            found.extend(((*path, key, i), item) for i, item in enumerate(value) if isinstance(item, str))
    return found


def _entries(section: Any) -> list[tuple[str, Any]]:
    return list(section.items()) if isinstance(section, dict) else []


def _points(shape: Any) -> Points | None:
    """Return a shape's points if it is well-formed; what is not has been told already."""
    if not isinstance(shape, list):
        return None
    points: Points = []
    for point in shape:
        if not (isinstance(point, list) and len(point) == 2):
            return None
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in point):
            return None
        points.append((float(point[0]), float(point[1])))
    return points


def unique(document: Document, given: Any, path: Path, key: str, what: str) -> None:
    """Demand that no two entries of a list have the same ``key``."""
    first: dict[str, int] = {}
    for index, entry in enumerate(given if isinstance(given, list) else ()):
        name = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            line, _ = document.place((*path, first[name], key))
            remedy = f"the first is in line {line}; choose another"
            document.problem((*path, index, key), f"{what} {name!r} is used twice", remedy)
        first.setdefault(name, index)
