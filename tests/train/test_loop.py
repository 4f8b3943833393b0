"""The loop: it learns, it goes on where it was, it survives what is no number."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")

from streamvision.errors import EngineError, UsageError  # noqa: E402
from streamvision.train import checkpoint, optimiser, precision  # noqa: E402
from streamvision.train.checkpoint import Parts  # noqa: E402
from streamvision.train.distributed import Crew  # noqa: E402
from streamvision.train.ema import Ema  # noqa: E402
from streamvision.train.freezing import Freezing  # noqa: E402
from streamvision.train.loop import Loop, Options  # noqa: E402
from streamvision.train.schedule import Budget, Schedule  # noqa: E402
from tests.train.fakes import Brightness, Listener, Pictures  # noqa: E402

CPU = torch.device("cpu")


def loop_in(folder: Path, pictures: Pictures, listener: Listener, *, steps: int = 30, evaluate=None, **options) -> Loop:
    network = Brightness()
    parts = Parts(
        network.module,
        Ema(network.module, 0.9),
        optimiser.build(network.module, "adamw", lr=0.02, momentum=0.9, weight_decay=0.01),
        precision.scaler_for("fp32", CPU),
    )
    chosen = {
        "lr": 0.02,
        "budget": Budget(steps),
        "schedule": Schedule(warmup=3),
        "seed": 1,
        "clip_norm": 1.0,
        **options,
    }
    return Loop(
        network, pictures, parts, Options(**chosen), evaluate=evaluate, reporter=listener, folder=folder,
        crew=Crew(), device=CPU, freezing=Freezing(network.module),
    )  # fmt: skip


def weights_of(loop: Loop) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loop._parts.module.state_dict().items()}


def test_it_learns(tmp_path: Path):
    listener = Listener()
    loop_in(tmp_path, Pictures(), listener, steps=120).run()
    assert listener.steps[-1].loss < 0.2 * listener.steps[0].loss
    assert len(listener.steps) == 120
    assert len(listener.epochs) == 40


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 29])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, cut: int):
    whole, listener = Pictures(), Listener()
    straight = loop_in(tmp_path / "a", whole, listener) if (tmp_path / "a").mkdir() is None else None
    straight.run()

    (tmp_path / "b").mkdir()
    parts = Pictures()
    first = loop_in(tmp_path / "b", parts, Listener())
    first._reporter = _Stopper(first, cut)
    first.run()
    assert first.stopped
    assert first.at.step == cut
    second_half = Listener()
    second = loop_in(tmp_path / "b", parts, second_half)
    second.resume()
    second.run()

    assert parts.seen == whole.seen
    assert [step.loss for step in second_half.steps] == [step.loss for step in listener.steps[cut:]]
    for name, value in weights_of(straight).items():
        assert torch.equal(value, weights_of(second)[name]), name
    for name, value in straight._parts.ema.state.items():
        assert torch.equal(value, second._parts.ema.state[name]), name
    assert [epoch.losses for epoch in second_half.epochs] == [
        pytest.approx(epoch.losses) for epoch in listener.epochs[-len(second_half.epochs) :]
    ]


class _Stopper(Listener):
    def __init__(self, loop: Loop, step: int) -> None:
        super().__init__()
        self._loop, self._step = loop, step

    def stepped(self, step) -> None:
        if step.step == self._step:
            self._loop.stop()


def test_accumulated_batches_make_one_step_of_their_mean(tmp_path: Path):
    listener = Listener()
    loop = loop_in(tmp_path, Pictures(count=12, batch=2), listener, steps=2, accumulate=3)
    loop.run()
    assert [step.pictures for step in listener.steps] == [6, 6]


def test_a_loss_that_is_no_number_is_named_and_left_out(tmp_path: Path):
    listener = Listener()
    loop = loop_in(tmp_path, Pictures(poison=frozenset({(1, 1)})), listener, steps=12)
    loop.run()
    assert len(listener.warnings) == 1
    assert "square" in listener.warnings[0]
    assert "epoch 2, after step 4" in listener.warnings[0]
    assert all(bool(torch.isfinite(value).all()) for value in loop._parts.ema.state.values())
    assert all(math.isfinite(step.loss) for step in listener.steps)


def test_too_many_of_them_end_the_training(tmp_path: Path):
    poison = frozenset((epoch, number) for epoch in range(1, 9) for number in range(3))
    loop = loop_in(tmp_path, Pictures(poison=poison), Listener())
    with pytest.raises(EngineError, match="square is no number, for 10 steps in a row; take a smaller lr"):
        loop.run()


def test_evaluation_sees_the_mean_weights_and_the_best_are_kept(tmp_path: Path):
    figures = iter([0.1, 0.5, 0.3, 0.2])
    seen = []

    def evaluate():
        seen.append({name: value.clone() for name, value in loop._network.module.state_dict().items()})
        assert not loop._network.module.training
        return {"score": next(figures)}

    listener = Listener()
    loop = loop_in(tmp_path, Pictures(), listener, evaluate=evaluate, patience=2)
    at = loop.run()
    assert (at.best, at.best_epoch, at.epoch) == (0.5, 1, 4)
    assert [epoch.best for epoch in listener.epochs] == [True, True, False, False]
    best = torch.load(tmp_path / checkpoint.BEST, weights_only=True)
    assert all(torch.equal(value, seen[1][name]) for name, value in best.items())
    own = torch.load(tmp_path / checkpoint.LAST, weights_only=True)["training"]
    assert not torch.equal(own["0.weight"], best["0.weight"])


def test_evaluations_have_their_turn_and_the_end_always_has_one(tmp_path: Path):
    listener = Listener()
    loop_in(tmp_path, Pictures(), listener, steps=15, evaluate=lambda: {"score": 0.0}, evaluate_every=2).run()
    assert [bool(epoch.figures) for epoch in listener.epochs] == [False, True, False, True, True]


def test_the_time_ends_a_training_too(tmp_path: Path):
    seconds = iter(range(1000))
    listener = Listener()
    loop = loop_in(tmp_path, Pictures(), listener, budget=Budget(None, 20.0))
    loop._clock = lambda: float(next(seconds))
    at = loop.run()
    assert 15 < len(listener.steps) <= 20
    assert at.elapsed_s >= 20


@pytest.mark.parametrize("steps", [1, 4])
def test_checkpoints_come_every_so_many_steps(tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda path, parts, at: saved.append((at.epoch, at.batch, at.step)))
    loop_in(tmp_path, Pictures(), Listener(), steps=8, checkpoint_steps=steps).run()
    inside = [step for _, batch, step in saved if batch]
    assert inside == list(range(steps, 9, steps))


def test_the_state_of_another_training_is_refused(tmp_path: Path):
    loop = loop_in(tmp_path, Pictures(), Listener(), steps=3)
    loop.run()
    loop._parts.module.append(torch.nn.Linear(1, 1))
    with pytest.raises(UsageError, match="state of another training"):
        loop.resume()
    (tmp_path / checkpoint.LAST).write_bytes(b"PK broken")
    with pytest.raises(UsageError, match="cannot be read as the state of a training"):
        loop.resume()
