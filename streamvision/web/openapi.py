"""The interface described by itself: OpenAPI 3.1, written by hand and held to the truth by the tests."""

from __future__ import annotations

from functools import cache
from typing import Any

from streamvision import __version__
from streamvision.metrics import ENGINE_STATES
from streamvision.types import Phase, StreamState

_Schema = dict[str, Any]


def _object(optional: tuple[str, ...] = (), **properties: _Schema) -> _Schema:
    """Return an object's schema in which everything that is not optional is required."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _map(values: _Schema) -> _Schema:
    return {"type": "object", "additionalProperties": values}


_TEXT: _Schema = {"type": "string"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_SECONDS: _Schema = {"type": "number", "minimum": 0, "description": "seconds"}
_RATE: _Schema = {"type": "number", "minimum": 0, "description": "pictures per second over the last seconds"}

_SCHEMAS: dict[str, _Schema] = {
    "Error": _object(error=_object(code=_TEXT, message=_TEXT)),
    "Health": _object(
        status={"enum": ["ok", "silent"]}, silent=_list(_TEXT), stage_ages_s=_map({"type": "number"})
    ),
    "Readiness": _object(
        status={"enum": ["ready", "not_ready"]},
        store=_TEXT,
        models=_map(_object(state={"enum": list(ENGINE_STATES)}, description=_TEXT, detail=_TEXT)),
    ),
    "Counts": _object(
        decoded=_COUNT, analysed=_COUNT, skipped=_COUNT, dropped=_COUNT, in_flight=_COUNT
    ) | {"description": "decoded = analysed + skipped + dropped + in_flight"},
    "Stream": _object(
        id=_TEXT,
        url={"type": "string", "description": "without credentials"},
        state={"enum": [str(state) for state in StreamState]},
        cause={"type": "string", "description": "why the state is not live; empty when it is"},
        since_s=_SECONDS,
        size_wh={"type": ["array", "null"], "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        decoded_fps=_RATE,
        analysed_fps=_RATE,
        frame_age_s={"type": ["number", "null"], "description": "age of the newest analysed picture, in seconds"},
        counts=_ref("Counts"),
        model=_TEXT,
        isolation={"enum": ["thread", "process"], "description": "where it is read and decoded"},
        tracks=_map(_COUNT),
        zones=_list(_TEXT),
        lines=_list(_TEXT),
    ),
    "Reload": _object(
        result={"enum": ["applied", "unchanged", "refused", "failed", "broken", "stopping"]},
        changed=_map({}),
        kept=_map(_list(_TEXT)),
        needs_restart=_list(_TEXT),
        problems=_list(_object(file=_TEXT, line=_COUNT, column=_COUNT, message=_TEXT, remedy=_TEXT)),
        error=_TEXT,
        seconds=_SECONDS,
    ) | {"description": "`changed` by section and name; `kept` goes on undisturbed; `needs_restart` waits"},
    "Event": _object(
        specversion={"const": "1.0"},
        id=_TEXT,
        source=_TEXT,
        type=_TEXT,
        time={"type": "string", "format": "date-time"},
        subject=_TEXT,
        datacontenttype=_TEXT,
        data=_object(
            ("rule",), stream=_TEXT, rule=_TEXT, phase={"enum": [str(phase) for phase in Phase]}
        ),
    ) | {"description": "a CloudEvents 1.0 event"},
}  # fmt: skip


def _parameter(name: str, where: str, schema: _Schema, text: str) -> _Schema:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": text}


_EVENT = _parameter("event", "path", _TEXT, "the event's id")
_STREAM = _parameter("stream", "path", _TEXT, "the stream's id")
_FILTERS = [
    _parameter("stream", "query", _TEXT, "only this stream's events"),
    _parameter("type", "query", _TEXT, "only types that begin with this, for example zone or streamvision.zone.start"),
]
_AFTER = _parameter("after", "query", _COUNT, "a position: events after it, oldest first")
_TOKEN: _Schema = {}
"""Among the parameters of what elements of a page ask for, which cannot send the Authorization header."""


def _picture(width: int) -> list[_Schema]:
    size = {"type": "integer", "minimum": 160, "maximum": 3840, "default": width}
    return [
        _parameter("width", "query", size, "at most this wide; rounded up to a multiple of 160"),
        _parameter("annotated", "query", {"enum": [0, 1], "default": 1}, "with boxes, names, zones and lines"),
        _TOKEN,
    ]


def _answer(text: str, kind: str, schema: _Schema) -> _Schema:
    return {"description": text, "content": {kind: {"schema": schema}}}


def _json(text: str, schema: _Schema) -> _Schema:
    return _answer(text, "application/json", schema)


def _error(text: str) -> _Schema:
    return _json(text, _ref("Error"))


_SECURITY: _Schema = {
    "bearer": {
        "type": "http", "scheme": "bearer",
        "description": "the token `read` may look, `admin` may also change; none is asked for where none is configured",
    },
    "token": {"type": "apiKey", "in": "query", "name": "token", "description": "for <img> and EventSource"},
}  # fmt: skip
_OVERSIZED = {
    "413": _error("the body is too large"),
    "414": _error("the URL is too long"),
    "429": _error("too many requests, or too many wrong tokens; the header Retry-After says when to come again"),
    "431": _error("the headers are too many, or too large"),
}


def _get(
    name: str,
    summary: str,
    ok: _Schema,
    parameters: list[_Schema] | None = None,
    *,
    free: bool = False,
    **rest: _Schema,
) -> _Schema:
    """Return a path with its one operation; ``rest`` are further answers as ``on_503=...``."""
    answers = _OVERSIZED | {"200": ok} | {status.removeprefix("on_"): answer for status, answer in rest.items()}
    if not free:
        answers["401"] = _error("a token is configured and was not given, or is wrong")
        answers.setdefault("403", _error("without tokens: the host name is another one than this machine's"))
    given = [one for one in parameters or [] if one is not _TOKEN]
    operation = {"operationId": name, "summary": summary, "parameters": given, "responses": answers}
    if _TOKEN in (parameters or []):
        operation["security"] = [{"bearer": []}, {"token": []}]
    return {"get": operation | ({"security": []} if free else {})}


def _post(name: str, summary: str, ok: _Schema, **rest: _Schema) -> _Schema:
    """Return a path whose one operation changes something; its body is an empty JSON object, or nothing at all."""
    operation: _Schema = _get(name, summary, ok, None, free=False, **rest)["get"]
    body = {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"post": operation | {"requestBody": body}}


def _paths() -> dict[str, _Schema]:
    events = _json("CloudEvents; the header Streamvision-Position tells what to ask after next", _list(_ref("Event")))
    limit = _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "at most")
    wait = {"type": "number", "minimum": 0.1, "maximum": 10, "default": 5}
    health, readiness = _ref("Health"), _ref("Readiness")
    jpeg = {"type": "string", "contentMediaType": "image/jpeg"}
    bad, unknown, busy = _error("a parameter is wrong"), _error("no such stream"), _error("too many, or going down")
    resume = _parameter("Last-Event-ID", "header", _COUNT, "resume after this position; what is none is ignored")
    return {
        "/healthz": _get(
            "health", "Is every stage alive", _json("yes", health), free=True, on_503=_json("no", health)
        ),
        "/readyz": _get(
            "ready", "Are the engines warm", _json("yes", readiness), free=True, on_503=_json("no", readiness)
        ),
        "/metrics": _get("metrics", "Prometheus metrics", _answer("text format 0.0.4", "text/plain", _TEXT)),
        "/api/v1/openapi.json": _get("openapi", "This document", _json("OpenAPI 3.1", {"type": "object"}), free=True),
        "/api/v1/streams": _get("streams", "Every stream", _json("as configured", _list(_ref("Stream")))),
        "/api/v1/streams/{stream}": _get(
            "stream", "One stream", _json("its status", _ref("Stream")), [_STREAM], on_404=unknown
        ),
        "/api/v1/streams/{stream}/snapshot.jpg": _get(
            "snapshot", "The next analysed picture", _answer("a JPEG file", "image/jpeg", jpeg),
            [_STREAM, *_picture(3840), _parameter("wait", "query", wait, "seconds to wait for a picture")],
            on_400=bad, on_404=unknown, on_503=busy, on_504=_error("no picture was analysed in time"),
        ),
        "/api/v1/events": _get(
            "events", "The newest events, newest first", events, [limit, *_FILTERS, _AFTER], on_400=bad, on_503=busy
        ),
        "/api/v1/events/stream": _get(
            "eventStream", "Events as they happen", _answer("server-sent events", "text/event-stream", _TEXT),
            [*_FILTERS, _AFTER, resume, _TOKEN], on_400=bad, on_503=busy,
        ),
        "/api/v1/events/{event}/explanation.jpg": _get(
            "explanation", "What the network looked at, for events of rules with `explain: true`",
            _answer("the map over the picture, a JPEG file", "image/jpeg", jpeg), [_EVENT, _TOKEN],
            on_202=_json("it is being made", _object(status={"const": "pending"}, event=_TEXT)),
            on_404=_error("there is none, and why"), on_503=busy,
        ),
        "/api/v1/reload": _post(
            "reload", "Read the configuration again and apply what differs",
            _json("applied, or nothing differs", _ref("Reload")),
            on_404=_error("nothing was read from a file"),
            on_409=_json("it failed; what ran before runs again", _ref("Reload")),
            on_422=_json("the file has problems; nothing was changed", _ref("Reload")),
            on_403=_error("the token may only look, or a page of another site asks"),
            on_415=_error("the content type is not application/json"),
            on_500=_json("it failed, and so did going back; a restart is needed", _ref("Reload")),
            on_503=_json("the daemon is going down", _ref("Reload")),
        ),
        "/live/{stream}": _get(
            "live", "Annotated pictures without end", _answer("MJPEG", "multipart/x-mixed-replace", jpeg),
            [_STREAM, *_picture(1280)], on_400=bad, on_404=unknown, on_503=busy,
        ),
    }  # fmt: skip


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamvision",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": _SECURITY,
        },
    }
