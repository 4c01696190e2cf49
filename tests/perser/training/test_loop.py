"""The one training loop, on a linear model: what it validates, keeps, logs and goes on from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from perser.training.accelerator import start_accelerator
from perser.training.loop import LoopOptions, ShuffledBatches, Validation, fit
from perser.training.nonfinite import StepPart
from perser.training.options import RunOptions
from perser.training.run import TrainingRun
from perser.training.run_folder import RunFolder, running_folder
from perser.training.run_log import METRICS


class Killed(BaseException):
    """Nothing that a program means to catch."""


def fit_line(scores, options, out=None, after_validation=None, kill=0):
    """Fit a line to noise. Its nth validation scores `scores[n]`; it is killed before step `kill`."""
    accelerator = start_accelerator(0)
    model, rng, taken = nn.Linear(2, 1), np.random.default_rng(0), []
    nn.init.zeros_(model.weight)
    folder = None if out is None else RunFolder(out, {}, True, accelerator)
    training_run = TrainingRun(accelerator, RunOptions(checkpoint_seconds=0), folder)
    scores = iter(scores)

    def step(number):
        if number == kill:
            raise Killed
        taken.append(number)
        loss = (model(torch.tensor(rng.standard_normal((4, 2)), dtype=torch.float32)) - 1).square().mean()
        loss.backward()
        return loss.item(), [StepPart(("u",), True)]

    def validate():
        return Validation(next(scores), {"weight": model.weight[0, 0].item()})

    result = fit(
        training_run,
        "line",
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        step,
        validate,
        options,
        generators={"sampler": rng},
        after_validation=after_validation,
    )
    return model, result, taken


def test_it_validates_every_so_many_steps_and_at_the_last():
    _, result, taken = fit_line([0.1, 0.3, 0.2], LoopOptions(steps=5, validate_every=2))
    assert taken == [1, 2, 3, 4, 5]
    assert [row["step"] for row in result.history] == [2, 4, 5]
    assert (result.best.step, result.best.score) == (4, 0.3)


def test_the_best_weights_are_those_of_the_best_validation():
    model, result, _ = fit_line([0.1, 0.3, 0.2], LoopOptions(steps=5, validate_every=2))
    assert model.weight[0, 0].item() == result.history[-1]["weight"]
    result.best.restore(model)
    assert model.weight[0, 0].item() == result.history[1]["weight"]


@pytest.mark.parametrize(("scores", "last"), [([0.5, 0.4, 0.3], 2), ([0.1, 0.5, 0.4, 0.3], 3)])
def test_it_ends_when_patience_is_out(scores, last):
    options = LoopOptions(steps=9, validate_every=1, patience=2, validate_first=True)
    _, result, taken = fit_line(scores, options)
    assert taken[-1] == last
    assert result.best.score == 0.5


def test_it_may_validate_the_start_which_is_then_a_candidate():
    steps = []
    options = LoopOptions(steps=2, validate_every=1, validate_first=True)
    model, result, _ = fit_line(
        [0.9, 0.1, 0.2], options, after_validation=lambda best, step, found: steps.append((best.step, step))
    )
    assert steps == [(0, 0), (0, 1), (0, 2)]
    result.best.restore(model)
    assert model.weight.abs().sum() == 0


def test_a_loop_killed_before_any_step_ends_with_the_same_weights(tmp_path):
    options = LoopOptions(steps=6, validate_every=2, clip_norm=0.5)
    model, whole, _ = fit_line([0.1, 0.3, 0.2], options)
    for kill in range(2, 7):
        with pytest.raises(Killed):
            # A start takes one step, so it validates at most once.
            fit_line([[0.1, 0.3, 0.2][(kill - 1) // 2 - 1]], options, tmp_path / "out", kill=kill)
    resumed, result, taken = fit_line([0.2], options, tmp_path / "out")
    assert taken == [6]
    assert result.history == whole.history
    assert torch.equal(resumed.weight, model.weight)
    lines = [
        json.loads(line) for line in (running_folder(tmp_path / "out") / METRICS).read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "validation_weight" in line] == [2, 4, 6]


def test_an_epoch_has_every_index_once():
    batches = ShuffledBatches(11, 4, seed=0)
    epochs = [[batches.at(epoch * 3 + step) for step in (1, 2, 3)] for epoch in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [4, 4, 3]
        assert sorted(index for batch in epoch for index in batch) == list(range(11))
    assert epochs[0] != epochs[1]


def test_a_batch_is_the_same_however_many_were_drawn_before():
    whole = ShuffledBatches(11, 4, seed=0)
    expected = [whole.at(step) for step in range(1, 10)]
    assert [ShuffledBatches(11, 4, seed=0).at(step) for step in range(1, 10)] == expected
