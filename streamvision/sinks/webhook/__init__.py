"""Events to an HTTP receiver, as CloudEvents, signed; see `answers` for what an answer means."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import structlog

from streamvision import __version__
from streamvision.errors import SinkError
from streamvision.files import Stamp, stamp
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.confirmed import Confirmed
from streamvision.sinks.encryption import usable_context
from streamvision.sinks.webhook.answers import refusal
from streamvision.sinks.webhook.bodies import Post, posts
from streamvision.sinks.webhook.options import WebhookOptions
from streamvision.sinks.webhook.signature import signed

if TYPE_CHECKING:
    from streamvision.sinks.webhook.post import Poster

log = structlog.get_logger()


class WebhookSink:
    """Posts events one request after the other, so that their order stays; an `interfaces.Sink`.

    What a receiver has confirmed is not sent again when the rest of a batch has to be.
    """

    Options: ClassVar[type[WebhookOptions]] = WebhookOptions
    requires: ClassVar[tuple[str, ...]] = ("httpx",)

    def __init__(
        self, options: WebhookOptions, context: SinkContext, *, utc_s: Callable[[], float] = time.time
    ) -> None:
        """Connect to nothing yet; ``utc_s`` tells the time for signatures."""
        # httpx tells every URL, with its query, to whoever listens at level INFO.
        for library in ("httpx", "httpcore"):
            logging.getLogger(library).setLevel(logging.WARNING)
        self._options = options
        self._context = context
        self._utc_s = utc_s
        self._confirmed = Confirmed()
        self._poster: Poster | None = None
        self._stamps: tuple[Stamp | None, ...] = ()

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Post what the receiver has not confirmed yet.

        Raises `SinkError`; ``permanent`` if the receiver, or ``max_bytes``, refuses an event for good.
        """
        poster = self._current()
        options = self._options
        missing = self._confirmed.missing(events)
        for post in posts(options.mode, missing, max_batch=options.max_batch, max_bytes=options.max_bytes):
            self._send(poster, post)
            for event in post.events:
                self._confirmed.add(event.id)
            self._context.beat()

    def close(self) -> None:
        """Give the connection up; idempotent."""
        poster, self._poster = self._poster, None
        if poster is not None:
            poster.close()

    def _send(self, poster: Poster, post: Post) -> None:
        options = self._options
        headers = {**post.headers, options.idempotency_header: post.key}
        headers |= signed(options.keys, post.key, post.body, int(self._utc_s()))
        answer = poster.post(post.body, headers)
        now = datetime.fromtimestamp(self._utc_s(), UTC)
        error = refusal(
            answer.status, answer.retry_after, answer.body, where=options.place, hidden=options.hidden, now=now
        )
        if error is not None:
            raise error

    def _current(self) -> Poster:
        """Return the client; a new one after a file of its TLS has changed."""
        stamps = self._stamps_now()
        if self._poster is None or stamps != self._stamps:
            self._stamps = stamps  # also before a failure, which is told once for each change
            fresh = self._fresh(self._poster)
            if self._poster is not None and fresh is not self._poster:
                self._poster.close()
            self._poster = fresh
        return self._poster

    def _fresh(self, old: Poster | None) -> Poster:
        """Build a client. Files that cannot be used (yet) leave the old one in place; without one, `SinkError`."""
        from streamvision.sinks.webhook.post import Poster

        place = self._options.place
        try:
            tls = usable_context(self._options.tls, self._context.state_dir, place)
        except SinkError as error:
            if old is None:
                raise
            log.warning("the old certificates stay in use", sink=self._context.name, cause=str(error))
            return old
        if not self._options.tls.verify:
            log.warning("the receiver's certificate is not checked", sink=self._context.name, receiver=place)
        return Poster(self._options, tls, f"streamvision/{__version__}")

    def _stamps_now(self) -> tuple[Stamp | None, ...]:
        paths = self._options.tls.paths(self._context.state_dir)
        return tuple(None if path is None else stamp(path) for path in (paths.ca, paths.certificate, paths.key))
