"""python -m benchmarks.listener_moments --root data/cremad

Compare realistic listeners with what is published of CREMA-D's: draw 2,443 of them, let each label 30 clips
by voice, 30 by face and 30 by both, and compute the published figures. All three conditions are needed,
since some figures are known over all of them only.

The publications do not say how each figure was computed. These readings make one construal explain all of
them: halves are split by each listener's own answers to the voice, labels are transferred between votes on
the voice, and the mass that moves is that of all answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.ceiling.agreement import nominal_alpha
from perser.cli.main import run_command
from perser.corpora.listeners.kinds import REALISTIC, ListenerKind
from perser.corpora.listeners.listener import annotate
from perser.corpora.listeners.shares import CREMAD_VOICE, SharesPrior
from perser.corpora.published_tables import read_rows
from perser.corpora.readers.cremad import CODES, EMOTIONS, LETTERS, VOTES
from perser.errors import UserError
from perser.labels import EmotionSet

CONDITIONS = ("voice", "face", "both")
"""In the order of their row numbers in the table of votes: from 100,000, from 200,000 and from 300,000."""

CLIPS_EACH = 30
"""Clips that a listener labels in each condition."""

LISTENERS = 2443

PUBLISHED = {
    "alpha": 0.265,
    "agreement, voice": 0.559,
    "agreement, all": 0.627,
    "true deviation of agreement, all": 0.07,
    "agreement, all, 5th percentile": 0.478,
    "agreement, all, 95th percentile": 0.750,
    "agreement of random halves": 0.635,
    "transfer loss": 0.063,
    "transfer loss, ability removed": 0.048,
    "moved on neutral": 0.103,
}
"""The facts that a draw is compared with: of the voice unless they say `all`; `moved` is over all conditions.
On fear and on happy 3.5 to 7 percent move, on anger least."""


OTHER_CONCENTRATIONS = (
    np.array([4.05, 3.80, 3.88, 9.88, 12.49, 4.60]),
    np.array([5.07, 4.82, 3.98, 8.71, 15.20, 4.38]),
)
"""As the concentration in CREMAD_VOICE, for the votes by face and by both."""


@dataclass(frozen=True)
class Clips:
    """The clips of one condition: how often people hear each emotion, and what the actors meant.

    Args:
        shares: (num_clips, C), rows sum to 1.
        meant: (num_clips,), the index of an emotion.
    """

    shares: np.ndarray
    meant: np.ndarray


@dataclass(frozen=True)
class ConditionAnswers:
    """Single-label answers in one condition, three arrays of the same length, and what the actors meant.

    Args:
        listener: index of the listener.
        clip: index of the clip.
        answer: index of the emotion.
        meant: (num_clips,), the index of the emotion that the actor meant.
    """

    listener: np.ndarray
    clip: np.ndarray
    answer: np.ndarray
    meant: np.ndarray

    def votes(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the votes of the chosen answers: (num_clips, C)."""
        votes = np.zeros((len(self.meant), len(EMOTIONS)))
        np.add.at(votes, (self.clip[chosen], self.answer[chosen]), 1)
        return votes

    def agreement(self) -> np.ndarray:
        """Return for each answer whether most others gave it; of tied emotions each counts in part."""
        others = self.votes()[self.clip]
        others[np.arange(len(others)), self.answer] -= 1
        return _plurality(others)[np.arange(len(others)), self.answer]

    def agreement_by_listener(self) -> np.ndarray:
        """Return each listener's mean agreement with the others."""
        return np.bincount(self.listener, self.agreement()) / np.bincount(self.listener)

    def profiles(self) -> np.ndarray:
        """Return how often each listener gave each answer to each emotion that was meant: (L, C, C)."""
        profiles = np.zeros((self.listener.max() + 1, len(EMOTIONS), len(EMOTIONS)))
        np.add.at(profiles, (self.listener, self.meant[self.clip], self.answer), 1)
        return profiles

    def transfer(self, half: np.ndarray) -> float:
        """Return how often the two halves of the listeners agree on what most say about a clip.

        `half` is bool (L,). Tied emotions count in part; clips that only one half heard do not count.
        """
        chosen = half[self.listener]
        first, second = self.votes(chosen), self.votes(~chosen)
        heard = (first.sum(axis=1) > 0) & (second.sum(axis=1) > 0)
        return float((_plurality(first[heard]) * _plurality(second[heard])).sum(axis=1).mean())


def construal(profiles: np.ndarray) -> np.ndarray:
    """Return each listener's place on the first principal component of the profiles: (L,)."""
    heard = profiles.sum(axis=2, keepdims=True)
    mean = profiles.sum(axis=0) / profiles.sum(axis=(0, 2))[:, None]
    deviation = np.where(heard > 0, profiles / np.maximum(heard, 1) - mean, 0.0).reshape(len(profiles), -1)
    left, scales, _ = np.linalg.svd(deviation - deviation.mean(axis=0), full_matrices=False)
    return left[:, 0] * scales[0]


