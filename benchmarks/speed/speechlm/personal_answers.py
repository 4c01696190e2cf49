"""One person's queries answered: ours reads the enrollment once, theirs the full prompt every time."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.speechlm.prompt_case import PromptCase, make_prompt_case
from benchmarks.speed.speechlm.prompt_presets import PromptPreset
from benchmarks.speed.speechlm.theirs_prompting import generate, score_full_prompts
from benchmarks.speed.timing.comparison import Peaks, Row, Timing
from benchmarks.speed.timing.measure import Precision, by_contender, by_turns
from benchmarks.speed.timing.operations import counted, operations
from perser.peak_memory import peak_bytes
from speechlm_icl.scoring.scoring import label_log_probabilities

FULL_PROMPT, GENERATE, OURS = "full prompt for each query and label", "generate() for each query", "ours"

RATIOS = {FULL_PROMPT: "score_vs_full_prompt", GENERATE: "score_vs_generate"}

NATS = {"float32": 1e-4, "bf16": 0.1}
"""Largest difference of two log-probabilities; bf16 moves each by about 0.01."""


def ours(case: PromptCase) -> Tensor:
    """Log-probabilities (Q, C), reading the enrollment included."""
    return label_log_probabilities(case.model, case.enrollment, case.answers, case.queries)


def compare_answers(case: PromptCase, preset: PromptPreset) -> Timing:
    """Seconds of all queries; theirs are run on some and count in proportion. Results are compared first."""
    timed, queries = range(preset.timed_queries), preset.queries
    scores, own_count = counted(lambda: ours(case))
    agreement = check_answers(case, scores, preset)
    runs = {
        FULL_PROMPT: lambda: [score_full_prompts(case, query) for query in timed],
        GENERATE: lambda: [generate(case, query) for query in timed],
    }
    counts = {
        FULL_PROMPT: operations(lambda: score_full_prompts(case, 0)),
        GENERATE: operations(lambda: generate(case, 0)),
    }
    taken = by_turns({**runs, OURS: lambda: ours(case)}, preset.repeats, case.device)
    share = queries / len(timed)
    rows = [Row(who, [part * share for part in taken[who]], counts[who] * queries) for who in runs]
    own = Row(OURS, taken[OURS], own_count)
    lengths = f"{len(case.prefix)} positions of enrollment, {preset.tokens_per_clip} a clip"
    title = f"answers to Q = {queries} queries, K = {preset.pairs} ({lengths}), {case.precision}"
    notes = [_speed_note(row, case, queries) for row in (*rows, own)]
    if len(timed) < queries:
        notes.append(f"theirs timed on {len(timed)} of {queries} queries, seconds of all in proportion")
    ratios = {RATIOS[row.who]: row.seconds / own.seconds for row in rows}
    return Timing(title, [*rows, own], own, [], ratios, agreement, "nats at most", tuple(notes))


def check_answers(case: PromptCase, scores: Tensor, preset: PromptPreset) -> dict[str, float]:
    """Largest difference in nats of ours, `scores` (Q, C), from theirs; generate() tells the labels of one
    token alone. Raises RuntimeError where that is too much."""
    timed = range(preset.timed_queries)
    labels = case.model.prompt.labels
    single = [place for place, label in enumerate(labels) if len(label) == 1]
    tokens = [labels[place][0] for place in single]
    first = torch.stack([generate(case, query).log_softmax(dim=0)[tokens] for query in timed])
    full = torch.stack([score_full_prompts(case, query) for query in timed])
    own = scores[: len(timed)]
    found = {
        FULL_PROMPT: (own - full).abs().max().item(),
        GENERATE: (own[:, single] - first).abs().max().item(),
    }
    for who, far in found.items():
        if not far <= NATS[case.precision]:
            raise RuntimeError(f"ours and {who} are {far:.1e} nats apart, more than {NATS[case.precision]}")
    return found


def compare_answer_peaks(preset: PromptPreset, device: str, precision: Precision, seed: int) -> Peaks:
    """What all of ours, and one query of theirs, add to what the model already takes."""
    arguments = (preset, device, precision, seed)
    peaks = by_contender(_peak, (FULL_PROMPT, GENERATE, OURS), arguments, device)
    return Peaks(f"peak memory of answers, {precision} (theirs: one query after another)", peaks)


def _peak(who: str, preset: PromptPreset, device: str, precision: Precision, seed: int) -> int:
    with make_prompt_case(preset, device, precision, seed) as case:
        runs = {
            FULL_PROMPT: lambda: score_full_prompts(case, 0),
            GENERATE: lambda: generate(case, 0),
            OURS: lambda: ours(case),
        }
        return peak_bytes(runs[who], case.device)


def _speed_note(row: Row, case: PromptCase, queries: int) -> str:
    """Seconds a query, and tokens a second, counted for all as one full prompt for each query."""
    tokens = queries * (len(case.prefix) + len(case.frames[0]))
    each, rate = row.seconds / queries, tokens / row.seconds
    return f"{row.who}: {each:.3g} s a query, {rate:.4g} tokens a second (of one prompt for each query)"
