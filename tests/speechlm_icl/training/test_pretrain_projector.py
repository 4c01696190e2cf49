import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from perser.episodes.episode import Task, aggregated_targets
from perser.training.accelerator import start_accelerator
from perser.training.run import TrainingRun
from speechlm_icl.training.meta_training import meta_train
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.pretrain_projector import (
    ClipClassifier,
    distributions,
    mixed,
    pretrain_projector,
)

QUIET = {"dropout": 0.0, "feature_noise": 0.0}


@pytest.mark.parametrize("tokens_per_clip", [1, 2])
def test_the_head_is_linear_on_the_mean_of_a_clips_embeddings(build, tasks, store, tokens_per_clip):
    model = build(tokens_per_clip=tokens_per_clip, **QUIET)
    targets = aggregated_targets(tasks, model.prompt.emotions)
    classifier = ClipClassifier(model.projector, 2.0, 3)
    assert distributions(["u4", "u2"], targets).tolist() == [targets["u4"].tolist(), targets["u2"].tolist()]
    logits = classifier(store.stack(["u2", "u4"]))
    for utterance, row in zip(("u2", "u4"), logits, strict=True):
        clip = model.projector(store.stack([utterance]))[0].mean(dim=0) / 2
        assert_close(row, classifier.head.weight @ clip + classifier.head.bias)


def test_afterwards_clips_with_the_same_emotion_are_alike(build, tasks, store, llama_folder):
    """Everybody hears two of the three kinds of clips alike; only the projector has moved."""
    model = build(str(llama_folder), **QUIET)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    model.projector.fit_standardization(store.stack([f"u{i}" for i in range(60)]))
    options = IclOptions(projector_steps=60, projector_learning_rate=3e-3, projector_mixup=0.0)
    right = pretrain_projector(model, tasks[:9], tasks[9:], store, options, TrainingRun(start_accelerator(0)))
    assert right > 0.6  # nobody can know what the validation persons call the third kind
    with torch.no_grad():
        frames = model.eval().projector(store.stack([f"u{i}" for i in range(60)]))[:, 0]
    alike = F.cosine_similarity(frames[:, None], frames[None], dim=-1)
    same = torch.tensor([[i % 3 == j % 3 and i != j for j in range(60)] for i in range(60)])
    other = torch.tensor([[i % 3 != j % 3 for j in range(60)] for i in range(60)])
    assert alike[same].mean() > alike[other].mean() + 0.5
    rms = frames.square().mean().sqrt().item()
    assert rms == pytest.approx(model.language_model.embedding_scale, rel=0.2)
    for name, parameter in model.named_parameters():
        if not name.startswith("projector."):
            assert torch.equal(parameter, before[name])
            assert parameter.grad is None


def test_the_stage_is_run_before_meta_training_and_only_when_asked_for(build, tasks, store, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "speechlm_icl.training.meta_training.pretrain_projector", lambda model, *rest: seen.append(model)
    )
    for steps in (0, 3):
        options = IclOptions(projector_steps=steps, steps=1, pairs=2, batch_size=2)
        meta_train(build(), tasks[:9], tasks[9:], store, options, start_accelerator(0))
        assert len(seen) == (steps > 0)


def test_its_accuracy_is_that_of_persons_it_has_not_met(build, tasks, store):
    """Persons who say sad for angry and angry for sad: angry clips, a third, are wrong for them."""
    names = build().prompt.emotions.names
    opposite = [
        Task(
            task.person,
            task.utterances,
            tuple((names[-1 - names.index(words[0])],) for words in task.emotions),
        )
        for task in tasks[9:]
    ]
    options = IclOptions(projector_steps=40, projector_learning_rate=3e-3)
    right = [
        pretrain_projector(
            build(**QUIET), tasks[:9], others, store, options, TrainingRun(start_accelerator(0))
        )
        for others in (tasks[9:], opposite)
    ]
    assert right[0] > 0.6
    assert right[1] <= 2 / 3
    assert right[1] < right[0]


def test_the_same_seed_gives_the_same_projector(build, tasks, store):
    states = []
    for _ in range(2):
        model = build()
        pretrain_projector(
            model,
            tasks[:9],
            tasks[9:],
            store,
            IclOptions(projector_steps=3, seed=5),
            TrainingRun(start_accelerator(5)),
        )
        states.append(
            np.concatenate([parameter.detach().flatten() for parameter in model.projector.parameters()])
        )
    np.testing.assert_array_equal(*states)


def test_clips_and_labels_are_mixed_alike():
    clips, wanted = torch.randn(3, 2, 4), torch.eye(3)
    found, labels = mixed(clips, wanted, torch.tensor([1.0, 0.25, 0.5]), np.array([2, 0, 2]))
    assert_close(found[0], clips[0])
    assert_close(found[1], 0.25 * clips[1] + 0.75 * clips[0])
    assert_close(found[2], clips[2])
    assert_close(labels, torch.tensor([[1, 0, 0], [0.75, 0.25, 0], [0, 0, 1]]))


def test_clips_of_different_lengths_are_mixed_at_the_length_of_the_first():
    short, long = torch.randn(2, 1, 4), torch.randn(5, 1, 4)
    found, _ = mixed([short, long], torch.eye(2), torch.tensor([0.5, 0.5]), np.array([1, 0]))
    assert_close(found[0], (short + long[[0, 4]]) / 2)
    assert [len(clip) for clip in found] == [2, 5]
    assert_close(found[1][4], (long[4] + short[1]) / 2)
