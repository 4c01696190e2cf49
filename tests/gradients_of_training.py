"""python tests/gradients_of_training.py CORPUS EPISODES CACHE OUT

Save the gradients of a few steps of each training, in float64. tests/test_two_processes.py runs this in one
process and, by torchrun, in two, and compares the results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from meta_perser.adaptation.adaptation_loss import class_balanced_loss
from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.options import InnerOptions, LslrOptions, OuterOptions, PretrainOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.multi_head import MultiHead
from meta_perser.training.outer_loop import OuterLoop
from meta_perser.training.supervised import examples_by_listener, train_supervised
from perser.corpora.corpus import Corpus
from perser.distributed import end_launched_process
from perser.encoders.encoder import SpeechEncoder
from perser.episodes.episode_file import EpisodeFile
from perser.training.accelerator import start_accelerator
from perser.training.loop import Validation
from perser.training.run import TrainingRun
from perser.training.sharding import full_tensor, is_sharded
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions, word_tokenizer
from speechlm_icl.training.meta_training import meta_train
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.pretrain_projector import pretrain_projector

Gradients = dict[str, Tensor]
WEIGHTS = torch.tensor([1.0, 0.5, 1.5, 1.2], dtype=torch.float64)


class DoubleSource(ClipSource):
    """Clips in float64."""

    def batch(self, utterances):
        batch = super().batch(utterances)
        buckets = tuple(replace(bucket, frames=bucket.frames.double()) for bucket in batch.buckets)
        return ClipBatch(batch.lower.double(), buckets)


class DoubleStore:
    """Pooled features in float64."""

    level = "pooled"

    def __init__(self, names: list[str]) -> None:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(len(names), 3, 5, generator=generator, dtype=torch.float64)
        self._features = dict(zip(names, features, strict=True))

    def __getitem__(self, name: str) -> Tensor:
        return self._features[name]

    def num_rows(self, name: str) -> int:
        return 3

    def stack(self, names: list[str]) -> Tensor:
        return torch.stack([self._features[name] for name in names])


@contextmanager
def recorded(
    accelerator: Accelerator, module: nn.Module, into: Gradients, title: str, whole: bool = False
) -> Iterator[None]:
    """Replace clipping, which every training does once a step, by a copy of the gradients.

    `whole`: every process holds all of the module, also where weights are sharded.
    """
    step = 0

    def record(parameters: object, longest: float) -> None:
        nonlocal step
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                assert isinstance(parameter.grad, DTensor) == (is_sharded() and not whole), name
                into[f"{title} {step} {name}"] = full_tensor(parameter.grad).clone()
        step += 1

    accelerator.clip_grad_norm_ = record
    yield


def recognizer(corpus: Corpus, scope: str) -> EmotionRecognizer:
    torch.manual_seed(0)
    return EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), corpus.emotions, scope, 8)


def meta(corpus: Corpus, drawn: EpisodeFile, cache: Path, into: Gradients) -> None:
    """Add the gradients of meta-training, with 3 persons a step, and with 1, so that a process has none."""
    tasks = drawn.training_tasks(corpus)
    for persons, memory in ((3, "unroll"), (1, "adjoint")):
        model = recognizer(corpus, "top_layers:1")
        source = DoubleSource(corpus.recordings, model, cache)
        model.double()
        lslr = LslrOptions()
        rates = make_rates(list(model.trainable_parameters()), 2, 0.05, lslr).double()
        trained = MetaPerSER(model, rates, lslr, 2, 2, WEIGHTS, 0.05)
        outer = OuterOptions(steps=3, batch_size=persons, validate_every=2)
        loop = OuterLoop(InnerOptions(steps=2, support=4, adaptation_steps=2, memory=memory), outer)
        accelerator = start_accelerator(0)
        both = nn.ModuleDict({"theta": model, "rates": rates})
        with recorded(accelerator, both, into, f"meta-train {persons}"):
            loop.train(trained, source, tasks, drawn.validation_episodes[:3], accelerator)


def proximal(corpus: Corpus, drawn: EpisodeFile, cache: Path, into: Gradients) -> None:
    """Add the gradients of meta-training with the proximal solver, with 3 persons a step, and with 1."""
    tasks = drawn.training_tasks(corpus)
    for persons in (3, 1):
        model = recognizer(corpus, "head")
        source = DoubleSource(corpus.recordings, model, cache)
        model.double()
        strengths = Strengths(torch.tensor([0.5, 0.3, 2.0])).double()
        trained = MetaPerSER(model, strengths, LslrOptions(), 5, 50, WEIGHTS, 0.05)
        inner = InnerOptions(solver="proximal", support=4, query=4)
        loop = OuterLoop(inner, OuterOptions(steps=3, batch_size=persons, validate_every=2), csmt=False)
        accelerator = start_accelerator(0)
        both = nn.ModuleDict({"theta": model, "strengths": strengths})
        with recorded(accelerator, both, into, f"proximal {persons}"):
            loop.train(trained, source, tasks, drawn.validation_episodes[:3], accelerator)


def supervised(corpus: Corpus, drawn: EpisodeFile, cache: Path, into: Gradients) -> None:
    """Add the gradients of pretraining: batches of 7 and a last one of 1; numbers of listeners differ."""
    examples = examples_by_listener(drawn.training_tasks(corpus), corpus.emotions)
    examples = replace(examples, utterances=examples.utterances[:15])
    for row in range(0, 15, 2):
        examples.heads[row], examples.targets[row] = examples.heads[row][:2], examples.targets[row][:2]
    examples = replace(examples, heads=examples.heads[:15], targets=examples.targets[:15])
    model = recognizer(corpus, "all")
    source = DoubleSource(corpus.recordings, model, cache)
    learner = MultiHead(model, 1 + max(int(heads.max()) for heads in examples.heads)).double()
    accelerator = start_accelerator(0)
    options = PretrainOptions(epochs=2, batch_size=7, learning_rate=1e-3, weight_decay=0.0, seed=0)
    with recorded(accelerator, learner, into, "pretrain"):
        train_supervised(
            learner,
            examples,
            source,
            class_balanced_loss(WEIGHTS, 0.05),
            lambda: Validation(0.0, {}),
            options,
            accelerator,
            "",
        )


def icl(corpus: Corpus, drawn: EpisodeFile, cache: Path, into: Gradients) -> None:
    """Add the gradients of the speech LM: projector and all of tiny-llama, then projector and an adapter on
    another model. A step has six sequences in two parts."""
    tasks = drawn.training_tasks(corpus)
    store = DoubleStore(list(corpus.recordings.utterance_ids))
    llama = cache / "llama"
    with start_accelerator(0).main_process_first():  # the other process must not find half of it
        if not llama.exists():
            write_llama(corpus, llama)
    options = IclOptions(
        pairs=4,
        uniform_pairs=True,
        steps=2,
        batch_size=6,
        gradient_accumulation_steps=2,
        validate_every=1,
        validation_sequences=5,
        warmup=0.0,
        projector_steps=0,
    )
    for language_model in ("tiny-llama", str(llama)):
        torch.manual_seed(0)
        model = new_model(
            corpus.emotions,
            encoder="tiny-whisper",
            feature_shape=(3, 5),
            language_model=language_model,
            lora=LoraOptions(r=2),
            prompt=PromptOptions(),
            projector=ProjectorOptions(width=8, dropout=0.0, feature_noise=0.0),
        ).double()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
        accelerator = start_accelerator(0)
        with recorded(accelerator, model, into, f"icl-train {Path(language_model).name}"):
            history = meta_train(model, tasks[:-2], tasks[-2:], store, options, accelerator)
        for row in history:
            for name, value in row.items():
                title = f"{Path(language_model).name} {row['step']} {name}"
                into[title] = torch.tensor(value, dtype=torch.float64)


def projector(corpus: Corpus, drawn: EpisodeFile, cache: Path, into: Gradients) -> None:
    """Add the gradients of the projector's own stage, and the weights after it, with mixed clips and without.

    The batch is one of 23 clips, which two processes cannot share evenly.
    """
    tasks = drawn.training_tasks(corpus)
    first = tasks[0]
    few = replace(first, utterances=first.utterances[:23], emotions=first.emotions[:23])
    store = DoubleStore(list(corpus.recordings.utterance_ids))
    for mixup in (0.0, 1.0):
        accelerator = start_accelerator(0)
        torch.manual_seed(0)  # the same weights in every process
        model = new_model(
            corpus.emotions,
            encoder="tiny-whisper",
            feature_shape=(3, 5),
            language_model="tiny-llama",
            lora=LoraOptions(),
            prompt=PromptOptions(),
            projector=ProjectorOptions(width=8, dropout=0.0, feature_noise=0.0),
        ).double()
        options = IclOptions(projector_steps=4, projector_mixup=mixup)
        with recorded(accelerator, model.projector, into, f"pretrain-projector {mixup}", whole=True):
            accuracy = pretrain_projector(model, [few], tasks[-2:], store, options, TrainingRun(accelerator))
        title = f"pretrain-projector {mixup}"
        into[f"{title} accuracy"] = torch.tensor(accuracy, dtype=torch.float64)
        into |= {
            f"{title} {name} after": weight.detach().clone()
            for name, weight in model.projector.named_parameters()
        }


def write_llama(corpus: Corpus, folder: Path) -> None:
    """Save a language model as a folder of the kind that the Hub gives."""
    tokenizer = word_tokenizer([" ".join(corpus.emotions.names), "and"])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


TRAININGS: tuple[Callable[[Corpus, EpisodeFile, Path, Gradients], None], ...] = (
    meta,
    proximal,
    supervised,
    projector,
    icl,
)


def gradients(corpus: Path, episodes: Path, cache: Path) -> Gradients:
    """Return every gradient of every step, by training, step and parameter."""
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    result: Gradients = {}
    for training in TRAININGS:
        training(prepared, drawn, cache, result)
    return result


if __name__ == "__main__":
    *inputs, out = map(Path, sys.argv[1:])
    result = gradients(*inputs)
    if start_accelerator(0).is_main_process:
        torch.save(result, out)
    end_launched_process()
