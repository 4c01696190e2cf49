"""One second-order step of meta-training: ours, the library `higher`, plain MAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from benchmarks.speed.maml import ours, theirs_higher, theirs_plain_maml
from benchmarks.speed.maml.case import Case
from benchmarks.speed.maml.padded import HookFreeRecognizer, PaddedRecognizer, encoded_alone, padded_batch
from benchmarks.speed.timing.comparison import Row, Timing, check_agreement
from benchmarks.speed.timing.measure import by_turns, distance
from benchmarks.speed.timing.operations import counted, operations
from meta_perser.options import InnerOptions, OuterOptions

IEMOCAP_UTTERANCES = 10_039


def encodings_a_draw() -> float:
    """How often a clip is encoded each time that it is drawn: every utterance of IEMOCAP once, over the
    draws of a training run by the default options."""
    inner, outer = InnerOptions(), OuterOptions()
    return IEMOCAP_UTTERANCES / (outer.steps * outer.batch_size * inner.support)


def compare_steps(case: Case, steps: int, rounds: int) -> Timing:
    """The outer gradients are compared before anyone is timed. Theirs has its padded batch ready; ours reads
    its frames from the cache at every step."""
    plain, for_higher, batch = (
        PaddedRecognizer(case.model),
        HookFreeRecognizer(case.model),
        padded_batch(case),
    )
    with TemporaryDirectory() as folder:
        source = ours.encode(case, Path(folder))
        runs = {
            "higher": lambda: theirs_higher.outer_gradients(for_higher, batch, case, steps),
            "plain MAML": lambda: theirs_plain_maml.outer_gradients(plain, batch, case, steps),
            "ours": lambda: ours.outer_gradients(case, source, steps),
        }
        found, own_count = counted(runs["ours"])
        agreement = _agreement(case, found, runs)
        count = operations(runs["plain MAML"])  # and those of `higher`, which takes the same products
        taken = by_turns({**runs, "encoding": lambda: ours.encoded_anew(case)}, rounds, case.device)
    encoding = operations(lambda: ours.encoded_anew(case))

    def with_encoding(who: str, share: float) -> Row:
        rounds = [step + share * once for step, once in zip(taken["ours"], taken["encoding"], strict=True)]
        return Row(who, rounds, own_count + round(share * encoding))

    amortized = with_encoding("ours, encoded once a training", encodings_a_draw())
    rows = [Row(name, taken[name], count) for name in ("higher", "plain MAML")]
    ratios = {
        key: row.seconds / amortized.seconds
        for key, row in zip(("step_vs_higher", "step_vs_plain_maml"), rows, strict=True)
    }
    rows += [
        with_encoding("ours, encoding left out", 0.0),
        amortized,
        with_encoding("ours, encoded at every step", 1.0),
    ]
    title = f"second-order step, S = {steps}, K = {len(case.waveforms)}, {case.precision}"
    return Timing(title, rows, amortized, taken["encoding"], ratios, agreement)


def _agreement(
    case: Case, found: list[Tensor], runs: dict[str, Callable[[], list[Tensor]]]
) -> dict[str, float]:
    """How far ours, `found`, is from theirs with every clip's front-end output as without padding."""
    lengths = [len(one) for one in case.waveforms]
    with encoded_alone(case.model, lengths):
        distances = {name: distance(found, runs[name]()) for name in ("higher", "plain MAML")}
    if case.precision == "float32":
        check_agreement(distances)
    return distances
