"""How much simulated listeners differ, and how much of it can be learned from some of their labels.

Both are computed from the kind alone, before anything is trained. Multi-label answers count as their
strongest label where it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perser.corpora.listeners.kinds import ListenerKind
from perser.corpora.listeners.listener import NOISE, Listener, response_distribution
from perser.labels import EmotionSet

LABELS = 32
"""How many labels a listener gives before the others are predicted."""

CLIPS, LISTENERS, CANDIDATES, COMPANIONS = 100, 300, 2000, 64
"""Sizes of the simulation: clips, listeners to learn of, candidates for what they are like, and draws of the
rest of a listener whose bias is known."""

SHOWN = 0.005
"""Smaller shares are not shown."""

CERTAIN = 1.96
"""Standard errors to each side of a 95% interval."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "bias": ("bias",),
    "reliability": ("sharpness", "lapse"),
    "confusion": ("confusion",),
    "breadth": ("breadth",),
}
"""What listeners can differ in, and the fields of `Listener` that hold it."""

IN_WORDS: Mapping[str, str] = {
    "bias": "how readily they say each emotion",
    "reliability": "how closely they follow the clip",
    "confusion": "which emotions they take for others",
    "breadth": "how many emotions they name",
}
"""PARTS in plain words."""


@dataclass(frozen=True)
class VarianceShares:
    """Where the variance of the answers comes from; `utterance`, `listener` and `chance` sum to 1.

    Args:
        utterance: people hear different clips differently.
        listener: listeners answer differently about the same clip.
        chance: a listener answers differently about the same clip at two times.
        parts: the shares of `listener` by PARTS, each varied alone; they sum to 1.
    """

    utterance: float
    listener: float
    chance: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Gain:
    """Nats an answer that are gained over the mean listener, with a 95% interval over listeners."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, gains: np.ndarray) -> Gain:
        """Return the mean of the listeners' gains."""
        error = CERTAIN * gains.std(ddof=1) / np.sqrt(len(gains))
        return cls(float(gains.mean()), float(gains.mean() - error), float(gains.mean() + error))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Learnable:
    """What is gained by knowing a listener, and by learning of them from `LABELS` labels with Bayes' rule.

    Each counts an answer's strongest label. `beyond_bias` is what learning everything gains over learning
    the bias alone.
    """

    known: Gain
    known_bias: Gain
    learned: Gain
    learned_bias: Gain
    beyond_bias: Gain


def describe(
    kind: ListenerKind, listeners: Sequence[Listener], emotions: EmotionSet, shares: np.ndarray
) -> list[str]:
    """Return what the corpus card and every report say of these listeners, in short sentences."""
    rng = np.random.default_rng(0)
    panel = shares[rng.permutation(len(shares))[:CLIPS]]
    notes = []
    if len(listeners) > 1:
        notes.append(_why_answers_differ(kind, variance_shares(listeners[:CLIPS], panel)))
    return [*notes, _what_a_listener_is_worth(kind, learnable(kind, emotions, panel, rng))]


def _why_answers_differ(kind: ListenerKind, variance: VarianceShares) -> str:
    text = (
        f"Why the answers of {kind.name} simulated listeners differ: {variance.utterance:.1%} of the "
        f"variance comes from the clip, {variance.listener:.1%} from the listener and {variance.chance:.1%} "
        "from chance."
    )
    parts = [
        f"{IN_WORDS[name]} ({name}, {share:.0%})" for name, share in variance.parts.items() if share >= SHOWN
    ]
    return f"{text} What is the listener's: {', '.join(parts)}." if parts else text


def _what_a_listener_is_worth(kind: ListenerKind, gains: Learnable) -> str:
    rest = (
        f"Learning more than the bias adds {gains.beyond_bias}."
        if gains.beyond_bias.low > 0
        else f"So nothing but a bias can be learned: more than it adds {gains.beyond_bias}."
    )
    return (
        f"What knowing a {kind.name} simulated listener is worth, in nats an answer (95% interval): "
        f"{gains.known} if everything about the listener is known, {gains.known_bias} if only the bias is. "
        f"A method that learns from {LABELS} labels of the listener can gain about {gains.learned} at most, "
        f"and {gains.learned_bias} if it learns the bias alone. {rest} Every gain is over the answers of the "
        "average listener. Such a method would have to know what people in general hear in each clip, and "
        "how listeners differ."
    )


