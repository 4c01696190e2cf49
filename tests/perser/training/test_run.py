"""A toy training that keeps a journal: what it writes, what it goes on from, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import debug_launcher
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import nn

from perser.errors import UserError
from perser.io.checksums import CHECKSUMS
from perser.training.accelerator import cosine_schedule, start_accelerator
from perser.training.checkpoint import NUM_CHECKPOINTS, STATE, TENSORS, BestWeights, TrainingState, seed_step
from perser.training.nonfinite import BAD_STEPS, StepPart
from perser.training.options import RunOptions
from perser.training.run import TrainingRun
from perser.training.run_folder import RunFolder, running_folder
from perser.training.run_log import METRICS

STEPS = 12
EVERY = RunOptions(checkpoint_seconds=0)


class Killed(BaseException):
    """Nothing that a program means to catch."""


def fit(out: Path, kill: int = 0, resume: bool = True, options: RunOptions = EVERY, bad=(), seed: int = 0):
    """A line through points, with dropout, a sampler, momentum and a best step; killed after step `kill`, and
    with NaN in the data of the steps `bad`. The weights that did best."""
    accelerator = start_accelerator(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1
    )
    rng, best = np.random.default_rng(seed), BestWeights()
    state = TrainingState(
        model, optimizer, cosine_schedule(optimizer, STEPS), best, {"sampler": rng}, {"looks": []}
    )
    training_run = TrainingRun(
        accelerator, options, RunFolder(out, {"options": {"seed": seed}}, resume, accelerator)
    )
    with training_run.stage("fit", state, model, clip_norm=1.0) as stage:
        for step in range(stage.done + 1, STEPS + 1):
            seed_step(seed, step)
            data = torch.tensor(rng.standard_normal((5, 3)), dtype=torch.float32)
            if step in bad:
                data[1, 2] = torch.nan
            losses = (model(data)[:, 0] - data.sum(dim=1)).square()
            losses.mean().backward()
            finite = losses.isfinite().tolist()
            parts = [StepPart((f"u{step}-{n}",), one, f"person {n}") for n, one in enumerate(finite)]
            stage.update(step, losses.mean().item(), parts)
            state.counters["looks"].append(step)
            best.offer(-abs(step - 8), step, model)
            stage.end_step(step)
            if step == kill:
                raise Killed
    assert state.counters["looks"] == list(range(1, STEPS + 1))
    assert best.step == 8
    best.restore(model)
    with training_run.finished(out, "marker") as folder:
        (folder / "marker").touch()
    return model.state_dict()


def killed(out: Path, after: int, **options) -> None:
    with pytest.raises(Killed):
        fit(out, kill=after, **options)


def logged(folder: Path) -> list[dict]:
    content = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{name: one for name, one in line.items() if name != "seconds"} for line in content]


def checkpoints(out: Path) -> list[Path]:
    return sorted((running_folder(out) / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return fit(out), logged(out)


@pytest.fixture
def assert_as_undisturbed(undisturbed):
    def check(found, out):
        weights, lines = undisturbed
        assert all(torch.equal(found[name], one) for name, one in weights.items())
        assert logged(out) == lines
        assert [path.name for path in out.parent.iterdir()] == [out.name]

    return check


def test_a_training_killed_after_any_step_ends_with_the_same_weights(tmp_path, assert_as_undisturbed):
    out = tmp_path / "out"
    for step in range(1, STEPS + 1):
        killed(out, step)
    assert_as_undisturbed(fit(out), out)


def test_steps_after_the_checkpoint_are_repeated_and_logged_once(
    tmp_path, monkeypatch, assert_as_undisturbed, capsys
):
    out = tmp_path / "out"
    due = iter([False, False, True, False, False, False])
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "checkpoint_is_due", lambda self: next(due))
        killed(out, 6)
    assert len(logged(running_folder(out))) == 6
    with (running_folder(out) / METRICS).open("a") as stream:
        stream.write('{"half a li')
    assert_as_undisturbed(fit(out), out)
    assert "going on after step 3 of fit" in capsys.readouterr().err


def test_the_two_newest_checkpoints_are_kept(tmp_path):
    out = tmp_path / "out"
    killed(out, 5)
    assert NUM_CHECKPOINTS == 2
    assert [checkpoint.name for checkpoint in checkpoints(out)] == ["000004-step-4", "000005-step-5"]


@pytest.mark.parametrize("file", [TENSORS, STATE, CHECKSUMS])
@pytest.mark.parametrize("damage", ["a bit", "cut", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    file, damage, tmp_path, assert_as_undisturbed, capsys
):
    out = tmp_path / "out"
    killed(out, 5)
    newest = checkpoints(out)[-1]
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "gone":
        (newest / file).unlink()
    else:
        (newest / file).write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    killed(out, 6)
    told = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(told) == 1
    assert f"{newest} is damaged" in told[0]
    assert [checkpoint.name for checkpoint in checkpoints(out)] == ["000005-step-5", "000006-step-6"]
    assert_as_undisturbed(fit(out), out)


def test_without_an_intact_checkpoint_training_starts_over(tmp_path, assert_as_undisturbed):
    out = tmp_path / "out"
    killed(out, 5)
    for checkpoint in checkpoints(out):
        (checkpoint / TENSORS).write_bytes(b"")
    assert_as_undisturbed(fit(out), out)


def test_leftovers_of_a_killed_write_are_removed(tmp_path, assert_as_undisturbed):
    out = tmp_path / "out"
    killed(out, 5)
    shutil.copytree(checkpoints(out)[-1], running_folder(out) / "checkpoints" / ".000006-step-6-abc")
    killed(out, 6)
    assert [checkpoint.name[0] for checkpoint in checkpoints(out)] == ["0", "0"]
    assert_as_undisturbed(fit(out), out)


def test_a_checkpoint_of_other_options_is_refused_and_left_alone(tmp_path, assert_as_undisturbed):
    out = tmp_path / "out"
    killed(out, 5, seed=1)
    before = {path: path.read_bytes() for path in running_folder(out).rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"options\.seed: 1, now 0\).*--resume false"):
        fit(out)
    assert {path: path.read_bytes() for path in running_folder(out).rglob("*") if path.is_file()} == before
    assert_as_undisturbed(fit(out, resume=False), out)


def test_a_checkpoint_that_was_put_there_from_another_training_is_refused(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    killed(one, 5)
    killed(other, 6, seed=1)
    shutil.copytree(checkpoints(other)[-1], running_folder(one) / "checkpoints" / "000006-step-6")
    with pytest.raises(UserError, match="is of another training"):
        fit(one)


def test_a_damaged_run_json_is_refused(tmp_path):
    out = tmp_path / "out"
    killed(out, 2)
    (running_folder(out) / "run.json").write_bytes(b"\xff{")
    with pytest.raises(UserError, match=r"run\.json is damaged: start over with --resume false"):
        fit(out)
    fit(out, resume=False)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    running_folder(tmp_path / "out").mkdir()
    (running_folder(tmp_path / "out") / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds no run\.json"):
        fit(tmp_path / "out")


def test_nothing_is_pickled(tmp_path):
    out = tmp_path / "out"
    killed(out, 2)
    suffixes = {path.suffix for path in running_folder(out).rglob("*") if path.is_file()}
    assert suffixes == {".json", ".jsonl", ".safetensors", ".txt"}


@pytest.fixture
def handler_of_sighup():
    """A handler, because tests that nohup began would ignore the signal."""

    def handler(number, frame):
        raise AssertionError("the signal was not noticed")

    before = signal.signal(signal.SIGHUP, handler)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("handler_of_sighup")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_after_the_step_and_saves(
    number, status, tmp_path, assert_as_undisturbed, monkeypatch, capsys
):
    out = tmp_path / "out"
    looks = BestWeights.offer

    def signaled(self, score, step, module):
        if step == 5:
            os.kill(os.getpid(), number)
        return looks(self, score, step, module)

    before = signal.getsignal(number)
    monkeypatch.setattr(BestWeights, "offer", signaled)
    with pytest.raises(SystemExit) as left:
        fit(out, options=RunOptions(checkpoint_seconds=1000))
    monkeypatch.undo()
    assert left.value.code == status
    assert signal.getsignal(number) == before
    told = capsys.readouterr().err
    step = logged(running_folder(out))[-1]["step"]
    assert step in (5, 6)
    assert f"stopped after step {step} of fit: the same command goes on from there" in told
    assert_as_undisturbed(fit(out), out)
    assert f"going on after step {step} of fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "where", ["perser.training.checkpoint.save_file", "json.dumps", "perser.io.files.swap_folders"]
)
def test_a_full_disk_gives_one_line_and_keeps_earlier_checkpoints(
    where, tmp_path, monkeypatch, assert_as_undisturbed
):
    out = tmp_path / "out"
    killed(out, 5)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = [checkpoint.name for checkpoint in checkpoints(out)]
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "checkpoint_is_due", lambda self: patched.setattr(where, full) or True)
        with pytest.raises(UserError, match=r"(?s)^cannot write [^\n]*No space left[^\n]*000005-step-5$"):
            fit(out)
    assert [checkpoint.name for checkpoint in checkpoints(out)] == kept
    assert_as_undisturbed(fit(out), out)


def test_a_full_disk_at_the_end_loses_no_training(tmp_path, monkeypatch, assert_as_undisturbed):
    out = tmp_path / "out"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copy", full)
        with pytest.raises(UserError, match=r"^cannot write .*out \(No space left.*goes on from its last"):
            fit(out)
    assert not out.exists()
    assert_as_undisturbed(fit(out), out)


def test_a_file_size_limit_gives_one_line(tmp_path, assert_as_undisturbed):
    """The system's own refusal, halfway through a write."""
    out = tmp_path / "out"
    killed(out, 5)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limit[1]))
    try:
        with pytest.raises(UserError, match=r"^cannot write .*too large"):
            fit(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert_as_undisturbed(fit(out), out)


def test_a_read_only_folder_gives_one_line(tmp_path, monkeypatch):
    """Root may write everywhere: the system's refusal is played."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").touch()

    def refused(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(UserError, match=r"^cannot write .*\(Not a directory\)$"):
        fit(tmp_path / "file" / "out")
    monkeypatch.setattr("tempfile.mkstemp", refused)
    with pytest.raises(UserError, match=r"^cannot write .*closed.out-running \(Read-only file system\)$"):
        fit(tmp_path / "closed" / "out")


def test_a_bad_step_is_skipped_counted_and_traced_to_its_input(tmp_path):
    out = tmp_path / "out"
    killed(out, 9, bad=(3, 7))
    fit(out)
    records = json.loads((out / BAD_STEPS).read_text())
    assert [(record["step"], record["not_finite"]) for record in records] == [(3, "loss"), (7, "loss")]
    assert records[0]["causes"] == [{"person": "person 1", "utterances": ["u3-1"]}]
    lines = logged(out)
    assert [line["step"] for line in lines if line.get("skipped")] == [3, 7]
    assert lines[2]["loss"] is None
    assert all(line["loss"] is not None for line in lines if not line.get("skipped"))


def test_a_skipped_step_changes_no_weights():
    accelerator = start_accelerator(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    state = TrainingState(model, optimizer, None, BestWeights())
    before = model.weight.detach().clone()
    with TrainingRun(accelerator).stage("fit", state, model) as stage:
        (model(torch.tensor([[1.0, torch.inf]])).sum()).backward()
        stage.update(1, 0.0, [StepPart(("a",), True)])
        assert torch.equal(model.weight, before)
        assert model.weight.grad is None
        model(torch.ones(1, 2)).sum().backward()
        stage.update(2, 0.0, [StepPart(("a",), True)])
        assert torch.equal(model.weight, before - 1)


def test_too_many_bad_steps_end_training_and_name_person_and_utterances(tmp_path):
    out, options = tmp_path / "out", RunOptions(checkpoint_seconds=0, max_bad_steps=3)
    with pytest.raises(
        UserError, match=r"^3 steps had .* at step 9 of fit the loss, on 'person 1': u9-1; all are"
    ):
        fit(out, options=options, bad=(2, 5, 9))
    assert len(json.loads((running_folder(out) / BAD_STEPS).read_text())) == 3
    with pytest.raises(UserError, match=r"^3 steps had"):  # counted across starts
        fit(out, options=options, bad=(9,))
    assert len(json.loads((running_folder(out) / BAD_STEPS).read_text())) == 3


def in_a_process(out: Path) -> None:
    """One of two, of which the second meets a loss that is not finite."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = start_accelerator(0)
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    wrapped, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    state = TrainingState(model, optimizer, None, BestWeights())
    training_run = TrainingRun(accelerator, EVERY, RunFolder(out, {}, True, accelerator))
    who = accelerator.process_index
    with training_run.stage("fit", state, wrapped) as stage:
        for step in range(stage.done + 1, stage.done + 3):
            accelerator.backward(wrapped(torch.ones(1, 1)).sum())
            finite = who == 0 or step != 2
            stage.update(step, 1.0, [StepPart((f"u{who}",), finite, f"person {who}")])
            stage.end_step(step)
    found = gather_object([model.weight.item()])
    if accelerator.is_main_process:
        (out / f"{stage.done}.json").write_text(json.dumps([found, training_run.bad.records]))


def test_two_processes_skip_the_same_step_and_continue(tmp_path):
    """A step takes 0.1 off the weight: of the second, neither process takes it."""
    for _ in range(2):
        debug_launcher(in_a_process, (tmp_path,), num_processes=2)
    for done, weight in ((0, 0.9), (2, 0.7)):
        found, bad = json.loads((tmp_path / f"{done}.json").read_text())
        assert found == pytest.approx([weight] * 2)
        assert [record["step"] for record in bad] == [2]
        assert bad[0]["causes"] == [{"person": "person 1", "utterances": ["u1"]}]


def test_checkpoints_take_at_most_their_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    training_run = TrainingRun(start_accelerator(0), RunOptions(checkpoint_seconds=60))
    training_run._seconds_to_write = 2.0
    for seconds, due in ((59, False), (61, False), (199, False), (201, True)):
        now[0] = seconds
        assert training_run.checkpoint_is_due() is due


def test_every_step_has_noise_of_its_own():
    drawn = []
    for place in ((0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0), (0, 1, 0)):
        seed_step(*place)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[-1])
    assert len({tuple(noise.tolist()) for noise in drawn}) == 4


@pytest.mark.parametrize("wrong", [{"checkpoint_seconds": -1}, {"max_bad_steps": 0}])
def test_impossible_options_are_refused_by_key(wrong):
    with pytest.raises(ValueError, match=rf"run\.{next(iter(wrong))}"):
        RunOptions(**wrong)
