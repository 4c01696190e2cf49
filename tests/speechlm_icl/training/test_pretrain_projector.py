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
    SHARPNESS,
    alignment_losses,
    label_embeddings,
    pretrain_projector,
)

QUIET = {"dropout": 0.0, "feature_noise": 0.0}


def test_a_label_is_the_mean_of_its_words(build, llama_folder):
    model = build(str(llama_folder), prompt={"label_words": {"happy": "very glad"}})
    table = model.language_model.causal.get_input_embeddings().weight
    expected = torch.stack([table[list(label)].mean(dim=0) for label in model.prompt.labels])
    assert [len(label) for label in model.prompt.labels] == [1, 2, 1]
    assert_close(label_embeddings(model), expected.detach())
    assert not label_embeddings(model).requires_grad


@pytest.mark.parametrize("tokens_per_clip", [1, 2])
def test_the_loss_is_the_cross_entropy_of_the_cosines(build, tasks, store, tokens_per_clip):
    model = build(tokens_per_clip=tokens_per_clip, **QUIET)
    targets = aggregated_targets(tasks, model.prompt.emotions)
    words = label_embeddings(model)
    losses = alignment_losses(model, ["u2", "u4"], targets, words, store)
    expected = []
    for utterance in ("u2", "u4"):
        clip = model.projector(store.stack([utterance]))[0].mean(dim=0)
        cosines = torch.stack([clip @ word / clip.norm() / word.norm() for word in words])
        wanted = torch.from_numpy(targets[utterance])
        expected.append(-(wanted * F.log_softmax(SHARPNESS * cosines, dim=0)).sum())
    assert_close(losses, torch.stack(expected))


def test_afterwards_clips_are_nearest_to_what_is_heard_in_them(build, tasks, store, llama_folder):
    """Everybody hears two of the three kinds of clips alike; only the projector has moved."""
    model = build(str(llama_folder), **QUIET)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    model.projector.fit_standardization(store.stack([f"u{i}" for i in range(60)]))
    options = IclOptions(projector_steps=60, projector_learning_rate=3e-3)
    loss = pretrain_projector(model, tasks[:9], tasks[9:], store, options, TrainingRun(start_accelerator(0)))
    clips = [i for i in range(60) if i % 3 < 2]
    with torch.no_grad():
        frames = model.eval().projector(store.stack([f"u{i}" for i in clips]))[:, 0]
    nearest = F.cosine_similarity(frames[:, None], label_embeddings(model)[None], dim=-1).argmax(dim=1)
    assert nearest.tolist() == [i % 3 for i in clips]
    assert loss < 0.6
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


def test_the_projector_is_left_as_it_did_best_on_validation_clips(build, tasks, store, monkeypatch):
    """Validation persons who say the opposite of the others: the more is learned, the worse for them."""
    names = build().prompt.emotions.names
    opposite = [
        Task(
            task.person,
            task.utterances,
            tuple((names[-1 - names.index(words[0])],) for words in task.emotions),
        )
        for task in tasks[9:]
    ]
    left = {}
    for every in (1, 40):
        monkeypatch.setattr("speechlm_icl.training.pretrain_projector.VALIDATE_EVERY", every)
        model = build(**QUIET)
        options = IclOptions(projector_steps=40, projector_learning_rate=3e-3)
        left[every] = pretrain_projector(
            model, tasks[:9], opposite, store, options, TrainingRun(start_accelerator(0))
        )
        held_out = aggregated_targets(opposite, model.prompt.emotions)
        with torch.no_grad():
            found = alignment_losses(model.eval(), list(held_out), held_out, label_embeddings(model), store)
        assert left[every] == pytest.approx(found.mean().item(), rel=1e-4)
    assert left[1] < left[40]


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
