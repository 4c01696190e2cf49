from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import AnnealingOptions, InnerOptions, LslrOptions, MultiStepOptions, OuterOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.train import meta_train
from meta_perser.training.initialization import initial_meta_perser
from meta_perser.training.outer_loop import OuterLoop
from perser.errors import UserError
from perser.training.accelerator import start_accelerator
from perser.training.loop import Validation

INNER = InnerOptions(steps=2, support=4, adaptation_steps=2, rate=0.01)
OUTER = OuterOptions(steps=2, batch_size=2, validate_every=2)


def begin(context, toy_corpus, toy_episodes, scope="head", init="ssl-e", lslr=LslrOptions()):
    tasks = toy_episodes.training_tasks(toy_corpus)
    trained = initial_meta_perser(
        context.models / "ssl-e",
        init,
        scope,
        INNER,
        lslr,
        tasks,
        toy_corpus.recordings,
        context.cache,
        torch.device("cpu"),
    )
    return trained, ClipSource(toy_corpus.recordings, trained.model, context.cache), tasks


SWITCHES = list(
    itertools.product(
        ("ssl-e", "encoder"),
        (True, False),
        ("off", "inner_steps", "training"),
        ("off", "tensor", "module"),
        (False, True),
    )
)


@pytest.mark.parametrize(("init", "csmt", "annealing", "granularity", "multi_step"), SWITCHES)
def test_every_subset_of_the_switches_runs(
    init, csmt, annealing, granularity, multi_step, trained, toy_corpus, toy_episodes
):
    lslr = LslrOptions(granularity=granularity)
    begun, source, tasks = begin(trained, toy_corpus, toy_episodes, init=init, lslr=lslr)
    before = {name: one.clone() for name, one in begun.model.state_dict().items()}
    loop = OuterLoop(
        INNER, OUTER, csmt, AnnealingOptions(by=annealing, share=0.5), MultiStepOptions(enabled=multi_step)
    )
    best, learner = loop.train(
        begun, source, tasks, toy_episodes.validation_episodes[:1], start_accelerator(0)
    )
    moved = {name for name, one in begun.model.state_dict().items() if not torch.equal(one, before[name])}
    assert moved == set(begun.model.trainable_parameters())
    assert all(parameter.isfinite().all() for parameter in learner.parameters())
    if granularity != "off":
        assert (begun.rates.rates != 0).all()
    assert -5 < best.score < 0  # minus the log loss


