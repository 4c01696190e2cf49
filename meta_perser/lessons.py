"""What supervised training learns from: every training utterance with its label distributions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perser.episodes import Task, aggregated_targets
from perser.labels import EmotionSet


@dataclass(frozen=True)
class Lessons:
    """Aligned lists, one entry an utterance: the m heads that are to predict it, (m,) long, and what each is
    to predict, (m, C). A recogniser with one head has head 0 and m = 1 throughout."""

    utterances: list[str]
    heads: list[Tensor]
    targets: list[Tensor]

    def __len__(self) -> int:
        return len(self.utterances)

    def pairs(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Of these utterances, all (utterance, head) pairs: the utterance's place in `chosen` (M,), the head
        (M,) and the target (M, C)."""
        heads = [self.heads[one] for one in chosen]
        places = torch.repeat_interleave(torch.tensor([len(one) for one in heads]))
        return places, torch.cat(heads), torch.cat([self.targets[one] for one in chosen])

    def count(self, chosen: Sequence[int]) -> int:
        """How many pairs these utterances have."""
        return sum(len(self.heads[one]) for one in chosen)


def aggregated_lessons(tasks: Sequence[Task], emotions: EmotionSet) -> Lessons:
    """One head, on the mean of the listeners' label distributions (Meta-PerSER 2.3.1)."""
    targets = aggregated_targets(tasks, emotions)
    rows = [torch.tensor(one).unsqueeze(0) for one in targets.values()]
    return Lessons(list(targets), [torch.zeros(1, dtype=torch.long)] * len(rows), rows)


def listener_lessons(tasks: Sequence[Task], emotions: EmotionSet) -> Lessons:
    """A head for each person, on their own label distributions (Multi-Few)."""
    given: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    for head, task in enumerate(tasks):
        rows = torch.tensor(emotions.distribution(task.emotions))
        for utterance, row in zip(task.utterances, rows, strict=True):
            given[utterance].append((head, row))
    utterances = sorted(given)
    heads = [torch.tensor([head for head, _ in given[one]]) for one in utterances]
    return Lessons(utterances, heads, [torch.stack([row for _, row in given[one]]) for one in utterances])
