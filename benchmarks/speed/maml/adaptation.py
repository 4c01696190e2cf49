"""Meta-testing, a person's clips to a person's weights: ours, and a plain fine-tuning loop."""

from __future__ import annotations

from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import Case
from benchmarks.speed.maml.padded import PaddedRecognizer, encoded_alone, padded_batch
from benchmarks.speed.maml.presets import Preset
from benchmarks.speed.maml.theirs_finetune import fine_tune
from benchmarks.speed.timing.comparison import Row, Timing, check_agreement
from benchmarks.speed.timing.measure import by_turns, distance
from benchmarks.speed.timing.operations import counted, operations

THEIRS = "plain fine-tuning"

SCOPES = {
    "all": ("all trunk layers", "adapt_vs_finetune"),
    "head": ("head only", "head_adapt_vs_finetune"),
}
"""What moves: in words, and the ratio's name."""


def compare_adaptations(case: Case, preset: Preset, agreement: dict[str, float]) -> Timing:
    """Seconds of all steps. Where steps are long some are run and count in proportion: theirs repeats the
    same work in each, and ours does once it has encoded. Ours starts at the waveforms, theirs at its padded
    batch.
    """
    what, ratio = SCOPES[case.model.scope]
    steps, timed = preset.adapt_steps, preset.timed_steps
    own_timed = timed if case.model.scope == "all" else steps
    model, padded = PaddedRecognizer(case.model), padded_batch(case)
    batch, encoding = counted(lambda: ours.encoded_anew(case))
    none, one = (operations(lambda count=count: ours.adapted(case, batch, count)) for count in (0, 1))
    a_step = operations(lambda: fine_tune(model, padded, case, 1))
    taken = by_turns(
        {
            "theirs": lambda: fine_tune(model, padded, case, timed),
            "encoding": lambda: ours.encoded_anew(case),
            "no step": lambda: ours.adapted(case, batch, 0),
            "ours": lambda: ours.adapted(case, batch, own_timed),
        },
        preset.repeats,
        case.device,
    )
    theirs = Row(THEIRS, [part * steps / timed for part in taken["theirs"]], a_step * steps)
    from_encoded = [
        start + (part - start) * steps / own_timed
        for start, part in zip(taken["no step"], taken["ours"], strict=True)
    ]
    encoded = Row("ours, encoding left out", from_encoded, none + (one - none) * steps)
    whole = [sum(parts) for parts in zip(taken["encoding"], from_encoded, strict=True)]
    own = Row("ours, encoding included", whole, encoding + encoded.operations)
    title = f"{steps} steps of adaptation, {what}, K = {len(case.waveforms)}, {case.precision}"
    if timed < steps:
        title += f" ({timed} of theirs timed, {own_timed} of ours)"
    ratios = {ratio: theirs.seconds / own.seconds}
    return Timing(title, [theirs, encoded, own], own, taken["encoding"], ratios, agreement)


def check_adaptation(case: Case, steps: int) -> dict[str, float]:
    """How far the way that the weights went with ours is from theirs, theirs with every clip's front-end
    output as without padding. Raises RuntimeError where that is too far."""
    start = [one.detach().clone() for one in case.moving]
    with encoded_alone(case.model, [len(one) for one in case.waveforms]):
        theirs = fine_tune(PaddedRecognizer(case.model), padded_batch(case), case, steps)
    own = ours.adapted(case, ours.encoded_anew(case), steps)
    moved = [[one - before for one, before in zip(after, start, strict=True)] for after in (own, theirs)]
    found = {f"{THEIRS}, where the weights went in {steps} steps": distance(*moved)}
    if case.precision == "float32":
        check_agreement(found)
    return found
