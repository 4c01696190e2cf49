"""python -m meta_perser.pretrain --corpus DIR --episodes episodes.json --out ssl-e

SSL-E: supervised training on labels aggregated over the training listeners (Meta-PerSER 2.3.1). What every
personalised model starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from meta_perser.clips import ClipSource
from meta_perser.gradient import Unadapted, balanced_loss, training_class_weights
from meta_perser.inner_loop import LossFunction
from meta_perser.model import MARKER, EmotionRecognizer
from meta_perser.tuning import choose_fine_tune_rate, choose_prior_strength
from perser.cli import run_command
from perser.corpora.corpus import Corpus
from perser.encoder import SpeechEncoder
from perser.episodes import Episode, EpisodeFile, aggregated_targets
from perser.errors import UserError
from perser.features import cached_features
from perser.folders import refuse_foreign, whole_folder
from perser.personalizer import mean_score
from perser.training import Best, cosine, progress, shuffled_batches, start


def pretrain(
    corpus: Path,
    episodes: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    encoder: str = "tiny-whisper",
    scope: str = "all",
    head_size: int = 256,
    epochs: int = 20,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    label_smoothing: float = 0.05,
    adaptation_steps: int = 50,
    seed: int = 0,
) -> None:
    """Train SSL-E, the recogniser of the average listener, on aggregated labels.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file; its training persons and utterances are used, its validation episodes
            choose the epoch.
        out: folder for the trained recogniser.
        cache: folder of the feature cache.
        encoder: a Hub name, a local folder, or tiny-{wav2vec2,hubert,wavlm,data2vec,whisper}.
        scope: what is trained: all (trunk and head), top_layers:N or head.
        head_size: width of the first of the two linear layers.
        epochs: passes over the training utterances.
        batch_size: utterances a step.
        learning_rate: of AdamW, with warm-up and cosine decay.
        weight_decay: of AdamW.
        label_smoothing: share of every target that is spread over all emotions (EMO-SUPERB: 0.05).
        adaptation_steps: gradient steps of Entire-Few, whose rate is chosen here on validation episodes.
        seed: of weights and batches.
    """
    if min(epochs, batch_size, adaptation_steps) < 1:
        raise UserError("epochs, batch_size and adaptation_steps must be at least 1")
    refuse_foreign(out, MARKER)
    accelerator = start(seed)
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    tasks = drawn.training_tasks(prepared)
    targets = aggregated_targets(tasks, prepared.emotions)
    utterances = list(targets)
    target_rows = torch.stack([torch.as_tensor(targets[one]) for one in utterances])
    class_weights = training_class_weights(tasks, prepared.emotions)
    loss_function = balanced_loss(class_weights, label_smoothing)

    model = EmotionRecognizer(
        SpeechEncoder.from_name(encoder, seed=seed), prepared.emotions, scope, head_size
    )
    model.standardise(cached_features(prepared.recordings, model.encoder, "pooled", cache).stack(utterances))
    model.to(accelerator.device)
    source = ClipSource(prepared.recordings, model, cache)
    optimizer = torch.optim.AdamW(
        model.moving_parameters().values(), lr=learning_rate, weight_decay=weight_decay
    )
    steps_an_epoch = -(-len(utterances) // batch_size)
    schedule = cosine(optimizer, epochs * steps_an_epoch)
    # Not the schedule: prepared, it would step once for every process.
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    order = torch.Generator().manual_seed(seed)
    best = Best()
    with progress(epochs * steps_an_epoch, "SSL-E") as bar:
        for epoch in range(epochs):
            wrapped.train()
            for chosen in shuffled_batches(len(utterances), batch_size, order):
                logits = wrapped(source.batch([utterances[i] for i in chosen]))
                loss = loss_function(logits, target_rows[chosen].to(logits))
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
            score = mean_score(Unadapted(model, source), drawn.validation_episodes, prepared.emotions)
            best.offer(score, epoch + 1, model)
            bar.set_postfix(loss=f"{loss.item():.3f}", validation_maF1=f"{score:.3f}")
    best.restore(model)
    model.eval()
    fine_tune, prior_strength = _tune_baselines(
        model, prepared, cache, loss_function, adaptation_steps, drawn.validation_episodes
    )
    if not accelerator.is_main_process:
        return
    with whole_folder(out, marker=MARKER) as folder:
        model.save_pretrained(
            folder,
            encoder={"name": encoder, "seed": seed},
            trained_on=drawn.training_digest,
            class_weights=class_weights.tolist(),
            label_smoothing=label_smoothing,
            best_epoch=best.step,
            validation_maf1=best.score,
            fine_tune=fine_tune,
            adaptation_steps=adaptation_steps,
            prior_strength=prior_strength,
        )


def _tune_baselines(
    model: EmotionRecognizer,
    corpus: Corpus,
    cache: Path,
    loss: LossFunction,
    steps: int,
    episodes: Sequence[Episode],
) -> tuple[dict[str, dict[str, object]], float]:
    """Scope and rate of Entire-Few (`entire`: what was trained) and Head-Few (`head`), and Prior-Shift's
    strength. Each scope is tuned once; the model's own is left as it was."""
    trained = model.scope
    rates = {}
    for scope in dict.fromkeys((trained, "head")):
        model.set_scope(scope)
        clips = ClipSource(corpus.recordings, model, cache)
        rates[scope] = choose_fine_tune_rate(model, clips, loss, steps, episodes)
    prior_strength = choose_prior_strength(model, clips, episodes)
    model.set_scope(trained)
    scopes = {"entire": trained, "head": "head"}
    return {part: {"scope": scope, "rate": rates[scope]} for part, scope in scopes.items()}, prior_strength


if __name__ == "__main__":
    run_command(pretrain)
