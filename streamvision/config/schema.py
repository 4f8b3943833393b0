"""The JSON Schema of a configuration file, for editors and for other programs.

Composed of the settings' own models and the options of every plug-in that is installed. What a schema cannot say
(references between parts, which keys belong to which source) only `load_settings` knows.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from streamvision import plugins
from streamvision.config.settings import (
    CollectSettings,
    ExplainSettings,
    ModelSettings,
    OutboxSettings,
    ServerSettings,
    SinkEntry,
    StreamEntry,
    Strict,
)
from streamvision.config.settings import Name as NameType

JsonSchema = dict[str, Any]

_REF = "#/$defs/{model}"
_WHERE: JsonSchema = {
    "type": "object",
    "description": "only tracks whose attributes have one of these values, for example {colour: red}",
    "additionalProperties": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    },
}
_EXPLAIN: JsonSchema = {
    "type": "boolean",
    "default": False,
    "description": "keep the picture of each event that starts, and explain what the network saw in it",
}
_OF_RULES: JsonSchema = {"where": _WHERE, "explain": _EXPLAIN}
_KINDS: tuple[plugins.Kind, ...] = ("source", "tracker", "rule", "sink")


class _Named(Strict):
    name: NameType


def json_schema() -> JsonSchema:
    """Return the schema (JSON Schema 2020-12). Raises `PluginError` if an installed plug-in is broken."""
    options = {(kind, name): plugins.load(kind, name).Options for kind in _KINDS for name in plugins.names(kind)}
    sections: list[type[BaseModel]] = [ServerSettings, ModelSettings, StreamEntry, _Named]
    sections += [ExplainSettings, CollectSettings, OutboxSettings, SinkEntry]
    models = list(dict.fromkeys([*sections, *options.values()]))
    references, shared = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    definitions: JsonSchema = shared["$defs"]
    inlined = {model: references[model, "validation"]["$ref"].rpartition("/")[2] for model in models}
    bodies = {model: definitions.pop(name) for model, name in inlined.items()}
    by_kind = {kind: {name: bodies[model] for (of, name), model in options.items() if of == kind} for kind in _KINDS}
    name = bodies[_Named]["properties"]["name"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamvision configuration",
        "type": "object",
        "additionalProperties": False,
        "required": ["streams"],
        "properties": {
            "state_dir": {"type": "string", "description": "outbox, event store, clips, compiled engines"},
            "server": bodies[ServerSettings],
            "models": {"type": "object", "additionalProperties": bodies[ModelSettings]},
            "streams": {"type": "array", "minItems": 1, "items": _stream(bodies[StreamEntry], by_kind, name)},
            "sinks": {"type": "array", "items": _one_of(by_kind["sink"], {"name": name}, _of_sinks(bodies))},
            "outbox": bodies[OutboxSettings],
            "explain": bodies[ExplainSettings],
            "collect": {"anyOf": [bodies[CollectSettings], {"type": "null"}]},
        },
        "$defs": definitions,
    }


def _of_sinks(bodies: dict[type[BaseModel], JsonSchema]) -> JsonSchema:
    properties = bodies[SinkEntry]["properties"]
    return {key: properties[key] for key in ("streams", "types")}


def _stream(entry: JsonSchema, by_kind: dict[plugins.Kind, JsonSchema], name: JsonSchema) -> JsonSchema:
    """Return a stream's schema: the common keys, and those of every source."""
    properties: JsonSchema = {}
    for kind, source in sorted(by_kind["source"].items()):
        for key, body in source.get("properties", {}).items():
            said = f"({kind}) {body.get('description', '')}".strip()
            if key not in properties:
                properties[key] = body | {"description": said}
            elif _essence(properties[key]) != _essence(body):
                properties[key] = {"anyOf": [properties[key], body | {"description": said}]}
    tracker = _one_of(by_kind["tracker"], {})
    return entry | {
        "properties": properties
        | entry["properties"]
        | {
            "tracker": {"anyOf": [{"enum": sorted(by_kind["tracker"])}, tracker]},
            "rules": {
                "type": "array",
                "items": _one_of(by_kind["rule"], {"name": name}, _OF_RULES),
            },
        }
    }


def _essence(body: JsonSchema) -> JsonSchema:
    return {key: value for key, value in body.items() if key not in ("description", "title")}


def _one_of(bodies: JsonSchema, head: JsonSchema, more: JsonSchema | None = None) -> JsonSchema:
    """Return the choice between plug-ins: ``type`` says which, its options stand beside it.

    Every one of them has the keys of ``head``, and may have those of ``more``.
    """
    choices = []
    for name, body in sorted(bodies.items()):
        properties = head | {"type": {"const": name}} | body.get("properties", {}) | (more or {})
        required = [*head, "type", *body.get("required", ())]
        choices.append(body | {"title": name, "properties": properties, "required": required})
    return {"oneOf": choices} if len(choices) != 1 else choices[0]
