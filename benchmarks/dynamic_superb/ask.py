"""Asking every question of an instance, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from benchmarks.dynamic_superb.instance import Instance, Question
from benchmarks.dynamic_superb.options import bare
from perser.audio import BadAudio
from perser.errors import UserError


@dataclass(frozen=True)
class Asked:
    """A question and the recordings that it is about, float32 (num_samples,) each at 16 kHz."""

    question: Question
    clips: list[Tensor]


@dataclass(frozen=True)
class Answered:
    """A question and what was answered."""

    question: Question
    answer: str

    @property
    def within_options(self) -> bool | None:
        """Whether the answer is one of the options; None for a question without any."""
        if not self.question.options:
            return None
        return bare(self.answer) in map(bare, self.question.options)

    @property
    def correct(self) -> bool:
        """Whether the answer is the label and not outside the options; case, outer punctuation and spaces
        apart."""
        return self.within_options is not False and bare(self.answer) == bare(self.question.label)


Answerer = Callable[[Sequence[Asked]], Sequence[str]]
"""Gives one answer a question."""


def ask(instance: Instance, answerer: Answerer, batch_size: int = 8) -> tuple[list[Answered], dict[str, str]]:
    """Every question's answer in the order of the rows, and the reason for each file that was left out
    because a recording of it cannot be used. Raises UserError where nothing is left."""
    answered: list[Answered] = []
    left_out: dict[str, str] = {}
    questions = instance.questions
    with tqdm(total=len(questions), desc=instance.name, unit="item", disable=None) as bar:
        for first in range(0, len(questions), batch_size):
            numbers = range(first, min(first + batch_size, len(questions)))
            asked = []
            for number in numbers:
                try:
                    asked.append(Asked(questions[number], instance.clips(number)))
                except BadAudio as reason:
                    left_out[questions[number].file] = str(reason)
            said = answerer(asked) if asked else []
            answered += [Answered(one.question, answer) for one, answer in zip(asked, said, strict=True)]
            bar.update(len(numbers))
    if not answered:
        file, reason = next(iter(left_out.items()))
        raise UserError(f"{instance.name}: no recording can be used, such as {file}: {reason}")
    return answered, left_out