@pytest.mark.parametrize("memory", ["adjoint"])
@pytest.mark.parametrize("sign", ["free", "positive"])
def test_every_memory_trains_the_same_model_as_unroll(memory, sign, trained, toy_corpus, toy_episodes):
    ended = []
    for kind in ("unroll", memory):
        lslr = LslrOptions(sign=sign)
        begun, source, tasks = begin(trained, toy_corpus, toy_episodes, "top_layers:1", lslr=lslr)
        inner = InnerOptions(steps=2, support=4, adaptation_steps=2, memory=kind)
        OuterLoop(inner, OUTER, derivative_annealing=AnnealingOptions(by="off")).train(
            begun, source, tasks, toy_episodes.validation_episodes[:1], start_accelerator(0)
        )
        ended.append([*begun.model.trainable_parameters().values(), begun.rates.rates])
    for got, wanted in zip(*ended, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("memory", ["unroll", "adjoint"])
def test_bf16_trains_float32_weights_and_rates(memory, trained, toy_corpus, toy_episodes):
    begun, source, tasks = begin(trained, toy_corpus, toy_episodes, "top_layers:1")
    inner = InnerOptions(steps=2, support=4, adaptation_steps=2, memory=memory)
    _, learner = OuterLoop(inner, OUTER).train(
        begun, source, tasks, toy_episodes.validation_episodes[:1], start_accelerator(0, "bf16")
    )
    assert {parameter.dtype for parameter in learner.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in learner.parameters())


def test_patience_ends_the_training_and_the_best_comes_back(trained, toy_corpus, toy_episodes, monkeypatch):
    scores = iter([0.1, 0.2, 0.5, 0.4, 0.5, 0.3, 0.9])
    monkeypatch.setattr(
        "meta_perser.training.outer_loop.validate_on", lambda *_: Validation(next(scores), {})
    )
    begun, source, tasks = begin(trained, toy_corpus, toy_episodes)
    outer = OuterOptions(steps=50, batch_size=1, validate_every=1, patience=3)
    best, learner = OuterLoop(INNER, outer).train(begun, source, tasks, [], start_accelerator(0))
    assert (best.score, best.step) == (pytest.approx(0.5), 2)
    assert next(scores) == 0.9
    last = begun.model.classifier.weight.detach().clone()
    best.restore(learner)
    assert not torch.equal(begun.model.classifier.weight, last)


def test_without_cosine_and_clipping_the_weights_move_from_the_first_step(trained, toy_corpus, toy_episodes):
    begun, source, tasks = begin(trained, toy_corpus, toy_episodes)
    before = begun.model.classifier.weight.detach().clone()
    outer = OuterOptions(steps=1, batch_size=1, cosine=False, clip_norm=None, learning_rate=0.25)
    OuterLoop(INNER, outer).train(
        begun, source, tasks, toy_episodes.validation_episodes[:1], start_accelerator(0)
    )
    moved = (begun.model.classifier.weight - before).abs()
    assert moved.median().item() == pytest.approx(0.25, rel=1e-2)  # Adam's first step, unscaled


def test_support_and_query_of_classic_maml_are_disjoint(toy_corpus, toy_episodes):
    loop = OuterLoop(InnerOptions(support=6, query=5), csmt=False)
    for task in toy_episodes.training_tasks(toy_corpus):
        support, query = loop._draw(task, np.random.default_rng(0))
        assert (len(support[0]), len(query[0])) == (6, 5)
        assert not set(support[0]) & set(query[0])
        assert (
            dict(zip(*query, strict=True)).items()
            <= dict(zip(task.utterances, task.emotions, strict=True)).items()
        )


def test_the_multi_step_loss_changes_by_the_epoch():
    """Seven persons, three a step: an epoch is three iterations."""
    loop = OuterLoop(
        InnerOptions(steps=3),
        OuterOptions(batch_size=3),
        multi_step_loss=MultiStepOptions(enabled=True, epochs=2),
    )
    finals = [loop.step_schedule(iteration, persons=7)[1] for iteration in range(1, 10)]
    assert finals == pytest.approx([1 / 3] * 3 + [2 / 3] * 3 + [1.0] * 3)
    plan, final = loop.step_schedule(1, persons=7)
    assert plan.step_loss_weights[0] == 0  # nothing is learned before the first step
    assert sum(plan.step_loss_weights) + final == pytest.approx(1)


def test_impossible_options_are_refused_by_key(toy_corpus, toy_episodes):
    tasks = toy_episodes.training_tasks(toy_corpus)
    with pytest.raises(UserError, match=r"inner\.query: with csmt"):
        OuterLoop(InnerOptions(query=4))
    with pytest.raises(UserError, match=r"inner\.query: 32 \+ 100"):
        OuterLoop(InnerOptions(query=100), csmt=False).check(tasks)
    with pytest.raises(UserError, match=r"outer\.f1_weight: with csmt there is no query"):
        OuterLoop(outer=OuterOptions(f1_weight=1.0))
    with pytest.raises(UserError, match=r"outer\.f1_weight: F1 is of all queries at once"):
        OuterLoop(InnerOptions(clips_at_once=4, memory="adjoint"), OuterOptions(f1_weight=1.0), csmt=False)
    with pytest.raises(ValueError, match=r"outer\.f1_weight: -1\.0"):
        OuterOptions(f1_weight=-1.0)


def test_two_processes_train_the_model_that_one_trains(begun_from, tmp_path):
    """The persons are shared out, and gradients of weights and rates averaged."""
    given = begun_from | {"scope": "top_layers:1"}
    inner = {"steps": 2, "support": 4, "adaptation_steps": 2, "memory": "adjoint"}
    outer = {"steps": 3, "batch_size": 4, "cosine": False, "validate_every": 3}
    meta_train(**given, inner=InnerOptions(**inner), outer=OuterOptions(**outer), out=tmp_path / "one")
    words = [f"--{name}={value}" for name, value in given.items()]
    words += [f"--inner.{name}={value}" for name, value in inner.items()]
    words += [f"--outer.{name}={value}" for name, value in outer.items()]
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "meta_perser.train"]
    subprocess.run(
        [sys.executable, "-m", *launch, *words, f"--out={tmp_path / 'two'}"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        check=True,
    )
    one, two = (MetaPerSER.from_pretrained(tmp_path / name / "last") for name in ("one", "two"))
    start = EmotionRecognizer.from_pretrained(begun_from["ssl_e"])
    for name, value in one.model.trainable_parameters().items():
        moved = value - start.get_parameter(name)
        assert (two.model.get_parameter(name) - value).norm() < 0.02 * moved.norm(), name
    torch.testing.assert_close(one.rates.rates, two.rates.rates, rtol=0, atol=1e-5)
    assert one.rates.rates.abs().min() > 1e-4
