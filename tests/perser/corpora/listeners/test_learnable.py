"""What can be learned of listeners: nothing where they are alike, a bias where only that differs."""

from __future__ import annotations

import numpy as np
import pytest

from perser.corpora.listeners.kinds import QUICKSTART, REALISTIC, STRONG, ListenerKind
from perser.corpora.listeners.learnable import describe, learnable, variance_shares
from perser.corpora.listeners.listener import Listener
from perser.corpora.readers.cremad import EMOTIONS
from perser.labels import EmotionSet

SIX = EmotionSet(EMOTIONS)
SHARES = np.random.default_rng(0).dirichlet(np.full(6, 0.5), size=150)

ALIKE = ListenerKind("alike", lambda name, emotions, common, rng: Listener(name, (0.0,) * 6, 0.6))
BIASED = ListenerKind(
    "biased", lambda name, emotions, common, rng: Listener(name, tuple(rng.normal(0, 0.5, 6)), 0.6)
)
CONFUSED = ListenerKind(
    "confused",
    lambda name, emotions, common, rng: Listener(
        name, (0.0,) * 6, 0.6, confusion=tuple(map(tuple, np.eye(6)[rng.permutation(6)].tolist()))
    ),
)


def test_of_listeners_who_are_alike_nothing_can_be_learned():
    gains = learnable(ALIKE, SIX, SHARES, np.random.default_rng(0))
    for gain in (gains.known, gains.known_bias, gains.learned, gains.learned_bias, gains.beyond_bias):
        assert (gain.mean, gain.low, gain.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_where_only_a_bias_differs_nothing_else_can_be_learned():
    gains = learnable(BIASED, SIX, SHARES, np.random.default_rng(1))
    assert gains.known.mean == pytest.approx(gains.known_bias.mean)
    assert 0 < gains.learned.mean < gains.known.mean
    assert gains.beyond_bias.mean == pytest.approx(0, abs=1e-9)
    assert "nothing but a bias can be learned" in describe(BIASED, [], SIX, SHARES)[-1]


def test_where_only_a_confusion_differs_a_bias_gains_nothing():
    gains = learnable(CONFUSED, SIX, SHARES, np.random.default_rng(0))
    assert gains.known_bias.mean == pytest.approx(0, abs=0.02)
    assert gains.learned.low > 0.2
    assert gains.beyond_bias.low > 0.2


def test_the_shares_of_the_variance_sum_to_1_and_name_what_differs():
    rng = np.random.default_rng(0)
    for kind, part in ((BIASED, "bias"), (REALISTIC, "bias"), (QUICKSTART, "bias"), (CONFUSED, "confusion")):
        shares = variance_shares(kind.listeners(80, SIX, SHARES, rng), SHARES)
        assert shares.utterance + shares.listener + shares.chance == pytest.approx(1)
        assert sum(shares.parts.values()) == pytest.approx(1)
        assert max(shares.parts, key=shares.parts.get) == part
    assert variance_shares(ALIKE.listeners(5, SIX, SHARES, rng), SHARES).listener == pytest.approx(0)


def test_the_sentences_name_the_kind_and_its_parts():
    rng = np.random.default_rng(0)
    for kind in (REALISTIC, STRONG):
        variance, gains = describe(kind, kind.listeners(20, SIX, SHARES, rng), SIX, SHARES)
        assert f"{kind.name} simulated listener" in variance
        assert f"{kind.name} simulated listener" in gains
        assert "bias" in variance
        assert ("confusion" in variance) == (kind is STRONG)
