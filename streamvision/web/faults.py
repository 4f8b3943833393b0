"""Errors as the API tells them: ``{"error": {"code", "message"}}`` with a fitting status."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from streamvision.errors import StreamvisionError

log = structlog.get_logger()


class ApiError(Exception):
    """A request that cannot be served. ``code`` is for programs and never changes, ``message`` is for people."""

    def __init__(
        self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def error_response(status: int, code: str, message: str) -> JSONResponse:
    """Return an error's body."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def refusal(error: ApiError) -> JSONResponse:
    """Return the answer to a request that cannot be served."""
    answer = error_response(error.status, error.code, error.message)
    answer.headers.update(error.headers)
    return answer


async def on_api_error(request: Request, error: Exception) -> Response:
    """Answer an `ApiError`."""
    assert isinstance(error, ApiError)
    return refusal(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).name.lower()
    answer = error_response(error.status_code, code, f"{request.url.path}: {error.detail}")
    answer.headers.update(error.headers or {})
    return answer


async def on_own_error(request: Request, error: Exception) -> Response:
    """Answer a failure of something that the daemon relies on, such as the event store."""
    return error_response(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error))


def bug_response(path: str, error: Exception) -> JSONResponse:
    """Return the answer, without details, to what should never happen; the log has them."""
    log.error("request failed", path=path, exc_info=error)
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the request failed; see the daemon's log")


HANDLERS = {
    ApiError: on_api_error,
    HTTPException: on_http_error,
    StreamvisionError: on_own_error,
}
