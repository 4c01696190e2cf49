"""Each of the three trainings, killed on its way and started again, ends as one that was left alone: the same
weights and the same logged losses, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from perser.cli.main import main
from perser.cli.parser import parse_command
from perser.encoders.feature_cache import FeatureStore
from perser.errors import UserError
from perser.training.nonfinite import BAD_STEPS
from perser.training.run import Stage, TrainingRun
from perser.training.run_folder import running
from perser.training.run_log import METRICS
from speechlm_icl.train import icl_train

FUNCTIONS = {"pretrain": pretrain, "meta-train": meta_train, "icl-train": icl_train}
OPTIONS = {
    "pretrain": "--batch_size 40 --head_size 8 --adaptation_steps 1 --scope top_layers:1",
    "meta-train": "--scope head --csmt false --derivative_annealing.by training "
    "--multi_step_loss.enabled true --inner.steps 2 --inner.support 4 --inner.query 4 "
    "--inner.adaptation_steps 2 --outer.persons 2 --outer.validate_every 4",
    "icl-train": "--pairs 3 --sequences_per_step 4 --accumulate 2 --validate_every 4 --projector.width 16 "
    "--validation_sequences 2",
}
SHORT = {
    "pretrain": "--epochs 6",
    "meta-train": "--outer.iterations 11",
    "icl-train": "--align_steps 4 --steps 8",
}
LONG = {
    "pretrain": "--epochs 60",
    "meta-train": "--outer.iterations 120",
    "icl-train": "--align_steps 40 --steps 80",
}
"""For twenty kills."""


class Killed(BaseException):
    """Nothing that a program means to catch."""


@dataclass(frozen=True)
class Training:
    """A command with its options, but for where it writes."""

    name: str
    words: tuple[str, ...]

    def run(self, out: Path, *more: str) -> None:
        """In this process."""
        function = FUNCTIONS[self.name]
        function(**parse_command(function, [*self.words, "--out", str(out), *more]))

    def start(self, out: Path, *more: str) -> BaseProcess:
        """As `perser` in a process of its own: a fork, which has everything imported. What it says is in a
        file beside `out`."""
        words = [self.name, *self.words, "--out", str(out), *more]
        process = get_context("fork").Process(target=perser, args=(words, said(out)))
        process.start()
        return process


def said(out: Path) -> Path:
    return out.with_suffix(".said")


def perser(words: list[str], said: Path) -> None:
    with said.open("w") as sys.stderr:
        main(words)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in floating point depend on how many share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def given(toy_corpus, toy_episodes_path, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("given")
    words = ["--corpus", str(toy_corpus.folder), "--episodes", str(toy_episodes_path)]
    return [*words, "--cache", str(folder / "cache")]


@pytest.fixture(scope="module")
def ssl_e(given, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("models") / "ssl-e"
    Training("pretrain", (*given, *OPTIONS["pretrain"].split(), "--epochs", "2")).run(out)
    return out


@pytest.fixture(scope="module")
def training(given, ssl_e) -> Callable[..., Training]:
    def make(name: str, length: dict[str, str] = SHORT) -> Training:
        start = ["--ssl_e", str(ssl_e)] if name == "meta-train" else []
        return Training(name, (*given, *start, *OPTIONS[name].split(), *length[name].split()))

    return make


@pytest.fixture(scope="module")
def undisturbed(training, tmp_path_factory) -> Callable[[str], Path]:
    folder, made = tmp_path_factory.mktemp("undisturbed"), {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = folder / name
            training(name).run(made[name])
        return made[name]

    return of


def lines(folder: Path) -> list[dict]:
    """What was logged, times apart."""
    content = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    for line in content:
        assert line.pop("seconds") >= 0
    return content


def assert_alike(out: Path, wanted: Path) -> None:
    weights = sorted(one.relative_to(wanted) for one in wanted.rglob("*.safetensors"))
    assert weights
    assert sorted(one.relative_to(out) for one in out.rglob("*.safetensors")) == weights
    for one in weights:
        assert (out / one).read_bytes() == (wanted / one).read_bytes(), one
    assert lines(out) == lines(wanted)
    assert not running(out).exists()


CASES = {
    # name: (stage and step of the kill, step of the checkpoint before it), one kill after the other
    "pretrain": [("supervised", 1, None), ("supervised", 6, 4), ("supervised", 7, 7)],
    "meta-train": [("meta-train", 3, 1), ("meta-train", 9, 8), ("meta-train", 11, 11)],
    "icl-train": [("align", 3, 2), ("meta-training", 2, 1), ("meta-training", 7, 4)],
}


@pytest.mark.parametrize("name", CASES)
def test_a_training_killed_again_and_again_ends_as_an_undisturbed_one(
    name, training, undisturbed, tmp_path, monkeypatch, capsys
):
    """Killed after steps that are known, behind a checkpoint: what came after it is done again."""
    out, taken = tmp_path / "out", []
    own = Stage.ended
    for stage, last, kept in CASES[name]:

        def ended(self, step, stage=stage, last=last, **found):
            taken.append((self._name, step))
            own(self, step, **found)
            if taken[-1] == (stage, last):
                raise Killed

        def due(self, stage=stage, kept=kept):
            return taken[-1] == (stage, kept)

        monkeypatch.setattr(Stage, "ended", ended)
        monkeypatch.setattr(TrainingRun, "checkpoint_is_due", due)
        with pytest.raises(Killed):
            training(name).run(out)
        assert not out.exists()
    monkeypatch.undo()
    capsys.readouterr()
    training(name).run(out)
    stage, _, kept = CASES[name][-1]
    assert f"going on after step {kept} of {stage}" in capsys.readouterr().err
    assert_alike(out, undisturbed(name))


def test_one_killed_after_its_last_step_does_none_again(training, undisturbed, tmp_path, monkeypatch):
    """While the baselines' rates are tuned."""

    def tuned(*_):
        raise Killed

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("meta_perser.pretrain.tune", tuned)
        with pytest.raises(Killed):
            training("pretrain").run(out)
    with monkeypatch.context() as patched:
        patched.setattr(Stage, "update", tuned)
        training("pretrain").run(out)
    assert_alike(out, undisturbed("pretrain"))


