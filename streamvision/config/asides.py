"""What a configuration says of what works beside the flow: explanations of events, pictures for training."""

from __future__ import annotations

from typing import Any

from streamvision.config.document import Document, Path
from streamvision.config.settings import CollectSettings, ExplainSettings, Strict
from streamvision.config.validate import nearest, validate


class _Explain(Strict):
    explain: bool


def explain_of(document: Document, rule: Any, path: Path) -> tuple[bool, Any]:
    """Return whether a rule's events are to be explained, and what is left of it for the rule itself.

    What is not the plug-in's own is left out: ``where`` and ``explain``.
    """
    if not isinstance(rule, dict):
        return False, rule
    rest = {key: value for key, value in rule.items() if key not in ("where", "explain")}
    if "explain" not in rule:
        return False, rest
    checked = validate(document, _Explain, {"explain": rule["explain"]}, path)
    return checked is not None and checked.explain, rest


def asides_of(document: Document, data: dict[str, Any]) -> tuple[ExplainSettings, CollectSettings | None]:
    """Return the sections ``explain`` and ``collect``; mistakes go to the document.

    ``collect:`` with nothing behind it collects by the defaults.
    """
    explain = validate(document, ExplainSettings, data.get("explain") or {}, ("explain",))
    if "collect" not in data:
        return explain or ExplainSettings(), None
    collect = validate(document, CollectSettings, data["collect"] or {}, ("collect",))
    streams = data.get("streams")
    known = [one.get("id") for one in streams if isinstance(one, dict)] if isinstance(streams, list) else []
    for index, name in enumerate(collect.streams if collect is not None else ()):
        if name not in known:
            remedy = nearest(name, map(str, known), noun="streams")
            document.problem(("collect", "streams", index), f"there is no stream {name!r}", remedy)
    return explain or ExplainSettings(), collect
