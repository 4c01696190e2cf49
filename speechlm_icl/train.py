"""perser icl-train --corpus DIR --episodes FILE --out DIR

Meta-trains a speech language model to personalize from the pairs in its prompt (Ihori et al. 2025, arXiv
2509.08344). The paper does not publish its encoder, language model and prompt, so they are options here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from perser.cli.command import Command
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.corpora.joined import person_weights
from perser.device import loading_on
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.encoders.loading import check_encoder
from perser.episodes.episode import Task
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.part_standardization import standardized_by_part
from perser.errors import UserError
from perser.labels import EmotionSet
from perser.training.accelerator import start_accelerator
from perser.training.options import RunOptions
from perser.training.run import open_training_run
from perser.training.run_folder import check_training_outputs
from perser.training.sharding import is_sharded
from speechlm_icl.audio_llm.families import TRAINED
from speechlm_icl.audio_llm.learner import WaveformStore
from speechlm_icl.audio_llm.start import check_sequences_fit, check_start, is_audio_llm_name, new_learner
from speechlm_icl.audio_llm.trained import save_trained
from speechlm_icl.model.context_length import check_training_fits
from speechlm_icl.model.language_model import LoraOptions, check_language_model
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.saved_model import TRAINING, WEIGHTS
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions, Store
from speechlm_icl.prompt.drawn_words import nouns
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.training.learner import Learner
from speechlm_icl.training.meta_training import check_batch_size, meta_train
from speechlm_icl.training.optimizer import check_optimizer
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.pool_fitting import fit_opinion_pool


def icl_train(
    corpus: Path,
    episodes: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    encoder: str = "tiny-whisper",
    language_model: str = "tiny-llama",
    lora: LoraOptions = LoraOptions(),
    prompt: PromptOptions = PromptOptions(),
    projector: ProjectorOptions = ProjectorOptions(),
    resume: bool = True,
    run: RunOptions = RunOptions(),
    **training: Any,
) -> None:
    """Meta-train a speech language model to personalize from the examples in its prompt.

    Args:
        corpus: folder of a prepared corpus.
        episodes: the episodes file; the model learns from its training persons, and its validation persons
            choose the best step.
        out: folder of the model that is written.
        cache: folder of the feature cache.
        encoder: speech encoder, frozen: a Hub name, a local folder or a tiny-... one.
        language_model: tiny-llama (trained in full), or a Hub name, local folder or GGUF file of a causal
            language model, which is frozen and gets a LoRA adapter. A ready audio LLM, such as
            Qwen/Qwen2-Audio-7B-Instruct, hears the clips with its own audio tower and projector.
        lora: the adapter.
        prompt: how a prompt is worded.
        projector: how a clip becomes embeddings; not for an audio LLM.
        resume: go on from the newest checkpoint in OUT-running, if the same training was stopped there.
        run: checkpoints, the limit of bad steps, and the tracker.
        **training: the fields of `IclOptions`.

    Examples:
        perser icl-train --corpus runs/mine/corpus --episodes runs/mine/episodes.json
            --encoder runs/mine/models/ssl-e/encoder --out runs/mine/models/speech-lm
    """
    try:
        options = IclOptions(**training)
    except ValueError as error:
        raise UserError(str(error)) from error
    # Before the corpus is encoded, not after.
    is_ready = is_audio_llm_name(language_model)
    marker = TRAINED if is_ready else WEIGHTS
    check_training_outputs(out, marker, cache)
    if is_ready:
        check_start(language_model, lora, prompt, encoder, projector, options)
    else:
        check_encoder(encoder)
        check_language_model(language_model, lora)
    check_optimizer(options.optimizer)
    accelerator = start_accelerator(options.seed, options.mixed_precision)
    check_batch_size(options, accelerator.num_processes)
    if is_sharded():
        check_shardable(options, lora)
    prepared = Corpus.load(corpus)
    drawn = EpisodeFile.load(episodes)
    train_tasks, validation_tasks = drawn.training_tasks(prepared), drawn.validation_tasks(prepared)
    tasks = [*train_tasks, *validation_tasks]
    if is_ready:
        start = _audio_llm(language_model, lora, prompt, prepared, tasks, options, accelerator)
    else:
        check_other_word(options, prompt, prepared.emotions)
        check_training_fits(
            language_model,
            prompt,
            prepared.emotions,
            tasks,
            options.pairs,
            projector,
            prepared.recordings.duration,
        )
        store = _features(encoder, projector, prepared, train_tasks, cache, options, accelerator)
        bases = {"encoder": encoder, "language_model": language_model}
        start = _speech_lm(
            bases, lora, prompt, projector, prepared, validation_tasks, store, options, accelerator
        )
    training_run = open_training_run(
        "icl-train",
        out,
        prepared,
        episodes,
        accelerator,
        run,
        resume,
        drawn.trained_on(prepared, [language_model] if is_ready else [encoder, language_model]),
        options=options,
        model=start.identity,
    )
    history = meta_train(
        start.model,
        train_tasks,
        validation_tasks,
        start.store,
        options,
        accelerator,
        training_run,
        drawn.validation_episodes,
        person_weights(prepared, [task.person for task in train_tasks]),
    )
    if not accelerator.is_main_process:
        return
    with training_run.finished(out, marker=marker) as folder:
        start.save(folder)
        record = {"trained_on": drawn.training_digest, "options": asdict(options), "history": history}
        (folder / TRAINING).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def check_other_word(options: IclOptions, prompt: PromptOptions, emotions: EmotionSet) -> None:
    """Raise UserError where the word for a clip that has none of the labels can be a label itself."""
    drawn = nouns() if options.label_words == "drawn" and prompt.bind else ()
    if options.other_answers and prompt.other in {*emotions.names, *prompt.words(emotions), *drawn}:
        raise UserError(
            f"prompt.other: with other_answers, '{prompt.other}' says that a clip has none of the labels, "
            "but it is an emotion of the corpus or a noun that is drawn as a label: give another word"
        )


def _features(
    encoder: str,
    projector: ProjectorOptions,
    corpus: Corpus,
    train_tasks: Sequence[Task],
    cache: Path,
    options: IclOptions,
    accelerator: Accelerator,
) -> FeatureStore:
    """Return the clips as an encoder's features, which are standardized where each corpus has moments of its
    own."""
    speech_encoder = SpeechEncoder.from_name(encoder).to(accelerator.device)
    store = cached_features(corpus.recordings, speech_encoder, projector.level, cache)
    return standardized_by_part(store, corpus, train_tasks) if options.standardize == "each" else store


def check_shardable(options: IclOptions, lora: LoraOptions) -> None:
    """Raise UserError for what bitsandbytes keeps in a format of its own, which FSDP2 cannot shard, and for
    what needs answers (a choice by macro-F1, pooled answers), which sharded weights do not give."""
    given = {"selection: maF1": options.selection == "maF1", "opinion_pool: true": options.opinion_pool}
    for option in (name for name, is_given in given.items() if is_given):
        raise UserError(
            f"{option} needs answers of the validation persons, which sharded weights cannot give: leave it "
            "out, or launch with configs/accelerate/ddp.yaml"
        )
    for key, value in (("optimizer", options.optimizer), ("lora.base_weights", lora.base_weights)):
        if "bit" in value:
            raise UserError(
                f"{key}: {value} cannot be sharded: give another one, "
                "or launch with configs/accelerate/ddp.yaml"
            )


@dataclass(frozen=True)
class _Start:
    """What a training begins with.

    Args:
        model: The model.
        store: The clips as it reads them.
        identity: What its checkpoints depend on.
        save: Writes the trained model into a folder.
    """

    model: Learner
    store: Store
    identity: dict[str, Any]
    save: Callable[[Path], None]


def _speech_lm(
    bases: dict[str, str],
    lora: LoraOptions,
    prompt: PromptOptions,
    projector: ProjectorOptions,
    corpus: Corpus,
    validation_tasks: Sequence[Task],
    store: FeatureStore,
    options: IclOptions,
    accelerator: Accelerator,
) -> _Start:
    """Return the start of a language model that reads an encoder's features through our projector."""
    torch.manual_seed(options.seed)  # the same weights in every process
    num_layers, feature_size = store[corpus.recordings.utterance_ids[0]].shape[-2:]
    with loading_on(accelerator.device):
        model = new_model(
            corpus.emotions,
            feature_shape=(num_layers, feature_size),
            lora=lora,
            prompt=prompt,
            projector=projector,
            **bases,
        )

    def save(folder: Path) -> None:
        if options.matched:
            model.config.matched = True
        if options.other_answers:
            model.config.other_answers = True
        if options.opinion_pool:
            pool = fit_opinion_pool(model, validation_tasks, store, options.pairs, options.seed)
            model.config.opinion_pool = pool.as_json()
        model.save_pretrained(folder)
        SpeechLMProcessor.of(model).save_pretrained(folder)

    # The version of transformers changes nothing in a checkpoint.
    identity = {
        name: value for name, value in model.config.to_dict().items() if name != "transformers_version"
    }
    return _Start(model, store, identity, save)


def _audio_llm(
    name: str,
    lora: LoraOptions,
    prompt: PromptOptions,
    corpus: Corpus,
    tasks: Sequence[Task],
    options: IclOptions,
    accelerator: Accelerator,
) -> _Start:
    """Return the start of a ready audio LLM."""
    check_sequences_fit(name, corpus.emotions, prompt, tasks, options.pairs, corpus.recordings.duration)
    torch.manual_seed(options.seed)  # the same weights in every process
    model, config = new_learner(name, corpus.emotions, lora, prompt, str(accelerator.device))

    def save(folder: Path) -> None:
        save_trained(config, model.language_model, model.binding, folder)

    return _Start(model, WaveformStore(corpus.recordings), config.to_json(), save)


COMMAND = Command(icl_train, processes=True)

if __name__ == "__main__":
    run_command(COMMAND)
