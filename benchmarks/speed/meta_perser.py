"""python -m benchmarks.speed.meta_perser [--preset quick] [--device cuda --preset base] [--json FILE]

Meta-PerSER's training step and adaptation against what one would take instead: the library `higher`, a plain
MAML loop and a plain transformers fine-tuning loop, on one model and the same waveforms.
"""

from __future__ import annotations

import importlib.util
from json import dumps
from pathlib import Path
from typing import Literal

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import write_text_atomic

PresetName = Literal["tiny", "quick", "full", "base"]

CONVENTIONS = """\
Random weights, noise for speech, lengths as IEMOCAP's. All of theirs read a padded batch with its mask
through the whole model at every step; the front-end is frozen. It has a group norm, which sees padding: where
results are compared, and there alone, theirs encodes each clip without its padding. Every contender runs the
weight norm whose second derivative is right. A floor is the operations of matrix products, convolutions and
attention over the rate of one large matrix product, measured in this run. Ratios are theirs over ours, of
medians over rounds in which everyone has one turn: of a training step, with each clip encoded once in a
training run of the default length over IEMOCAP; of an adaptation, with the person's clips encoded in it.
"""


def speed(
    preset: PresetName = "full",
    device: Literal["cpu", "cuda"] = "cpu",
    json: Path | None = None,
    seed: int = 0,
) -> None:
    """How fast and lean Meta-PerSER's training step and adaptation are, against what one would take instead.

    Args:
        preset: quick (within 3 minutes on two cores), full (a wider encoder, more clips and rounds), base
            (shapes of wav2vec2-base, in float32 and bf16, for a GPU) or tiny (whether it runs; its figures
            mean nothing).
        device: where everyone computes.
        json: a file for every figure of the tables; none: tables alone.
        seed: of weights and speech.
    """
    import torch

    from benchmarks.speed.timing.machine import check_device, machine_of

    if importlib.util.find_spec("higher") is None:
        raise UserError("this compares with the library `higher`, which is not installed: pip install higher")
    check_device(device)
    from rich.console import Console

    from benchmarks.speed.maml.everything import Everything, print_front_shares
    from benchmarks.speed.maml.presets import PRESETS

    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, in convolutions as in matrix products
    chosen = PRESETS[preset]
    console = Console(width=112, highlight=False)
    console.print(CONVENTIONS)
    machine = machine_of(device)
    console.print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    shares = print_front_shares(chosen, device, console)
    found = {one: Everything(chosen, device, one, seed, console).measure() for one in chosen.precisions}
    ratios = found[chosen.precisions[0]]["ratios"]
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.2f}")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        content = {"ratios": ratios, "preset": preset, "seed": seed, "machine": machine}
        write_text_atomic(
            json, dumps({**content, "front_end_share": shares, "by_precision": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    run_command(speed)
