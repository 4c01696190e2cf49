"""Validation of meta-training: losses under the emotions' own words and under swapped ones, and controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from perser.distributed import own_items, processes, sum_over_processes
from perser.episodes.episode import Episode, Task
from perser.errors import UserError
from perser.training.options import Criterion
from speechlm_icl.model.audio_tokens import answer_numbers
from speechlm_icl.projectors.base import Store
from speechlm_icl.training.controls import Control, draw_controls, measure_controls
from speechlm_icl.training.learner import Learner
from speechlm_icl.training.on_episodes import validate_on_episodes
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.reading import read
from speechlm_icl.training.sequences import PairSequence, SequenceSampler
from speechlm_icl.training.task_drawing import TaskShares

BATCH_SIZE = 16
"""Sequences."""


@dataclass(frozen=True)
class ValidationSet:
    """What every validation of a training measures.

    Args:
        own: Sequences of validation persons under the emotions' own words.
        permuted: Sequences of the same persons with swapped words; none where training swaps none.
        controls: A few enrollments with queries; see `speechlm_icl.training.controls`.
        own_words_count: Whether `own` has a say in the score.
        episodes: Of validation persons; see `speechlm_icl.training.on_episodes`.
        pairs: How many pairs of these are read.
        criterion: What chooses; macro-F1 needs episodes.
    """

    own: list[PairSequence]
    permuted: list[PairSequence]
    controls: list[Control]
    own_words_count: bool = True
    episodes: Sequence[Episode] = ()
    pairs: int = 0
    criterion: Criterion = "log_loss"

    @classmethod
    def draw(
        cls,
        model: Learner,
        tasks: Sequence[Task],
        options: IclOptions,
        episodes: Sequence[Episode] = (),
    ) -> Self:
        """Draw it. What is drawn depends on the tasks and on options alone.

        Raises UserError where macro-F1 is to choose and there are no episodes.
        """
        if options.selection == "maF1" and not episodes:
            raise UserError(
                "selection: maF1 needs validation episodes with emotions that are trained on, and there "
                "are none: give log_loss, or draw other episodes"
            )
        emotions, count = model.prompt.emotions, options.validation_sequences
        most = options.most_labels
        own = SequenceSampler(tasks, emotions, options.pairs, most_labels=most)
        permuted = SequenceSampler(
            tasks, emotions, options.pairs, shares=TaskShares(renamed=1.0), most_labels=most
        )
        return cls(
            own.draw_each(count, options.seed),
            permuted.draw_each(count, options.seed) if options.permutes else [],
            draw_controls(tasks, emotions, options.pairs, options.seed),
            options.trains_own_words,
            episodes=episodes,
            pairs=options.pairs,
            criterion=options.selection,
        )

    def measure(
        self, model: Learner, store: Store, sharded: nn.Module | None
    ) -> tuple[dict[str, float], float]:
        """Return what is logged, and the score: minus the loss, or macro-F1 of the episodes if it chooses.

        The loss is the mean of the two losses where words are swapped, too. Where no sequence is trained
        under the own words, it is the loss under swapped words alone, because the other then says nothing.

        Under the own words it is the log loss of the episodes, where there are some, and else of the
        sequences. `sharded` is the model's `AnswerLosses` if its weights are sharded. Episodes and controls
        are then left out, because they need whole weights.
        """
        values = validate(model, self.own, store, sharded)
        own_loss = values["loss"]
        if self.episodes and sharded is None:
            values |= validate_on_episodes(model, self.episodes, self.pairs, store)
            own_loss = values["episodes_log_loss"]
        losses = [own_loss] if self.own_words_count else []
        if self.permuted:
            found = validate(model, self.permuted, store, sharded)
            values |= {f"permuted_{name}": value for name, value in found.items()}
            losses.append(found["loss"])
        if sharded is None:
            values |= measure_controls(model, self.controls, store)
        if self.criterion == "maF1":
            return values, values["episodes_maF1"]
        return values, -sum(losses) / len(losses)


@torch.no_grad()
def validate(
    model: Learner,
    sequences: Sequence[PairSequence],
    store: Store,
    trained: nn.Module | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[str, float]:
    """Return the loss in nats an answer: over all answers, the first ones and the late ones.

    `loss` is over all answers, `loss_first` over those with no pair before them, and `loss_late` over the
    last quarter. The fall from first to late is what reading the enrollment is worth.

    Several processes share the sequences. `trained` is the model's `AnswerLosses` if its weights are sharded.
    """
    model.eval()
    losses_of = trained or model.losses
    longest = max(len(sequence.answers) for sequence in sequences)
    own = own_items(sequences)
    largest_share = -(-len(sequences) // processes().num_processes)
    losses, answers = torch.zeros(longest), torch.zeros(longest)
    for start in range(0, largest_share, batch_size):
        chunk = own[start : start + batch_size]
        # All processes gather sharded weights together: one with nothing left computes a batch for nothing.
        batch, features = read(model, chunk or sequences[:1], store)
        found = losses_of(batch, features)
        if not chunk:
            break
        answer = answer_numbers(batch.clips).clamp_min(0).flatten().cpu()
        losses.index_add_(0, answer, found.flatten().cpu())
        for sequence in chunk:
            answers[: len(sequence.answers)] += 1
    losses, answers = sum_over_processes(losses).cpu(), sum_over_processes(answers).cpu()
    late = slice(3 * longest // 4, None)
    return {
        "loss": (losses.sum() / answers.sum()).item(),
        "loss_first": (losses[0] / answers[0]).item(),
        "loss_late": (losses[late].sum() / answers[late].sum()).item(),
    }
