"""perser icl-train --corpus DIR --episodes FILE --out DIR

Meta-trains a speech language model to personalize from the pairs in its prompt (Ihori et al. 2025,
arXiv 2509.08344; its encoder, language model and prompt are not published, so they are options here).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.distributed import (
    mean_over_processes,
    own_items,
    own_share_of_batch,
    processes,
    progress,
    sum_over_processes,
)
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.episodes.episode import Task
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.sampling import evenly_spaced
from perser.errors import UserError
from perser.io.files import check_output
from perser.training.accelerator import cosine, start, wrap_for_training
from perser.training.checkpoint import TrainingState, seed_step
from perser.training.loop import BestWeights
from perser.training.nonfinite import Part
from perser.training.options import RunOptions
from perser.training.run import TrainingRun, open_training_run
from perser.training.sharding import is_sharded, unshard
from speechlm_icl.model.audio_tokens import answer_numbers
from speechlm_icl.model.checkpoint import TRAINING, WEIGHTS
from speechlm_icl.model.context_length import check_training_fits
from speechlm_icl.model.language_model import LoraOptions, check_language_model
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL, new_model
from speechlm_icl.projectors.base import Clips, ProjectorOptions, clips_on, read_clips
from speechlm_icl.prompt.prompt import PromptBatch, PromptOptions
from speechlm_icl.training.optimizer import check_optimizer, new_optimizer
from speechlm_icl.training.options import IclTraining, Loss
from speechlm_icl.training.pretrain_projector import STAGE as ALIGN
from speechlm_icl.training.pretrain_projector import align
from speechlm_icl.training.sequences import PairSequence, SequenceSampler, by_length

DEFAULT_LORA = LoraOptions()

DEFAULT_PROMPT = PromptOptions()

DEFAULT_PROJECTOR = ProjectorOptions()


def icl_train(
    corpus: Path,
    episodes: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    encoder: str = "tiny-whisper",
    language_model: str = "tiny-llama",
    lora: LoraOptions = DEFAULT_LORA,
    prompt: PromptOptions = DEFAULT_PROMPT,
    projector: ProjectorOptions = DEFAULT_PROJECTOR,
    resume: bool = True,
    run: RunOptions = RunOptions(),
    **training: Any,
) -> None:
    """Meta-train a speech language model to personalize from the examples in its prompt.

    Args:
        corpus: Folder of a prepared corpus.
        episodes: Episodes file; its training persons teach and its validation persons choose the best step.
        out: Folder of the model that is written.
        cache: Folder of the feature cache.
        encoder: Speech encoder, frozen: a Hub name, a local folder or a tiny-... one.
        language_model: tiny-llama (trained in full), or a Hub name, local folder or GGUF file of a causal
            language model, which is frozen and gets a LoRA adapter.
        lora: The adapter.
        prompt: How a prompt is worded.
        projector: How a clip becomes embeddings.
        resume: Go on from the newest checkpoint in OUT-running, if the same training was stopped there.
        run: How it is kept safe while it goes on.
        **training: The fields of `IclTraining`.
    """
    try:
        options = IclTraining(**training)
    except ValueError as error:
        raise UserError(str(error)) from error
    # Before the corpus is encoded, not after.
    check_output(out, WEIGHTS)
    check_language_model(language_model, lora)
    check_optimizer(options)
    accelerator = start(options.seed, options.mixed_precision)
    check_sequences(options, accelerator.num_processes)
    if is_sharded():
        check_can_be_shared(options, lora)
    prepared = Corpus.load(corpus)
    drawn = EpisodeFile.load(episodes)
    train_tasks, validation_tasks = drawn.training_tasks(prepared), drawn.validation_tasks(prepared)
    check_training_fits(
        language_model,
        prompt,
        prepared.emotions,
        [*train_tasks, *validation_tasks],
        options.pairs,
        projector,
        prepared.recordings.duration,
    )
    speech_encoder = SpeechEncoder.from_name(encoder).to(accelerator.device)
    store = cached_features(prepared.recordings, speech_encoder, projector.level, cache)
    torch.manual_seed(options.seed)  # the same weights in every process
    model = new_model(
        prepared.emotions,
        encoder=encoder,
        feature_shape=tuple(store[prepared.recordings.utterance_ids[0]].shape[-2:]),
        language_model=language_model,
        lora=lora,
        prompt=prompt,
        projector=projector,
    )
    facts = {"options": options, "model": model.config.to_dict()}
    training_run = open_training_run("icl-train", out, prepared, episodes, accelerator, run, resume, **facts)
    history = meta_train(model, train_tasks, validation_tasks, store, options, accelerator, training_run)
    if not accelerator.is_main_process:
        return
    with training_run.finished(out, marker=WEIGHTS) as folder:
        model.save_pretrained(folder)
        SpeechLMProcessor.of(model).save_pretrained(folder)
        record = {"trained_on": drawn.training_digest, "options": asdict(options), "history": history}
        (folder / TRAINING).write_text(json.dumps(record, indent=2) + "\n")


def meta_train(
    model: SpeechLMForICL,
    train_tasks: Sequence[Task],
    validation_tasks: Sequence[Task],
    store: FeatureStore,
    options: IclTraining,
    accelerator: Accelerator,
    training_run: TrainingRun | None = None,
) -> list[dict[str, float]]:
    """Train in place and leave the model, in evaluation mode, at its best validated step. With a `training_run` it
    goes on from that one's checkpoint.

    Returns what each validation found; see `validate`. Raises UserError where there are no persons.
    """
    if not train_tasks or not validation_tasks:
        raise UserError("meta-training needs training and validation persons: draw other episodes")
    sampler = _sampler(model, train_tasks, options)
    held_out = SequenceSampler(validation_tasks, model.prompt.emotions, options.pairs)
    validation = held_out.draw_each(options.validation_sequences, options.seed)
    fit_standardization(model, train_tasks, store)
    training_run = training_run or TrainingRun(accelerator)
    if options.align_steps and training_run.stage_found in (None, ALIGN):
        align(model, train_tasks, validation_tasks, store, options, training_run)

    accelerator.gradient_accumulation_steps = options.accumulate
    trained = wrap_for_training(AnswerLosses(model), accelerator, model.language_model.layers)
    optimizer = new_optimizer(model, options)
    schedule = cosine(optimizer, options.steps, options.warmup)
    optimizer = accelerator.prepare(optimizer)
    model.language_model.recompute_layers(options.gradient_checkpointing)
    best, counters = BestWeights(), {"history": []}
    state = TrainingState(model, optimizer, schedule, best, counters=counters)
    with (
        training_run.stage("meta-training", state, trained, options.clip_norm) as stage,
        progress(options.steps, "meta-training", stage.done, " episodes", options.sequences_per_step) as bar,
    ):
        for step in range(stage.done + 1, options.steps + 1):
            loss, parts = _gradients(trained, model, sampler, store, options, accelerator, step)
            stage.update(step, loss, parts)
            bar.update()
            found = {}
            if step % options.validate_every == 0 or step == options.steps:
                found = validate(model, validation, store, trained if is_sharded() else None)
                counters["history"].append({"step": step, "train_loss": loss} | found)
                best.offer(-found["loss"], step, model)
                bar.set_postfix(loss=f"{loss:.3f}", validation=f"{found['loss']:.3f}")
            stage.ended(step, **{f"validation_{name}": value for name, value in found.items()})
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)  # the saved model computes in float32
    model.language_model.recompute_layers(False)
    unshard(trained)
    best.restore(model)
    model.eval()
    return counters["history"]


def check_sequences(options: IclTraining, processes: int) -> None:
    """Raises UserError where a process would get fewer sequences a step than it is to take parts."""
    least = options.accumulate * processes
    if options.sequences_per_step < least:
        raise UserError(
            f"sequences_per_step: {options.sequences_per_step} is too few for {processes} processes with "
            f"accumulate: {options.accumulate}, give at least {least}"
        )


def check_can_be_shared(options: IclTraining, lora: LoraOptions) -> None:
    """Raises UserError for what bitsandbytes keeps in forms of its own, which FSDP2 cannot cut up."""
    for key, value in (("optimizer", options.optimizer), ("lora.base_weights", lora.base_weights)):
        if "bit" in value:
            raise UserError(
                f"{key}: {value} cannot lie in shares: give another one, or launch with "
                "configs/accelerate/ddp.yaml"
            )


def _sampler(model: SpeechLMForICL, tasks: Sequence[Task], options: IclTraining) -> SequenceSampler:
    return SequenceSampler(
        tasks,
        model.prompt.emotions,
        options.pairs,
        uniform=options.uniform_pairs,
        restricted=options.restricted,
        missing=options.missing,
        permute_labels=options.permute_labels,
    )


class AnswerLosses(nn.Module):
    """`losses` of a model as a module's forward, which is what accelerate wraps."""

    def __init__(self, model: SpeechLMForICL) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: PromptBatch, features: Clips) -> Tensor:
        return self.model.losses(batch, features)


