"""Each of the three trainings, killed and started again, ends with the same weights and the same logged
losses as an undisturbed one, bit for bit."""

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

import meta_perser.pretrain as pretrain_module
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from meta_perser.training import outer_loop
from perser.cli.main import main
from perser.cli.parser import parse_command
from perser.encoders.feature_cache import FeatureStore
from perser.errors import UserError
from perser.training.loop import Validation
from perser.training.nonfinite import BAD_STEPS
from perser.training.run import Stage, TrainingRun
from perser.training.run_folder import running_folder
from perser.training.run_log import METRICS
from speechlm_icl.train import icl_train

FUNCTIONS = {"pretrain": pretrain, "meta-train": meta_train, "icl-train": icl_train}
OPTIONS = {
    "pretrain": "--batch_size 40 --head_size 8 --adaptation_steps 1 --scope top_layers:1",
    "meta-train": "--scope head --csmt false --derivative_annealing.by training "
    "--multi_step_loss.enabled true --inner.steps 2 --inner.support 4 --inner.query 4 "
    "--inner.adaptation_steps 2 --outer.batch_size 2 --outer.validate_every 4",
    "icl-train": "--pairs 3 --batch_size 4 --gradient_accumulation_steps 2 --validate_every 4 "
    "--projector.width 16 --validation_sequences 2",
}
SHORT = {
    "pretrain": "--epochs 6",
    "meta-train": "--outer.steps 11",
    "icl-train": "--projector_steps 4 --steps 8",
}
LONG = {
    "pretrain": "--epochs 60",
    "meta-train": "--outer.steps 120",
    "icl-train": "--projector_steps 40 --steps 80",
}
"""Trainings long enough for twenty kills."""


class Killed(BaseException):
    """Stands for a kill: no program catches it."""


@dataclass(frozen=True)
class Training:
    """A command with its options, but for its output folder."""

    name: str
    words: tuple[str, ...]

    def run(self, out: Path, *more: str) -> None:
        """Run the command in this process."""
        function = FUNCTIONS[self.name]
        function(**parse_command(function, [*self.words, "--out", str(out), *more]))

    def start(self, out: Path, *more: str) -> BaseProcess:
        """Start `perser` in a process of its own, a fork with everything imported. Its messages go to
        `stderr_of(out)`."""
        words = [self.name, *self.words, "--out", str(out), *more]
        process = get_context("fork").Process(target=perser, args=(words, stderr_of(out)))
        process.start()
        return process


def stderr_of(out: Path) -> Path:
    return out.with_suffix(".stderr")


def perser(words: list[str], stderr: Path) -> None:
    with stderr.open("w") as sys.stderr:
        main(words)


