"""Which device a backend computes on, and what it says where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from streamvision.engine.backends.cpus import cpu_name, on_cpu
from streamvision.engine.backends.onnxruntime import OnnxRuntimeBackend, check_gpu
from streamvision.errors import BackendUnavailable
from tests.engine import networks

Options = OnnxRuntimeBackend.Options


class Session:
    def __init__(self, *providers: str) -> None:
        self._providers = providers

    def get_providers(self) -> list[str]:
        return list(self._providers)


@pytest.fixture
def network(tmp_path: Path) -> Any:
    return networks.network(networks.echo(tmp_path / "net.onnx", ["n", 3, 4, 6]), size=(6, 4))


def test_a_build_without_cuda_says_which_one_has_it(network: Any) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has the CUDA provider")
    for use in (
        OnnxRuntimeBackend,
        OnnxRuntimeBackend.compile,
        lambda _, options: OnnxRuntimeBackend.identity(options),
    ):
        with pytest.raises(BackendUnavailable, match=r"has no CUDA provider; .* onnxruntime-gpu"):
            use(network, Options(device="cuda"))
    backend = OnnxRuntimeBackend(network, Options(device="auto"))
    assert backend.device == "CPU"
    backend.close()


def test_a_cuda_provider_without_a_gpu_is_not_passed_off_as_one(network: Any) -> None:
    with_gpu, without = Session("CUDAExecutionProvider", "CPUExecutionProvider"), Session("CPUExecutionProvider")
    assert check_gpu(network, with_gpu, Options(device="cuda"))
    assert not check_gpu(network, without, Options(device="auto"))
    with pytest.raises(BackendUnavailable, match="finds no GPU that works; look at nvidia-smi"):
        check_gpu(network, without, Options(device="cuda"))


@pytest.mark.parametrize(
    ("precision", "text"),
    [("fp32", "CPU"), ("bf16", "CPU, bf16"), ("fp16", "CPU, fp16 weights"), ("int8", "CPU, int8")],
)
def test_the_numbers_computed_with_are_named(precision: str, text: str) -> None:
    assert on_cpu(precision) == text


def test_cpus_of_one_name_with_other_instructions_are_told_apart(tmp_path: Path) -> None:
    names = []
    for flags in ("sse avx2", "sse avx2 avx512f"):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(f"processor : 0\nmodel name : Some CPU\nflags : {flags}\n")
        names.append(cpu_name(cpuinfo))
    assert all(name.startswith("Some CPU (") for name in names)
    assert names[0] != names[1]


def test_a_cpu_that_tells_nothing_has_its_architecture_for_a_name(tmp_path: Path) -> None:
    assert cpu_name(tmp_path / "none") == cpu_name(tmp_path / "neither")