def _gradients(
    trained: nn.Module,
    model: SpeechLMForICL,
    sampler: SequenceSampler,
    store: FeatureStore,
    options: IclTraining,
    accelerator: Accelerator,
    step: int,
) -> tuple[float, list[Part]]:
    """Add up the gradient of one step; returns the loss in nats an answer, the same however many parts it is
    taken in, and by however many processes, and this process's sequences: all draw the same, and each takes
    its share.

    `trained` is the model's `AnswerLosses` as accelerate wrapped it: the loss goes through the wrapper, which
    takes the mean of the gradients over the processes.
    """
    trained.train()
    seed_step(options.seed, step, accelerator.process_index)
    parts, read_from = options.accumulate, []
    sequences = sampler.draw(options.sequences_per_step, options.seed, step)
    answers = len(sequences) if options.loss == "query" else _answers(sequences)
    total = torch.zeros((), dtype=torch.float64)

    def length(sequence: PairSequence) -> int:
        clips = map(store.num_rows, sequence.utterances)
        return len(sequence.answers) + sum(map(model.projector.options.num_tokens_of_windows, clips))

    own, factor = own_share_of_batch(sequences, length)
    for part in by_length(own, parts, length):
        with accelerator.accumulate(trained):
            losses = trained(*read(model, part, store, options.loss))
            loss = losses.sum() / answers * factor
            accelerator.backward(loss * parts)  # which divides it by the parts, as for a mean over them
        finite = losses.detach().isfinite().all(dim=1).tolist()
        for one, sound in zip(part, finite, strict=True):
            read_from.append(Part(one.utterances, sound, one.person))
        total += loss.item()
    return mean_over_processes(total), read_from


