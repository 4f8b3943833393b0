"""What learnt to be in int8 is written as it learnt it, and runs everywhere as PyTorch says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="quantisation-aware training needs the extra train")

from onnx import numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from streamvision.compress import aware, package  # noqa: E402
from streamvision.compress.fake import FakeConv2d, FakeLinear  # noqa: E402
from streamvision.compress.fold import fold  # noqa: E402
from streamvision.engine import manifest  # noqa: E402
from streamvision.engine.backends.openvino import shared_core  # noqa: E402
from streamvision.engine.build import Builder, Order, Workshop, build_engine  # noqa: E402
from streamvision.engine.cache import EngineCache  # noqa: E402
from streamvision.engine.precision import prepared  # noqa: E402
from streamvision.errors import EngineError, ManifestError, UsageError  # noqa: E402
from tests.compress.networks import SIDE, pictures, tiny, write  # noqa: E402

Fake = FakeConv2d | FakeLinear


def inputs(count: int, first: int) -> Any:
    spec = manifest.ModelInput(size=(SIDE, SIDE), scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return torch.from_numpy(np.concatenate([prepared(each, spec) for each in pictures(count, first)]))


def fakes(module: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, Fake)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    module = tiny()
    aware.prepare(module, torch.rand(1, 3, SIDE, SIDE), write, pictures())
    with torch.no_grad():  # as if it had learnt
        for number, layer in enumerate(fakes(module).values()):
            layer.steps.mul_(1 + 0.01 * number)
        for reader in {layer.reader for layer in fakes(module).values()}:
            reader.step.mul_(1.05)
    folder = tmp_path_factory.mktemp("aware")
    return module.eval(), aware.finish(module, write, folder)


def test_inner_layers_are_chosen_and_share_what_they_read(made: tuple[nn.Module, Path]) -> None:
    found = fakes(made[0])
    assert set(found) == {"deep.0", "deep.3", "side", "more.0", "hidden"}, "not the first and not the last one"
    assert found["deep.0"].reader is found["side"].reader, "both read what the first one gives"
    assert len({layer.reader for layer in found.values()}) == 4


def test_the_scales_are_those_that_were_learnt(made: tuple[nn.Module, Path]) -> None:
    model = onnx.load(made[1].with_suffix(".onnx"))
    onnx.checker.check_model(model)
    held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    steps = {name.removesuffix("/step"): value for name, value in held.items() if name.endswith("/step")}
    layers = fakes(made[0])
    readers = sorted(
        float(layer.reader.step.detach()) for layer in {each.reader: each for each in layers.values()}.values()
    )
    assert sorted(float(value) for value in steps.values() if value.ndim == 0) == pytest.approx(readers)
    weights = {name: value for name, value in steps.items() if value.ndim == 1}
    assert len(weights) == len(layers)
    for layer in layers.values():
        (name,) = [name for name, value in weights.items() if np.array_equal(value, layer.steps.detach().numpy())]
        np.testing.assert_allclose(
            held[f"{name}/int8"] * weights[name].reshape(-1, *[1] * (layer.weight.dim() - 1)),
            layer.held().detach().numpy(), rtol=1e-6,
        )  # fmt: skip
    assert not any(value.any() for name, value in held.items() if name.endswith("/zero"))


def test_the_file_computes_what_the_module_does(made: tuple[nn.Module, Path]) -> None:
    import onnxruntime

    module, path = made
    view = inputs(6, 100)
    with torch.no_grad():
        wanted = module(view).numpy()
    step = np.abs(wanted).max() / 127
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for options, bound in ((plain, 0.05 * step), (onnxruntime.SessionOptions(), 2 * step)):
        session = onnxruntime.InferenceSession(path.with_suffix(".onnx"), options)
        (found,) = session.run(None, {"input": view.numpy()})
        assert np.abs(found - wanted).max() <= bound


def test_openvino_computes_what_the_module_does(made: tuple[nn.Module, Path]) -> None:
    import openvino

    module, path = made
    view = inputs(6, 100)
    with torch.no_grad():
        wanted = module(view).numpy()
    core = shared_core(openvino)
    compiled = core.compile_model(
        core.read_model(path.with_suffix(".onnx")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled([view.numpy()])[compiled.output(0)]
    assert np.abs(found - wanted).max() <= 2 * np.abs(wanted).max() / 127


def test_tensorrt_compiles_it(made: tuple[nn.Module, Path]) -> None:
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install 'streamvision[tensorrt]'"
    )
    from streamvision.engine.backends import Network
    from streamvision.engine.backends.tensorrt import TensorRtBackend

    model = manifest.load(made[1])
    network = Network("tiny", made[1].with_suffix(".onnx"), model.input, "int8", quantised=True)
    assert len(TensorRtBackend.compile(network)) > 1000


# in the engine


def workshop(folder: Path) -> Workshop:
    return Workshop(EngineCache(folder, extra=()), on_gpu=())


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_no_backend_quantises_it_again(precision: str, made: tuple[nn.Module, Path], tmp_path: Path) -> None:
    model = manifest.load(made[1])
    assert model.quantised
    builder = Builder(model, Order("openvino", precision), workshop(tmp_path))
    builder.build().close()
    assert builder.compiler is not None
    (opened,) = builder.compiler.opened
    assert opened.key.parts["precision"] == "int8", "it is judged as int8 is"
    assert "calibration" not in opened.key.parts
    kinds = {entry.facts["kind"] for entry in workshop(tmp_path).cache.entries()}
    assert kinds == {"engine"}, "nothing was converted"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_what_it_cannot_be_is_refused(precision: str, made: tuple[nn.Module, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int8 already"):
        build_engine(manifest.load(made[1]), backend="openvino", precision=precision, workshop=workshop(tmp_path))


def test_what_is_in_int8_is_not_quantised_after_training(made: tuple[nn.Module, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int8 already"):
        package.quantised(manifest.load(made[1]), "again", tmp_path, pictures())


def test_quantised_after_training(tmp_path: Path) -> None:
    path = package.quantised(manifest.load(write(tiny(), tmp_path)), "tiny-int8", tmp_path, pictures())
    model = manifest.load(path)
    assert (model.name, model.quantised, model.file and model.file.name) == ("tiny-int8", True, "tiny-int8.onnx")
    build_engine(model, backend="onnxruntime", workshop=workshop(tmp_path / "cache")).close()


def test_an_algorithm_is_not_quantised() -> None:
    with pytest.raises(UsageError, match="nothing to compress"):
        package.refuse(manifest.load("motion"))
    document = manifest.load("motion").model_dump(exclude_unset=True) | {"quantised": True}
    with pytest.raises(ValueError, match="quantised"):
        manifest.Manifest.model_validate(document)


def test_nothing_to_quantise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(EngineError, match="no layers"):
        aware.prepare(module, torch.rand(1, 3, SIDE, SIDE), write, pictures())


class Joined(nn.Module):
    """What hard swishes give is put together, and read by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.one, self.two = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.mix, self.deep, self.last = nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 3, 2, 1), nn.Linear(32, 4)
        self.act = nn.Hardswish()

    def forward(self, picture: Any) -> Any:
        seen = self.act(self.first(picture))
        seen = self.act(self.mix(torch.cat((self.act(self.one(seen)), self.act(self.two(seen))), 1)))
        return self.last(self.act(self.deep(seen)).mean((2, 3)))


