"""python -m benchmarks.speed.meta_perser [--preset quick] [--device cuda --preset base] [--json FILE]

Compare Meta-PerSER's training step and adaptation with what one would use instead: the library `higher`, a
plain MAML loop and a plain transformers fine-tuning loop, on one model and the same waveforms.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.io.json_files import write_json

PresetName = Literal["tiny", "quick", "full", "base"]

CONVENTIONS = """\
Weights are random, speech is noise, and clips are as long as IEMOCAP's. All of theirs read a padded batch
with its mask through the whole model at every step; the front-end is frozen. The front-end has a group norm,
which sees padding: when results are compared, and only then, theirs encodes each clip without its padding.
Every contender runs the weight norm whose second derivative is right. The ideal time
is the number of operations of matrix products, convolutions and attention, divided by the rate of one large
matrix product, measured in this run. Ratios
are theirs over ours, of medians over rounds in which every contender is timed once: of a training step, with
each clip encoded once in a training run of the default length over IEMOCAP; of an adaptation, with the
encoding of the person's clips included. Only the ratios whose names end in `by_hand` are ours over theirs: a
torch.func loop written by hand, which reads what ours has encoded.
"""


def speed_meta_perser(
    preset: PresetName = "full",
    device: Literal["cpu", "cuda"] = "cpu",
    json: Path | None = None,
    seed: int = 0,
) -> None:
    """Measure the speed and memory of Meta-PerSER's training step and adaptation beside other tools.

    Args:
        preset: quick (within 3 minutes on two cores), full (a wider encoder, more clips and rounds), base
            (shapes of wav2vec2-base, in float32, TF32 and bf16, for a GPU) or tiny (a check that it runs; its
            figures mean nothing).
        device: where every contender computes.
        json: a file for every figure of the tables; none: print the tables only.
        seed: of weights and speech.
    """
    import torch

    from benchmarks.speed.timing.machine import check_device, machine_of

    if importlib.util.find_spec("higher") is None:
        raise UserError("this compares with the library `higher`, which is not installed: pip install higher")
    check_device(device)
    check_outputs(files={"json": json})
    from rich.console import Console

    from benchmarks.speed.maml.presets import PRESETS
    from benchmarks.speed.maml.run_comparisons import MamlComparisons, print_front_end_shares
    from perser.device import set_tf32

    set_tf32(torch.device(device), allowed=False)
    chosen = PRESETS[preset]
    console = Console(width=112, highlight=False)
    console.print(CONVENTIONS)
    machine = machine_of(device)
    console.print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    shares = print_front_end_shares(chosen, device, console)
    by_precision = {
        precision: MamlComparisons(chosen, device, precision, seed, console).run()
        for precision in chosen.precisions
    }
    ratios = by_precision[chosen.precisions[0]]["ratios"]
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.2f}")
    if json is not None:
        content = {"ratios": ratios, "preset": preset, "seed": seed, "machine": machine}
        content |= {"front_end_share": shares, "by_precision": by_precision}
        write_json(json, content)


if __name__ == "__main__":
    run_command(speed_meta_perser)
