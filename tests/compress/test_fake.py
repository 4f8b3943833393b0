"""Rounding as int8 does, its gradients beside slow references, and normalisations that are folded away."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="quantisation-aware training needs the extra train")

from torch import nn  # noqa: E402

from streamvision.compress.fake import Activation, FakeConv2d, Rounding, fake, real, rounded  # noqa: E402
from streamvision.compress.fold import fold  # noqa: E402
from streamvision.engine.ranges import as_int8  # noqa: E402
from tests.compress.networks import SIDE, tiny  # noqa: E402


def test_values_are_rounded_as_the_writer_rounds_them() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 2, 2000), np.arange(-140, 140) * 0.025])
    found = rounded(torch.from_numpy(values.astype(np.float32)), torch.tensor(0.05), 1)
    np.testing.assert_allclose(found.numpy(), as_int8(values.astype(np.float32), np.float32(0.05)), atol=1e-6)
    assert float(found.abs().max()) == pytest.approx(127 * 0.05)


def slow(value: float, step: float, gradient: float) -> tuple[float, float]:
    """LSQ's gradients of one number, by the cases of its equation 3: for the value, and for the step."""
    ratio = value / step
    if ratio <= -127 - 1e-9:
        return 0.0, -127.0 * gradient
    if ratio >= 127 + 1e-9:
        return 0.0, 127.0 * gradient
    return gradient, (round(ratio) - ratio) * gradient


def test_gradients_are_those_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(1)
    value = (torch.randn(3, 40, generator=generator) * 4).double().requires_grad_()
    step = torch.tensor([[0.01], [0.05], [0.2]], dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(3, 40, generator=generator).double()
    Rounding.apply(value, step, 0.25).backward(gradient)
    assert value.grad is not None
    assert step.grad is not None
    values, steps, gradients = value.detach().tolist(), step.detach().flatten().tolist(), gradient.tolist()
    for row in range(3):
        pairs = [slow(one, steps[row], other) for one, other in zip(values[row], gradients[row], strict=True)]
        np.testing.assert_allclose(value.grad[row].numpy(), [one for one, _ in pairs])
        assert float(step.grad[row]) == pytest.approx(0.25 * sum(other for _, other in pairs))


def test_steps_learn_at_the_papers_rate() -> None:
    step = torch.tensor(0.1, requires_grad=True)
    rounded(torch.tensor([100.0, 0.0, 0.0, 0.0]), step, 4).sum().backward()
    assert step.grad is not None
    assert float(step.grad) == pytest.approx(127 / math.sqrt(4 * 127))


def test_a_step_learns_the_range() -> None:
    """From far off, with Adam, to where a search over all steps finds the least error."""
    values = torch.randn(4000, generator=torch.Generator().manual_seed(2))

    def error(step: float) -> float:
        return float((torch.from_numpy(as_int8(values.numpy(), step)) - values).square().mean())

    best = min(np.linspace(0.005, 0.1, 400), key=error)
    step = torch.tensor(0.2, requires_grad=True)
    optimiser = torch.optim.Adam([step], lr=2e-3)
    for _ in range(400):
        optimiser.zero_grad()
        (rounded(values, step, 1) - values).square().mean().backward()
        optimiser.step()
    assert error(float(step.detach())) < 1.3 * error(float(best)) < error(0.2) / 10


@pytest.mark.parametrize("groups", [1, 4])
def test_a_layer_computes_with_what_int8_holds(groups: int) -> None:
    torch.manual_seed(0)
    layer, reader = nn.Conv2d(4, 8, 3, 2, 1, groups=groups), Activation(0.03)
    steps = layer.weight.detach().abs().amax((1, 2, 3)) / 127
    value = torch.randn(2, 4, 9, 9)
    made = fake(layer, reader, steps)
    assert isinstance(made, FakeConv2d)
    held = torch.from_numpy(as_int8(layer.weight.detach().numpy(), steps.view(-1, 1, 1, 1).numpy()))
    seen = torch.from_numpy(as_int8(value.numpy(), np.float32(0.03)))
    wanted = nn.functional.conv2d(seen, held, layer.bias, 2, 1, groups=groups)
    torch.testing.assert_close(made(value), wanted, atol=1e-5, rtol=1e-5)
    back = real(made)
    assert back.weight is layer.weight
    torch.testing.assert_close(back(value), layer(value))


def test_everything_in_a_layer_learns() -> None:
    made = fake(nn.Linear(6, 3), Activation(0.05), torch.full((3,), 0.01))
    made(torch.randn(5, 6)).square().sum().backward()
    learnt = {name for name, each in made.named_parameters() if each.grad is not None and each.grad.abs().sum() > 0}
    assert learnt == {"weight", "bias", "reader.step", "steps"}


def test_normalisations_are_folded() -> None:
    module, picture = tiny(), torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        wanted = module(picture)
        assert fold(module, picture[:1]) == 3
        torch.testing.assert_close(module(picture), wanted, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


class Shared(nn.Module):
    """A normalisation that also sees something else than its convolution's output stays."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(picture)) + self.norm(picture)


def test_a_normalisation_with_two_inputs_stays() -> None:
    module = Shared()
    assert fold(module, torch.rand(1, 3, 4, 4)) == 0
    assert isinstance(module.norm, nn.BatchNorm2d)
