"""python -m benchmarks.speed.node_costs [--page docs/scaling.md] [--measured FILE]

Compute what several GPUs or nodes cost a training. Counted: the bytes of gradients that its processes average
in every step. Computed from them: how long that takes, and how long a step must be for it to pay. From
measured steps and bytes: what each number of nodes costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs, write_text_atomic
from perser.io.json_files import read_json

BEGIN, END = "<!-- python -m benchmarks.speed.node_costs -->", "<!-- end -->"

GPUS = (2, 8, 16)

INNER_STEPS = 5

FLOAT32 = 4
"""Bytes of a gradient: every training trains in float32."""

SHOWN = 3
"""How many of the sizes, the largest first, the table has: the others are in proportion."""

MOST = 0.1
"""Largest share of a step that reducing may take."""

NODES = (1, 2, 4, 8, 16)

MEASURED = Path(__file__).with_name("scaling.json")
"""Figures that `python -m benchmarks.speed.scaling --json` wrote on two cores of a CPU."""


@dataclass(frozen=True)
class Link:
    """The slowest connection between two GPUs: its maker's bytes a second, each way."""

    name: str
    speed: float


LINKS = (
    Link("NVLink, 300 GB/s", 300e9),
    Link("PCIe 4.0 x16, 32 GB/s", 32e9),
    Link("InfiniBand, 25 GB/s", 25e9),
    Link("Ethernet, 1.25 GB/s", 1.25e9),
)

BETWEEN_NODES = (Link("Ethernet, 1.25 GB/s", 1.25e9), Link("Ethernet, 0.125 GB/s", 0.125e9))


def reduce_seconds(size: int, gpus: int, speed: float) -> float:
    """Return the seconds of averaging `size` bytes over so many GPUs in a ring.

    Each GPU sends and receives 2 (gpus - 1) / gpus times as much; latencies are left out.
    """
    return 2 * (gpus - 1) / gpus * size / speed


def least_step(size: int, gpus: int, speed: float) -> float:
    """Return the seconds that a step's whole batch must take on one GPU, so that reducing takes no more than
    the share MOST of a step on `gpus` GPUs."""
    return gpus * reduce_seconds(size, gpus, speed) * (1 - MOST) / MOST


def step_seconds(alone: float, items: int, size: int, nodes: int, speed: float) -> float:
    """Return the seconds of a step of `items` items on `nodes` nodes.

    It takes `alone` seconds on one node and reduces `size` bytes. The node with the most items decides.
    """
    return alone * math.ceil(items / nodes) / items + reduce_seconds(size, nodes, speed)


def node_costs(page: Path | None = None, measured: Path = MEASURED) -> None:
    """Compute what several GPUs or nodes cost each training.

    Args:
        page: a page whose tables are replaced; none: print them.
        measured: the file that `python -m benchmarks.speed.scaling --json FILE` wrote, on a machine like the
            nodes.
    """
    check_outputs(files={"page": page})
    written = f"{tables()}\n\n{cost_of_nodes(measured)}"
    if page is None:
        print(written)
        return
    before, _, after = page.read_text(encoding="utf-8").partition(BEGIN)
    write_text_atomic(page, f"{before}{BEGIN}\n{written}\n{END}{after.partition(END)[2]}")


def cost_of_nodes(measured: Path) -> str:
    """Return a Markdown table: for each number of nodes, the seconds of a step and its node-seconds.

    Both follow from the measured step and bytes. Raises UserError if the file has none.
    """
    figures = read_json(measured) or {}
    if "trainings" not in figures:
        raise UserError(
            f"measured: {measured} was not written by `python -m benchmarks.speed.scaling --json FILE`"
        )
    headings = [
        "training",
        "items a step",
        "MB a step",
        "between nodes",
        *("1 node" if nodes == 1 else f"{nodes} nodes" for nodes in NODES),
    ]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for training, steps in figures["trainings"].items():
        alone, items, size = steps["seconds"]["one"], steps["items_per_step"], steps["reduced_bytes"]
        for link in BETWEEN_NODES:
            seconds = [step_seconds(alone, items, size, nodes, link.speed) for nodes in NODES]
            costs = [f"{step:.3g} s, {nodes * step:.3g}" for nodes, step in zip(NODES, seconds, strict=True)]
            lines.append(f"| `{training}` | {items} | {size / 1e6:.3g} | {link.name} | {' | '.join(costs)} |")
    return "\n".join(lines)


