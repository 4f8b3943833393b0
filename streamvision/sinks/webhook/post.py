"""One HTTP client: posts one request at a time, within a deadline that no receiver can stretch.

httpx's own timeouts are about silence. A receiver that sends a byte now and then, or a resolver that hangs, is bounded
only from outside: by an event loop that cancels.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from streamvision.errors import SinkError
from streamvision.redact import redact_url, redact_values
from streamvision.sinks.tls import secret, tls_error
from streamvision.sinks.webhook.answers import READ_BYTES
from streamvision.sinks.webhook.options import WebhookOptions, split_url

_KEEP_S = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A receiver's answer; ``body`` is its beginning."""

    status: int
    retry_after: str | None
    body: bytes


class Poster:
    """Posts to one URL over one connection that is kept; used by one thread at a time."""

    def __init__(self, options: WebhookOptions, tls: ssl.SSLContext, agent: str) -> None:
        """Connect to nothing yet; ``tls`` is used as it is."""
        self._options = options
        self._url = httpx.URL(options.url.get_secret_value())
        self._runner = asyncio.Runner()
        silence = options.read_timeout
        self._client = httpx.AsyncClient(
            verify=tls,
            auth=_basic(options, self._url),
            headers={"User-Agent": agent, "Accept-Encoding": "identity"} | _headers(options),
            proxy=_proxy(options, self._url),
            trust_env=False,  # neither proxies, nor ~/.netrc, nor authorities that nobody asked for
            follow_redirects=False,
            timeout=httpx.Timeout(silence, connect=options.connect_timeout),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEEP_S),
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer. Raises `SinkError` where there is none (``connect``, ``timeout``, ``tls``, ``broken``)."""
        with self._told():
            return self._runner.run(asyncio.wait_for(self._post(body, headers), self._options.timeout))

    def close(self) -> None:
        """Give the connection up; idempotent."""
        if not self._client.is_closed:
            self._runner.run(self._client.aclose())
        self._runner.close()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            read = b""
            async for piece in response.aiter_raw():
                read += piece
                if len(read) >= READ_BYTES:
                    break
            return Answer(response.status_code, response.headers.get("retry-after"), read[:READ_BYTES])

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the library's errors into ours, without a URL or a secret in them."""
        try:
            yield
        except (TimeoutError, httpx.TimeoutException) as error:
            during = "connecting" if isinstance(error, httpx.ConnectTimeout) else "the answer"
            raise self._error(f"{during} took too long", "timeout") from None
        except (httpx.TransportError, httpx.StreamError, ssl.SSLError, OSError) as error:
            raise self._error(_what(error), _reason(error)) from None

    def _error(self, what: str, reason: str) -> SinkError:
        text = redact_url(redact_values(what, self._options.hidden))
        remedy = "give the authority that signed the receiver's certificate as tls.ca" if reason == "tls" else None
        return SinkError(text, where=self._options.place, remedy=remedy, reason=reason)


def _reason(error: Exception) -> str:
    if tls_error(error) is not None:
        return "tls"
    if isinstance(error, httpx.ProxyError):
        return "proxy"
    return "connect" if isinstance(error, httpx.ConnectError) else "broken"


def _what(error: Exception) -> str:
    refused = tls_error(error)
    if isinstance(refused, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {refused.verify_message}"
    if refused is not None:
        return f"TLS fails: {(refused.reason or 'closed').lower().replace('_', ' ')}"
    return str(error) or f"the connection broke ({type(error).__name__})"


def _headers(options: WebhookOptions) -> dict[str, str]:
    headers = {name: value.get_secret_value() for name, value in options.headers.items()}
    if options.bearer is not None:
        headers["Authorization"] = f"Bearer {options.bearer.get_secret_value()}"
    return headers


def _basic(options: WebhookOptions, url: httpx.URL) -> httpx.BasicAuth | None:
    if options.username is not None:
        return httpx.BasicAuth(options.username.get_secret_value(), secret(options.password) or "")
    return httpx.BasicAuth(url.username, url.password) if url.username else None


def _proxy(options: WebhookOptions, url: httpx.URL) -> httpx.Proxy | None:
    if options.proxy is not None:
        return httpx.Proxy(options.proxy.get_secret_value())
    if not options.proxy_from_env or urllib.request.proxy_bypass(url.host):
        return None
    given = urllib.request.getproxies().get(url.scheme)
    if given is None:
        return None
    given = given if "://" in given else f"http://{given}"
    try:
        split_url(given, ("http", "https"))
    except ValueError:
        what = f"the proxy of the environment cannot be used: {redact_url(given)}"
        raise SinkError(what, where=options.place, remedy="give an http:// one as proxy", reason="proxy") from None
    return httpx.Proxy(given)