def test_patience_is_counted_on(training, tmp_path, monkeypatch):
    """Scores that never rise: it ends with the third look, whichever start that is in."""
    monkeypatch.setattr("meta_perser.training.outer_loop.mean_score", lambda *_: 0.5)
    words = ("--outer.patience", "2", "--outer.validate_every", "2")
    training("meta-train").run(tmp_path / "wanted", *words)
    assert lines(tmp_path / "wanted")[-1]["step"] == 4
    out, own = tmp_path / "out", Stage.ended
    for last in (3, 4):

        def ended(self, step, last=last, **found):
            own(self, step, **found)
            if step == last:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Stage, "ended", ended)
            with pytest.raises(Killed):
                training("meta-train").run(out, *words, "--run.checkpoint_seconds", "0")
    training("meta-train").run(out, *words)
    assert_alike(out, tmp_path / "wanted")


def wait_for(process: BaseProcess, out: Path, wanted: int) -> None:
    """Until so many lines are logged, or it has ended."""
    log = running(out) / METRICS
    while process.is_alive() and (not log.exists() or log.read_bytes().count(b"\n") < wanted):
        time.sleep(0.002)


def kill_when(process: BaseProcess, out: Path, wanted: int, pause: float) -> bool:
    """SIGKILL, `pause` seconds after so many lines are logged; whether it was still under way."""
    wait_for(process, out, wanted)
    time.sleep(pause)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), said(out).read_text()[-2000:]
    return process.exitcode != 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kill_9_at_a_random_moment(name, training, undisturbed, tmp_path):
    out, chance = tmp_path / "out", random.Random(name)
    process = training(name).start(out, "--run.checkpoint_seconds", "0")
    assert kill_when(process, out, chance.randint(2, 8), chance.uniform(0, 0.02))
    assert list((running(out) / "checkpoints").iterdir())
    training(name).run(out)
    assert_alike(out, undisturbed(name))


