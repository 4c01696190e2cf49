"""Stages that end are skipped, until an option, an earlier stage or a file that they read changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.experiments.stages import Stages
from perser.training.options import RunOptions


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.csv").write_text("one")
    return folder


def ran(out: Path, source: Path, seed: int = 0) -> list[str]:
    """Which of two stages ran; the second reads what the first made."""
    names: list[str] = []

    def stage(name: str):
        def run(out: Path, **options: object) -> None:
            names.append(name)
            out.parent.mkdir(exist_ok=True)
            out.write_text("made")

        return run

    stages = Stages(out)
    stages.run("first", stage("first"), {"out": out / "1", "root": source, "seed": seed}, sources=("root",))
    stages.run("second", stage("second"), {"out": out / "2"}, after=("first",))
    stages.run("apart", stage("apart"), {"out": out / "3"})
    return names


def test_what_ended_is_skipped(tmp_path: Path, source: Path):
    assert ran(tmp_path / "run", source) == ["first", "second", "apart"]
    assert ran(tmp_path / "run", source) == []


def test_another_option_runs_it_and_all_that_follow(tmp_path: Path, source: Path):
    ran(tmp_path / "run", source)
    assert ran(tmp_path / "run", source, seed=1) == ["first", "second"]


def test_an_edited_or_new_source_file_runs_it_again(tmp_path: Path, source: Path):
    ran(tmp_path / "run", source)
    (source / "a.csv").write_text("one more")
    assert ran(tmp_path / "run", source) == ["first", "second"]
    (source / "b.csv").write_text("")
    assert ran(tmp_path / "run", source) == ["first", "second"]
    assert ran(tmp_path / "run", source) == []


def test_what_was_removed_is_made_again(tmp_path: Path, source: Path):
    ran(tmp_path / "run", source)
    (tmp_path / "run" / "2").unlink()
    assert ran(tmp_path / "run", source) == ["second"]


def test_a_stage_that_fails_did_not_end(tmp_path: Path):
    def fails(out: Path) -> None:
        out.write_text("half")
        raise RuntimeError("stopped")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            Stages(tmp_path).run("only", fails, {"out": tmp_path / "1"})


def test_a_stage_that_a_run_no_longer_has_is_forgotten(tmp_path: Path, source: Path):
    run = tmp_path / "run"
    ran(run, source)
    stages = Stages(run)
    stages.run("apart", lambda out: out.write_text("made"), {"out": run / "3"})
    stages.forget_others()
    assert [record.stem for record in (run / "stages").iterdir()] == ["apart"]
    assert ran(run, source) == ["first", "second"]


def begun(out: Path, resumed: list[bool], seed: int = 0, fails: bool = False, seconds: float = 60) -> None:
    """A stage that can go on, which notes whether it may."""

    def train(out: Path, seed: int, run: RunOptions, resume: bool) -> None:
        resumed.append(resume)
        if fails:
            raise RuntimeError("stopped")
        out.write_text("made")

    options = {"out": out / "1", "seed": seed, "run": RunOptions(checkpoint_seconds=seconds)}
    Stages(out).run("train", train, options, resumes=True)


def test_a_stopped_stage_goes_on_if_it_is_still_the_same(tmp_path: Path):
    resumed: list[bool] = []
    for seed in (0, 0, 1):
        with pytest.raises(RuntimeError):
            begun(tmp_path, resumed, seed, fails=True)
    begun(tmp_path, resumed, seed=1, seconds=5)  # how often it writes a checkpoint is no other training
    assert resumed == [False, True, False, True]
    begun(tmp_path, resumed, seed=1)
    assert len(resumed) == 4, "it ended"
    (tmp_path / "1").unlink()
    begun(tmp_path, resumed, seed=1)
    assert resumed[4:] == [False], "what it had made is gone: from the beginning"
