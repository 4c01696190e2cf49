"""A model of how listeners answer, given what the others heard, with effects of each listener's own.

The logits of listener l's answer to an utterance with others' shares q (C,) are

    W^T q + t (log q - mean of log q)

`coefficients` are W, row by row, and t: C * C + 1 numbers. Row j of W is what is added for the emotions where
the others heard j; a bias is the same in every row; t is the reliability (inverse temperature). They are the
population's plus the listener's own, which are `directions` times normal effects. The variances of the
effects and the population's coefficients are fitted to some listeners by empirical Bayes (Laplace
approximation); the effects of another listener are then their posterior, given some of the listener's labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

PRIOR_VARIANCE = 1.0
"""Of the population's coefficients, around those that repeat the others' shares."""

ROUNDS = 40
"""Most rounds of fitting variances and the population's coefficients."""

NEWTON_STEPS = 25

NEWTON_HALVINGS = 12

TOLERANCE = 1e-3
"""Fitting ends when no standard deviation and no coefficient changes by more than this in a round."""

SMALLEST_DEVIATION = 0.01
"""An effect with a smaller standard deviation, in logits, is left out: it is worth less than 1e-4 nats."""

ROUNDING = 1e-8
"""Nats that a log likelihood may lose in a step by rounding alone."""

START_VARIANCE = 0.1

LARGEST_VARIANCE = 25.0

MOST_TIMES = 4.0
"""How many updates of a variance one round may take at once."""

MOST_GROWTH = 10.0
"""How many times a variance may become larger or smaller in a round."""

LONGEST_STEP = 1.0
"""Most that a coefficient of the population changes in a round; a longer step could diverge."""

SHORT_STEP = 1e-6
"""In standard deviations of an effect: a shorter Newton step is the last one of a prediction."""

DRAWS = 64
"""Of the effects, for one prediction."""

_CELLS_AT_ONCE = 2_000_000
"""Most elements of the arrays of one block: limits memory."""


