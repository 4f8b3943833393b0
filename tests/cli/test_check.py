from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamvision.cli import app
from streamvision.errors import ConfigError
from streamvision.resources import shipped
from tests.servers.authority import Authority

ENV = {"CAM_USER": "operator", "CAM_PASSWORD": "s3cret/word"}

MISTAKES = """\
streams:
  - id: a
    url: a.mp4
    lop: true
    rules: [{name: r, type: zone, zone: z, classes: [person]}]
"""


@pytest.mark.parametrize("name", ["demo", "surveillance", "driving"])
def test_shipped_configurations_are_right(name):
    result = CliRunner().invoke(
        app, ["check", str(shipped("configs") / f"{name}.yaml")], env=ENV, catch_exceptions=False
    )
    assert result.exit_code == 0
    assert f"{name}.yaml: OK" in result.output
    assert "s3cret" not in result.output
    assert "operator" not in result.output


def test_problems_come_with_their_places(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(MISTAKES)
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(app, ["check", str(path)], catch_exceptions=False)
    assert [(one.line, one.column) for one in caught.value.problems] == [(4, 5), (5, 41)]


def test_the_program_exits_with_2_and_says_nothing_but_the_problems(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(MISTAKES)
    done = subprocess.run(
        [sys.executable, "-m", "streamvision", "check", str(path)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"}, cwd=Path(__file__).parents[2],
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{path}:4:5: unknown key 'lop' for a file source; did you mean 'loop'?",
        f"{path}:5:41: there is no zone 'z'; zones of this stream: none",
    ]
    assert done.stdout == ""


@pytest.mark.parametrize(
    "sink", ['webhook, url: "https://h.example/in"', 'mqtt, url: "mqtts://h.example", topic: "a/b"']
)
@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_certificate_that_is_not_there_yet_is_a_warning(tmp_path, sink, content):
    (tmp_path / "var").mkdir()
    if content is not None:
        (tmp_path / "var" / "ca.pem").write_bytes(content)
    path = tmp_path / "c.yaml"
    path.write_text(
        "state_dir: var\nstreams: [{id: a, url: 'demo:street'}]\n"
        f"sinks: [{{name: out, type: {sink}, tls: {{ca: ca.pem}}}}]\n"
    )
    result = CliRunner().invoke(app, ["check", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{path}: OK" in result.stdout
    assert result.stderr.startswith(f"warning: sink out cannot deliver: {tmp_path / 'var' / 'ca.pem'}: ")


def test_the_password_of_a_sinks_key_is_asked_of_nobody(tmp_path):
    certificate, key = Authority(tmp_path / "authority").issue("sv", password="pa55word")
    path = tmp_path / "c.yaml"
    path.write_text(
        "streams: [{id: a, url: 'demo:street'}]\nsinks:\n  - {name: out, type: webhook, url: 'https://h.example/in', "
        f"tls: {{certificate: {certificate}, key: {key}}}}}\n"
    )
    reading, writing = os.openpty()  # a terminal on which nobody types
    with open(reading, "rb"), open(writing, "rb") as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "streamvision", "check", str(path)],
            stdin=terminal, capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
        )  # fmt: skip
    assert (done.returncode, "the key is encrypted; give key_password" in done.stderr) == (0, True)
