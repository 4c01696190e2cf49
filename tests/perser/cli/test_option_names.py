"""Names that options had before, names that other programs use, and misspelled names, with toy commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from perser.cli.main import main
from perser.cli.options.names import ALIASES, OLD_NAMES, OptionNames
from perser.cli.parser import parse_command, parse_options
from perser.errors import UserError


@dataclass(frozen=True)
class Outer:
    """An outer loop.

    Args:
        steps: how many.
        batch_size: of how many.
        learning_rate: how fast.
        clip_norm: at most.
    """

    steps: int = 100
    batch_size: int = 4
    learning_rate: float = 1e-3
    clip_norm: float | None = 10.0


@dataclass(frozen=True)
class Run:
    """A run.

    Args:
        tracker: where to.
    """

    tracker: Literal["none", "wandb"] = "none"


def meta_train(
    out: Path = Path("runs"),
    outer: Outer = Outer(),
    run: Run = Run(),
    mixed_precision: Literal["no", "bf16"] = "no",
    resume: bool = True,
) -> None:
    """Train.

    Args:
        out: where.
        outer: how.
        run: with what.
        mixed_precision: in what.
        resume: whether.
    """


def icl_train(
    out: Path = Path("runs"),
    steps: int = 100,
    epochs: int = 3,
    batch_size: int = 32,
    gradient_accumulation_steps: int = 1,
    projector_steps: int = 0,
    projector_learning_rate: float = 1e-3,
    learning_rate: float = 1e-3,
    warmup: float = 0.1,
    clip_norm: float = 1.0,
    validate_every: int = 50,
) -> None:
    """Train.

    Args:
        out: where.
        steps: how many.
        epochs: how many.
        batch_size: how many.
        gradient_accumulation_steps: how many.
        projector_steps: how many.
        projector_learning_rate: how fast.
        learning_rate: how fast.
        warmup: how long.
        clip_norm: at most.
        validate_every: how often.
    """


def add_experiment(parser: Any) -> None:
    """Add toy options of an experiment: stages below their names."""
    parser.add_argument("--folds", type=list[int], default=[])
    parser.add_argument("--ablations", type=dict[str, Any], default={})
    parser.add_function_arguments(meta_train, "meta_train", skip={"out"}, as_positional=False)
    parser.add_function_arguments(icl_train, "icl_train", skip={"out"}, as_positional=False)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--output_dir=here", {"out": Path("here")}),
        ("--report_to=wandb", {"run": Run("wandb")}),
        ("--resume_from_checkpoint=false", {"resume": False}),
        ("--resume-from-checkpoint", {"resume": True}),
        ("--bf16", {"mixed_precision": "bf16"}),
        ("--bf16=False", {"mixed_precision": "no"}),
        ("--max_steps=7", {"outer": Outer(steps=7)}),
        ("--per_device_train_batch_size=7", {"outer": Outer(batch_size=7)}),
        ("--lr=1e-4", {"outer": Outer(learning_rate=1e-4)}),
        ("--learning_rate=1e-4", {"outer": Outer(learning_rate=1e-4)}),
        ("--outer.max_grad_norm=2", {"outer": Outer(clip_norm=2.0)}),
    ],
)
def test_aliases_of_a_command_with_an_outer_loop(option, expected):
    assert parse_command(meta_train, [option]) == parse_command(meta_train, []) | expected
    assert parse_command(meta_train, option.split("=")) == parse_command(meta_train, []) | expected


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--num_train_epochs=7", {"epochs": 7}),
        ("--max_steps=7", {"steps": 7}),
        ("--warmup_ratio=0.3", {"warmup": 0.3}),
        ("--eval_steps=7", {"validate_every": 7}),
        ("--max_grad_norm=7", {"clip_norm": 7.0}),
        ("--lr=7", {"learning_rate": 7.0}),
    ],
)
def test_aliases_of_a_command_with_its_options_at_the_top(option, expected):
    assert parse_command(icl_train, [option]) == parse_command(icl_train, []) | expected


def test_a_batch_size_per_device_counts_for_every_launched_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert parse_command(icl_train, ["--per_device_train_batch_size", "8"])["batch_size"] == 32
    with pytest.raises(UserError, match="--per_device_train_batch_size: many, give a whole number"):
        parse_command(icl_train, ["--per_device_train_batch_size", "many"])


def test_aliases_in_a_file_and_below_a_stage(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "meta_train: {max_steps: 5, run: {tracker: wandb}, outer: {lr: 1e-4}}\n"
    )
    (tmp_path / "run.yaml").write_text("base: base.yaml\nicl_train.max_steps: 6\nmeta_train:\n  bf16: true\n")
    values = parse_options(
        add_experiment, ["--config", str(tmp_path / "run.yaml"), "--icl_train.eval_steps=9"]
    )
    trained = values["meta_train"]
    assert (trained["outer"], trained["run"]) == (Outer(steps=5, learning_rate=1e-4), Run("wandb"))
    assert trained["mixed_precision"] == "bf16"
    assert (values["icl_train"]["steps"], values["icl_train"]["validate_every"]) == (6, 9)


def test_an_option_that_a_file_names_twice_is_refused(tmp_path):
    (tmp_path / "run.yaml").write_text("steps: 5\nmax_steps: 6\n")
    with pytest.raises(UserError, match=r"run\.yaml: max_steps: steps is given twice"):
        parse_command(icl_train, ["--config", str(tmp_path / "run.yaml")])


@pytest.mark.parametrize(
    ("command", "option", "message"),
    [
        (meta_train, "--num_train_epochs=3", "--num_train_epochs stands for epochs, which is no option here"),
        (icl_train, "--bf16", "--bf16 stands for mixed_precision, which is no option here"),
        (
            meta_train,
            "--resume_from_checkpoint=runs/x/checkpoint-3",
            "OUT-running is found without being named",
        ),
        (meta_train, "--bf16=half", "--bf16: half, give true or false"),
    ],
)
def test_an_alias_that_cannot_be_followed_is_one_line(command, option, message):
    with pytest.raises(UserError, match=message):
        parse_command(command, [option])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("turns", "folds"),
        ("variants", "ablations"),
        ("meta_train.outer.iterations", "meta_train.outer.steps"),
        ("meta_train.outer.persons", "meta_train.outer.batch_size"),
        ("icl_train.sequences_per_step", "icl_train.batch_size"),
        ("icl_train.accumulate", "icl_train.gradient_accumulation_steps"),
        ("icl_train.align_steps", "icl_train.projector_steps"),
        ("icl_train.align_learning_rate", "icl_train.projector_learning_rate"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(old, new, tmp_path):
    with pytest.raises(UserError, match=f"^--{old} is now --{new}$"):
        parse_options(add_experiment, [f"--{old}=3"])
    config = tmp_path / "run.yaml"
    stage, dot, rest = old.partition(".")
    for text in (f"{old}: 3\n", f"{stage}: {{{rest}: 3}}\n" if dot else f"{old}: {{a: 3}}\n"):
        config.write_text(text)
        with pytest.raises(UserError, match=rf"run\.yaml: {old} is now {new}$"):
            parse_options(add_experiment, ["--config", str(config)])


def test_every_entry_of_the_tables_is_tested_here():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in (*ALIASES, *OLD_NAMES) if name not in tested] == []


def test_an_old_name_of_a_command_without_the_new_option_is_an_unknown_option():
    with pytest.raises(UserError, match="turns is no option"):
        OptionNames(["steps"]).resolve("turns", 3)


@pytest.mark.parametrize(
    ("name", "near"),
    [("outer.stepz", "outer.steps"), ("learning_rat", "outer.learning_rate"), ("steps", "outer.steps")],
)
def test_an_unknown_option_names_the_nearest(name, near):
    with pytest.raises(UserError, match=f"^{name} is no option: did you mean {near}\\?$"):
        OptionNames(["out", "outer.steps", "outer.learning_rate"]).resolve(name, 3)


def test_nothing_is_near_a_name_unlike_all_others():
    with pytest.raises(UserError, match=r"^xyz is no option \(see --help\)$"):
        OptionNames(["out", "outer.steps"]).resolve("xyz", 3)


def test_keys_in_an_option_that_is_a_dictionary_are_free():
    values = parse_options(add_experiment, ["--ablations", '{"turns": {"outer": 1}}'])
    assert values["ablations"] == {"turns": {"outer": 1}}
    assert OptionNames(["words"]).resolve("words.turns", 1) == ("words.turns", 1)


def test_a_batch_size_per_device_with_accumulation_is_refused(tmp_path):
    """Transformers multiplies the two; here accumulation divides the step."""
    pair = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}
    words = [word for name, value in pair.items() for word in (f"--{name}", str(value))]
    with pytest.raises(UserError, match="give batch_size"):
        parse_command(icl_train, words)
    file = tmp_path / "run.yaml"
    file.write_text("".join(f"{name}: {value}\n" for name, value in pair.items()))
    with pytest.raises(UserError, match=r"run\.yaml: .*give batch_size"):
        parse_command(icl_train, ["--config", str(file)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["enroll", "--enroll", "a.wav=sad"], "--enroll is no option here, but one of perser predict"),
        (["enroll", "--enroll", "a.wav=sad"], "here --examples takes a table or a folder of labeled clips"),
        (["predict", "--examples", "a.csv"], "here --enroll takes CLIP=EMOTION for each labeled clip"),
        (["suggest", "--title", "x"], "--title is no option here, but one of perser bench"),
        (["bench", "--meta_perser", "x"], "--meta_perser is no option: did you mean --methods meta-perser?"),
        (["predict", "--version"], "--version is no option here: did you mean perser --version?"),
        (["bench", "--no-such-thing"], "--no_such_thing is no option (see --help)"),
        (["bench", "--models.meta_perser", "x"], "--models.meta_perser is no option: --models has no parts"),
        (["episodes", "--split.folds.x", "3"], "--split.folds.x is no option: --split.folds has no parts"),
        (["predict", "--json.x", "1"], "--json.x is no option: --json has no parts, give it true or false"),
    ],
)
def test_an_option_of_another_command_is_told(words, message, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err
