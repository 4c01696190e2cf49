"""The derivatives are those of the likelihood, and the posterior is that of its definition."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from benchmarks.ceiling import listener_model
from benchmarks.ceiling.listener_model import (
    SMALLEST_DEVIATION,
    AnswerTable,
    ListenerModel,
    fit_model,
    infer_effects,
    new_model,
    predict,
)

SIZE = 3


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(SIZE), 30)
    logs = np.log(shares)
    targets = np.eye(SIZE)[rng.integers(SIZE, size=30)]
    return AnswerTable(shares, logs - logs.mean(axis=0), targets, np.repeat([0, 1, 2], [5, 12, 13]))


def every(table):
    return np.ones(len(table.listener), dtype=bool)


def test_the_derivatives_are_those_of_the_log_likelihood(table):
    (block,) = table.blocks(every(table))
    coefficients = np.random.default_rng(1).standard_normal((3, SIZE * SIZE + 1))
    values, gradient, hessian = block.derivatives(coefficients)
    assert values == pytest.approx(block.log_likelihood(coefficients))
    for listener in range(3):

        def moved(own, listener=listener):
            changed = coefficients.copy()
            changed[listener] = own
            return changed

        def value(own, listener=listener):
            return block.log_likelihood(moved(own))[listener]

        def slopes(own, listener=listener):
            return block.derivatives(moved(own))[1][listener]

        own = coefficients[listener]
        assert gradient[listener] == pytest.approx(approx_fprime(own, value, 1e-6), abs=1e-4)
        assert -hessian[listener] == pytest.approx(approx_fprime(own, slopes, 1e-6), abs=1e-4)


def test_listeners_are_the_same_in_blocks_of_any_size(table, monkeypatch):
    model = new_model(SIZE, np.eye(SIZE * SIZE + 1), np.zeros(SIZE * SIZE + 1, dtype=int))
    asked = np.arange(30) % 2 == 0
    together = predict(model, table, ~asked, asked)
    monkeypatch.setattr(listener_model, "_CELLS_AT_ONCE", 1)
    assert len(list(table.blocks(every(table)))) == 3
    for one_by_one, all_at_once in zip(predict(model, table, ~asked, asked), together, strict=True):
        assert one_by_one == pytest.approx(all_at_once, nan_ok=True)
        assert (np.isnan(one_by_one) == ~asked).all()


def test_the_posterior_of_an_effect_is_the_mode_and_the_curvature_there(table):
    direction = np.zeros((1, SIZE * SIZE + 1))
    direction[0, ::SIZE] = 1  # a bias of the first emotion, and the reliability
    one = np.zeros(1, dtype=int)
    model = ListenerModel(new_model(SIZE, direction, one).population, direction, one, np.array([0.5]))
    (block,) = table.blocks(every(table))
    effects = infer_effects(model, block)
    grid = np.linspace(-5, 5, 2001)
    values = np.stack([block.log_likelihood(model.population + effect * model.scaled) for effect in grid])
    values -= grid[:, None] ** 2 / 2
    mode = values.argmax(axis=0)
    assert effects.means[:, 0] == pytest.approx(grid[mode], abs=5e-3)
    curvature = np.gradient(np.gradient(values, grid, axis=0), grid, axis=0)[mode, np.arange(3)]
    assert effects.covariances[:, 0, 0] == pytest.approx(-1 / curvature, rel=0.02)


def test_without_labels_or_effects_everybody_is_predicted_alike(table):
    model = new_model(SIZE, np.zeros((0, SIZE * SIZE + 1)), np.zeros(0, int))
    nobody = np.zeros(30, dtype=bool)
    losses, lost = predict(model, table, nobody, every(table))
    logs = listener_model.log_softmax(table.logs)
    assert losses == pytest.approx(-(table.targets * logs).sum(axis=1))
    assert lost == pytest.approx(0, abs=1e-12)


def own_biases(listeners=12, answers=80):
    """Return a table of listeners with biases of their own, and a model of these that is not fitted."""
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.ones(SIZE), listeners * answers)
    logs = np.log(shares) - np.log(shares).mean(axis=0)
    listener = np.repeat(np.arange(listeners), answers)
    noise = rng.gumbel(size=logs.shape)
    heard = (logs + 0.8 * rng.standard_normal((listeners, SIZE))[listener] + noise).argmax(axis=1)
    directions = np.concatenate([np.tile(np.eye(SIZE), SIZE), np.zeros((SIZE, 1))], axis=1)
    table = AnswerTable(shares, logs, np.eye(SIZE)[heard], listener)
    return table, new_model(SIZE, directions, np.arange(SIZE))


def test_a_fit_that_extrapolates_ends_where_updates_alone_end(monkeypatch):
    table, model = own_biases()
    fast = fit_model(model, table, every(table))
    monkeypatch.setattr(listener_model, "MOST_TIMES", 1.0)
    monkeypatch.setattr(listener_model, "TOLERANCE", 1e-6)
    monkeypatch.setattr(listener_model, "ROUNDS", 2_000)
    slow = fit_model(model, table, every(table))
    assert (slow.variances > 0.1).any()
    # A deviation on its way to 0 is left where it is worth less than 1e-4 nats.
    assert np.sqrt(fast.variances) == pytest.approx(np.sqrt(slow.variances), abs=2 * SMALLEST_DEVIATION)
    assert fast.population == pytest.approx(slow.population, abs=2e-3)


def test_where_effects_are_searched_first_changes_no_prediction():
    table, model = own_biases()
    asked = np.arange(len(table.listener)) % 2 == 0
    found = np.random.default_rng(3).standard_normal((table.num_listeners, SIZE + 1))
    beyond = found[:, SIZE].copy()
    from_elsewhere = predict(model, table, ~asked, asked, found=found)
    for losses, expected in zip(from_elsewhere, predict(model, table, ~asked, asked), strict=True):
        assert losses == pytest.approx(expected, nan_ok=True)
    (block,) = table.blocks(~asked)
    means = infer_effects(model, block).means * np.sqrt(model.variances)
    assert found[block.listeners, :SIZE] == pytest.approx(means, abs=1e-5)
    assert (found[:, SIZE] == beyond).all()
