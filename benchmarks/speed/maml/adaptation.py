"""Compare adaptation, from a person's clips to a person's weights: ours, and a plain fine-tuning loop."""

from __future__ import annotations

from functools import partial

from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import MamlCase
from benchmarks.speed.maml.padded import PaddedRecognizer, encoded_without_padding, padded_batch
from benchmarks.speed.maml.peers import fine_tune
from benchmarks.speed.maml.presets import MamlPreset
from benchmarks.speed.timing.comparison import Row, Timing, check_agreement
from benchmarks.speed.timing.operations import count_operations, run_and_count
from benchmarks.speed.timing.rounds import distance, time_in_rounds

PLAIN = "plain fine-tuning"

SCOPES = {
    "all": ("all trunk layers", "adapt_vs_finetune"),
    "head": ("head only", "head_adapt_vs_finetune"),
}
"""What adapts: in words, and the name of the ratio."""


def compare_adaptations(case: MamlCase, preset: MamlPreset, agreement: dict[str, float]) -> Timing:
    """Time all steps of an adaptation.

    If steps are long, only some are run and the seconds of all are in proportion: fine-tuning repeats the
    same work in each step, and so does ours once it has encoded. Ours starts at the waveforms, fine-tuning
    at its padded batch.
    """
    what, ratio = SCOPES[case.model.scope]
    steps, timed = preset.adapt_steps, preset.timed_steps
    own_timed = timed if case.model.scope == "all" else steps
    model, padded = PaddedRecognizer(case.model), padded_batch(case)
    batch, encoding = run_and_count(lambda: ours.encode_anew(case))
    no_step, one_step = (
        count_operations(partial(ours.adapted_weights, case, batch, count)) for count in (0, 1)
    )
    plain_step = count_operations(lambda: fine_tune(model, padded, case, 1))
    runs = {
        "theirs": lambda: fine_tune(model, padded, case, timed),
        "encoding": lambda: ours.encode_anew(case),
        "no step": lambda: ours.adapted_weights(case, batch, 0),
        "ours": lambda: ours.adapted_weights(case, batch, own_timed),
    }
    taken = time_in_rounds(runs, preset.repeats, case.device)
    plain = Row(PLAIN, [seconds * steps / timed for seconds in taken["theirs"]], plain_step * steps)
    from_encoded = [
        start + (seconds - start) * steps / own_timed
        for start, seconds in zip(taken["no step"], taken["ours"], strict=True)
    ]
    encoded = Row("ours, encoding left out", from_encoded, no_step + (one_step - no_step) * steps)
    from_waveforms = [sum(parts) for parts in zip(taken["encoding"], from_encoded, strict=True)]
    own = Row("ours, encoding included", from_waveforms, encoding + encoded.operations)
    title = f"{steps} steps of adaptation, {what}, K = {len(case.waveforms)}, {case.precision}"
    if timed < steps:
        title += f" ({timed} of theirs timed, {own_timed} of ours)"
    ratios = {ratio: plain.seconds / own.seconds}
    return Timing(title, [plain, encoded, own], own, taken["encoding"], ratios, agreement)


def check_adaptation(case: MamlCase, steps: int) -> dict[str, float]:
    """Return the distance between how far our weights moved and how far the fine-tuned ones did.

    Fine-tuning's front-end reads clips without padding here. Raises RuntimeError if, in float32, the distance
    is more than TOLERANCE.
    """
    start = [parameter.detach().clone() for parameter in case.moving]
    with encoded_without_padding(case.model, case.lengths):
        plain = fine_tune(PaddedRecognizer(case.model), padded_batch(case), case, steps)
    own = ours.adapted_weights(case, ours.encode_anew(case), steps)
    moved = [[end - begin for end, begin in zip(after, start, strict=True)] for after in (own, plain)]
    distances = {f"{PLAIN}, where the weights went in {steps} steps": distance(*moved)}
    if case.precision == "float32":
        check_agreement(distances)
    return distances