@pytest.fixture(autouse=True)
def one_thread():
    """Floating-point sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def inputs(toy_corpus, toy_episodes_path, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    words = ["--corpus", str(toy_corpus.folder), "--episodes", str(toy_episodes_path)]
    return [*words, "--cache", str(folder / "cache")]


@pytest.fixture(scope="module")
def ssl_e(inputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("models") / "ssl-e"
    Training("pretrain", (*inputs, *OPTIONS["pretrain"].split(), "--epochs", "2")).run(out)
    return out


@pytest.fixture(scope="module")
def training(inputs, ssl_e) -> Callable[..., Training]:
    def make(name: str, length: dict[str, str] = SHORT) -> Training:
        start = ["--ssl_e", str(ssl_e)] if name == "meta-train" else []
        return Training(name, (*inputs, *start, *OPTIONS[name].split(), *length[name].split()))

    return make


@pytest.fixture(scope="module")
def undisturbed(training, tmp_path_factory) -> Callable[[str], Path]:
    folder, outputs = tmp_path_factory.mktemp("undisturbed"), {}

    def run(name: str) -> Path:
        if name not in outputs:
            outputs[name] = folder / name
            training(name).run(outputs[name])
        return outputs[name]

    return run


def logged_lines(folder: Path) -> list[dict]:
    """Return the lines of metrics.jsonl without their seconds."""
    content = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    for line in content:
        assert line.pop("seconds") >= 0
    return content


def assert_same_output(out: Path, expected: Path) -> None:
    weights = sorted(path.relative_to(expected) for path in expected.rglob("*.safetensors"))
    assert weights
    assert sorted(path.relative_to(out) for path in out.rglob("*.safetensors")) == weights
    for path in weights:
        assert (out / path).read_bytes() == (expected / path).read_bytes(), path
    assert logged_lines(out) == logged_lines(expected)
    assert not running_folder(out).exists()


CASES = {
    # name: kills in their order, each as (stage, step of the kill, step of the checkpoint before it)
    "pretrain": [("supervised", 1, None), ("supervised", 6, 4), ("supervised", 7, 7)],
    "meta-train": [("meta-train", 3, 1), ("meta-train", 9, 8), ("meta-train", 11, 11)],
    "icl-train": [("pretrain-projector", 3, 2), ("meta-training", 2, 1), ("meta-training", 7, 4)],
}


@pytest.mark.parametrize("name", CASES)
def test_a_training_killed_three_times_ends_as_an_undisturbed_one(
    name, training, undisturbed, tmp_path, monkeypatch, capsys
):
    """The steps since the last checkpoint are repeated after each kill."""
    out, taken = tmp_path / "out", []
    original = Stage.end_step
    for stage, last, saved in CASES[name]:

        def end_step(self, step, stage=stage, last=last, **metrics):
            taken.append((self._name, step))
            original(self, step, **metrics)
            if taken[-1] == (stage, last):
                raise Killed

        def due(self, stage=stage, saved=saved):
            return taken[-1] == (stage, saved)

        monkeypatch.setattr(Stage, "end_step", end_step)
        monkeypatch.setattr(TrainingRun, "checkpoint_is_due", due)
        with pytest.raises(Killed):
            training(name).run(out)
        assert not out.exists()
    monkeypatch.undo()
    capsys.readouterr()
    training(name).run(out)
    stage, _, saved = CASES[name][-1]
    assert f"going on after step {saved} of {stage}" in capsys.readouterr().err
    assert_same_output(out, undisturbed(name))


def test_a_training_killed_after_its_last_step_repeats_no_step(training, undisturbed, tmp_path, monkeypatch):
    """The kill comes while the baselines' rates are tuned."""

    def kill(*_):
        raise Killed

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(pretrain_module, "tune", kill)
        with pytest.raises(Killed):
            training("pretrain").run(out)
    with monkeypatch.context() as patched:
        patched.setattr(Stage, "update", kill)
        training("pretrain").run(out)
    assert_same_output(out, undisturbed("pretrain"))


def test_patience_counts_the_validations_before_a_kill(training, tmp_path, monkeypatch):
    """The score never rises, so that training ends at the third validation, however often it was killed."""
    monkeypatch.setattr(outer_loop, "validate_on", lambda *_: Validation(0.5, {"maF1": 0.5}))
    words = ("--outer.patience", "2", "--outer.validate_every", "2")
    training("meta-train").run(tmp_path / "expected", *words)
    assert logged_lines(tmp_path / "expected")[-1]["step"] == 4
    out, original = tmp_path / "out", Stage.end_step
    for last in (3, 4):

        def end_step(self, step, last=last, **metrics):
            original(self, step, **metrics)
            if step == last:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Stage, "end_step", end_step)
            with pytest.raises(Killed):
                training("meta-train").run(out, *words, "--run.checkpoint_seconds", "0")
    training("meta-train").run(out, *words)
    assert_same_output(out, tmp_path / "expected")


def wait_for_lines(process: BaseProcess, out: Path, count: int) -> None:
    """Wait until so many lines are logged, or the process has ended."""
    log = running_folder(out) / METRICS
    while process.is_alive() and (not log.exists() or log.read_bytes().count(b"\n") < count):
        time.sleep(0.002)


def kill_after_lines(process: BaseProcess, out: Path, count: int, pause: float) -> bool:
    """Send SIGKILL `pause` seconds after so many lines are logged; return whether that ended the process."""
    wait_for_lines(process, out, count)
    time.sleep(pause)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), stderr_of(out).read_text()[-2000:]
    return process.exitcode != 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_training_killed_at_a_random_moment_ends_as_an_undisturbed_one(
    name, training, undisturbed, tmp_path
):
    out, chance = tmp_path / "out", random.Random(name)
    process = training(name).start(out, "--run.checkpoint_seconds", "0")
    assert kill_after_lines(process, out, chance.randint(2, 8), chance.uniform(0, 0.02))
    assert list((running_folder(out) / "checkpoints").iterdir())
    training(name).run(out)
    assert_same_output(out, undisturbed(name))


