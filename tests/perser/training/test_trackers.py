"""What a training logs reaches its tracker, and what its run's folder keeps beside it."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from accelerate.utils import LoggerType
from torch import nn

from perser.cli.parser import parse_command
from perser.errors import UserError
from perser.training.accelerator import start_accelerator
from perser.training.checkpoint import BestWeights, TrainingState
from perser.training.nonfinite import StepPart
from perser.training.options import RunOptions
from perser.training.run import TrainingRun
from perser.training.run_folder import RunFolder, running_folder
from perser.training.trackers import TrackedRun, flatten

FACTS = {"command": "some", "options": {"rate": 0.1, "layers": [1, 2], "none": None}}


def train(out, options, steps=3):
    """The smallest of trainings, two stages of it."""
    accelerator = start_accelerator(0)
    training_run = TrainingRun(accelerator, options, RunFolder(out, FACTS, False, accelerator))
    module = nn.Linear(1, 1)
    for name in ("first", "second"):
        state = TrainingState(module, torch.optim.SGD(module.parameters(), lr=0.1), None, BestWeights())
        with training_run.stage(name, state, module) as stage:
            for step in range(1, steps + 1):
                loss = module(torch.ones(1, 1)).square().sum()
                loss.backward()
                stage.update(step, loss.item() if step < steps else float(step), [StepPart(("u",), True)])
                stage.end_step(step)
    with training_run.finished(out, "marker") as folder:
        (folder / "marker").touch()


def test_tensorboard_has_every_step_of_every_stage(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "model"
    train(out, RunOptions(tracker="tensorboard"))
    assert not running_folder(out).exists()
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("second/loss")][-1] == (6, 3.0)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event.value for event in events.Scalars("first/loss")] == pytest.approx(
        [line["loss"] for line in lines if line["stage"] == "first"]
    )
    (hparams,) = out.glob("tensorboard/*/hparams.yml")
    assert "options.rate: 0.1" in hparams.read_text()


def test_tensorboard_shows_a_step_that_came_again_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done, loss in ((0, 1.0), (2, 2.0)):
        tracked = TrackedRun(start_accelerator(0), "tensorboard", tmp_path, {"of": "test"}, done)
        for _ in range(3):
            tracked.log("fit", {"loss": loss})
        tracked.finish()
    told = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("fit/loss")
    assert [(event.step, event.value) for event in told] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_wandb_and_trackio_get_every_value(tracker, tmp_path, monkeypatch):
    """The package itself stood in for: what accelerate's own class calls of it."""
    told = []
    run = SimpleNamespace(
        log=lambda values, step=None, **_: told.append((step, values)),
        finish=lambda: told.append("finished"),
        config=SimpleNamespace(update=lambda values, **_: told.append(values)),
    )
    package = SimpleNamespace(init=lambda **given: told.append(given) or run, config=run.config)
    monkeypatch.setitem(sys.modules, tracker, package)
    monkeypatch.setattr("perser.training.options.require_package", lambda *_: None)
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [LoggerType(tracker)])
    assert tracker in LOGGER_TYPE_TO_CLASS
    train(tmp_path / "model", RunOptions(tracker=tracker), steps=1)
    begun, options, (first, values), (second, _), end = told
    assert (begun["project"], begun["name"].partition("-")[0]) == ("perser", "model")
    assert options["options.layers"] == "[1, 2]"
    assert (first, second, end) == (1, 2, "finished")
    assert values["first/lr"] == 0.1


def test_wandb_keeps_one_run_through_a_kill_and_offline_all_of_it_is_kept(tmp_path, monkeypatch):
    """By the package itself."""
    wandb = pytest.importorskip("wandb", reason="wandb is not installed: only a stand-in was told")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder, runs = running_folder(tmp_path / "model"), []
    for done in (0, 2):
        tracked = TrackedRun(start_accelerator(0), "wandb", folder, {"of": "test"}, done)
        runs.append(wandb.run.id)
        tracked.log("fit", {"loss": 1.0})
        tracked.finish()
    assert runs[0] == runs[1]
    train(tmp_path / "other", RunOptions(tracker="wandb"))
    (kept,) = (tmp_path / "other" / "wandb").glob("offline-run-*/*.wandb")
    assert kept.stat().st_size > 0


def test_trackio_keeps_one_run_through_a_kill(tmp_path, monkeypatch):
    """By the package itself."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="trackio is not installed: only a stand-in was told")
    for done in (0, 2):
        tracked = TrackedRun(
            start_accelerator(0), "trackio", running_folder(tmp_path / "model"), {"of": "test"}, done
        )
        tracked.log("fit", {"loss": 1.0})
        tracked.finish()
    (run,) = trackio.Api().runs("perser")
    assert run.name.startswith("model-")


@pytest.mark.parametrize(
    ("tracker", "wanted"), [("tensorboard", "'perser[trackers]'"), ("wandb", "wandb"), ("trackio", "trackio")]
)
def test_a_tracker_that_is_not_installed_is_refused_at_once(tracker, wanted, monkeypatch):
    monkeypatch.setattr("perser.errors.find_spec", lambda package: None)
    said = f"run.tracker: {tracker} needs the package {tracker}: pip install {wanted}"

    def command(run: RunOptions = RunOptions()) -> None:
        """Train."""

    with pytest.raises(UserError, match=re.escape(said)):
        parse_command(command, [f"--run.tracker={tracker}"])


def test_the_run_folder_records_the_environment(tmp_path):
    train(tmp_path / "model", RunOptions())
    kept = {path.name for path in (tmp_path / "model").iterdir()}
    assert kept == {"marker", "run.json", "environment.jsonl", "log.txt", "metrics.jsonl"}
    (started,) = map(json.loads, (tmp_path / "model" / "environment.jsonl").read_text().splitlines())
    assert started["processes"] == 1
    assert started["versions"]["torch"] in torch.__version__
    assert "started with 1 processes" in (tmp_path / "model" / "log.txt").read_text()


def test_options_are_logged_by_dotted_names():
    assert flatten({"a": {"b": 1, "c": None}, "d": [1]}) == {"a.b": 1, "a.c": "null", "d": "[1]"}
