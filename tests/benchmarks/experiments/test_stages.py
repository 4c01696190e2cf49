"""Finished stages are skipped until an option, an earlier stage or a file that they read changes."""

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


def run_three(out: Path, source: Path, seed: int = 0) -> list[str]:
    """Return which of three stages ran; the second reads the output of the first."""
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


def test_a_finished_stage_is_skipped(tmp_path: Path, source: Path):
    assert run_three(tmp_path / "run", source) == ["first", "second", "apart"]
    assert run_three(tmp_path / "run", source) == []


def test_another_option_runs_the_stage_and_those_after_it(tmp_path: Path, source: Path):
    run_three(tmp_path / "run", source)
    assert run_three(tmp_path / "run", source, seed=1) == ["first", "second"]


def test_an_edited_or_new_source_file_runs_the_stage_again(tmp_path: Path, source: Path):
    run_three(tmp_path / "run", source)
    (source / "a.csv").write_text("one more")
    assert run_three(tmp_path / "run", source) == ["first", "second"]
    (source / "b.csv").write_text("")
    assert run_three(tmp_path / "run", source) == ["first", "second"]
    assert run_three(tmp_path / "run", source) == []


def test_a_stage_whose_output_was_removed_runs_again(tmp_path: Path, source: Path):
    run_three(tmp_path / "run", source)
    (tmp_path / "run" / "2").unlink()
    assert run_three(tmp_path / "run", source) == ["second"]


def test_a_stage_that_fails_is_not_finished(tmp_path: Path):
    def fails(out: Path) -> None:
        out.write_text("half")
        raise RuntimeError("stopped")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            Stages(tmp_path).run("only", fails, {"out": tmp_path / "1"})


def test_the_record_of_a_stage_that_a_run_no_longer_has_is_removed(tmp_path: Path, source: Path):
    run = tmp_path / "run"
    run_three(run, source)
    stages = Stages(run)
    stages.run("apart", lambda out: out.write_text("made"), {"out": run / "3"})
    stages.forget_others()
    assert [record.stem for record in (run / "stages").iterdir()] == ["apart"]
    assert run_three(run, source) == ["first", "second"]


def run_resumable(
    out: Path, resumed: list[bool], seed: int = 0, fails: bool = False, seconds: float = 60
) -> None:
    """Run a stage that can resume, and append whether it may to `resumed`."""

    def train(out: Path, seed: int, run: RunOptions, resume: bool) -> None:
        resumed.append(resume)
        if fails:
            raise RuntimeError("stopped")
        out.write_text("made")

    options = {"out": out / "1", "seed": seed, "run": RunOptions(checkpoint_seconds=seconds)}
    Stages(out).run("train", train, options, resumes=True)


def test_a_stopped_stage_resumes_if_nothing_has_changed(tmp_path: Path):
    resumed: list[bool] = []
    for seed in (0, 0, 1):
        with pytest.raises(RuntimeError):
            run_resumable(tmp_path, resumed, seed, fails=True)
    run_resumable(tmp_path, resumed, seed=1, seconds=5)  # the training is the same, however often it is saved
    assert resumed == [False, True, False, True]
    run_resumable(tmp_path, resumed, seed=1)
    assert len(resumed) == 4, "it is finished"
    (tmp_path / "1").unlink()
    run_resumable(tmp_path, resumed, seed=1)
    assert resumed[4:] == [False], "its output is gone, so it begins anew"


def icl_train(out: Path, **options: object) -> None:
    out.write_text("made")


EARLIER = {"sequences_per_step": 8, "accumulate": 2, "steps": 3}
TODAY = {"batch_size": 8, "gradient_accumulation_steps": 2, "steps": 3}


def test_a_stage_that_version_0_1_0_finished_is_finished(tmp_path: Path):
    made = tmp_path / "model"
    Stages(tmp_path).run("icl-train", icl_train, EARLIER | {"out": made})
    made.write_text("kept")
    Stages(tmp_path).run("icl-train", icl_train, TODAY | {"out": made})
    assert made.read_text() == "kept"
    Stages(tmp_path).run("icl-train", icl_train, TODAY | {"out": made, "batch_size": 9})
    assert made.read_text() == "made"


def test_a_stage_that_version_0_1_0_was_stopped_in_resumes(tmp_path: Path):
    resumed: list[bool] = []

    def icl_train(out: Path, resume: bool, **options: object) -> None:
        resumed.append(resume)
        raise RuntimeError("stopped")

    for options in (EARLIER, TODAY, TODAY | {"steps": 4}):
        with pytest.raises(RuntimeError):
            Stages(tmp_path).run("icl-train", icl_train, options | {"out": tmp_path / "model"}, resumes=True)
    assert resumed == [False, True, False]


def test_a_stage_whose_output_is_outdated_runs_again_with_all_others(tmp_path: Path, capsys):
    names: list[str] = []

    def run(reason: str) -> None:
        stages = Stages(tmp_path)
        for name, after in (("first", ()), ("second", ("first",)), ("third", ("second",))):
            made = tmp_path / f"{name}.out"
            stages.run(
                name,
                lambda out, name=name: names.append(name) or out.write_text("made"),
                {"out": made},
                after=after,
                outdated=(lambda: reason) if name == "first" else None,
            )

    run("it is not asked where nothing was finished")
    assert names == ["first", "second", "third"]
    run("")
    assert names == ["first", "second", "third"]
    run("a recording changed")
    assert names == ["first", "second", "third"] * 2
    assert "first: a recording changed; everything is run again" in capsys.readouterr().err
