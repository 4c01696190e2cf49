"""Weights of pooled answers that are fitted on validation persons."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from perser.episodes.episode import Task
from speechlm_icl.training import on_episodes, pool_fitting
from speechlm_icl.training.pool_fitting import fit_opinion_pool


def answer_by(monkeypatch, rule):
    """Let the model answer by a rule of the clips' true classes and the number of pairs."""

    def scores(model, features, answers, queries):
        return torch.from_numpy(np.log(rule(queries, len(answers))))

    monkeypatch.setattr(on_episodes, "label_log_probabilities", scores)
    for module in (on_episodes, pool_fitting):
        monkeypatch.setattr(module, "read_clips", lambda store, names: list(names))


def known(queries, right):
    """Return answers (n, 3) that give the true class this probability."""
    classes = np.array([int(name[1:]) % 3 for name in queries])
    return np.where(np.eye(3)[classes] == 1, right, (1 - right) / 2)


def people(count=3, clips=60):
    words = ("angry", "happy", "sad")
    names = tuple(f"u{i}" for i in range(clips))
    return [
        Task(f"p{person}", names, tuple((words[i % 3],) for i in range(clips))) for person in range(count)
    ]


def test_the_better_answer_counts_more_at_every_number_of_pairs(model, store, monkeypatch):
    """Half of the answers without pairs are right; after 1 pair a third are, and after 12 nine of ten."""
    rng = np.random.default_rng(0)

    def rule(queries, pairs):
        right = 0.3 + 0.05 * pairs if pairs else 0.5
        guessed = [name if rng.random() < right else f"u{rng.integers(3)}" for name in queries]
        return known(guessed, 0.8)

    answer_by(monkeypatch, rule)
    pool = fit_opinion_pool(model, people(), store, pairs=12, seed=0)
    assert pool.pairs == (0, 1, 2, 4, 8, 12)
    assert all(earlier < later + 0.05 for earlier, later in pairwise(pool.after))
    assert pool.without[1] > pool.after[1]
    assert pool.after[-1] > pool.without[-1]


def test_persons_with_few_clips_enroll_half_of_them(model, store, monkeypatch):
    asked = []

    def rule(queries, pairs):
        asked.append((pairs, len(queries)))
        return known(queries, 0.5)

    answer_by(monkeypatch, rule)
    pool = fit_opinion_pool(model, people(count=2, clips=7), store, pairs=8, seed=0)
    assert pool.pairs == (0, 1, 2)
    assert set(asked) == {(0, 4), (1, 4), (2, 4)}


def test_the_same_seed_gives_the_same_weights(model, tasks, store):
    """The untrained model answers for real; what one person enrolls never asks about the same clips."""
    first, second = (fit_opinion_pool(model, tasks[:3], store, pairs=4, seed=seed) for seed in (0, 0))
    assert first == second
    assert first.pairs == (0, 1, 2, 4)
    assert np.isfinite(first.without).all()
