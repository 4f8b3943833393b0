from __future__ import annotations

import importlib.util
import json
import logging

import pytest

from streamvision import plugins
from streamvision.config import load_settings
from streamvision.errors import ConfigError

KINDS = ("kafka", "redis", "nats", "postgresql")
MISTAKES = [
    ("redis", "url: redis://:hunter22@127.0.0.1/0", "credentials do not belong into the URL"),
    ("redis", "url: rediss://127.0.0.1/0", "write redis:// and tls: {}"),
    ("redis", "url: http://127.0.0.1/0", "expected redis://HOST:PORT/DATABASE"),
    ("redis", "url: redis://queue/0", "everybody on the way"),
    ("redis", "key: 'a b'", "this is not a key"),
    ("redis", "key: 'x:{camera}'", "there is no {camera} here; use {stream} and {type}"),
    ("redis", "max_length: 0", "greater than or equal to 1"),
    ("redis", "timeout: 2m", "less than or equal to 60"),
    ("redis", "tls: {key: a.pem}", "there is a key but no certificate"),
    ("redis", "keey: a", "did you mean 'key'?"),
    ("nats", "servers: ['nats://u:hunter22@127.0.0.1']", "credentials do not belong into the URL"),
    ("nats", "servers: ['http://127.0.0.1']", "expected nats://HOST:PORT"),
    ("nats", "servers: ['nats://queue:4222']", "everybody on the way"),
    ("nats", "subject: 'a..{stream}'", "this is not a subject"),
    ("nats", "username: a, token: hunter22", "there are several ways to log in"),
    ("nats", "make_stream: {name: 'a b'}", "is not a name"),
    ("kafka", "servers: 'u:hunter22@127.0.0.1:9092'", "expected HOST:PORT"),
    ("kafka", "servers: 'queue:9092'", "everybody on the way"),
    ("kafka", "topic: 'a b'", "this is not a topic"),
    ("kafka", "compression: rar", "is not one of the choices"),
    ("kafka", "sasl: {username: u}", "'password' is missing"),
    ("postgresql", "hosts: [database]", "everybody on the way"),
    ("postgresql", "table: 'a; drop table b'", "is not a name"),
    ("postgresql", "password: [hunter22]", "expected text"),
    ("postgresql", "hosts: []", "at least 1 item"),
]


def settings_of(tmp_path, sink: str, **env: str):
    path = tmp_path / "config.yaml"
    path.write_text(f"streams: [{{id: gate, url: 'demo:street'}}]\nsinks:\n  - {{name: out, {sink}}}\n")
    return load_settings(path, env=env)


@pytest.mark.parametrize(("kind", "given", "said"), MISTAKES)
def test_a_mistake_is_told_at_its_place_and_without_secrets(tmp_path, kind, given, said):
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, f"type: {kind}, {given}")
    assert said in str(caught.value)
    assert "config.yaml:3:" in str(caught.value)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("kafka", "sasl: {username: u, password: '${PW}'}, tls: {key_password: '${PW}', certificate: a, key: b}"),
        ("redis", "username: u, password: '${PW}'"),
        ("nats", "username: u, password: '${PW}'"),
        ("nats", "token: '${PW}'"),
        ("postgresql", "username: u, password: '${PW}'"),
    ],
)
def test_secrets_come_by_name_and_are_never_shown(tmp_path, kind, given):
    settings = settings_of(tmp_path, f"type: {kind}, {given}", PW="hunter22")
    options = settings.sinks[0].options
    assert "hunter22" not in repr(options) + str(options) + repr(settings) + options.model_dump_json()


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_is_described(kind):
    schema = plugins.load("sink", kind).Options.model_json_schema()
    undescribed = [name for name, field in schema["properties"].items() if "description" not in field]
    assert not undescribed, json.dumps(undescribed)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_library_is_told_with_its_extra(tmp_path, kind, monkeypatch):
    requires = plugins.load("sink", kind).requires
    found = importlib.util.find_spec
    monkeypatch.setattr(plugins, "find_spec", lambda name: None if name in requires else found(name))
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, f"type: {kind}")
    assert f"pip install 'streamvision[{kind}]'" in str(caught.value)
    assert "config.yaml:3:" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_logged_when_a_server_is_missing(tmp_path, kind, caplog):
    """The delivery tells it once; a library that tells it every second fills the disk."""
    from tests.servers.http import refused_port
    from tests.sinks.brokers import built, failure, stored

    port = refused_port()
    options = {
        "kafka": {"servers": f"127.0.0.1:{port}", "timeout": 1},
        "redis": {"url": f"redis://127.0.0.1:{port}/0"},
        "nats": {"servers": (f"nats://127.0.0.1:{port}",)},
        "postgresql": {"port": port},
    }[kind]
    pytest.importorskip({"kafka": "confluent_kafka", "postgresql": "psycopg"}.get(kind, kind))
    sink = built(kind, tmp_path, options)
    with caplog.at_level(logging.WARNING):
        error = failure(sink, stored(1))
    sink.close()
    sink.close()
    assert (error.reason, error.permanent) == ("connect", False)
    assert str(port) in str(error)
    assert not caplog.records