@pytest.mark.soak
@pytest.mark.parametrize("name", FUNCTIONS)
def test_twenty_kills_at_random_moments(name, training, tmp_path):
    chance, kills, finished = random.Random(f"soak {name}"), 0, 0
    wanted = tmp_path / "wanted"
    training(name, LONG).run(wanted)
    steps = len(lines(wanted))
    while kills < 20:
        out = tmp_path / f"out-{finished}"
        done, alive = 0, True
        while alive:
            # Far enough for the training to end at last, and then another one begins.
            process = training(name, LONG).start(out, "--run.checkpoint_seconds", "0")
            alive = kill_when(process, out, done + chance.randint(1, steps // 6), chance.uniform(0, 0.05))
            kills += alive
            done = len(lines(running(out))) if alive else 0
        finished += 1
        assert_alike(out, wanted)
    assert finished


def test_sigterm_finishes_the_step_saves_and_exits_143(training, undisturbed, tmp_path):
    out = tmp_path / "out"
    process = training("meta-train").start(out)
    wait_for(process, out, 3)
    process.terminate()
    process.join()
    assert process.exitcode == 143
    last = lines(running(out))[-1]["step"]
    assert (
        f"perser: stopped after step {last} of meta-train: the same command goes on from there"
        in said(out).read_text()
    )
    training("meta-train").run(out)
    assert_alike(out, undisturbed("meta-train"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_training_is_not_gone_on_with(name, training, undisturbed, tmp_path, monkeypatch):
    out, own = tmp_path / "out", Stage.ended

    def ended(self, step, **found):
        own(self, step, **found)
        raise Killed

    monkeypatch.setattr(Stage, "ended", ended)
    with pytest.raises(Killed):
        training(name).run(out, "--seed", "7", "--run.checkpoint_seconds", "0")
    monkeypatch.undo()
    left = {one: one.read_bytes() for one in running(out).rglob("*") if one.is_file()}
    with pytest.raises(UserError, match=r"another training \(\S*seed: 7, now 0[;)].*--resume false"):
        training(name).run(out)
    assert {one: one.read_bytes() for one in running(out).rglob("*") if one.is_file()} == left
    training(name).run(out, "--resume", "false")
    assert_alike(out, undisturbed(name))


@pytest.fixture
def unsound(monkeypatch) -> set[str]:
    """Ids whose features become NaN once training begins."""
    ids, begun, own, read = set(), [], Stage.__init__, FeatureStore.__getitem__

    def begin(self, *given):
        begun.append(True)
        own(self, *given)

    def features(self, utterance):
        return read(self, utterance) * (torch.nan if begun and utterance in ids else 1)

    monkeypatch.setattr(Stage, "__init__", begin)
    monkeypatch.setattr(FeatureStore, "__getitem__", features)
    return ids


@pytest.mark.parametrize("name", FUNCTIONS)
def test_features_that_are_no_numbers_end_it_with_whom_and_what(
    name, training, unsound, toy_corpus, toy_episodes, tmp_path
):
    out = tmp_path / "out"
    trained_on = {one for task in toy_episodes.training_tasks(toy_corpus) for one in task.utterances}
    unsound.update(sorted(trained_on)[::3])
    with pytest.raises(UserError, match="2 steps had a loss or gradient that is not finite") as told:
        training(name).run(out, "--run.max_bad_steps", "2")
    records = json.loads((running(out) / BAD_STEPS).read_text())
    assert len(records) == 2
    for one in records:
        for cause in one["causes"]:
            assert unsound & set(cause["utterances"])
            assert ("person" in cause) == (name != "pretrain" and one["stage"] != "align")
            assert name != "pretrain" or unsound >= set(cause["utterances"])
    assert str(running(out) / BAD_STEPS) in str(told.value)
    assert records[-1]["causes"][0]["utterances"][0] in str(told.value)


def test_one_recording_that_is_no_number_costs_the_steps_that_read_it(
    training, unsound, toy_corpus, toy_episodes, tmp_path
):
    out = tmp_path / "out"
    unsound.add(toy_episodes.training_tasks(toy_corpus)[0].utterances[0])
    training("pretrain").run(out)
    records = json.loads((out / BAD_STEPS).read_text())
    assert [one["causes"] for one in records] == [[{"utterances": [*unsound]}]] * 6, "once an epoch"
    skipped = [line["step"] for line in lines(out) if line.get("skipped")]
    assert skipped == [one["step"] for one in records]
    assert all(one.isfinite().all() for one in load_file(out / "recogniser.safetensors").values())
