"""python -m benchmarks.speed.speechlm_icl [--preset quick] [--device cuda --preset gpu] [--json FILE]

The speech LM's scores of one person's queries against the full prompt for each query (and label), and its
training loss on every label against one on the query's.
"""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Any, Literal

from perser.cli.main import run_command
from perser.io.files import write_text_atomic

PromptPresetName = Literal["tiny", "quick", "full", "gpu"]

CONVENTIONS = """\
A Llama of SmolLM2-135M's shapes with random weights and a LoRA adapter, noise for the clips' pooled
features, nine labels of one or two tokens. Theirs have the embeddings of the prompt ready; ours starts at
features and reads the enrollment anew. A floor is the operations of matrix products and attention over the
rate of one large matrix product, measured in this run. Ratios are theirs over ours, of medians over rounds in
which everyone has one turn.
"""


def speed_speech_lm(
    preset: PromptPresetName = "full",
    device: Literal["cpu", "cuda"] = "cpu",
    json: Path | None = None,
    seed: int = 0,
) -> None:
    """How fast and lean the speech LM answers after an enrollment, and how much a training step supervises.

    Args:
        preset: quick (within 3 minutes on two cores; theirs are timed on one query), full (on eight, more
            rounds), gpu (on all, in float32 and bf16) or tiny (whether it runs; its figures mean nothing).
        device: where everyone computes.
        json: a file for every figure of the tables; none: tables alone.
        seed: of weights and features.
    """
    import torch
    from rich.console import Console

    from benchmarks.speed.speechlm.prompt_presets import PROMPT_PRESETS
    from benchmarks.speed.timing.machine import check_device, machine_of

    check_device(device)
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 is float32
    chosen = PROMPT_PRESETS[preset]
    console = Console(width=112, highlight=False)
    console.print(CONVENTIONS)
    machine = machine_of(device)
    console.print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    found = {one: _measure(chosen, device, one, seed, console) for one in chosen.precisions}
    ratios = found[chosen.precisions[0]]["ratios"]
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.2f}")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        content = {"ratios": ratios, "preset": preset, "seed": seed, "machine": machine}
        extrapolated = {"queries": chosen.queries, "timed_queries_of_theirs": chosen.timed_queries}
        write_text_atomic(json, dumps({**content, **extrapolated, "by_precision": found}, indent=1) + "\n")


def _measure(preset: Any, device: str, precision: Any, seed: int, console: Any) -> dict[str, Any]:
    """The ratios of one precision, and all that they are made of."""
    import torch

    from benchmarks.speed.speechlm.personal_answers import compare_answer_peaks, compare_answers
    from benchmarks.speed.speechlm.prompt_case import make_prompt_case
    from benchmarks.speed.speechlm.supervised_labels import compare_labels
    from benchmarks.speed.timing.measure import matrix_rate
    from benchmarks.speed.timing.table import print_memory, print_timing, timing_json

    rate = matrix_rate(torch.device(device), precision)
    console.print(f"one large matrix product, {precision}: {rate / 1e9:.4g} GFLOP/s\n")
    with make_prompt_case(preset, device, precision, seed) as case:
        timings = []
        for compare in (compare_answers, compare_labels):
            timings.append(compare(case, preset))
            print_timing(timings[-1], rate, console)
    memory = compare_answer_peaks(preset, device, precision, seed)
    print_memory(memory, console)
    return {
        "ratios": timings[0].ratios | timings[1].ratios,
        "matrix_rate": rate,
        "timings": [timing_json(one, rate) for one in timings],
        "memory": {"title": memory.title, "bytes": memory.peaks},
    }


if __name__ == "__main__":
    run_command(speed_speech_lm)