def moments(conditions: Sequence[ConditionAnswers], rng: np.random.Generator) -> dict[str, float]:
    """Return the published figures, computed from answers by voice, by face and by both, in this order.

    Halves are split at the median of the construal, which is computed from the answers by voice. `Ability
    removed` splits at the median of what is left of it after a regression on the agreement with the others.
    """
    voice = conditions[0]
    by_condition = [answers.agreement_by_listener() for answers in conditions]
    overall = np.mean(by_condition, axis=0)
    count = len(overall)
    noise = (overall * (1 - overall)).mean() / (CLIPS_EACH * len(conditions))
    random = np.mean([voice.transfer(rng.permutation(count) % 2 == 0) for _ in range(10)])
    place = construal(voice.profiles())
    ability = by_condition[0] - by_condition[0].mean()
    place_at_equal_ability = place - ability * (place @ ability) / (ability @ ability)
    half, fair_half = _upper_half(place), _upper_half(place_at_equal_ability)
    moved = mass_moved(np.sum([answers.profiles() for answers in conditions], axis=0), fair_half)
    return {
        "alpha": nominal_alpha(voice.votes()),
        "agreement, voice": float(by_condition[0].mean()),
        "agreement, all": float(overall.mean()),
        "true deviation of agreement, all": float(np.sqrt(max(overall.var() - noise, 0.0))),
        "agreement, all, 5th percentile": float(np.percentile(overall, 5)),
        "agreement, all, 95th percentile": float(np.percentile(overall, 95)),
        "agreement of random halves": float(random),
        "transfer loss": float(random - voice.transfer(half)),
        "transfer loss, ability removed": float(random - voice.transfer(fair_half)),
    } | {f"moved on {emotion}": value for emotion, value in zip(EMOTIONS, moved.tolist(), strict=True)}


def mass_moved(profiles: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return how far the shares of the answers differ between two halves, as the mean over what was meant:
    (C,)."""
    first, second = (
        chosen / chosen.sum(axis=1, keepdims=True)
        for chosen in (profiles[half].sum(axis=0), profiles[~half].sum(axis=0))
    )
    return np.abs((first - second).mean(axis=0))


def _plurality(votes: np.ndarray) -> np.ndarray:
    """Return 1 for the emotion with the most votes, shared by tied ones."""
    most = votes == votes.max(axis=1, keepdims=True)
    return most / most.sum(axis=1, keepdims=True)


def _upper_half(values: np.ndarray) -> np.ndarray:
    return values > np.median(values)


def read_clips(root: Path, rng: np.random.Generator) -> list[Clips]:
    """Draw the clips of each condition from CREMA-D's votes. Raises UserError if a row is damaged."""
    rows: list[list[tuple[list[float], int]]] = [[] for _ in CONDITIONS]
    for line, row in read_rows(root / VOTES, ("", "fileName", *LETTERS)):
        try:
            condition = int(row[""]) // 100_000 - 1
            votes = [float(row[letter]) for letter in LETTERS]
            meant = EMOTIONS.index(CODES[row["fileName"].split("_")[2]])
            rows[condition].append((votes, meant))
        except (ValueError, IndexError, KeyError) as error:
            raise UserError(f"{root / VOTES}, line {line}, is damaged: get it again") from error
    return [
        draw_clips(np.array([votes for votes, _ in part]), np.array([meant for _, meant in part]), place, rng)
        for place, part in enumerate(rows)
    ]


def draw_clips(votes: np.ndarray, meant: np.ndarray, condition: int, rng: np.random.Generator) -> Clips:
    """Draw the shares of clips from their votes (num_clips, C).

    What was published of the voice is its prior. That of the other conditions has the mean votes of all clips
    with the same meant emotion, and the same concentration.
    """
    mean = np.stack([votes[meant == index].sum(axis=0) for index in range(len(EMOTIONS))])
    prior = (
        CREMAD_VOICE
        if condition == 0
        else SharesPrior(mean / mean.sum(axis=1, keepdims=True), OTHER_CONCENTRATIONS[condition - 1])
    )
    return Clips(prior.draw(votes, meant.tolist(), rng), meant)


def draw_answers(
    kind: ListenerKind, conditions: Sequence[Clips], rng: np.random.Generator, count: int = LISTENERS
) -> list[ConditionAnswers]:
    """Draw listeners of a kind who each label CLIPS_EACH clips in each condition.

    Clips are heard equally often. Listeners of several labels would count with their first.
    """
    listeners = kind.listeners(count, EmotionSet(EMOTIONS), conditions[0].shares, rng)
    answers = []
    for clips in conditions:
        size = len(clips.meant)
        rounds = -(-count * CLIPS_EACH // size)
        order = np.concatenate([rng.permutation(size) for _ in range(rounds)])[: count * CLIPS_EACH]
        heard = order.reshape(count, CLIPS_EACH)
        given = [
            annotate(listener, clips.shares[row], rng).argmax(axis=1)
            for listener, row in zip(listeners, heard, strict=True)
        ]
        who = np.repeat(np.arange(count), CLIPS_EACH)
        answers.append(ConditionAnswers(who, heard.reshape(-1), np.concatenate(given), clips.meant))
    return answers


def listener_moments(root: Path, draws: int = 3, seed: int = 0) -> None:
    """Print the published figures beside those of realistic listeners, drawn over CREMA-D's votes.

    Args:
        root: the unpacked corpus, as for `perser prepare cremad`.
        draws: how many times 2,443 listeners are drawn.
        seed: seed of the draws.
    """
    if draws < 1:
        raise UserError(f"--draws is {draws}: give 1 or more")
    drawn = []
    for rng in np.random.default_rng(seed).spawn(draws):
        drawn.append(moments(draw_answers(REALISTIC, read_clips(root, rng), rng), rng))
    print(f"{'':<36}{'published':>10}{'drawn':>8}{'from':>8}{'to':>8}")
    for name in drawn[0]:
        values = [values[name] for values in drawn]
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        print(f"{name:<36}{published:>10}{np.mean(values):>8.3f}{min(values):>8.3f}{max(values):>8.3f}")


if __name__ == "__main__":
    run_command(listener_moments)