def variance_shares(listeners: Sequence[Listener], shares: np.ndarray) -> VarianceShares:
    """Return where the variance of these listeners' answers about these clips comes from."""
    everyone = np.stack([response_distribution(listener, shares) for listener in listeners])
    mean = everyone.mean(axis=0)
    total = 1 - np.square(mean.mean(axis=0)).sum()
    by_utterance = np.square(mean - mean.mean(axis=0)).sum(axis=1).mean() / total
    by_listener = _between(everyone) / total
    typical = _typical(listeners)
    alone = {}
    for part, fields in PARTS.items():
        varied = [
            replace(typical, **{name: getattr(listener, name) for name in fields}) for listener in listeners
        ]
        alone[part] = _between(np.stack([response_distribution(listener, shares) for listener in varied]))
    largest = sum(alone.values())
    return VarianceShares(
        utterance=float(by_utterance),
        listener=float(by_listener),
        chance=float(1 - by_utterance - by_listener),
        parts={part: float(value / largest) if largest > 0 else 0.0 for part, value in alone.items()},
    )


def learnable(
    kind: ListenerKind, emotions: EmotionSet, shares: np.ndarray, rng: np.random.Generator
) -> Learnable:
    """Simulate listeners of a kind, and measure what knowing or learning of them gains.

    Each of LISTENERS answers about LABELS clips. With Bayes' rule over CANDIDATES draws of the kind, their
    other answers are predicted, once with whole candidates and once with candidates of which only the bias
    is known.
    """
    drawn = [
        replace(listener, breadth=0.0)
        for listener in kind.listeners(CANDIDATES + LISTENERS + COMPANIONS, emotions, shares, rng)
    ]
    tested, companions = drawn[:LISTENERS], drawn[LISTENERS : LISTENERS + COMPANIONS]
    candidates = drawn[LISTENERS + COMPANIONS :]
    whole = np.stack([response_distribution(listener, shares) for listener in candidates])
    biased = _with_bias_known(candidates, companions, shares)
    mean = whole.mean(axis=0)
    gains: dict[str, list[float]] = {"known": [], "known_bias": [], "learned": [], "learned_bias": []}
    for listener, known_bias in zip(tested, _with_bias_known(tested, companions, shares), strict=True):
        truth = response_distribution(listener, shares)
        order = rng.permutation(len(shares))
        heard, others = order[:LABELS], order[LABELS:] if len(order) > LABELS else order
        answers = (truth[heard].cumsum(axis=1) < rng.random((len(heard), 1))).sum(axis=1)
        answers = np.minimum(answers, truth.shape[1] - 1)
        predictions = {
            "known": truth,
            "known_bias": known_bias,
            "learned": _posterior_mean(whole, heard, answers),
            "learned_bias": _posterior_mean(biased, heard, answers),
        }
        for name, predicted in predictions.items():
            logs = np.log(predicted[others]) - np.log(mean[others])
            gains[name].append(float((truth[others] * logs).sum(axis=1).mean()))
    columns = {name: np.array(values) for name, values in gains.items()}
    return Learnable(
        **{name: Gain.of(values) for name, values in columns.items()},
        beyond_bias=Gain.of(columns["learned"] - columns["learned_bias"]),
    )


def _with_bias_known(
    listeners: Sequence[Listener], companions: Sequence[Listener], shares: np.ndarray
) -> np.ndarray:
    """Return the mean answers of the companions if they had the bias of each listener: (L, num_clips, C).

    The companions give one label.
    """
    odds = np.exp(np.array([listener.bias for listener in listeners])[:, None] / NOISE)
    total = np.zeros((len(listeners), *shares.shape))
    for companion in companions:
        unbiased = replace(companion, bias=(0.0,) * shares.shape[1], lapse=0.0)
        answers = response_distribution(unbiased, shares) * odds
        answers /= answers.sum(axis=2, keepdims=True)
        total += (1 - companion.lapse) * answers + companion.lapse / shares.shape[1]
    return total / len(companions)


def _posterior_mean(answers: np.ndarray, heard: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the mean of the candidates' answers (N, num_clips, C), weighted by how well they explain those
    that were given about the clips that were heard."""
    logs = np.log(answers[:, heard, given]).sum(axis=1)
    weights = np.exp(logs - logs.max())
    return np.einsum("n,nuc->uc", weights / weights.sum(), answers, optimize=True)


def _between(answers: np.ndarray) -> float:
    """Return the variance between listeners of their answers (L, num_clips, C): the mean over the clips."""
    return float(np.square(answers - answers.mean(axis=0)).sum(axis=2).mean())


def _typical(listeners: Sequence[Listener]) -> Listener:
    """Return a listener who is the mean of these in every respect, and has no confusion."""
    return Listener(
        name="typical",
        bias=tuple(np.mean([listener.bias for listener in listeners], axis=0).tolist()),
        sharpness=float(np.mean([listener.sharpness for listener in listeners])),
        breadth=float(np.mean([listener.breadth for listener in listeners])),
        lapse=float(np.mean([listener.lapse for listener in listeners])),
    )