def read(
    model: SpeechLMForICL, sequences: Sequence[PairSequence], store: FeatureStore, loss: Loss = "every"
) -> tuple[PromptBatch, Clips]:
    """The prompts of some sequences and their clips' features, on the model's device. Targets are every
    answer, or the last alone."""
    utterances = [utterance for sequence in sequences for utterance in sequence.utterances]
    features = clips_on(read_clips(store, utterances), model.device)
    first = [0 if loss == "every" else len(sequence.answers) - 1 for sequence in sequences]
    prompts = map(model.prompt.encode, [sequence.answers for sequence in sequences], first)
    return model.batch(list(prompts), features), features


@torch.no_grad()
def validate(
    model: SpeechLMForICL,
    sequences: Sequence[PairSequence],
    store: FeatureStore,
    trained: nn.Module | None = None,
    at_once: int = 16,
) -> dict[str, float]:
    """Loss in nats an answer: over all answers (`loss`), over those with no pair before them (`loss_first`)
    and over the last quarter (`loss_late`); the fall is what reading the enrollment is worth. Several
    processes share the sequences out; `trained` is the model's `AnswerLosses` if its weights lie in shares.
    """
    model.eval()
    losses_of = trained or model.losses
    longest = max(len(sequence.answers) for sequence in sequences)
    own = own_items(sequences)
    most = -(-len(sequences) // processes().num_processes)
    losses, answers = torch.zeros(longest), torch.zeros(longest)
    for start_at in range(0, most, at_once):
        chunk = own[start_at : start_at + at_once]
        # Gathering shares takes all: a process with nothing left computes one more, for nothing.
        batch, features = read(model, chunk or sequences[:1], store)
        found = losses_of(batch, features)
        if not chunk:
            break
        answer = answer_numbers(batch.clips).clamp_min(0).flatten().cpu()
        losses.index_add_(0, answer, found.flatten().cpu())
        for sequence in chunk:
            answers[: len(sequence.answers)] += 1
    losses, answers = sum_over_processes(losses).cpu(), sum_over_processes(answers).cpu()
    late = slice(3 * longest // 4, None)
    return {
        "loss": (losses.sum() / answers.sum()).item(),
        "loss_first": (losses[0] / answers[0]).item(),
        "loss_late": (losses[late].sum() / answers[late].sum()).item(),
    }


def fit_standardization(
    model: SpeechLMForICL, tasks: Sequence[Task], store: FeatureStore, most: int = 4096
) -> None:
    """Standardize features by training utterances: evenly spaced ones where there are more than `most`."""
    utterances = sorted({utterance for task in tasks for utterance in task.utterances})
    model.projector.fit_standardization(store[utterance] for utterance in evenly_spaced(utterances, most))


def _answers(sequences: Sequence[PairSequence]) -> int:
    return sum(len(sequence.answers) for sequence in sequences)


if __name__ == "__main__":
    run_command(icl_train)
