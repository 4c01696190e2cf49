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

LONGEST_STEP = 1.0
"""Most that a coefficient of the population changes in a round; a longer step could diverge."""

MOST_LOGIT = 300.0

DRAWS = 64
"""Of the effects, for one prediction."""

_CELLS_AT_ONCE = 2_000_000
"""Most elements of the arrays of one block: limits memory."""


@dataclass(frozen=True)
class Block:
    """Answers of several listeners, padded to the same number N. C is the number of emotions."""

    listeners: np.ndarray
    """(L,) places of the listeners in the whole table."""
    shares: np.ndarray
    """(L, N, C): what the others heard."""
    logs: np.ndarray
    """(L, N, C): its logarithm, minus the mean over all answers."""
    targets: np.ndarray
    """(L, N, C): the answer as a distribution; zero in the padding."""
    answers: np.ndarray
    """(L, N) places of the answers in the whole table; -1 in the padding."""

    @property
    def weights(self) -> np.ndarray:
        """1 for an answer and 0 for the padding (L, N)."""
        return (self.answers >= 0).astype(float)

    def logits(self, coefficients: np.ndarray) -> np.ndarray:
        """Return logits (..., L, N, C) for coefficients (..., L, C * C + 1)."""
        size = self.shares.shape[-1]
        matrix = coefficients[..., :-1].reshape(*coefficients.shape[:-1], size, size)
        return self.shares @ matrix + coefficients[..., -1, None, None] * self.logs

    def log_likelihood(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the log likelihood of each listener's answers (L,)."""
        return (self.targets * log_softmax(self.logits(coefficients))).sum(axis=(1, 2))

    def derivatives(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient (L, D) of the log likelihood and its negative Hessian (L, D, D)."""
        count, _, size = self.shares.shape
        weights = self.weights[..., None]
        shares = np.exp(log_softmax(self.logits(coefficients)))
        residual = self.targets - weights * shares
        slope = np.einsum("lnj,lnk->ljk", self.shares, residual).reshape(count, -1)
        gradient = np.concatenate([slope, (residual * self.logs).sum(axis=(1, 2))[:, None]], axis=1)
        spread = -shares[..., :, None] * shares[..., None, :]
        spread[..., range(size), range(size)] += shares
        spread *= weights[..., None]
        outer = self.shares[..., :, None] * self.shares[..., None, :]
        flat = (count, -1, size * size)
        curved = outer.reshape(flat).transpose(0, 2, 1) @ spread.reshape(flat)
        along = np.einsum("lnkm,lnm->lnk", spread, self.logs)
        mixed = np.einsum("lnj,lnk->ljk", self.shares, along).reshape(count, -1)
        hessian = np.empty((count, size * size + 1, size * size + 1))
        matrix = curved.reshape(count, size, size, size, size).transpose(0, 1, 3, 2, 4)
        hessian[:, :-1, :-1] = matrix.reshape(count, size * size, size * size)
        hessian[:, :-1, -1] = hessian[:, -1, :-1] = mixed
        hessian[:, -1, -1] = np.einsum("lnk,lnk->l", along, self.logs)
        return gradient, hessian


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
                self.shares[answers],
                self.logs[answers],
                self.targets[answers] * is_answer[..., None],
                answers,
            )


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
    def scaled(self) -> np.ndarray:
        """The directions of effects of variance 1 (num_effects, D); those that do not vary are left out."""
        vary = self.variances > SMALLEST_DEVIATION**2
        return np.sqrt(self.variances[vary])[:, None] * self.directions[vary]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis.

    The sum is a matrix product, which is several times as fast over few emotions. Logits are kept within a
    range whose exponentials are finite.
    """
    bounded = np.clip(logits, -MOST_LOGIT, MOST_LOGIT)
    return bounded - np.log(np.exp(bounded) @ np.ones(logits.shape[-1]))[..., None]


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


def infer_effects(model: ListenerModel, block: Block, start: np.ndarray | None = None) -> Effects:
    """Return the posterior of the effects of a block's listeners, by Newton steps to its mode."""
    scaled = model.scaled
    means = np.zeros((len(block.listeners), len(scaled))) if start is None else start

    def posterior(effects: np.ndarray) -> np.ndarray:
        return block.log_likelihood(model.population + effects @ scaled) - (effects**2).sum(axis=1) / 2

    value = posterior(means)
    for _ in range(NEWTON_STEPS):
        gradient, hessian = block.derivatives(model.population + means @ scaled)
        precision = scaled @ hessian @ scaled.T + np.eye(len(scaled))
        step = np.linalg.solve(precision, (gradient @ scaled.T - means)[..., None])[..., 0]
        for _ in range(NEWTON_HALVINGS):
            tried = posterior(means + step)
            better = tried >= value - ROUNDING
            if better.all():
                break
            step[~better] /= 2
        means, value = np.where(better[:, None], means + step, means), np.where(better, tried, value)
        if np.abs(step).max(initial=0) < 1e-4:
            break
    gradient, hessian = block.derivatives(model.population + means @ scaled)
    precision = scaled @ hessian @ scaled.T + np.eye(len(scaled))
    return Effects(means, np.linalg.inv(precision), gradient, hessian)


def fit_model(model: ListenerModel, table: AnswerTable, chosen: np.ndarray) -> ListenerModel:
    """Return the model with population and variances fitted to the chosen answers, bool (num_answers,).

    A variance is updated to the sum of squared effects over the number of effects that the labels determine
    (MacKay 1992), so that it shrinks to 0 where the listeners do not differ. The population moves by Newton
    steps of the likelihood with the effects integrated out.
    """
    blocks = list(table.blocks(chosen))
    around = new_model(table.shares.shape[1], model.directions, model.groups).population
    found = [np.zeros((len(block.listeners), len(model.variances))) for block in blocks]
    for _ in range(ROUNDS):
        scaled = model.scaled
        vary = model.variances > SMALLEST_DEVIATION**2
        squares = determined = np.zeros(len(scaled))
        slope = (around - model.population) / PRIOR_VARIANCE
        curvature = np.eye(len(around)) / PRIOR_VARIANCE
        for number, block in enumerate(blocks):
            effects = infer_effects(model, block, found[number][:, vary] / np.sqrt(model.variances[vary]))
            found[number][:, vary] = effects.means * np.sqrt(model.variances[vary])
            squares = squares + (effects.means**2).sum(axis=0)
            determined = determined + (1 - np.diagonal(effects.covariances, axis1=1, axis2=2)).sum(axis=0)
            across = effects.hessians @ scaled.T
            explained = across @ effects.covariances @ across.transpose(0, 2, 1)
            slope = slope + effects.gradients.sum(axis=0)
            curvature = curvature + (effects.hessians - explained).sum(axis=0)
        step = np.linalg.solve(curvature, slope)
        step /= max(1.0, np.abs(step).max() / LONGEST_STEP)
        variances = np.zeros(len(model.variances))
        for group in np.unique(model.groups[vary]):
            same = model.groups[vary] == group
            ratio = squares[same].sum() / max(determined[same].sum(), 1e-12)
            same = model.groups == group
            variances[same] = np.minimum(model.variances[same] * ratio, LARGEST_VARIANCE)
        change = np.abs(np.sqrt(variances) - np.sqrt(model.variances)).max(initial=0)
        model = replace(model, population=model.population + step, variances=variances)
        if max(change, np.abs(step).max()) < TOLERANCE:
            break
    return model


def predict(
    model: ListenerModel, table: AnswerTable, known: np.ndarray, asked: np.ndarray, seed: int = 0
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
    """
    scaled = model.scaled
    half = np.random.default_rng(seed).standard_normal((DRAWS // 2, len(scaled)))
    draws = np.concatenate([half, -half])
    means = np.zeros((table.num_listeners, len(scaled)))
    roots = np.broadcast_to(np.eye(len(scaled)), (table.num_listeners, len(scaled), len(scaled))).copy()
    for block in table.blocks(known):
        effects = infer_effects(model, block)
        means[block.listeners] = effects.means
        roots[block.listeners] = np.linalg.cholesky(effects.covariances)
    losses, lost = np.full((2, len(table.listener)), np.nan)
    for block in table.blocks(asked, draws=DRAWS):
        own = means[block.listeners] + np.einsum("lef,sf->sle", roots[block.listeners], draws)
        logs = log_softmax(block.logits(model.population + own @ scaled))
        shares = np.exp(logs)
        averaged = shares.mean(axis=0)
        log_averaged = np.log(averaged)
        divergence = (shares * logs).mean(axis=0) - averaged * log_averaged
        is_answer = block.answers >= 0
        losses[block.answers[is_answer]] = -(block.targets * log_averaged).sum(axis=2)[is_answer]
        lost[block.answers[is_answer]] = divergence.sum(axis=2)[is_answer]
    return losses, lost
