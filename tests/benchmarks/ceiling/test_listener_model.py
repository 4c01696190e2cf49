"""The derivatives are those of the likelihood, and the posterior is that of its definition."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from benchmarks.ceiling import listener_model
from benchmarks.ceiling.listener_model import AnswerTable, ListenerModel, infer_effects, new_model, predict

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
