"""What tests ask of answers."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from streamvision.web.openapi import document


def check(path: str, answer: httpx.Response) -> Any:
    """Return an answer's JSON after holding it against what OpenAPI says of that path and status."""
    described = document()["paths"][path]["get"]["responses"][str(answer.status_code)]
    (kind, content), *_ = described["content"].items()
    assert answer.headers["content-type"].split(";")[0] == kind
    schema = content["schema"] | {"components": document()["components"]}
    Draft202012Validator(schema).validate(answer.json())
    return answer.json()


def error_code(path: str, answer: httpx.Response) -> str:
    return str(check(path, answer)["error"]["code"])


def bounded_wait(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(400):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail("it did not come to that in time")
