"""Compare answers to one person's queries: ours reads the enrollment once, the others the full prompt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.speechlm.full_prompt import generate, score_full_prompts
from benchmarks.speed.speechlm.prompt_case import PromptCase, make_prompt_case
from benchmarks.speed.speechlm.prompt_presets import PromptPreset
from benchmarks.speed.timing.comparison import Peaks, Row, Timing
from benchmarks.speed.timing.operations import count_operations, run_and_count
from benchmarks.speed.timing.rounds import Precision, peak_by_contender, time_in_rounds
from perser.peak_memory import run_with_peak
from speechlm_icl.scoring.scoring import label_log_probabilities

FULL_PROMPT, GENERATE, OURS = "full prompt for each query and label", "generate() for each query", "ours"

PEERS: dict[str, Callable[[PromptCase, int], Tensor]] = {FULL_PROMPT: score_full_prompts, GENERATE: generate}
"""What each of the others does with one query."""

RATIOS = {FULL_PROMPT: "score_vs_full_prompt", GENERATE: "score_vs_generate"}

NATS = {"float32": 1e-4, "tf32": 0.02, "bf16": 0.1}
"""Largest allowed difference of two log-probabilities; bf16 moves each by about 0.01, TF32 by an eighth of
that."""


def own_scores(case: PromptCase) -> Tensor:
    """Return our log-probabilities (Q, C). Reading the enrollment is part of it."""
    return label_log_probabilities(case.model, case.enrollment, case.answers, case.queries)


def compare_answers(case: PromptCase, preset: PromptPreset) -> Timing:
    """Time the answers to all queries, after a check that the results agree.

    The others are run on some of the queries; the seconds of all are in proportion.
    """
    timed, queries = range(preset.timed_queries), preset.queries
    scores, own_count = run_and_count(lambda: own_scores(case))
    agreement = check_answers(case, scores, preset)
    runs = {
        name: lambda answer=answer: [answer(case, query) for query in timed] for name, answer in PEERS.items()
    }
    counts = {name: count_operations(partial(answer, case, 0)) for name, answer in PEERS.items()}
    taken = time_in_rounds({**runs, OURS: lambda: own_scores(case)}, preset.repeats, case.device)
    share = queries / len(timed)
    rows = [Row(name, [seconds * share for seconds in taken[name]], counts[name] * queries) for name in PEERS]
    own = Row(OURS, taken[OURS], own_count)
    lengths = f"{len(case.prefix)} positions of enrollment, {preset.tokens_per_clip} a clip"
    title = f"answers to Q = {queries} queries, K = {preset.pairs} ({lengths}), {case.precision}"
    notes = [_speed_note(row, case, queries) for row in (*rows, own)]
    if len(timed) < queries:
        notes.append(f"theirs timed on {len(timed)} of {queries} queries, seconds of all in proportion")
    ratios = {RATIOS[row.name]: row.seconds / own.seconds for row in rows}
    return Timing(title, [*rows, own], own, [], ratios, agreement, "nats at most", tuple(notes))


def check_answers(case: PromptCase, scores: Tensor, preset: PromptPreset) -> dict[str, float]:
    """Return the largest difference, in nats, of our `scores` (Q, C) from each of the others'.

    `generate` gives the first token's probabilities alone, so it is compared on labels of one token. Raises
    RuntimeError if a difference is more than NATS allows.
    """
    timed = range(preset.timed_queries)
    labels = case.model.prompt.labels
    single = [index for index, label in enumerate(labels) if len(label) == 1]
    tokens = [labels[index][0] for index in single]
    first = torch.stack([generate(case, query).log_softmax(dim=0)[tokens] for query in timed])
    full = torch.stack([score_full_prompts(case, query) for query in timed])
    own = scores[: len(timed)]
    differences = {
        FULL_PROMPT: (own - full).abs().max().item(),
        GENERATE: (own[:, single] - first).abs().max().item(),
    }
    for name, far in differences.items():
        if not far <= NATS[case.precision]:
            raise RuntimeError(f"ours and {name} are {far:.1e} nats apart, more than {NATS[case.precision]}")
    return differences


def compare_answer_peaks(preset: PromptPreset, device: str, precision: Precision, seed: int) -> Peaks:
    """Return the memory that answers add to the model's: all queries by ours, one by each of the others."""
    arguments = (preset, device, precision, seed)
    peaks = peak_by_contender(_peak, (FULL_PROMPT, GENERATE, OURS), arguments, device)
    return Peaks(f"peak memory of answers, {precision} (theirs: one query after another)", peaks)


def _peak(name: str, preset: PromptPreset, device: str, precision: Precision, seed: int) -> int | None:
    with make_prompt_case(preset, device, precision, seed) as case:
        if name == OURS:
            return run_with_peak(lambda: own_scores(case), case.device)[1]
        return run_with_peak(lambda: PEERS[name](case, 0), case.device)[1]


def _speed_note(row: Row, case: PromptCase, queries: int) -> str:
    """Say the seconds a query and the tokens a second, counted for all as one full prompt for each query."""
    tokens = queries * (len(case.prefix) + len(case.frames[0]))
    each, rate = row.seconds / queries, tokens / row.seconds
    return f"{row.name}: {each:.3g} s a query, {rate:.4g} tokens a second (of one prompt for each query)"
