"""Ask every question of an instance, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks.dynamic_superb.answer_options import normalize
from benchmarks.dynamic_superb.instance import Instance, Item
from perser.audio import BadAudio
from perser.errors import UserError
from perser.progress import progress_bar


@dataclass(frozen=True)
class ItemWithClips:
    """An item and its recordings, each float32 (num_samples,) at 16 kHz."""

    item: Item
    clips: list[Tensor]


@dataclass(frozen=True)
class AnsweredItem:
    """An item and the answer to it."""

    item: Item
    answer: str

    @property
    def within_options(self) -> bool | None:
        """Whether the answer is one of the options; None for an item without options."""
        if not self.item.options:
            return None
        return normalize(self.answer) in map(normalize, self.item.options)

    @property
    def correct(self) -> bool:
        """Whether the answer is the label and not outside the options, compared by `normalize`."""
        return self.within_options is not False and normalize(self.answer) == normalize(self.item.label)


Answerer = Callable[[Sequence[ItemWithClips]], Sequence[str]]
"""Returns one answer for each item."""


def ask_instance(
    instance: Instance, answerer: Answerer, batch_size: int = 8
) -> tuple[list[AnsweredItem], dict[str, str]]:
    """Ask every item of an instance.

    Returns the answers in the order of the rows, and the reason for each file that was left out because a
    recording of it cannot be used. Raises UserError where no item is left.
    """
    answered: list[AnsweredItem] = []
    left_out: dict[str, str] = {}
    items = instance.items
    with progress_bar(len(items), instance.name, unit="item") as bar:
        for first in range(0, len(items), batch_size):
            numbers = range(first, min(first + batch_size, len(items)))
            batch = []
            for number in numbers:
                try:
                    batch.append(ItemWithClips(items[number], instance.clips(number)))
                except BadAudio as error:
                    left_out[items[number].file] = str(error)
            answers = answerer(batch) if batch else []
            answered += [AnsweredItem(each.item, answer) for each, answer in zip(batch, answers, strict=True)]
            bar.update(len(numbers))
    if not answered:
        file, reason = next(iter(left_out.items()))
        raise UserError(f"{instance.name}: no recording can be used, such as {file}: {reason}")
    return answered, left_out