@dataclass(frozen=True)
class Block:
    """Answers of several listeners, padded to the same number N. C is the number of emotions.

    The answers are the last axis, because sums and products over a long last axis are fast.
    """

    listeners: np.ndarray
    """(L,) places of the listeners in the whole table."""
    shares: np.ndarray
    """(L, C, N): what the others heard."""
    logs: np.ndarray
    """(L, C, N): its logarithm, minus the mean over all answers."""
    targets: np.ndarray
    """(L, C, N): the answer as a distribution; zero in the padding."""
    answers: np.ndarray
    """(L, N) places of the answers in the whole table; -1 in the padding."""

    @cached_property
    def weights(self) -> np.ndarray:
        """1 for an answer and 0 for the padding (L, 1, N)."""
        return (self.answers >= 0).astype(float)[:, None]

    @cached_property
    def products(self) -> np.ndarray:
        """The products of two emotions' shares, each pair once; 0 in the padding (L, C * (C + 1) / 2, N)."""
        first, second = np.triu_indices(self.shares.shape[1])
        return self.shares[:, first] * (self.weights * self.shares)[:, second]

    def logits(self, coefficients: np.ndarray) -> np.ndarray:
        """Return logits (..., L, C, N) for coefficients (..., L, C * C + 1)."""
        size = self.shares.shape[1]
        matrix = coefficients[..., :-1].reshape(*coefficients.shape[:-1], size, size).swapaxes(-1, -2)
        return matrix @ self.shares + coefficients[..., -1, None, None] * self.logs

    def log_likelihood(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the log likelihood of each listener's answers (L,)."""
        return (self.targets * log_softmax(self.logits(coefficients), axis=1)).sum(axis=(1, 2))

    def derivatives(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the log likelihood (L,), its gradient (L, D) and its negative Hessian (L, D, D)."""
        count, size, _ = self.shares.shape
        logs = log_softmax(self.logits(coefficients), axis=1)
        value = (self.targets * logs).sum(axis=(1, 2))
        shares = np.exp(logs)
        residual = self.targets - self.weights * shares
        slope = self.shares @ residual.transpose(0, 2, 1)
        gradient = np.concatenate(
            [slope.reshape(count, -1), (residual * self.logs).sum(axis=(1, 2))[:, None]], axis=1
        )
        first, second = np.triu_indices(size)
        spread = -shares[:, first] * shares[:, second]
        spread[:, first == second] += shares
        curved = self.products @ spread.transpose(0, 2, 1)
        pair = np.zeros((size, size), dtype=int)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        # Row and column of the Hessian are (j, k) and (m, n): the products of j and m, the spread of k and n.
        rows = np.broadcast_to(pair[:, None, :, None], (size,) * 4).reshape(size * size, -1)
        columns = np.broadcast_to(pair[None, :, None, :], (size,) * 4).reshape(size * size, -1)
        along = self.weights * shares * (self.logs - (shares * self.logs).sum(axis=1, keepdims=True))
        hessian = np.empty((count, size * size + 1, size * size + 1))
        hessian[:, :-1, :-1] = curved[:, rows, columns]
        mixed = self.shares @ along.transpose(0, 2, 1)
        hessian[:, :-1, -1] = hessian[:, -1, :-1] = mixed.reshape(count, -1)
        hessian[:, -1, -1] = (along * self.logs).sum(axis=(1, 2))
        return value, gradient, hessian


@dataclass(frozen=True)
class AnswerTable:
    """Answers of listeners beside what the others heard, sorted by listener.

    Args:
        shares: (num_answers, C), what the others heard (`benchmarks.ceiling.consensus.others_shares`).
        logs: (num_answers, C), the logarithm, minus its mean over all answers.
        targets: (num_answers, C), the answers as distributions.
        listener: (num_answers,), from 0, ascending.
    """

    shares: np.ndarray
    logs: np.ndarray
    targets: np.ndarray
    listener: np.ndarray

    @property
    def num_listeners(self) -> int:
        return int(self.listener.max()) + 1

    def blocks(self, chosen: np.ndarray, draws: int = 1) -> Iterator[Block]:
        """Yield the chosen answers, bool (num_answers,), in blocks of listeners with similarly many.

        `draws` says how many logits of each answer the caller holds at a time.
        """
        (places,) = np.nonzero(chosen)
        listeners, starts, counts = np.unique(self.listener[places], return_index=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        size = self.shares.shape[1]
        while len(order):
            most = counts[order[0]]
            cells = max(most * max(size * size * 2, draws * size), (size * size + 1) ** 2)
            same, order = np.split(order, [max(1, _CELLS_AT_ONCE // cells)])
            within = np.arange(most)
            is_answer = within < counts[same, None]
            answers = np.where(is_answer, places[np.where(is_answer, starts[same, None] + within, 0)], -1)
            yield Block(
                listeners[same],
                _answers_last(self.shares[answers]),
                _answers_last(self.logs[answers]),
                _answers_last(self.targets[answers] * is_answer[..., None]),
                answers,
            )


def _answers_last(values: np.ndarray) -> np.ndarray:
    """Return (L, N, C) as (L, C, N), in that order in memory."""
    return np.ascontiguousarray(values.transpose(0, 2, 1))


@dataclass(frozen=True)
class ListenerModel:
    """The population's coefficients and how listeners vary around them. D is C * C + 1.

    Args:
        population: (D,).
        directions: (num_effects, D), what each effect adds to the coefficients.
        groups: (num_effects,), numbers; effects with the same number have the same variance.
        variances: (num_effects,).
    """

    population: np.ndarray
    directions: np.ndarray
    groups: np.ndarray
    variances: np.ndarray

    @property
    def vary(self) -> np.ndarray:
        """Whether each effect varies between listeners, bool (num_effects,)."""
        return self.variances > SMALLEST_DEVIATION**2

    @property
    def scaled(self) -> np.ndarray:
        """The directions of effects of variance 1 (num_effects, D); those that do not vary are left out."""
        return np.sqrt(self.variances[self.vary])[:, None] * self.directions[self.vary]


def log_softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the logarithm of the softmax over an axis.

    Logits are kept within a range whose exponentials are finite.
    """
    largest = logits.max(axis=axis, keepdims=True)
    shifted = logits - largest
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def new_model(size: int, directions: np.ndarray, groups: np.ndarray) -> ListenerModel:
    """Return a model of `size` emotions that is not fitted: listeners repeat the others' shares."""
    population = np.zeros(size * size + 1)
    population[-1] = 1.0
    return ListenerModel(population, directions, groups, np.full(len(directions), START_VARIANCE))


@dataclass(frozen=True)
class Effects:
    """The posterior of a block's listeners: means (L, E), covariances (L, E, E); effects have variance 1."""

    means: np.ndarray
    covariances: np.ndarray
    gradients: np.ndarray
    """(L, D), of the log likelihood at the means."""
    hessians: np.ndarray
    """(L, D, D), negative."""


def infer_effects(
    model: ListenerModel, block: Block, start: np.ndarray | None = None, short_step: float = SHORT_STEP
) -> Effects:
    """Return the posterior of the effects of a block's listeners, by Newton steps to its mode.

    They begin at `start` (L, E), or at 0, and end with one shorter than `short_step`, in standard deviations.
    """
    scaled = model.scaled
    means = np.zeros((len(block.listeners), len(scaled))) if start is None else start

    def posterior(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value, gradient, hessian = block.derivatives(model.population + effects @ scaled)
        return value - (effects**2).sum(axis=1) / 2, gradient, hessian

    value, gradient, hessian = posterior(means)
    for _ in range(NEWTON_STEPS):
        covariances = _covariances(hessian, scaled)
        step = (covariances @ (gradient @ scaled.T - means)[..., None])[..., 0]
        if np.abs(step).max(initial=0) < short_step:
            # Along so short a step the gradient is linear and the curvature constant.
            gradient = gradient - (hessian @ (step @ scaled)[..., None])[..., 0]
            return Effects(means + step, covariances, gradient, hessian)
        for _ in range(NEWTON_HALVINGS):
            tried = posterior(means + step)
            better = tried[0] >= value - ROUNDING
            if better.all():
                break
            step[~better] /= 2
        means = np.where(better[:, None], means + step, means)
        value = np.where(better, tried[0], value)
        gradient = np.where(better[:, None], tried[1], gradient)
        hessian = np.where(better[:, None, None], tried[2], hessian)
    return Effects(means, _covariances(hessian, scaled), gradient, hessian)


def _covariances(hessian: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Return the effects' covariances (L, E, E), for the negative Hessian of the likelihood (L, D, D)."""
    return np.linalg.inv(scaled @ hessian @ scaled.T + np.eye(len(scaled)))


def fit_model(model: ListenerModel, table: AnswerTable, chosen: np.ndarray) -> ListenerModel:
    """Return the model with population and variances fitted to the chosen answers, bool (num_answers,).

    A variance is updated to the sum of squared effects over the number of effects that the labels determine
    (MacKay 1992), so that it shrinks to 0 where the listeners do not differ. The population moves by Newton
    steps of the likelihood with the effects integrated out, and the effects move with it.
    """
    blocks = list(table.blocks(chosen))
    around = new_model(table.shares.shape[1], model.directions, model.groups).population
    found = [np.zeros((len(block.listeners), len(model.variances))) for block in blocks]
    growths = strides = np.zeros(len(model.variances))
    for _ in range(ROUNDS):
        scaled, vary = model.scaled, model.vary
        squares = determined = np.zeros(len(scaled))
        slope = (around - model.population) / PRIOR_VARIANCE
        curvature = np.eye(len(around)) / PRIOR_VARIANCE
        follow = []  # how the effects move with the population
        for number, block in enumerate(blocks):
            start = found[number][:, vary] / np.sqrt(model.variances[vary])
            effects = infer_effects(model, block, start, TOLERANCE)
            found[number][:, vary] = effects.means * np.sqrt(model.variances[vary])
            squares = squares + (effects.means**2).sum(axis=0)
            determined = determined + (1 - np.diagonal(effects.covariances, axis1=1, axis2=2)).sum(axis=0)
            across = effects.hessians @ scaled.T
            follow.append(-effects.covariances @ across.transpose(0, 2, 1))
            explained = -across @ follow[-1]
            slope = slope + effects.gradients.sum(axis=0)
            curvature = curvature + (effects.hessians - explained).sum(axis=0)
        step = np.linalg.solve(curvature, slope)
        step /= max(1.0, np.abs(step).max() / LONGEST_STEP)
        for number, moves in enumerate(follow):
            found[number][:, vary] += (moves @ step) * np.sqrt(model.variances[vary])
        ratios = np.zeros(len(model.variances))
        for group in np.unique(model.groups[vary]):
            same = model.groups[vary] == group
            ratios[model.groups == group] = squares[same].sum() / max(determined[same].sum(), 1e-12)
        variances = np.minimum(model.variances * ratios, LARGEST_VARIANCE)
        change = np.abs(np.sqrt(variances) - np.sqrt(model.variances)).max(initial=0)
        earlier, growths = growths, np.log(np.maximum(ratios, 1 / MOST_GROWTH))
        strides = _extrapolated(earlier, growths, strides)
        variances = np.where(ratios > 0, np.minimum(model.variances * np.exp(strides), LARGEST_VARIANCE), 0.0)
        model = replace(model, population=model.population + step, variances=variances)
        if max(change, np.abs(step).max()) < TOLERANCE:
            break
    return model


def _extrapolated(earlier: np.ndarray, growths: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return by how much to change each logarithm of a variance, where updates alone would go on too slowly.

    Between two rounds the update changed from `earlier` to `growths` along `strides`. The line through both
    (secant) says where it becomes 0. Where it does not become less, it is taken MOST_TIMES.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        times = strides / (earlier - growths)
    onward = strides * growths > 0
    times = np.where(times > 0, np.clip(times, 1, MOST_TIMES), np.where(onward, MOST_TIMES, 1.0))
    return np.clip(times * growths, -np.log(MOST_GROWTH), np.log(MOST_GROWTH))


def predict(
    model: ListenerModel,
    table: AnswerTable,
    known: np.ndarray,
    asked: np.ndarray,
    seed: int = 0,
    found: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log losses of the asked answers, given the known ones, and how much lack of labels costs.

    The second is the mutual information of an answer and the listener's effects, given the known answers: by
    how much the loss would be less on average, if the model is right and the effects were known exactly. Both
    are (num_answers,), with nan where nothing was asked.

    Args:
        model: fitted to other listeners.
        table: all answers.
        known: bool (num_answers,), the listeners' labels to learn from.
        asked: bool (num_answers,), the answers to predict.
        seed: seed of the draws of effects over which the prediction is averaged.
        found: (num_listeners, num_effects or more), where each listener's effects are searched first, in
            logits. It is set to where they are.
    """
    scaled = model.scaled
    (varying,) = np.nonzero(model.vary)
    deviations = np.sqrt(model.variances[varying])
    half = np.random.default_rng(seed).standard_normal((DRAWS // 2, len(scaled)))
    draws = np.concatenate([half, -half])
    means = np.zeros((table.num_listeners, len(scaled)))
    roots = np.broadcast_to(np.eye(len(scaled)), (table.num_listeners, len(scaled), len(scaled))).copy()
    for block in table.blocks(known):
        own = np.ix_(block.listeners, varying)
        effects = infer_effects(model, block, None if found is None else found[own] / deviations)
        if found is not None:
            found[own] = effects.means * deviations
        means[block.listeners] = effects.means
        roots[block.listeners] = np.linalg.cholesky(effects.covariances)
    losses, lost = np.full((2, len(table.listener)), np.nan)
    for block in table.blocks(asked, draws=DRAWS):
        own = means[block.listeners] + np.einsum("lef,sf->sle", roots[block.listeners], draws)
        logs = log_softmax(block.logits(model.population + own @ scaled), axis=2)
        shares = np.exp(logs)
        averaged = shares.mean(axis=0)
        log_averaged = np.log(averaged)
        divergence = (shares * logs).mean(axis=0) - averaged * log_averaged
        is_answer = block.answers >= 0
        losses[block.answers[is_answer]] = -(block.targets * log_averaged).sum(axis=1)[is_answer]
        lost[block.answers[is_answer]] = divergence.sum(axis=1)[is_answer]
    return losses, lost
