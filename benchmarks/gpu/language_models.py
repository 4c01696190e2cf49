"""Time and memory of the speech LM with SmolLM2-135M's shapes and with those of a 7B model, random, in bf16.

Ours reads one person's enrollment of 32 pairs once and scores 9 labels of 128 queries; the others read the
full prompt for each query and label, or call `generate`. Without a GPU a tiny model takes their place: the
contenders still have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.gpu.findings import Check, Seen, Settings, require
from benchmarks.gpu.precisions import products_in, seen_in
from benchmarks.speed.speechlm.personal_answers import OURS, compare_answers, own_scores
from benchmarks.speed.speechlm.prompt_case import (
    FEATURE_SHAPE,
    PROMPT,
    PromptCase,
    llama_config,
    make_prompt_case,
)
from benchmarks.speed.speechlm.prompt_presets import PROMPT_PRESETS, SMOLLM2_135M, TINY, PromptPreset
from benchmarks.speed.speechlm.supervised_labels import compare_labels
from benchmarks.speed.timing.rounds import Precision
from perser.corpora.readers.iemocap import EMOTIONS
from perser.labels import EmotionSet
from perser.peak_memory import run_with_peak
from speechlm_icl.model.base_model import disable_cpu_repacking
from speechlm_icl.model.configuration import SpeechLMConfig
from speechlm_icl.model.language_model import LanguageModel, LoraOptions, with_adapter
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import word_tokenizer

TARGETS = {"score_vs_full_prompt": 60.0, "score_vs_generate": 10.0}
"""What these ratios have to be at least on a GPU, with SmolLM2-135M's shapes."""

SEVEN_BILLION = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
"""Shapes of Llama 2 7B."""

MakeCase = Callable[[PromptPreset, str, Precision], AbstractContextManager[PromptCase]]


def four_bit_case(
    preset: PromptPreset, device: str, precision: Precision
) -> AbstractContextManager[PromptCase]:
    """Make the case of `case_in_place` with 4-bit weights."""
    require("bitsandbytes")
    return case_in_place(preset, device, precision, quantize)


def checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this part."""
    precision: Precision = "bf16" if settings.has_gpu else "float32"
    models: dict[str, tuple[PromptPreset, MakeCase]] = {
        "SmolLM2-135M's shapes": (preset_of(settings, SMOLLM2_135M, 16, 32), make_prompt_case)
    }
    if not (settings.has_gpu and settings.quick):
        large = preset_of(settings, SEVEN_BILLION, 4, 2)
        models |= {"7B shapes": (large, case_in_place), "7B shapes, 4-bit": (large, four_bit_case)}
    for name, (preset, make) in models.items():
        targets = TARGETS if preset.language_model is SMOLLM2_135M else {}
        arguments = (settings, preset, make, precision)
        yield f"answers, {name}", partial(answers, *arguments, targets)
        yield f"training, {name}", partial(training, *arguments)
        yield f"memory of answers, {name}", partial(memory, *arguments)


def preset_of(settings: Settings, shapes: dict[str, int], timed: int, sequences: int) -> PromptPreset:
    """Return the sizes of a run: on a GPU 32 pairs, 128 queries and these shapes, else tiny ones.

    Args:
        settings: of the run.
        shapes: of the language model.
        timed: queries that the others answer.
        sequences: of a training step.
    """
    if not settings.has_gpu:
        return replace(PROMPT_PRESETS["tiny"], language_model=TINY)
    rounds = 1 if settings.quick else 3
    return PromptPreset(shapes, timed_queries=timed, sequences=sequences, repeats=rounds)


@contextmanager
def case_in_place(
    preset: PromptPreset,
    device: str,
    precision: Precision,
    change: Callable[[PreTrainedModel], object] = lambda model: None,
) -> Iterator[PromptCase]:
    """Make a case like `make_prompt_case`, whose language model is made on the device.

    Weights of 7B would take minutes through memory and disk. `change` may change the frozen model before it
    gets its adapter.
    """
    emotions, seed = EmotionSet(EMOTIONS), 0
    torch.manual_seed(seed)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device(device):
        base = AutoModelForCausalLM.from_config(llama_config(preset), dtype=dtype).requires_grad_(False)
    change(base)
    tokenizer = word_tokenizer(PROMPT.texts(emotions))
    lora = LoraOptions()
    language_model = LanguageModel(with_adapter(base, "random", lora), tokenizer, "random")
    config = SpeechLMConfig(
        emotions=list(emotions.names),
        encoder="tiny-whisper",
        language_model="random",
        feature_shape=list(FEATURE_SHAPE),
        prompt=asdict(PROMPT),
        projector=asdict(ProjectorOptions(tokens_per_clip=preset.tokens_per_clip)),
        lora=asdict(lora),
    )
    model = SpeechLMForICL(config, language_model).eval().to(device)
    enrollment, queries = (torch.randn(n, *FEATURE_SHAPE).to(device) for n in (preset.pairs, preset.queries))
    answered = [[index % len(emotions)] for index in range(preset.pairs)]
    yield PromptCase(model, enrollment, answered, queries, precision)


def quantize(model: PreTrainedModel) -> None:
    """Replace the linear layers, but for the head, by those of bitsandbytes in 4 bits (NF4)."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and name != "lm_head":
                weight = layer.weight
                small = Linear4bit(
                    layer.in_features, layer.out_features, layer.bias is not None, weight.dtype
                )
                small.weight = Params4bit(weight.detach(), requires_grad=False, quant_type="nf4")
                setattr(parent, name, small.to(weight.device))
    disable_cpu_repacking(model)


def answers(
    settings: Settings,
    preset: PromptPreset,
    make: MakeCase,
    precision: Precision,
    targets: dict[str, float],
) -> Seen:
    """Compare the scores of all queries with full prompts and `generate`."""
    with products_in(precision), make(preset, settings.device, precision) as case:
        return seen_in(compare_answers(case, preset), settings, precision, targets)


def training(settings: Settings, preset: PromptPreset, make: MakeCase, precision: Precision) -> Seen:
    """Measure the training steps a second, and how many labels they supervise."""
    with products_in(precision), make(preset, settings.device, precision) as case:
        timing = compare_labels(case, preset)
        seen = seen_in(timing, settings, precision, {})
    rate = 1 / (timing.ours.seconds * preset.sequences * (preset.pairs + 1))
    if not settings.has_gpu:
        return seen
    figures = {**seen.figures, "steps_per_second": rate}
    return Seen(f"{rate:.3g} steps a second; {seen.text}", figures)


def memory(settings: Settings, preset: PromptPreset, make: MakeCase, precision: Precision) -> Seen:
    """Measure the memory of the model, and what our answers add at their peak."""
    with products_in(precision), make(preset, settings.device, precision) as case:
        size = sum(parameter.numel() * parameter.element_size() for parameter in case.model.parameters())
        scores, peak = run_with_peak(lambda: own_scores(case), case.device)
    if not settings.has_gpu:
        return Seen(f"{OURS}: {len(scores)} answers; its figures need a GPU")
    gibibytes = {"model": size / 2**30, "answers": (peak or 0) / 2**30}
    text = f"model {gibibytes['model']:.3g} GiB, answers add {gibibytes['answers']:.3g} GiB"
    return Seen(text, {f"gibibytes of {name}": value for name, value in gibibytes.items()})