def tables() -> str:
    """Return the counted and the computed table, in Markdown."""
    trained = [(training, what, FLOAT32 * count) for training, what, count in trained_parameters()]
    counted = ["| training | what moves | MB a step |", "|---|---|---|"]
    counted += [f"| `{training}` | {what} | {size / 1e6:.3g} |" for training, what, size in trained]
    headings = ["MB a step", "between GPUs", *(f"{gpus} GPUs" for gpus in GPUS)]
    computed = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for size in sorted({f"{size / 1e6:.3g}": size for *_, size in trained}.values(), reverse=True)[:SHOWN]:
        for link in LINKS:
            cells = [f"{size / 1e6:.3g}", link.name, *(cost(size, gpus, link) for gpus in GPUS)]
            computed.append(f"| {' | '.join(cells)} |")
    return "\n".join([*counted, "", *computed])


def cost(size: int, gpus: int, link: Link) -> str:
    """Return a cell: the milliseconds of reducing, and the seconds of the shortest step that pays."""
    reducing, step = (of(size, gpus, link.speed) for of in (reduce_seconds, least_step))
    return f"{_two_digits(1000 * reducing)} ms, {_two_digits(step)} s"


def _two_digits(number: float) -> str:
    return f"{float(f'{number:.2g}'):g}"


def trained_parameters() -> list[tuple[str, str, int]]:
    """Return each training, what it trains of wav2vec2-base or SmolLM2-135M, and how many numbers that is."""
    from benchmarks.speed.maml.case import make_case
    from benchmarks.speed.maml.presets import BASE
    from meta_perser.adaptation.lslr import make_rates
    from meta_perser.options import LslrOptions

    model = make_case(BASE, 1, "cpu").model
    rows = [("pretrain", "all of wav2vec2-base", count_numbers(model.trainable_parameters()))]
    for scope in ("all", "top_layers:2", "lora:8:2", "head"):
        model.set_scope(scope)
        theta = model.trainable_parameters()
        rates = make_rates(list(theta), INNER_STEPS, 1.0, LslrOptions())
        count = count_numbers(theta) + count_numbers(dict(rates.named_parameters()))
        rows.append(("meta-train", f"`{scope}` of wav2vec2-base, and the rates", count))
    return [*rows, ("icl-train", "the projector, an adapter on SmolLM2-135M", speech_lm_numbers())]


def speech_lm_numbers() -> int:
    """Return how many numbers the default options train beside a frozen language model."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.speed.speechlm.prompt_case import FEATURE_SHAPE
    from benchmarks.speed.speechlm.prompt_presets import SMOLLM2_135M
    from speechlm_icl.model.language_model import LoraOptions
    from speechlm_icl.projectors import new_projector
    from speechlm_icl.projectors.base import ProjectorOptions, ProjectorSizes

    lora = LoraOptions()
    with torch.device("meta"):
        base = LlamaForCausalLM(LlamaConfig(**SMOLLM2_135M))
        adapted = get_peft_model(base, LoraConfig(r=lora.r, target_modules=list(lora.targets)))
    projector = new_projector(
        ProjectorSizes(*FEATURE_SHAPE, base.config.hidden_size, 1.0), ProjectorOptions()
    )
    trained: dict[str, nn.Parameter] = dict(adapted.named_parameters()) | dict(projector.named_parameters())
    return count_numbers({name: weight for name, weight in trained.items() if weight.requires_grad})


def count_numbers(parameters: dict[str, nn.Parameter]) -> int:
    """Return how many numbers the parameters hold."""
    return sum(parameter.numel() for parameter in parameters.values())


if __name__ == "__main__":
    run_command(node_costs)
