"""python -m benchmarks.speed.speechlm_icl [--preset quick] [--device cuda --preset gpu] [--json FILE]

Compare the speech LM's scores of one person's queries with the full prompt for each query (and label), and
its training loss on every label with a loss on the query's label.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perser.cli.main import run_command
from perser.io.files import check_outputs
from perser.io.json_files import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.speed.speechlm.prompt_presets import PromptPreset
    from benchmarks.speed.timing.rounds import Precision

PromptPresetName = Literal["tiny", "quick", "full", "gpu"]

CONVENTIONS = """\
The model is a Llama of SmolLM2-135M's shapes with random weights and a LoRA adapter; the clips' pooled
features are noise; there are nine labels of one or two tokens. Theirs have the embeddings of the prompt
ready; ours starts at features and reads the enrollment again. The ideal
time is the number of operations of matrix products and attention, divided by the rate of one large matrix
product, measured in this run. Ratios are theirs over ours, of
medians over rounds in which every contender is timed once.
"""


def speed_speech_lm(
    preset: PromptPresetName = "full",
    device: Literal["cpu", "cuda"] = "cpu",
    json: Path | None = None,
    seed: int = 0,
) -> None:
    """Measure the speed and memory of the speech LM's answers, and how much a training step supervises.

    Args:
        preset: quick (within 3 minutes on two cores; the others are timed on one query), full (on eight, more
            rounds), gpu (on all, in float32, TF32 and bf16) or tiny (a check that it runs; its figures mean
            nothing).
        device: where every contender computes.
        json: a file for every figure of the tables; none: print the tables only.
        seed: of weights and features.
    """
    from rich.console import Console

    from benchmarks.speed.speechlm.prompt_presets import PROMPT_PRESETS
    from benchmarks.speed.timing.machine import check_device, machine_of

    check_device(device)
    check_outputs(files={"json": json})
    chosen = PROMPT_PRESETS[preset]
    console = Console(width=112, highlight=False)
    console.print(CONVENTIONS)
    machine = machine_of(device)
    console.print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    by_precision = {
        precision: _measure(chosen, device, precision, seed, console) for precision in chosen.precisions
    }
    ratios = by_precision[chosen.precisions[0]]["ratios"]
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.2f}")
    if json is not None:
        content = {"ratios": ratios, "preset": preset, "seed": seed, "machine": machine}
        content |= {"queries": chosen.queries, "timed_queries_of_theirs": chosen.timed_queries}
        write_json(json, content | {"by_precision": by_precision})


def _measure(
    preset: PromptPreset, device: str, precision: Precision, seed: int, console: Console
) -> dict[str, Any]:
    """Return the ratios of one precision, and all that they are computed from."""
    import torch

    from benchmarks.speed.speechlm.personal_answers import compare_answer_peaks, compare_answers
    from benchmarks.speed.speechlm.prompt_case import make_prompt_case
    from benchmarks.speed.speechlm.supervised_labels import compare_labels
    from benchmarks.speed.timing.machine import matrix_rate
    from benchmarks.speed.timing.table import print_memory, print_timing, timing_json
    from perser.device import set_tf32

    set_tf32(torch.device(device), precision == "tf32")
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
        "timings": [timing_json(timing, rate) for timing in timings],
        "memory": {"title": memory.title, "bytes": memory.peaks},
    }


if __name__ == "__main__":
    run_command(speed_speech_lm)
