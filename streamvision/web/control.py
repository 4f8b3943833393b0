"""What changes the daemon: for people and programs that mean it, not for a page that somebody happens to look at.

Where tokens are configured the guard has asked for the admin token, which no foreign page knows. Without tokens the
server is bound to loopback, where any page in a browser on the same machine could send requests: so a request has to
be one that a browser does not send to another site without asking first (a JSON content type is not on the list of
https://fetch.spec.whatwg.org/#cors-safelisted-request-header), and the browser's own word on where it comes from
(Sec-Fetch-Site, Origin) and on whom it thinks it speaks to (Host, against DNS rebinding) has to fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from streamvision.web.board import ReloadReport
from streamvision.web.faults import ApiError
from streamvision.web.security import Tokens, is_loopback

AskReload = Callable[[str], "Future[ReloadReport]"]

_STATUS = {
    "applied": HTTPStatus.OK,
    "unchanged": HTTPStatus.OK,
    "refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "failed": HTTPStatus.CONFLICT,
    "broken": HTTPStatus.INTERNAL_SERVER_ERROR,
    "stopping": HTTPStatus.SERVICE_UNAVAILABLE,
}


class Control:
    """The endpoints that change something."""

    def __init__(self, reload: AskReload | None, tokens: Tokens) -> None:
        """The guard has asked for ``tokens`` already, if there are any."""
        self._reload = reload
        self._tokens = tokens

    async def reload(self, request: Request) -> Response:
        """Read the configuration again and apply what differs; the answer comes when that is done."""
        require_deliberate(request, open_to_all=not self._tokens.required)
        if self._reload is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "no_configuration", "there is no configuration file to read again")
        report = await asyncio.shield(asyncio.wrap_future(self._reload("api")))
        return JSONResponse(report.as_json(), _STATUS[report.result])


def require_deliberate(request: Request, *, open_to_all: bool) -> None:
    """Raise `ApiError` for a request that a page of another site may have made in somebody's browser."""
    headers = request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "json_only", "send the header Content-Type: application/json")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise _foreign("the request comes from another site")
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise _foreign("the request comes from another origin")
    if open_to_all and not is_loopback(host):
        raise _foreign("without tokens this machine is spoken to as localhost or 127.0.0.1")


def _foreign(message: str) -> ApiError:
    return ApiError(HTTPStatus.FORBIDDEN, "foreign", message)
