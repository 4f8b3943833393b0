"""What surrounds the loop, each against a plain reference: schedule, mean weights, optimiser, freezing, precision."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from torch import nn  # noqa: E402

from streamvision.errors import UsageError  # noqa: E402
from streamvision.train import optimiser, precision  # noqa: E402
from streamvision.train.ema import Ema  # noqa: E402
from streamvision.train.freezing import Freezing, backbone_of  # noqa: E402
from streamvision.train.loop import heal  # noqa: E402
from streamvision.train.schedule import Budget, Schedule, Stopwatch  # noqa: E402

CPU = torch.device("cpu")


def test_the_rate_goes_up_in_a_line_and_down_along_a_cosine():
    schedule = Schedule("cosine", warmup=4, final=0.1)
    seen = [schedule.factor(step, step / 20) for step in range(21)]
    wanted = [min(1.0, (step + 1) / 4) * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 20)) / 2) for step in range(21)]
    assert seen == pytest.approx(wanted)
    assert seen[-1] == pytest.approx(0.1)
    assert max(seen) == seen[3]


def test_a_constant_rate_only_warms_up():
    schedule = Schedule("constant", warmup=2)
    assert [schedule.factor(step, 0.9) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("budget", "step", "elapsed_s", "progress"),
    [
        (Budget(100), 25, 1e9, 0.25),
        (Budget(None, 60.0), 10**9, 15.0, 0.25),
        (Budget(100, 60.0), 50, 15.0, 0.5),
        (Budget(100, 60.0), 10, 59.4, 0.99),
        (Budget(100), 101, 0.0, 1.0),
    ],
)
def test_what_comes_first_ends_a_training(budget: Budget, step: int, elapsed_s: float, progress: float):
    assert budget.progress(step, elapsed_s) == pytest.approx(progress)


def test_the_time_goes_on_where_it_was():
    now = [100.0]
    watch = Stopwatch(lambda: now[0], before_s=7.0)
    now[0] = 103.0
    assert watch.elapsed_s == 10.0


def test_mean_weights_are_what_the_sum_says():
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    ema, mean = Ema(module, 0.5), module[0].weight.detach().clone()
    for update in range(1, 8):
        with torch.no_grad():
            module[0].weight.fill_(float(update))
            module[1].running_mean.fill_(update / 10)
            module[1].num_batches_tracked.fill_(update)
        ema.update(module)
        keep = min(0.5, update / (update + 9))
        mean = keep * mean + (1 - keep) * update
    assert torch.allclose(ema.state["0.weight"], mean)
    assert 0.5 < float(ema.state["1.running_mean"]) < 0.7
    assert int(ema.state["1.num_batches_tracked"]) == 7


def test_without_decay_the_mean_is_the_weights():
    module = nn.Linear(2, 2)
    ema = Ema(module, 0.0)
    with torch.no_grad():
        module.weight.add_(1.0)
    ema.update(module)
    assert torch.equal(ema.state["weight"], module.weight)


def test_mean_weights_are_lent_and_given_back():
    module = nn.Linear(2, 2)
    ema = Ema(module, 0.9)
    own, mean = module.weight.detach().clone() + 1, module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1.0)
    with ema.applied(module):
        assert torch.equal(module.weight, mean)
    assert torch.equal(module.weight, own)


def test_norms_and_biases_do_not_decay():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    for kind in ("sgd", "adamw"):
        groups = optimiser.build(module, kind, lr=0.1, momentum=0.9, weight_decay=0.5).param_groups
        decays = {id(each): group["weight_decay"] for group in groups for each in group["params"]}
        assert {name: decays[id(each)] for name, each in module.named_parameters()} == {
            "0.weight": 0.5, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.5, "2.bias": 0.0,
        }  # fmt: skip


def test_a_backbone_is_frozen_for_some_epochs():
    module = nn.ModuleDict({"backbone": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "head": nn.Linear(4, 2)})
    freezing, made = Freezing(module, epochs=2), []

    def wrap() -> nn.Module:
        made.append(nn.Identity())
        return made[-1]

    losses = None
    for epoch, trains in ((0, False), (1, False), (2, True), (3, True)):
        module.train()
        losses = freezing.begin_epoch(epoch, losses, wrap)
        assert all(each.requires_grad is trains for each in module["backbone"].parameters())
        assert module["backbone"][1].training is trains
        assert all(each.requires_grad for each in module["head"].parameters())
    assert len(made) == 2  # at the beginning, and when the backbone came in


def test_norms_may_keep_their_statistics_for_good():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    module.train()
    Freezing(module, norms=True).begin_epoch(0, nn.Identity(), nn.Identity)
    assert not module[0].training
    assert module[1].training


@pytest.mark.parametrize(
    ("names", "part"), [(("encoder", "decoder"), "encoder"), (("features", "classifier"), "features")]
)
def test_the_backbone_has_several_names(names: tuple[str, ...], part: str):
    module = nn.ModuleDict({name: nn.Linear(1, 1) for name in names})
    holder = nn.Module()
    for name, child in module.items():
        holder.add_module(name, child)
    assert backbone_of(holder) is module[part]


def test_a_network_without_one_is_all_backbone_but_its_last_layer():
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 3))
    assert [each.out_features for each in backbone_of(module)] == [2, 2]


def test_statistics_that_are_no_numbers_come_from_the_mean():
    module = nn.BatchNorm2d(2)
    mean = {name: value.clone() for name, value in module.state_dict().items()}
    module.running_mean.fill_(float("nan"))
    module.running_var.fill_(7.0)
    heal(module, mean)
    assert module.running_mean.tolist() == [0.0, 0.0]
    assert module.running_var.tolist() == [7.0, 7.0]


def test_what_is_asked_for_is_not_measured():
    def trial(_: str) -> None:
        raise AssertionError("nobody asked")

    assert precision.choose("bf16", CPU, trial) == "bf16"
    assert precision.choose("fp32", CPU, trial) == "fp32"
    with pytest.raises(UsageError, match="fp16 is trained on a GPU only"):
        precision.choose("fp16", CPU, trial)


@pytest.mark.parametrize(("bf16_s", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_halves_are_taken_where_they_are_worth_it(bf16_s: float, chosen: str, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]

    def trial(kind: str) -> None:
        now[0] += bf16_s if kind == "bf16" else 1.0

    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(precision, "_has_bf16", lambda: True)
    assert precision.choose("auto", CPU, trial) == chosen
    monkeypatch.setattr(precision, "_has_bf16", lambda: False)
    assert precision.choose("auto", CPU, trial) == "fp32"
