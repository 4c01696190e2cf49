"""What a model makes of clips, some at a time; a clip that it cannot use costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from torch import Tensor

from perser.audio import BadAudio
from perser.errors import UserError
from perser.waveforms import Clip, name_of, waveform_of

CLIPS_AT_ONCE = 32
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A clip that cannot be used, and why."""

    path: str
    reason: str


def stream_clips(
    clips: Sequence[Clip], use: Callable[[dict[str, Tensor]], Sequence[Result]]
) -> Iterator[Result | Failure]:
    """One result a clip, in order, as they are ready.

    Args:
        clips: Read some at a time.
        use: Gives one result for each of the waveforms (num_samples,), by name, in their order; raises
            UserError where one of them is too long, for example.
    """
    named = ((name_of(clip, number), clip) for number, clip in enumerate(clips, start=1))
    while batch := list(islice(named, CLIPS_AT_ONCE)):
        waveforms, failures = _read(batch)
        found = failures | _used(waveforms, use)
        yield from (found[name] for name, _ in batch)


def _read(batch: list[tuple[str, Clip]]) -> tuple[dict[str, Tensor], dict[str, Result | Failure]]:
    waveforms, failures = {}, {}
    for name, clip in batch:
        try:
            waveforms[name] = waveform_of(clip)
        except BadAudio as error:
            failures[name] = Failure(name, str(error))
    return waveforms, failures


def _used(
    waveforms: dict[str, Tensor], use: Callable[[dict[str, Tensor]], Sequence[Result]]
) -> Mapping[str, Result | Failure]:
    """All together, or each alone where one of them is refused."""
    if not waveforms:
        return {}
    try:
        return dict(zip(waveforms, use(waveforms), strict=True))
    except UserError as error:
        if len(waveforms) == 1:
            return {name: Failure(name, str(error)) for name in waveforms}
        alone = [_used({name: one}, use) for name, one in waveforms.items()]
        return {name: one for used in alone for name, one in used.items()}
