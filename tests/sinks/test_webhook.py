"""The sink ``webhook`` against a real HTTPS receiver."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamvision.config import load_settings
from streamvision.errors import ConfigError, SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.webhook import WebhookSink
from streamvision.sinks.webhook.answers import LONGEST_WAIT_S, READ_BYTES, refusal, wait_of
from streamvision.sinks.webhook.bodies import posts
from streamvision.sinks.webhook.post import Poster
from streamvision.sinks.webhook.signature import key_of, signed, verified
from tests.harness import free_port
from tests.servers.authority import Authority
from tests.servers.receiver import HttpReceiver
from tests.sinks.samples import event, said_of

SECRET = "a-secret-of-some-length"
OTHER = f"whsec_{base64.b64encode(b'0123456789abcdef01234567').decode()}"
HIDDEN = ("tok3n-in-the-query", "s3cret-in-a-header", "b3arer-of-good-news", "pa55word-of-the-key", SECRET)


def stored(*numbers: int, **changes) -> list[StoredEvent]:
    return [
        StoredEvent(number, one.id, one.stream, type_of(one), datetime.now(UTC), to_json(one, "h"))
        for number in numbers
        for one in [event(number, **changes)]
    ]


def build(folder: Path, url: str, **options) -> WebhookSink:
    return WebhookSink(WebhookSink.Options(url=url, **options), SinkContext("hook", folder))


@pytest.fixture
def receiver(tmp_path) -> Iterator[HttpReceiver]:
    started = HttpReceiver(tmp_path)
    started.start()
    yield started
    started.close()


def trusting(receiver: HttpReceiver, **options) -> WebhookSink:
    options.setdefault("tls", {"ca": str(receiver.authority.ca)})
    return build(receiver.folder, options.pop("url", receiver.url), **options)


def refused(sink: WebhookSink, *numbers: int) -> SinkError:
    with pytest.raises(SinkError) as caught:
        sink.deliver(stored(*(numbers or (1,))))
    return caught.value


def test_an_event_is_a_request_of_its_own_in_order_over_one_connection(receiver):
    sink = trusting(receiver)
    sink.deliver(stored(1, 2))
    sink.deliver(stored(3))
    sink.close()
    sink.close()
    requests = receiver.requests()
    assert [json.loads(one["body"])["id"] for one in requests] == [event(number).id for number in (1, 2, 3)]
    first = requests[0]
    assert first["body"].decode() == stored(1)[0].json
    assert (first["method"], first["path"]) == ("POST", "/hook")
    assert first["headers"]["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert first["headers"]["idempotency-key"] == first["headers"]["webhook-id"] == event(1).id
    assert "webhook-signature" not in first["headers"]
    assert len({one["port"] for one in requests}) == 1


def test_batches_are_bounded_by_count_and_bytes(receiver):
    size = len(stored(1)[0].json.encode())
    sink = trusting(receiver, mode="batched", max_batch=3)
    sink.deliver(stored(1, 2, 3, 4))
    sink.close()
    by_bytes = trusting(receiver, mode="batched", max_bytes=2 * size + 3)
    by_bytes.deliver(stored(5, 6, 7))
    by_bytes.close()
    requests = receiver.requests()
    assert [len(json.loads(one["body"])) for one in requests] == [3, 1, 2, 1]
    assert max(len(one["body"]) for one in requests[2:]) == 2 * size + 3
    assert {one["headers"]["content-type"] for one in requests} == {"application/cloudevents-batch+json; charset=utf-8"}
    assert len({one["headers"]["idempotency-key"] for one in requests}) == 4


def test_binary_mode_puts_the_attributes_into_headers(receiver):
    sink = trusting(receiver, mode="binary")
    sink.deliver(stored(1, rule='tür "5%"'))
    sink.close()
    [request] = receiver.requests()
    whole = json.loads(stored(1, rule='tür "5%"')[0].json)
    assert json.loads(request["body"]) == whole["data"]
    assert request["headers"]["content-type"] == "application/json"
    names = whole.keys() - {"data", "datacontenttype"}
    assert {name: unquote(request["headers"][f"ce-{name}"]) for name in names} == {name: whole[name] for name in names}
    assert request["headers"]["ce-subject"] == "gate/t%C3%BCr%20%225%25%22"


def test_what_the_receiver_took_is_not_sent_again(receiver):
    sink = trusting(receiver, max_bytes=1024)
    large = stored(2, data={"zone": "z" * 2000})
    with pytest.raises(SinkError) as caught:
        sink.deliver([*stored(1), *large, *stored(3)])
    assert (caught.value.permanent, caught.value.reason) == (True, "too_large")
    sink.deliver(stored(1))
    sink.deliver(stored(3))
    sink.close()
    assert [one["id"] for one in receiver.events()] == [event(1).id, event(3).id]


@given(st.lists(st.integers(0, 900), max_size=30), st.integers(1, 7), st.integers(1024, 4096))
def test_batches_hold_every_event_once_in_order(lengths, max_batch, max_bytes):
    events = [
        StoredEvent(n, str(n), "s", "t", datetime.now(UTC), json.dumps("x" * one)) for n, one in enumerate(lengths)
    ]
    made = list(posts("batched", events, max_batch=max_batch, max_bytes=max_bytes))
    assert [one.id for post in made for one in post.events] == [one.id for one in events]
    assert [text for post in made for text in json.loads(post.body)] == [json.loads(one.json) for one in events]
    assert all(len(post.events) <= max_batch and len(post.body) <= max_bytes for post in made)
    assert len({post.key for post in made}) == len(made)


def test_every_secret_signs_and_each_receiver_needs_only_its_own(receiver):
    sink = trusting(receiver, secrets=[SECRET, OTHER])
    sink.deliver(stored(1))
    sink.close()
    [request] = receiver.requests()
    headers, body, now = request["headers"], request["body"], time.time()
    assert abs(now - int(headers["webhook-timestamp"])) < 60
    for secret in (SECRET, OTHER):
        assert verified(key_of(secret), headers, body, now)
    assert not verified(key_of("another-secret-of-some-length"), headers, body, now)
    assert not verified(key_of(SECRET), headers, body + b" ", now)
    assert not verified(key_of(SECRET), headers, body, now + 301)
    assert not verified(key_of(SECRET), headers | {"webhook-id": "other"}, body, now)
    assert not verified(key_of(SECRET), {}, body, now)


def test_the_signature_is_that_of_standard_webhooks():
    # The example of the specification (standard-webhooks/standard-webhooks, its libraries' tests).
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "permanent", "reason"),
    [
        (400, True, "http_4xx"), (404, True, "http_4xx"), (409, True, "http_4xx"), (410, True, "http_4xx"),
        (413, True, "too_large"), (422, True, "http_4xx"), (401, False, "auth"), (403, False, "auth"),
        (407, False, "auth"), (408, False, "timeout"), (421, False, "http_4xx"), (423, False, "http_4xx"),
        (425, False, "http_4xx"), (429, False, "throttled"), (500, False, "http_5xx"), (503, False, "http_5xx"),
        (301, False, "redirect"), (307, False, "redirect"), (101, False, "http_1xx"), (799, False, "http_7xx"),
    ],
)  # fmt: skip
def test_an_answer_says_whether_to_wait(status, permanent, reason):
    error = refusal(status, None, b"", where="https://h", hidden=(), now=datetime.now(UTC))
    assert error is not None
    assert (error.permanent, error.reason) == (permanent, reason)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_confirmation(status):
    assert refusal(status, None, b"", where="", hidden=(), now=datetime.now(UTC)) is None


def test_retry_after_is_honoured_and_makes_a_4xx_temporary():
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert wait_of("7", now) == 7
    assert wait_of("Fri, 02 Jan 2026 03:05:05 GMT", now) == 60
    assert wait_of("Fri, 02 Jan 2026 03:00:00 GMT", now) == 0
    assert wait_of("9" * 40, now) == LONGEST_WAIT_S
    assert wait_of("Fri, 02 Jan 2099 03:05:05 GMT", now) == LONGEST_WAIT_S
    for nonsense in (None, "", "soon", "-1", "1.5", "²", "Fri, 99 Jan 2026 99:99:99 GMT"):
        assert wait_of(nonsense, now) is None
    error = refusal(409, "3", b"", where="", hidden=(), now=now)
    assert error is not None
    assert (error.permanent, error.retry_after_s) == (False, 3)


@given(st.text(max_size=60))
def test_any_retry_after_is_a_bounded_wait_or_none(text):
    wait_s = wait_of(text, datetime.now(UTC))
    assert wait_s is None or 0 <= wait_s <= LONGEST_WAIT_S


def test_a_refusal_and_its_retry_after_reach_the_delivery(receiver):
    sink = trusting(receiver)
    receiver.behave(status=429, headers={"Retry-After": "42"})
    error = refused(sink)
    assert (error.permanent, error.reason, error.retry_after_s) == (False, "throttled", 42)
    receiver.behave(status=422, body="no such zone")
    error = refused(sink)
    assert error.permanent
    assert "no such zone" in str(error)
    receiver.behave()
    sink.deliver(stored(1))
    sink.close()
    assert len(receiver.requests()) == 1


def test_a_secret_that_the_end_of_the_read_part_cuts_is_not_shown():
    secret = "s" + "0123456789" * 300
    body = (secret * 6).encode()[:READ_BYTES]
    error = refusal(422, None, body, where="", hidden=(secret,), now=datetime.now(UTC))
    assert "0123" not in str(error)


def test_redirects_are_not_followed(receiver):
    sink = trusting(receiver)
    receiver.behave(status=307, headers={"Location": f"{receiver.url}/elsewhere"})
    error = refused(sink)
    assert (error.permanent, error.reason) == (False, "redirect")
    receiver.behave()
    sink.close()
    assert receiver.requests() == []


def test_a_receiver_that_is_killed_frozen_and_mended_gets_everything(receiver):
    sink = trusting(receiver, read_timeout=0.5, timeout=1)
    sink.deliver(stored(1))
    receiver.kill()
    assert refused(sink, 2).reason in ("connect", "broken")
    receiver.start()
    sink.deliver(stored(2))
    receiver.freeze()
    assert refused(sink, 3).reason == "timeout"
    receiver.thaw()
    sink.deliver(stored(3))
    sink.close()
    ids = [one["id"] for one in receiver.events()]
    assert list(dict.fromkeys(ids)) == [event(number).id for number in (1, 2, 3)]


def test_an_answer_that_drips_is_cut_off(receiver):
    receiver.behave(status=200, body="x" * 1000, piece=1, pause_s=0.1)
    sink = trusting(receiver, timeout=1)
    begun_s = time.monotonic()
    assert refused(sink).reason == "timeout"
    assert time.monotonic() - begun_s < 50  # 100 s of dripping
    sink.close()


def test_an_endless_answer_is_not_read_to_its_end(receiver):
    receiver.behave(status=500, body="no " * 1000, times=20_000)
    sink = trusting(receiver)
    error = refused(sink)
    assert error.reason == "http_5xx"
    assert len(str(error)) < 400
    sink.close()


def test_an_unknown_authority_and_an_expired_certificate_are_not_believed(tmp_path, receiver):
    sink = build(tmp_path, receiver.url)
    error = refused(sink)
    assert (error.permanent, error.reason) == (False, "tls")
    assert "not believed" in str(error)
    assert "tls.ca" in str(error)
    sink.close()
    receiver.kill()
    receiver.authority.issue("server", expired=True)
    receiver.start()
    sink = trusting(receiver)
    assert "expired" in str(refused(sink))
    sink.close()


def test_a_certificate_for_another_name_is_not_believed(receiver):
    sink = trusting(receiver, url=receiver.url.replace("localhost", "127.0.0.2"))
    assert refused(sink).reason in ("tls", "connect")
    sink.close()


def test_a_client_certificate_is_shown_and_read_again_when_it_changes(tmp_path):
    receiver = HttpReceiver(tmp_path, clients=True)
    receiver.start()
    try:
        certificate, key = receiver.authority.issue("first", password="pa55word-of-the-key")
        tls = {"ca": str(receiver.authority.ca), "certificate": str(certificate), "key": str(key)}
        anonymous = trusting(receiver)
        assert refused(anonymous).reason in ("tls", "broken")
        anonymous.close()
        sink = trusting(receiver, tls=tls | {"key_password": "pa55word-of-the-key"})
        sink.deliver(stored(1))
        key.write_text("half writ")
        with structlog.testing.capture_logs() as logs:
            sink.deliver(stored(2))
            sink.deliver(stored(3))
        assert [one["event"] for one in logs] == ["the old certificates stay in use"]
        new_certificate, new_key = receiver.authority.issue("second", password="pa55word-of-the-key")
        certificate.write_bytes(new_certificate.read_bytes())
        key.write_bytes(new_key.read_bytes())
        sink.deliver(stored(4))
        sink.close()
        assert [one["certificate"] for one in receiver.requests()] == ["first", "first", "first", "second"]
    finally:
        receiver.close()


def test_files_that_are_missing_are_told_and_found_when_they_come(tmp_path, receiver):
    sink = build(tmp_path, receiver.url, tls={"ca": "late.pem"})
    error = refused(sink)
    assert error.reason == "tls"
    assert "late.pem" in str(error)
    (tmp_path / "late.pem").write_text("no certificate")
    assert refused(sink).reason == "tls"
    (tmp_path / "late.pem").write_bytes(receiver.authority.ca.read_bytes())
    sink.deliver(stored(1))
    sink.close()
    assert len(receiver.requests()) == 1


def test_unchecked_certificates_are_never_silent(tmp_path, receiver):
    sink = build(tmp_path, receiver.url, tls={"verify": False})
    with structlog.testing.capture_logs() as logs:
        sink.deliver(stored(1))
    sink.close()
    assert any(one["log_level"] == "warning" and "not checked" in one["event"] for one in logs)


def test_headers_and_credentials_are_sent(receiver):
    sink = trusting(receiver, headers={"X-Tenant": "s3cret-in-a-header"}, bearer="b3arer-of-good-news")
    sink.deliver(stored(1))
    sink.close()
    basic = trusting(receiver, username="u", password="p:w", idempotency_header="X-Event")
    basic.deliver(stored(2))
    basic.close()
    in_url = trusting(receiver, url=receiver.url.replace("//", "//u:p%40w@"))
    in_url.deliver(stored(3))
    in_url.close()
    first, second, third = (one["headers"] for one in receiver.requests())
    assert (first["x-tenant"], first["authorization"]) == ("s3cret-in-a-header", "Bearer b3arer-of-good-news")
    assert base64.b64decode(second["authorization"].removeprefix("Basic ")) == b"u:p:w"
    assert second["x-event"] == event(2).id
    assert base64.b64decode(third["authorization"].removeprefix("Basic ")) == b"u:p@w"


def test_a_proxy_of_the_environment_is_taken_only_when_asked_for(receiver, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    plain = trusting(receiver)
    plain.deliver(stored(1))
    plain.close()
    asked = trusting(receiver, proxy_from_env=True)
    assert refused(asked, 2).reason in ("connect", "proxy")
    asked.close()
    for unusable in ("socks9://u:pr0xy-password@127.0.0.1:1", "http://["):
        monkeypatch.setenv("https_proxy", unusable)
        strange = trusting(receiver, proxy_from_env=True)
        error = refused(strange, 2)
        assert (error.reason, "pr0xy-password" in str(error)) == ("proxy", False)
        strange.close()
    monkeypatch.setenv("no_proxy", "localhost")
    excepted = trusting(receiver, proxy_from_env=True)
    excepted.deliver(stored(2))
    excepted.close()
    assert len(receiver.requests()) == 2


def test_no_secret_is_ever_shown(receiver, caplog):
    echo = " ".join(HIDDEN)
    receiver.behave(status=422, body=f"you said {echo} and {base64.b64encode(b'u').decode()}")
    sink = trusting(
        receiver, url=f"{receiver.url}?token={HIDDEN[0]}", headers={"X-Key": HIDDEN[1]}, bearer=HIDDEN[2],
        secrets=[SECRET], tls={"ca": str(receiver.authority.ca), "certificate": "c.pem", "key_password": HIDDEN[3]},
    )  # fmt: skip
    certificate, key = receiver.authority.issue("c", password=HIDDEN[3])
    (receiver.folder / "c.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logs:
        said = [str(refused(sink)), repr(refused(sink).args)]
        receiver.kill()
        said.append(str(refused(sink)))
    said += [repr(sink._options), str(sink._options), str(logs)]
    said += [record.getMessage() for record in caplog.records if record.name.startswith("http")]
    assert "you said" in said[0]
    for secret in HIDDEN:
        assert not any(secret in text for text in said)
    sink.close()


CHECKED = [
    ("url: ftp://h/x", "expected a URL"),
    ("url: file:///etc/passwd", "expected a URL"),
    ("url: 'https://'", "expected a URL"),
    ("url: 'https://h:0/'", "expected a URL"),
    ("url: 'https://h/#x'", "what follows #"),
    ("url: http://example.org/x", "unencrypted: true"),
    ("{url: 'https://h', secrets: [short]}", "at least 16 bytes"),
    ("{url: 'https://h', secrets: ['whsec_###']}", "base64"),
    ("{url: 'https://h', headers: {Host: x}}", "leave it out"),
    ("{url: 'https://h', headers: {Webhook-Id: x}}", "leave it out"),
    ("{url: 'https://h', headers: {'a b': x}}", "not the name"),
    ('{url: "https://h", headers: {X-A: "a\\r\\nb"}}', "printable"),
    ("{url: 'https://h', username: u}", "username and password"),
    ("{url: 'https://h', username: u, password: p, bearer: b}", "more than one"),
    ("{url: 'https://u:p@h', bearer: b}", "more than one"),
    ("{url: 'https://h', mode: batch}", "batched"),
    ("{url: 'https://h', timeout: 2m}", "60"),
    ("{url: 'https://h', tls: {key: k.pem}}", "no certificate"),
    ("{url: 'https://h', proxy: 'http://p:1', proxy_from_env: true}", "exclude"),
    ("{url: 'https://h', colour: red}", "unknown key"),
]


@pytest.mark.parametrize(("given", "said"), CHECKED, ids=[given for given, _ in CHECKED])
def test_check_tells_a_mistake_at_its_place(tmp_path, given, said):
    assert said in said_of(tmp_path, "webhook", given)


def test_secrets_of_the_environment_are_not_in_what_check_says(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "streams: [{id: a, url: 'demo:street'}]\n"
        "sinks:\n  - {name: h, type: webhook, url: 'ftp://h/${TOKEN}', bearer: '${TOKEN}ü', secrets: ['${TOKEN}']}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(path, env={"TOKEN": "abcdefgh"})
    assert len(caught.value.problems) == 3
    assert "abcdefgh" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/", "HTTPS://h"])
def test_loopback_needs_no_encryption(url):
    assert WebhookSink.Options(url=url).place.lower().startswith("http")


def test_a_url_is_ascii_without_blanks():
    for url in ("https://h/ä", "https://h/a b", "https://h/\n", " https://h"):
        with pytest.raises(ValidationError):
            WebhookSink.Options(url=url)


HOSTS = st.one_of(st.text(max_size=30), st.from_regex(r"[a-z0-9.:\[\]%_-]{1,20}", fullmatch=True))
URLS = st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https", "HTTPS"]), HOSTS,
                 st.sampled_from(["", ":1", ":65535", ":99999"]), st.text(max_size=30))  # fmt: skip


@given(st.one_of(URLS, st.text(max_size=40)))
def test_whatever_check_lets_through_can_be_posted_to(url):
    try:
        options = WebhookSink.Options(url=url, unencrypted=True)
    except ValidationError:
        return
    Poster(options, ssl.create_default_context(), "test").close()
    assert options.place.lower().startswith("http")


def test_another_authority_of_the_same_name_is_not_believed(tmp_path, receiver):
    imposter = Authority(tmp_path / "imposter")
    sink = build(tmp_path, receiver.url, tls={"ca": str(imposter.ca)})
    assert refused(sink).reason == "tls"
    sink.close()