@pytest.mark.soak
@pytest.mark.parametrize("name", FUNCTIONS)
def test_twenty_kills_at_random_moments(name, training, tmp_path):
    chance, kills, finished = random.Random(f"soak {name}"), 0, 0
    expected = tmp_path / "expected"
    training(name, LONG).run(expected)
    steps = len(logged_lines(expected))
    while kills < 20:
        out = tmp_path / f"out-{finished}"
        done, alive = 0, True
        while alive:
            # Each start gets further, so that the training ends sometime and the next one begins.
            process = training(name, LONG).start(out, "--run.checkpoint_seconds", "0")
            alive = kill_after_lines(
                process, out, done + chance.randint(1, steps // 6), chance.uniform(0, 0.05)
            )
            kills += alive
            done = len(logged_lines(running_folder(out))) if alive else 0
        finished += 1
        assert_same_output(out, expected)
    assert finished


def test_sigterm_finishes_the_step_saves_and_exits_143(training, undisturbed, tmp_path):
    out = tmp_path / "out"
    process = training("meta-train").start(out)
    wait_for_lines(process, out, 3)
    process.terminate()
    process.join()
    assert process.exitcode == 143
    last = logged_lines(running_folder(out))[-1]["step"]
    message = f"perser: stopped after step {last} of meta-train: the same command goes on from there"
    assert message in stderr_of(out).read_text()
    training("meta-train").run(out)
    assert_same_output(out, undisturbed("meta-train"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_training_with_other_options_is_not_resumed(name, training, undisturbed, tmp_path, monkeypatch):
    out, original = tmp_path / "out", Stage.end_step

    def end_step(self, step, **metrics):
        original(self, step, **metrics)
        raise Killed

    monkeypatch.setattr(Stage, "end_step", end_step)
    with pytest.raises(Killed):
        training(name).run(out, "--seed", "7", "--run.checkpoint_seconds", "0")
    monkeypatch.undo()
    before = file_contents(running_folder(out))
    with pytest.raises(UserError, match=r"another training \(\S*seed: 7, now 0[;)].*--resume false"):
        training(name).run(out)
    assert file_contents(running_folder(out)) == before
    training(name).run(out, "--resume", "false")
    assert_same_output(out, undisturbed(name))


def file_contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def nan_utterances(monkeypatch) -> set[str]:
    """A set to fill: the utterances in it have features of NaN from the start of training on."""
    ids, begun, original, read = set(), [], Stage.__init__, FeatureStore.__getitem__

    def begin(self, *arguments):
        begun.append(True)
        original(self, *arguments)

    def features(self, utterance):
        return read(self, utterance) * (torch.nan if begun and utterance in ids else 1)

    monkeypatch.setattr(Stage, "__init__", begin)
    monkeypatch.setattr(FeatureStore, "__getitem__", features)
    return ids


@pytest.mark.parametrize("name", FUNCTIONS)
def test_features_of_nan_end_a_training_and_the_error_names_them(
    name, training, nan_utterances, toy_corpus, toy_episodes, tmp_path
):
    out = tmp_path / "out"
    tasks = toy_episodes.training_tasks(toy_corpus)
    nan_utterances.update(sorted({utterance for task in tasks for utterance in task.utterances})[::3])
    with pytest.raises(UserError, match="2 steps had a loss or gradient that is not finite") as error:
        training(name).run(out, "--run.max_bad_steps", "2")
    records = json.loads((running_folder(out) / BAD_STEPS).read_text())
    assert len(records) == 2
    for record in records:
        for cause in record["causes"]:
            assert nan_utterances & set(cause["utterances"])
            assert ("person" in cause) == (name != "pretrain" and record["stage"] != "pretrain-projector")
            assert name != "pretrain" or nan_utterances >= set(cause["utterances"])
    assert str(running_folder(out) / BAD_STEPS) in str(error.value)
    assert records[-1]["causes"][0]["utterances"][0] in str(error.value)


def test_a_recording_of_nan_only_costs_the_steps_that_read_it(
    training, nan_utterances, toy_corpus, toy_episodes, tmp_path
):
    out = tmp_path / "out"
    nan_utterances.add(toy_episodes.training_tasks(toy_corpus)[0].utterances[0])
    training("pretrain").run(out)
    records = json.loads((out / BAD_STEPS).read_text())
    causes = [record["causes"] for record in records]
    assert causes == [[{"utterances": [*nan_utterances]}]] * 6, "not once an epoch"
    skipped = [line["step"] for line in logged_lines(out) if line.get("skipped")]
    assert skipped == [record["step"] for record in records]
    weights = load_file(out / "recogniser.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