def test_what_openvino_computes_wrong_stays_in_float32(tmp_path: Path) -> None:
    import openvino

    torch.manual_seed(0)
    module = Joined().eval()
    aware.prepare(module, torch.rand(1, 3, SIDE, SIDE), write, pictures())
    assert set(fakes(module)) == {"one", "two", "deep"}
    path = aware.finish(module, write, tmp_path).with_suffix(".onnx")
    view = inputs(4, 50)
    with torch.no_grad():
        wanted = module(view).numpy()
    core = shared_core(openvino)
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([view.numpy()])[compiled.output(0)]
    assert np.abs(found - wanted).max() <= 2 * np.abs(wanted).max() / 127


def test_an_output_without_numbers_is_no_obstacle() -> None:
    """A network for objects and label maps that was trained without label maps gives an empty tensor for them."""

    class Without(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))

        def forward(self, x: Any) -> Any:
            found = self.one(x)
            return found, found[:, :0]

    assert fold(Without(), torch.rand(1, 3, SIDE, SIDE)) == 1


# learning


def test_learning_is_at_least_as_good_as_quantising_after_training() -> None:
    """A network with channels of very different size, which int8 hurts, learns to give its own float32 answers."""
    module = tiny(5)
    with torch.no_grad():
        scale = torch.logspace(-1.5, 1.5, 16)
        module.first[1].weight.mul_(scale)
        module.first[1].bias.mul_(scale)
        module.deep[0].weight.div_(scale.view(-1, 1, 1, 1))
        module.side.weight.div_(scale.view(1, -1, 1, 1))
    learnt, unseen = inputs(64, 200), inputs(32, 400)
    with torch.no_grad():
        wanted, held_out = module(learnt), module(unseen)
    aware.prepare(module, torch.rand(1, 3, SIDE, SIDE), write, pictures(32, 200))
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)

    def loss() -> float:
        with torch.no_grad():
            return float((module(unseen) - held_out).square().mean())

    after = loss()
    for _ in range(60):
        optimiser.zero_grad()
        (module(learnt) - wanted).square().mean().backward()
        optimiser.step()
    assert loss() < 0.5 * after  # 0.08 to 0.12 by machine and number of threads


def test_damaged_manifests_are_told(tmp_path: Path) -> None:
    path = write(tiny(), tmp_path)
    path.write_text(path.read_text() + "quantised: perhaps\n")
    with pytest.raises(ManifestError, match="quantised"):
        manifest.load(path)
