"""Controls: does the model read its enrollment? Measured at every validation, on a few persons.

The same queries are answered after an enrollment that says less, or as much in another way:

    none        nothing
    true        the person's own pairs
    shuffled    the person's clips, with the labels shuffled among them
    another     another person's pairs
    reordered   the person's own pairs in another order
    renamed     the person's own pairs under words that mean nothing

A model that reads only how often each label is said loses nothing by `shuffled`, and is at chance on
`renamed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from perser.episodes.episode import Task
from perser.labels import EmotionSet
from speechlm_icl.projectors.base import Store, read_clips
from speechlm_icl.prompt.prompt import Answer
from speechlm_icl.scoring.scoring import label_log_probabilities
from speechlm_icl.training.learner import Learner

PERSONS, QUERIES = 4, 16


@dataclass(frozen=True)
class Control:
    """Queries of one person after one enrollment.

    Args:
        condition: Name of the enrollment.
        enrolled: The enrolled clips.
        answers: The answers to them.
        queries: The clips that are asked.
        truth: The person's answers to these.
        words: The words of the labels; None for the emotions' own.
    """

    condition: str
    enrolled: tuple[str, ...]
    answers: list[Answer]
    queries: tuple[str, ...]
    truth: list[Answer]
    words: int | None = None


def draw_controls(tasks: Sequence[Task], emotions: EmotionSet, pairs: int, seed: int) -> list[Control]:
    """Return the controls of a few persons. With one person, `another` is left out."""
    rng = np.random.default_rng([seed, pairs])
    drawn = [_draw(task, emotions, pairs, rng) for task in tasks[:PERSONS]]
    controls = []
    for number, own in enumerate(drawn):
        size = len(own.enrolled)
        shuffled, order = rng.permutation(size), rng.permutation(size)
        controls += [
            replace(own, condition="none", enrolled=(), answers=[]),
            own,
            replace(own, condition="shuffled", answers=[own.answers[index] for index in shuffled]),
            replace(
                own,
                condition="reordered",
                enrolled=tuple(own.enrolled[index] for index in order),
                answers=[own.answers[index] for index in order],
            ),
            replace(own, condition="renamed", words=number),
        ]
        if len(drawn) > 1:
            other = drawn[(number + 1) % len(drawn)]
            kept = [index for index, clip in enumerate(other.enrolled) if clip not in own.queries]
            controls.append(
                replace(
                    own,
                    condition="another",
                    enrolled=tuple(other.enrolled[index] for index in kept),
                    answers=[other.answers[index] for index in kept],
                )
            )
    return controls


def _draw(task: Task, emotions: EmotionSet, pairs: int, rng: np.random.Generator) -> Control:
    """Draw a person's own pairs and queries. Of few clips, at least one is a query."""
    order = rng.permutation(len(task.utterances))
    enrolled = min(pairs, len(order) - 1)
    clips, labels = task.at(order[: enrolled + QUERIES])
    answers: list[Answer] = [*emotions.indices(labels)]
    return Control("true", clips[:enrolled], answers[:enrolled], clips[enrolled:], answers[enrolled:])


def measure_controls(model: Learner, controls: Sequence[Control], store: Store) -> dict[str, float]:
    """Return the log loss in nats a query and the accuracy of each condition: `control_true_loss`, ...

    An answer of several emotions is spread evenly over them in the loss; any of them is right.
    """
    model.eval()
    found: dict[str, list[tuple[float, float]]] = {}
    for control in controls:
        reader = model if control.words is None else _renamed(model, control.words)
        enrolled = read_clips(store, control.enrolled) if control.enrolled else None
        scores = label_log_probabilities(
            reader, enrolled, control.answers, read_clips(store, control.queries)
        )
        log_probabilities = scores.log_softmax(dim=1)
        for row, answer in zip(log_probabilities, control.truth, strict=True):
            result = (-row[list(answer)].mean().item(), float(row.argmax().item() in answer))
            found.setdefault(control.condition, []).append(result)
    means = {condition: torch.tensor(results).mean(dim=0).tolist() for condition, results in found.items()}
    losses = {f"control_{condition}_loss": loss for condition, (loss, _) in means.items()}
    return losses | {f"control_{condition}_accuracy": accuracy for condition, (_, accuracy) in means.items()}


def _renamed(model: Learner, number: int) -> Learner:
    """Return the model with words that mean nothing as labels: nouns, or the emotions' own words, rotated."""
    names, pool = model.prompt.emotions.names, model.label_word_pool
    if len(pool) < len(names):
        shift = 1 + number % (len(names) - 1)
        return model.with_labels(EmotionSet((*names[shift:], *names[:shift])))
    chosen = np.random.default_rng(number).choice(len(pool), size=len(names), replace=False)
    return model.with_labels(EmotionSet(tuple(pool[index] for index in chosen)))
