from __future__ import annotations

import pytest

from streamvision.redact import is_secret_name, redact_url, redact_values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://u:p@host:554/x", "rtsp://***@host:554/x"),
        ("rtsp://u:p@ss@host/x", "rtsp://***@host/x"),
        ("http://token@host/x", "http://***@host/x"),
        ("cannot open rtsp://u:p@h/x: refused", "cannot open rtsp://***@h/x: refused"),
        ("http://h/x?user=a&pwd=b&channel=2", "http://h/x?user=***&pwd=***&channel=2"),
        ("rtsp://h/x@y", "rtsp://h/x@y"),
        ("rtsp://h:554/x@y", "rtsp://h:554/x@y"),
        ("rtsp://u:p/ss@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p#s?s@h:554/x", "rtsp://***@h:554/x"),
        ("/videos/a@b.mp4", "/videos/a@b.mp4"),
        ("demo:street?seed=5", "demo:street?seed=5"),
    ],
)
def test_urls(text, shown):
    assert redact_url(text) == shown


def test_values():
    assert redact_values("a long 'se\\ncret' here", ["se\ncret", "secret"]) == "a long '***' here"
    assert redact_values("number", ["u"]) == "number"
    assert redact_values("u", ["u"], everything=True) == "***"


def test_names():
    assert is_secret_name("api_key")
    assert is_secret_name("read_token")
    assert not is_secret_name("keyframe")
