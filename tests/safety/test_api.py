"""The HTTP interface under requests that schemathesis makes of its OpenAPI document, and under bytes that are none."""

from __future__ import annotations

import contextlib
import random
import socket
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from streamvision.web import ReloadReport, Tokens, WebServer, create_app, limits, security
from streamvision.web.openapi import document
from tests.safety.nonsense import SPLINTERS, mutated_bytes
from tests.scale import scaled
from tests.web.fakes import FakeBoard, status

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries below it, when they are first imported
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi import checks

ADMIN, READ = "an-admin-token-of-the-tests", "a-reading-token-of-the-tests"
ENDLESS = ("/live/{stream}", "/api/v1/events/stream")
OPERATIONS = [(path, method) for path, methods in document()["paths"].items() for method in methods]
MODES = {"right": GenerationMode.POSITIVE, "wrong": GenerationMode.NEGATIVE}


def modes_of(path: str, method: str) -> list[str]:
    """An operation that takes nothing can be asked in no wrong way."""
    operation = document()["paths"][path][method]
    return [*MODES] if operation["parameters"] or "requestBody" in operation else ["right"]


def answered(who: str) -> Future[ReloadReport]:
    done: Future[ReloadReport] = Future()
    done.set_result(ReloadReport("unchanged"))
    return done


@contextmanager
def serving(tokens: Tokens | None) -> Iterator[str]:
    """A real server whose clients may ask as fast as the tests want to."""
    with pytest.MonkeyPatch.context() as patch:
        free = limits.Allowance(burst=1e9, per_second=1e9)
        patch.setattr(security, "REQUESTS", free)
        patch.setattr(security, "WRONG_TOKENS", free)
        board = FakeBoard(status("gate"), status("yard"))
        for _ in range(20):
            board.events.add()
        server = WebServer(create_app(board, tokens, answered), "127.0.0.1", 0)
        server.start()
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.stop(10)


@pytest.fixture(scope="module")
def open_api() -> Iterator[str]:
    with serving(None) as base:
        yield base


@pytest.fixture(scope="module")
def guarded_api() -> Iterator[str]:
    with serving(Tokens(ADMIN, READ)) as base:
        yield base


def bounded(query: dict[str, Any] | None) -> dict[str, Any]:
    """Nobody films here: do not wait for pictures for as long as one may."""
    return {**(query or {}), **({"wait": "0.1"} if (query or {}).get("wait", 5) in (5, 10) else {})}


def ask(case: Any, base: str, headers: dict[str, str]) -> int:
    """Send a case, hold the answer against the document, and return its status."""
    if case.operation.path in ENDLESS:
        return ask_endless(case, base, headers)
    if case.operation.path.endswith("/snapshot.jpg"):
        case.query = bounded(case.query)
    answer = case.call(base_url=base, headers=headers, timeout=60)
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == ["nosniff"]
    case.validate_response(
        answer,
        checks=[checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance],
    )
    return int(answer.status_code)


def ask_endless(case: Any, base: str, headers: dict[str, str]) -> int:
    """Read the beginning of an answer that has no end."""
    request = case.as_transport_kwargs(base_url=base)
    given = {**(request.get("headers") or {}), **headers}
    sent = {name: str(value).strip().encode() for name, value in given.items()}  # as bytes: it need not be ASCII
    with (
        httpx.Client(timeout=60) as client,
        client.stream(case.method, request["url"], params=request.get("params") or {}, headers=sent) as answer,
    ):
        described = case.operation.definition.raw["responses"][str(answer.status_code)]
        assert answer.headers["content-type"].split(";")[0] in described["content"]
        return answer.status_code


def cases_of(path: str, method: str, mode: GenerationMode) -> Any:
    schema = schemathesis.openapi.from_dict(document())
    return schema[path][method].as_strategy(generation_mode=mode)


def explore(path: str, method: str, mode: str, base: str, headers: dict[str, str]) -> Counter[int]:
    """Ask one operation as often as the size of the test says; count the answers."""
    seen: Counter[int] = Counter()

    @settings(
        max_examples=scaled(10, 700), deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases_of(path, method, MODES[mode]))
    def one(case: Any) -> None:
        seen[ask(case, base, headers)] += 1

    one()
    return seen


@pytest.mark.parametrize(("path", "method", "mode"), [(*one, mode) for one in OPERATIONS for mode in modes_of(*one)])
def test_every_answer_is_a_described_one(path: str, method: str, mode: str, open_api: str):
    seen = explore(path, method, mode, open_api, {})
    assert seen
    assert 401 not in seen


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}], ids=str)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_without_its_token_nothing_is_told(path: str, method: str, headers: dict[str, str], guarded_api: str):
    free = document()["paths"][path][method].get("security") == []
    url = guarded_api + path.replace("{stream}", "gate").replace("{event}", "E0001")
    answer = httpx.request(method, url, headers=headers, timeout=60)
    assert answer.status_code == (200 if free else 401)
    assert free or set(answer.json()) == {"error"}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_with_a_token_every_answer_is_a_described_one(path: str, method: str, guarded_api: str):
    seen = explore(path, method, "right", guarded_api, {"Authorization": f"Bearer {READ}"})
    assert 401 not in seen
    assert method == "get" or set(seen) == {403}
    assert method == "get" or 403 not in explore(
        path, method, "right", guarded_api, {"Authorization": f"Bearer {ADMIN}"}
    )


def test_a_token_in_the_address_opens_what_elements_ask_for_and_no_more(guarded_api: str):
    for path, method in OPERATIONS:
        url = guarded_api + path.replace("{stream}", "gate").replace("{event}", "E0001") + f"?token={READ}&wait=0.1"
        schemes = document()["paths"][path][method].get("security", [{"bearer": []}])
        with httpx.Client(timeout=60) as client, client.stream(method, url) as answer:
            opened = answer.status_code not in (401, 403)
        assert opened == (schemes == [] or {"token": []} in schemes), path


REQUEST = b"GET /api/v1/events?limit=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAccept: */*\r\n\r\n"
POST = (
    b"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Connection: close\r\n\r\n{}"
)


def test_bytes_that_are_no_requests(open_api: str):
    """A connection is answered properly or closed; the server goes on, and says nothing of its inside."""
    port = urlsplit(open_api).port
    seen: Counter[int] = Counter()
    for number in range(scaled(100, 10_000)):
        rng = random.Random(number)
        data = mutated_bytes(rng.choice((REQUEST, POST)), rng)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
            with contextlib.suppress(OSError):  # refused in its midst
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
            seen[status_of(line)] += 1
    assert set(seen) <= {0, 200, 400, 403, 404, 405, 413, 414, 415, 431}, seen
    assert httpx.get(f"{open_api}/healthz").status_code == 200


def status_of(line: socket.socket) -> int:
    """Return the status of what was answered, 0 where the connection was closed without a word."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            answer += part
    assert b"Traceback" not in answer
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def test_splinters_in_every_parameter(open_api: str):
    for splinter in SPLINTERS:
        text = splinter.decode("latin-1")[:900]
        query = urlencode({"limit": text, "after": text, "stream": text, "type": text}, encoding="latin-1")
        assert httpx.get(f"{open_api}/api/v1/events?{query}", timeout=60).status_code in (200, 400, 414)
        path = urlencode({"x": text}, encoding="latin-1")[2:].replace("+", "%20")
        assert httpx.get(f"{open_api}/api/v1/streams/x{path}", timeout=60).status_code == 404
