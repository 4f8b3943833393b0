"""The server section: tokens worth guessing, certificates that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.config import load_settings
from streamvision.errors import ConfigError


def loaded(folder: Path, server: str):
    path = folder / "config.yaml"
    path.write_text(f"server: {server}\nstreams: [{{id: a, url: 'demo:street'}}]\n")
    return load_settings(path).server


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_token_is_not_short_not_even_on_the_loopback_where_a_proxy_may_lead(tmp_path: Path, host: str):
    with pytest.raises(ConfigError, match=r"config\.yaml:1:\d+: a token .* has 16 characters at least; .*openssl"):
        loaded(tmp_path, f"{{listen: '{host}:1', tokens: {{admin: a, read: 0123456789abcdef}}}}")
    found = loaded(tmp_path, f"{{listen: '{host}:1', tokens: {{admin: 0123456789abcdef-, read: 0123456789abcdef}}}}")
    assert found.weak_token is None


def test_certificates_are_found_beside_the_configuration(tmp_path: Path):
    (tmp_path / "cert.pem").touch()
    with pytest.raises(ConfigError, match=r"there is no file .*/key\.pem"):
        loaded(tmp_path, "{tls: {certificate: cert.pem, key: key.pem}}")
    (tmp_path / "key.pem").touch()
    found = loaded(tmp_path, "{tls: {certificate: cert.pem, key: key.pem}}")
    assert (found.scheme, found.tls and found.tls.certificate) == ("https", str(tmp_path / "cert.pem"))


def test_hosts_are_names(tmp_path: Path):
    assert loaded(tmp_path, "{allowed_hosts: [cameras.example]}").allowed_hosts == ("cameras.example",)
    with pytest.raises(ConfigError, match="allowed_hosts"):
        loaded(tmp_path, "{allowed_hosts: ['http://cameras.example']}")
