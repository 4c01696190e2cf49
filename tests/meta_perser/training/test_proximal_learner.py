"""Meta-training with the proximal solver, through the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.proximal.head import AdaptedHead
from meta_perser.baselines import meta_perser, prior_shift
from meta_perser.inference import GradientModel
from meta_perser.options import AnnealingOptions, InnerOptions, MultiStepOptions, OuterOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.route import ROUTE
from meta_perser.train import meta_train
from meta_perser.training.initialization import initial_meta_perser
from meta_perser.training.outer_loop import OuterLoop
from meta_perser.training.proximal_learner import ProximalLearner
from perser.errors import UserError
from perser.losses import smooth_macro_f1_loss
from perser.personalizer import RouteContext
from perser.training.options import RunOptions

INNER = InnerOptions(solver="proximal", support=6, query=6)
OUTER = OuterOptions(steps=6, batch_size=2, validate_every=2, f1_weight=0.5)


def train(begun_from, out, **changed):
    options = {"scope": "head", "csmt": False, "inner": INNER, "outer": OUTER} | changed
    meta_train(**begun_from, out=out, **options)


@pytest.fixture(scope="module")
def proximal(trained, begun_from, toy_corpus, tmp_path_factory) -> RouteContext:
    """A model that was meta-trained with the proximal solver."""
    models = tmp_path_factory.mktemp("proximal")
    train(begun_from, models / "meta-perser")
    return RouteContext(toy_corpus.emotions, toy_corpus.recordings, models, trained.cache)


def test_weights_and_lambdas_are_trained(proximal, trained):
    last = MetaPerSER.from_pretrained(proximal.models / "meta-perser" / "last")
    start = json.loads((trained.models / "ssl-e" / "meta_perser.json").read_text())["extra"]["prior_strength"]
    assert last.rates().isfinite().all()
    assert abs(last.rates()[1].item() / start - 1) > 0.05
    begun = GradientModel.from_pretrained(trained.models / "ssl-e").model
    assert not np.array_equal(begun.projector.weight.detach(), last.model.projector.weight.detach())


def test_the_method_is_measured_and_says_what_it_is(proximal, toy_episodes):
    personalizer = meta_perser(proximal)
    episode = toy_episodes.episodes[0]
    probabilities = personalizer.personalize(episode.support).predict_proba(episode.query_utterances)
    assert np.isfinite(probabilities).all()
    said = personalizer.describe()
    assert (said["solver"], said["F1 weight"]) == ("proximal", "0.5")
    assert {"lambda", "iteration"} <= set(said)
    assert not {"S", "LSLR", "rate"} & set(said)


def test_a_killed_training_ends_as_an_undisturbed_one(proximal, begun_from, tmp_path, monkeypatch):
    forward, calls = ProximalLearner.forward, []

    def killed(self, *examples):
        calls.append(None)
        if len(calls) == 8:  # in the fourth step
            raise KeyboardInterrupt
        return forward(self, *examples)

    monkeypatch.setattr(ProximalLearner, "forward", killed)
    out, run = tmp_path / "meta-perser", RunOptions(checkpoint_seconds=0)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(begun_from, out, run=run)
    assert not out.exists()
    train(begun_from, out, run=run)
    assert len(calls) == 8 + 6, "the three finished steps were not taken again"
    for name in ("rates.safetensors", "recogniser.safetensors"):
        ours, theirs = (load_file(path / "last" / name) for path in (out, proximal.models / "meta-perser"))
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key])


@pytest.fixture
def begun(trained, toy_corpus, toy_episodes) -> MetaPerSER:
    """What meta-training starts from."""
    return initial_meta_perser(
        trained.models / "ssl-e",
        "ssl-e",
        "head",
        INNER,
        lslr=None,
        tasks=toy_episodes.training_tasks(toy_corpus),
        recordings=toy_corpus.recordings,
        cache=trained.cache,
        device="cpu",
    )


def test_the_start_is_prior_shift(begun, trained, toy_corpus, toy_episodes):
    episode = toy_episodes.episodes[0]
    source = ClipSource(toy_corpus.recordings, begun.model.eval(), trained.cache)
    answers = [
        each.personalize(episode.support).predict_proba(episode.query_utterances)
        for each in (begun.personalizer(source), prior_shift(trained))
    ]
    np.testing.assert_allclose(*answers, atol=0.05)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"scope": "all"}, "scope: all"),
        ({"scope": "top_layers:1"}, "give scope head or linears"),
        ({"csmt": True, "inner": InnerOptions(solver="proximal", support=6)}, "csmt"),
        ({"derivative_annealing": AnnealingOptions(by="training")}, "derivative_annealing.by"),
        ({"multi_step_loss": MultiStepOptions(enabled=True)}, "multi_step_loss.enabled"),
    ],
)
def test_what_it_cannot_have_is_refused_before_anything_runs(changed, named, begun_from, tmp_path):
    with pytest.raises(UserError, match=named):
        train(begun_from, tmp_path / "model", **changed)
    assert not list(tmp_path.iterdir())


def test_the_route_refuses_other_scopes_of_an_experiment():
    from meta_perser.options import PretrainOptions

    options = {"pretrain": vars(PretrainOptions()), "meta_train": {"scope": "all", "inner": INNER}}
    with pytest.raises(UserError, match="give scope head or linears"):
        ROUTE.check(options, ())


def test_an_outer_loop_with_classic_switches_runs_the_steps(toy_corpus):
    assert OuterLoop(InnerOptions(), csmt=True).inner.solver == "steps"


def test_the_smooth_macro_f1_is_added_to_the_loss_on_the_query(begun, trained, toy_corpus, toy_episodes):
    episode = toy_episodes.episodes[0]
    source = ClipSource(toy_corpus.recordings, begun.model.eval(), trained.cache)
    support, query = (
        (source.batch(utterances), begun.model.targets(emotions))
        for utterances, emotions in (
            (episode.support.utterances, episode.support.emotions),
            (episode.query_utterances, episode.query_emotions),
        )
    )
    plain = ProximalLearner(begun.model, begun.rates)(support, query)
    both = ProximalLearner(begun.model, begun.rates, f1_weight=0.5)(support, query)
    head = AdaptedHead.fit(begun.model, begun.rates, *support)
    added = 0.5 * smooth_macro_f1_loss(head.logits(begun.model, query[0]), query[1])
    assert added > 0.1
    torch.testing.assert_close(both - plain, added)
