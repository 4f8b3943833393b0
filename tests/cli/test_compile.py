from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamvision import plugins
from streamvision.cli import app, main
from streamvision.engine import manifest
from streamvision.engine.build import build_engine, gpu_backends
from streamvision.errors import EngineError, ModelMissing, PluginError, StreamvisionError, UsageError
from tests.engine import networks
from tests.engine.fake_backends import FakeBackend, answer, workshop
from tests.engine.networks import write_manifest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_manifest(tmp_path, networks.constant(tmp_path / "toy.onnx", answer(), (64, 32)))


def run(*arguments: str | Path) -> Result:
    """Run ``streamvision compile``; errors come out as they are raised."""
    return CliRunner().invoke(app, ["compile", *map(str, arguments)], catch_exceptions=False)


def facts(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if line[0] in ("engine", "key", "size", "parity")}


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "auto"])
def test_it_tells_where_the_engine_lies_and_how_it_compares(toy: Path, tmp_path: Path, backend: str) -> None:
    told = facts(run(toy, "--backend", backend))
    engine = Path(told["engine"])
    assert engine.is_file()
    assert engine.is_relative_to(tmp_path / "cache" / "streamvision" / "engines")
    assert told["key"].startswith(f"{engine.parent.name} (fp32, ")
    assert "max_batch 16" in told["key"]
    assert re.match(r"\d+\.\d MB, built in \d+\.\d s on \d{4}-", told["size"])
    assert re.match(r"with (openvino|onnxruntime): unmatched 0 ", told["parity"])
    assert facts(run(toy, "--backend", backend)) == told  # nothing was built again


def test_models_info_knows_what_is_compiled(toy: Path) -> None:
    told = facts(run(toy, "--backend", "onnxruntime"))
    info = CliRunner().invoke(app, ["models", "info", str(toy), "--json"], catch_exceptions=False)
    assert json.loads(info.stdout)["engines"] == [f"onnxruntime fp32 verified {Path(told['engine']).parent}"]


def test_two_at_once_compile_one_engine(toy: Path) -> None:
    command = [sys.executable, "-m", "streamvision", "compile", str(toy), "--backend", "onnxruntime"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(log.count("engine_built ") for _, log in said) == 1
    assert len({out.splitlines()[0] for out, _ in said}) == 1


def test_force_compiles_anew(toy: Path) -> None:
    first = Path(facts(run(toy, "--backend", "onnxruntime"))["engine"]).stat().st_ino
    again = Path(facts(run(toy, "--backend", "onnxruntime", "--force"))["engine"]).stat().st_ino
    assert first != again


def test_a_folder_of_its_own_can_be_named_elsewhere(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = facts(run(toy, "--backend", "onnxruntime", "--out", tmp_path / "out"))
    assert Path(told["engine"]).is_relative_to(tmp_path / "out")
    monkeypatch.setenv("STREAMVISION_ENGINES", str(tmp_path / "out"))
    build_engine(manifest.load(toy), backend="onnxruntime").close()
    assert not list((tmp_path / "cache").rglob("engine.bin"))


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (("yolox-nana",), StreamvisionError, 2),
        (("motion",), UsageError, 2),
        (("toy.yaml", "--backend", "openvina"), PluginError, 2),
        (("toy.yaml", "--precision", "fp8"), UsageError, 2),
        (("toy.yaml", "--backend", "openvino", "--precision", "int8"), UsageError, 2),
        (("toy.yaml", "--precision", "int8", "--calibration", "nothing"), UsageError, 2),
        (("toy.yaml", "--out", "toy.onnx"), EngineError, 1),
        (("missing/toy.yaml",), ModelMissing, 3),
    ],
)
def test_errors_have_their_exit_codes(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    error: type[StreamvisionError],
    code: int,
) -> None:
    (tmp_path / "missing").mkdir()
    write_manifest(tmp_path / "missing")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        run(*arguments)
    assert caught.value.exit_code == code


def test_an_engine_that_deviates_is_refused_with_the_numbers(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = FakeBackend("wrong")
    wrong.answer[0, 4, 3] = 0.5
    shop = workshop(tmp_path, FakeBackend("good"), wrong)
    monkeypatch.setattr("streamvision.engine.build.Workshop", lambda _: shop)
    with pytest.raises(SystemExit) as caught:
        main(["compile", str(toy), "--backend", "wrong"])
    assert caught.value.code == 1
    assert "deviates from good: unmatched 0 (at most 0.01), !score 0.25 (at most 0.005)" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_real_network_is_proven_on_the_sample_pictures(
    data: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    told = facts(run("yolox-nano", "--backend", backend))
    assert re.search(r"on \d+ detections \(score from 0\.3\) of \d pictures", told["parity"])


def test_tensorrt_compiles_ahead_of_time_where_there_is_no_gpu(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMVISION_MODELS", str(data / "models"))
    if "tensorrt" not in plugins.names("backend") or importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT for RTX, which compiles without a GPU, is not installed")
    if gpu_backends():
        pytest.skip("there is a GPU: nothing is ahead of time")
    told = facts(run("yolox-nano", "--backend", "tensorrt", "--max-batch", "4"))
    assert Path(told["engine"]).stat().st_size > 500_000
    assert told["parity"].startswith("not checked: it can only be where the engine runs")


def test_help_has_an_example() -> None:
    assert "Example: streamvision compile" in run("--help").output
