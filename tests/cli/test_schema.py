from __future__ import annotations

from typer.testing import CliRunner

from streamvision.cli import app
from streamvision.resources import shipped


def test_the_command_prints_what_is_committed():
    result = CliRunner().invoke(app, ["schema"], catch_exceptions=False)
    assert result.exit_code == 0
    committed = (shipped("configs") / "config.schema.json").read_text("utf-8")
    assert result.stdout == committed, "streamvision schema > configs/config.schema.json"
