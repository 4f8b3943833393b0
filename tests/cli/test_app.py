"""What all commands share: help with an example, a log format, errors as one message and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.main import get_command

from streamvision.cli import app, main


def paths() -> Iterator[tuple[str, ...]]:
    for name, command in get_command(app).commands.items():
        below = getattr(command, "commands", None)
        yield from ((name, child) for child in below) if below else ((name,),)


@pytest.mark.parametrize("path", list(paths()), ids=" ".join)
def test_every_command_has_an_example_and_a_log_format(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*path, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert f"streamvision {' '.join(path)}" in shown.split("Example", 1)[1]
    assert "--log-format" in shown


def test_the_contracts_commands_are_all_there():
    wanted = {"demo", "run", "check", "detect", "probe", "models", "track", "eval", "bench", "events", "schema"}
    assert wanted <= {path[0] for path in paths()}


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("streamvision ")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nonsense"], 2, "nonsense"),
        (["check", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["detect", "nowhere.mp4"], 3, "nowhere.mp4"),
        (["detect", "demo:street", "--model", "yolox-nan"], 2, "yolox-nano"),
        (["models", "info", "moton"], 2, "motion"),
        (["detect", "demo:street", "--seconds", "1", "--transport", "tcp"], 2, "RTSP"),
        (["detect", "demo:street", "--video", "nowhere/out.mp4"], 2, "nowhere/out.mp4"),
        (["detect", "demo:street", "--transport", "quic"], 2, "quic"),
        (["detect", "demo:street?fps=0"], 2, "fps"),
        (["detect", "rtsp://u:pa/ss@192.0.2.1/x"], 2, "%2F"),
        (["probe", "rtsp://"], 2, "no host"),
        (["demo", "--listen", "0.0.0.0:8080"], 2, "needs tokens"),
        (["demo", "--listen", "nonsense"], 2, "HOST:PORT"),
        (["events", "--since", "1x"], 2, "span of time"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    shown = capsys.readouterr().err
    assert told in shown
    assert "Traceback" not in shown


def test_a_full_disk_is_one_message(capsys: pytest.CaptureFixture[str]):
    with open("/dev/full", "w") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as ended:
            main(["schema"])
    assert ended.value.code == 1
    assert "No space left on device" in capsys.readouterr().err


def test_importing_the_command_line_imports_nothing_heavy():
    heavy = ("openvino", "onnxruntime", "cv2", "av", "starlette", "scipy", "pycocotools")
    code = f"import sys, streamvision.cli; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.replace("'", '"')) == []
