"""POST /api/v1/reload: who may, who may not, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import httpx
import pytest

from streamvision.web import ReloadProblem, ReloadReport, Tokens, WebServer, create_app
from tests.web.fakes import FakeBoard, status

JSON = {"content-type": "application/json"}


class Asked:
    """Answers with a report that a test chooses."""

    def __init__(self) -> None:
        self.count = 0
        self.report = ReloadReport("applied", changed={"streams": {"added": ["a"]}})

    def __call__(self, by: str) -> Future[ReloadReport]:
        self.count += 1
        answer: Future[ReloadReport] = Future()
        answer.set_result(self.report)
        return answer


def serving(asked: Asked | None, tokens: Tokens | None = None) -> Iterator[httpx.Client]:
    server = WebServer(create_app(FakeBoard(status("gate")), tokens, asked), "127.0.0.1", 0)
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            yield client
    finally:
        assert server.stop(10)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def client(asked: Asked) -> Iterator[httpx.Client]:
    yield from serving(asked)


@pytest.fixture
def guarded(asked: Asked) -> Iterator[httpx.Client]:
    yield from serving(asked, Tokens("admin-secret", "read-secret"))


@pytest.mark.parametrize(
    ("result", "code"),
    [("applied", 200), ("unchanged", 200), ("refused", 422), ("failed", 409), ("broken", 500), ("stopping", 503)],
)
def test_the_answer_is_the_report(result: str, code: int, client: httpx.Client, asked: Asked):
    asked.report = ReloadReport(result, problems=[ReloadProblem("c.yaml", 3, 7, "no such key", "write this")])
    answer = client.post("/api/v1/reload", headers=JSON)
    assert answer.status_code == code
    assert answer.json() == asked.report.as_json()
    assert answer.json()["problems"][0]["column"] == 7


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        (JSON | {"sec-fetch-site": "cross-site"}, 403),
        (JSON | {"sec-fetch-site": "same-site"}, 403),
        (JSON | {"origin": "https://evil.example"}, 403),
        (JSON | {"origin": "null"}, 403),
        (JSON | {"host": "evil.example:8080", "origin": "http://evil.example:8080"}, 403),
        (JSON | {"host": "evil.example"}, 403),
        (JSON | {"sec-fetch-site": "none"}, 200),
        (JSON | {"sec-fetch-site": "same-origin"}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
    ids=str,
)
def test_no_page_of_another_site_can_ask(headers: dict[str, str], code: int, client: httpx.Client, asked: Asked):
    assert client.post("/api/v1/reload", headers=headers).status_code == code
    assert asked.count == (code == 200)


def test_a_browser_that_asks_first_is_told_no(client: httpx.Client):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = client.request("OPTIONS", "/api/v1/reload", headers=headers)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_only_the_admin_token_opens_it(guarded: httpx.Client, asked: Asked):
    def post(token: str | None, url: str = "/api/v1/reload") -> int:
        headers = JSON if token is None else JSON | {"authorization": f"Bearer {token}"}
        return guarded.post(url, headers=headers).status_code

    assert post(None) == 401
    assert post("read-secret") in (401, 403)
    assert post("wrong") == 401
    assert post(None, "/api/v1/reload?token=admin-secret") == 401
    assert asked.count == 0
    assert post("admin-secret") == 200


def test_other_tokens_count_at_once(asked: Asked):
    tokens = Tokens("first", "read")
    for client in serving(asked, tokens):
        headers = [JSON | {"authorization": f"Bearer {token}"} for token in ("first", "second")]
        assert [client.post("/api/v1/reload", headers=each).status_code for each in headers] == [200, 401]
        tokens.renew(Tokens("second", "read"))
        assert [client.post("/api/v1/reload", headers=each).status_code for each in headers] == [401, 200]


def test_reading_it_is_no_way_to_ask(client: httpx.Client, asked: Asked):
    assert client.get("/api/v1/reload").status_code == 405
    assert asked.count == 0


def test_without_a_configuration_there_is_nothing_to_read():
    for client in serving(None):
        assert client.post("/api/v1/reload", headers=JSON).status_code == 404
