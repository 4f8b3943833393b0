"""Who may look at what, and what every answer carries."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from streamvision.web import Tokens
from streamvision.web.security import HEADERS
from tests.web.fakes import FakeBoard, filming, serving, status

PRIVATE = (
    "/metrics",
    "/api/v1/streams",
    "/api/v1/events",
    "/live/gate",
    "/api/v1/streams/gate/snapshot.jpg",
    "/nothing",
)

TOKENS = Tokens(admin="alpha", read="beta")


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    board = FakeBoard(status("gate"))
    with serving(board, TOKENS) as base, filming(board, "gate"):
        yield base


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("header", [None, "Bearer gamma", "Bearer", "Basic beta", "beta"])
def test_without_the_right_token_there_is_nothing_to_see(locked: str, path: str, header: str | None) -> None:
    answer = httpx.get(locked + path, headers={"Authorization": header} if header else {}, timeout=20)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("token", ["alpha", "beta"])
def test_either_token_opens_the_reading_side(locked: str, token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{locked}/api/v1/streams", headers=bearer, timeout=20).status_code == 200
    assert httpx.get(f"{locked}/api/v1/streams/gate/snapshot.jpg?token={token}", timeout=20).status_code == 200
    assert httpx.get(f"{locked}/api/v1/streams?token={token}", timeout=20).status_code == 401, "images only"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/static/page.js", "/api/v1/openapi.json"])
def test_probes_and_the_empty_page_need_no_token(locked: str, path: str) -> None:
    assert httpx.get(locked + path, timeout=20).status_code == 200


def test_tokens_are_not_told_by_their_repr() -> None:
    assert "alpha" not in repr(TOKENS)
    assert "beta" not in repr(TOKENS)


@pytest.mark.parametrize("path", ["/", "/api/v1/streams", "/nothing", "/static/page.css"])
def test_every_answer_carries_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    for name, value in HEADERS.items():
        assert headers[name] == value
    assert "server" not in headers
