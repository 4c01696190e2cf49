from __future__ import annotations

from functools import partial

import pytest
import torch
from accelerate import Accelerator

from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.baselines import meta_perser
from meta_perser.options import InnerOptions, LslrOptions, OuterOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import saved_settings
from meta_perser.train import meta_train
from meta_perser.training.initialization import initial_meta_perser
from meta_perser.training.outer_loop import OuterLoop
from perser.errors import UserError
from perser.personalizer import RouteContext
from perser.training.accelerator import start_accelerator
from perser.training.loop import Validation
from perser.training.run_folder import running_folder

INNER = InnerOptions(steps=1, support=4, adaptation_steps=1)
OUTER = OuterOptions(steps=9, batch_size=1, validate_every=1, cosine=False)


class Killed(BaseException):
    """Nothing that a program means to catch."""


def validation(score):
    return Validation(score, {"log_loss": 1 - score, "maF1": score})


@pytest.fixture
def validations(monkeypatch):
    """Scores of the looks to come, and the classifier's weights at each look that was; then it is killed."""
    scores, seen = [], []

    def look(method, *_):
        if len(seen) == len(scores):
            raise Killed
        seen.append(method.model.classifier.weight.detach().clone())
        return validation(scores[len(seen) - 1])

    monkeypatch.setattr("meta_perser.training.outer_loop.validate_on", look)
    return scores, seen


def train_head(begun_from, out):
    meta_train(**begun_from, out=out, scope="head", inner=INNER, outer=OUTER)


def train_until_killed(begun_from, out):
    with pytest.raises(Killed):
        train_head(begun_from, out)


@pytest.mark.parametrize(
    ("given", "best"),
    [([0.1], 0), ([0.2, 0.1, 0.1], 0), ([0.1, 0.2, 0.3, 0.2, 0.1], 2), ([0.1, 0.2, 0.3], 2)],
)
def test_a_killed_run_leaves_its_best_and_its_last(given, best, validations, begun_from, tmp_path):
    scores, seen = validations
    scores += given
    out = tmp_path / "out"
    train_until_killed(begun_from, out)
    assert not out.exists()
    for folder, look in (
        (running_folder(out) / "best", best),
        (running_folder(out) / "last", len(given) - 1),
    ):
        assert torch.equal(MetaPerSER.from_pretrained(folder).model.classifier.weight, seen[look])
        assert saved_settings(folder)["iteration"] == look
        assert saved_settings(folder)["validation_maf1"] == pytest.approx(given[look])
    assert len({weights.sum().item() for weights in seen}) == len(seen)  # the checkpoints can be told apart
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_run_killed_while_saving_keeps_the_previous_model(validations, begun_from, tmp_path, monkeypatch):
    scores, seen = validations
    scores += [0.1, 0.2, 0.3]
    own = MetaPerSER.save_pretrained

    def killed_at_the_third(self, folder, **extra):
        own(self, folder, **extra)
        if len(seen) == 3:
            raise Killed

    monkeypatch.setattr(MetaPerSER, "save_pretrained", killed_at_the_third)
    train_until_killed(begun_from, tmp_path / "out")
    unfinished = running_folder(tmp_path / "out")
    for folder in (unfinished / "best", unfinished / "last"):
        assert torch.equal(MetaPerSER.from_pretrained(folder).model.classifier.weight, seen[1])


def test_a_finished_model_stays_until_the_next_one_is_finished(validations, begun_from, tmp_path):
    scores, seen = validations
    out = tmp_path / "out"
    scores += [0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    run = partial(train_head, begun_from, out)
    run()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert torch.equal(MetaPerSER.from_pretrained(out).model.classifier.weight, seen[1])
    assert saved_settings(out / "last")["iteration"] == 9
    scores += [0.9]
    with pytest.raises(Killed):
        run()
    assert torch.equal(MetaPerSER.from_pretrained(out).model.classifier.weight, seen[1])


def test_other_models_are_not_written_over(trained, begun_from):
    """SSL-E is the same kind of folder, but what fine-tuning and Prior-Shift need stands in it."""
    with pytest.raises(UserError, match="SSL-E"):
        train_head(begun_from, trained.models / "ssl-e")
    with pytest.raises(UserError, match=r"rates\.safetensors"):
        train_head(begun_from, trained.models / "multi")


@pytest.mark.parametrize("main", [True, False])
def test_only_the_main_process_saves_models(main, trained, toy_corpus, toy_episodes, monkeypatch):
    monkeypatch.setattr("meta_perser.training.outer_loop.validate_on", lambda *_: validation(0.5))
    tasks = toy_episodes.training_tasks(toy_corpus)
    begun = initial_meta_perser(
        trained.models / "ssl-e", "ssl-e", "head", INNER, LslrOptions(), tasks, toy_corpus.recordings,
        trained.cache, torch.device("cpu"),
    )  # fmt: skip
    source = ClipSource(toy_corpus.recordings, begun.model, trained.cache)
    accelerator = start_accelerator(0)
    monkeypatch.setattr(Accelerator, "is_main_process", main)
    kept = []
    outer = OuterOptions(steps=3, batch_size=1, validate_every=2)
    OuterLoop(INNER, outer).train(
        begun,
        source,
        tasks,
        [],
        accelerator,
        lambda best, iteration, score: kept.append((best.step, iteration)),
    )
    assert kept == ([(0, 0), (0, 2), (0, 3)] if main else [])


def test_a_row_says_why_the_start_was_chosen(validations, begun_from, toy_corpus, tmp_path):
    scores, _ = validations
    scores += [0.4, *(0.3 - look / 100 for look in range(9))]
    train_head(begun_from, tmp_path / "meta-perser")
    context = RouteContext(toy_corpus.emotions, toy_corpus.recordings, tmp_path, begun_from["cache"])
    said = meta_perser(context).describe()
    assert said["iteration"] == "start"
    assert said["start chosen because"] == (
        "no later validation was better: log loss 0.7000 to 0.7800, 0.6000 at the start; "
        "the outer loss of CSMT is on the support itself, which does not show this"
    )


def test_a_row_of_a_trained_iteration_gives_no_such_reason(validations, begun_from, toy_corpus, tmp_path):
    scores, _ = validations
    scores += [0.1, 0.3, *[0.2] * 8]
    train_head(begun_from, tmp_path / "meta-perser")
    context = RouteContext(toy_corpus.emotions, toy_corpus.recordings, tmp_path, begun_from["cache"])
    said = meta_perser(context).describe()
    assert said["iteration"] == 1
    assert "start chosen because" not in said
